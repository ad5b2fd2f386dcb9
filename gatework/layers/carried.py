"""The states of a stack of layers: where they begin, their names, and single steps from them."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gatework.equations import Spec
from gatework.equations.sizes import shape_of
from gatework.errors import ShapeError
from gatework.layers.form import Form
from gatework.layers.shapes import check_names, check_states, check_tensor, entries_of
from gatework.layers.states import Beside, States, named_states, spread
from gatework.paths.per_layer import states_of


class CarriedStates:
    """Mixin: what a stack of layers of one cell carries from step to step."""

    # Given by the layer.
    hidden_size: int
    num_layers: int
    batch_first: bool
    bidirectional: bool
    proj_size: int
    learned_states = False
    forward: Any
    # Of images: how many axes they have, and of which size they are where weights have places.
    dims = 0
    image_size: tuple[int, ...] | None = None
    axes = "F"  # of one row of the input, as errors have them
    arguments: ClassVar = {"F": "input_size", "H": "hidden_size", "P": "proj_size"}

    @property
    def spec(self) -> Spec:
        """The description of the layer's cell."""
        raise NotImplementedError

    @property
    def beside(self) -> tuple[str, ...]:
        """The names of what the cell reads beside the input."""
        return self.spec.beside

    def step(
        self, x: Tensor, states: States | None = None, beside: Beside | None = None
    ) -> tuple[Tensor, Any]:
        """One step: what ``forward`` gives for a sequence of one, from the states of the last one.

        It is differentiable and takes the layer as it is; ``stream`` is the quick form for
        inference.

        Args:
            x: (B, F) or (F,); of images (B, C, *space).
            states: as this function returned them; ``None`` begins a sequence.
            beside: what the cell reads beside the input by name, (B,) or () each.

        Returns:
            The output, (B, H) or (H,), and the states.

        Raises:
            ShapeError: the layer is bidirectional, or a shape cannot be.
        """
        self._check_direction("step")
        name = type(self).__name__
        check_tensor(name, "a step", x)
        is_batched = x.dim() == 2 + self.dims
        if not is_batched and (self.dims or x.dim() != 1):
            axes = f"(B, {self.axes})" if self.dims else "(B, F) or (F,)"
            raise ShapeError(
                f"A step is {axes}, got {tuple(x.shape)}. Whole sequences go to forward."
            )
        axis = 1 if self.batch_first and is_batched else 0
        if beside is not None:
            check_names(name, beside)
            for which, values in beside.items():
                check_tensor(name, f"beside[{which!r}]", values)
            beside = {which: values.unsqueeze(axis) for which, values in beside.items()}
        output, states = self.forward(x.unsqueeze(axis), states, beside=beside)
        return output.squeeze(axis), states

    def state(self, states: States | None = None, batch: int | None = None) -> Any:
        """States as an object with names, also for a cell with one state: ``state.h``.

        Args:
            states: what ``forward`` returned; ``None``: those at which a sequence begins.
            batch: with those the number of rows; ``None``: one sequence without a batch axis.

        Returns:
            A tuple with names, ``detach()``, ``to(...)`` and ``index(rows)``; ``hx`` takes it.

        Raises:
            ShapeError: no number of rows, of a layer over images.
        """
        if states is None:
            if self.dims and batch is None:
                raise ShapeError(
                    f"{type(self).__name__}: images come in batches; say of how many rows, as in "
                    f"state(batch=1)."
                )
            like = next(self.parameters())  # type: ignore[attr-defined]
            states = self._first_states(like, batch)
        elif not isinstance(states, Tensor):
            states = entries_of(type(self).__name__, "the states", states)
        return named_states(self.spec, states_of(states))

    def _named(self, states: Any) -> Any:
        """The states of a cell that has several, with names; torch gives one as it is."""
        return states if isinstance(states, Tensor) else named_states(self.spec, states)

    def _check_direction(self, what: str) -> None:
        if self.bidirectional:
            raise ShapeError(
                f"{type(self).__name__} is bidirectional: its second direction begins at the end "
                f"of a sequence, which a {what} does not know. Use bidirectional=False."
            )

    def _states(self, name: str, x: Tensor, hx: States | None, form: Form) -> tuple[Tensor, ...]:
        """The initial states as (L*D, B, *space, size), zero where none are given."""
        shapes, space = self._shapes_of_states(), x.shape[2:-1]
        if hx is None:
            first = self._first_states(x, x.shape[1])
            return form.inside(tuple(spread(state, space) for state in first))
        states = (hx,) if isinstance(hx, Tensor) else entries_of(name, "the states", hx)
        if len(states) != len(shapes):
            names = ", ".join(s.name for s in self.spec.states)
            raise ShapeError(
                f"{name}: expected {len(shapes)} initial state(s) ({names}), got {len(states)}."
            )
        rows = self.num_layers * (2 if self.bidirectional else 1)
        batch = (x.shape[1],) if form.is_batched else ()
        expected = [(rows, *batch, *shape, *space) for shape in shapes]
        states = tuple(spread(s, space) if isinstance(s, Tensor) else s for s in states)
        check_states(
            name, states, expected, form.as_given(x), form.is_turned, form.is_batched,
            self.axes[1:],
        )  # fmt: skip
        return form.standard_states(states)

    def _shapes_of_states(self) -> list[tuple[int, ...]]:
        """The axes of one row of each state: (H,), of a matrix (H, H), of heads (n, H/n, H/n)."""
        sizes = {"H": self.hidden_size, "P": self.proj_size}
        return [shape_of(s.size, sizes, self.spec.heads) for s in self.spec.states]

    def _first_states(self, like: Tensor, batch: int | None) -> tuple[Tensor, ...]:
        """The states at which a sequence begins, (L*D, B, size), or (L*D, size) without a batch.

        Those of images have an axis of one for each of theirs, or what they have learned.
        """
        middle = () if batch is None else (batch,)
        if self.learned_states:
            own = [getattr(self, f"first_{s.name}") for s in self.spec.states]
            return tuple(
                s if batch is None else s[:, None].expand(-1, batch, *s.shape[1:]).contiguous()
                for s in own
            )
        rows = self.num_layers * (2 if self.bidirectional else 1)
        ones = (1,) * self.dims
        shapes = self._shapes_of_states()
        return tuple(like.new_zeros(rows, *middle, *shape, *ones) for shape in shapes)

    def reset_first_states(self) -> None:
        """Set learned initial states, where there are any, to zero."""
        own: dict[str, Tensor] = self._parameters  # type: ignore[attr-defined]
        for state in self.spec.states:
            if f"first_{state.name}" in own:
                nn.init.zeros_(own[f"first_{state.name}"])

    def add_first_states(self, device: Any, dtype: torch.dtype | None) -> None:
        """Make learned initial states parameters, ``first_h`` and so on, at zero.

        They are (L*D, size), over images (L*D, size, *image_size), where the size is given.
        """
        if not self.learned_states:
            return
        rows = self.num_layers * (2 if self.bidirectional else 1)
        for state, shape in zip(self.spec.states, self._shapes_of_states(), strict=True):
            places = self.image_size or (1,) * self.dims
            zeros = torch.zeros(rows, *shape, *places, device=device, dtype=dtype)
            name = f"first_{state.name}"
            self.register_parameter(name, nn.Parameter(zeros))  # type: ignore[attr-defined]
