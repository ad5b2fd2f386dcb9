"""A stack of recurrent layers of any cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gatework import paths
from gatework.cells import CellLike, name_of, resolve
from gatework.equations import Spec
from gatework.equations.sizes import width_of
from gatework.errors import ShapeError
from gatework.layers import initial
from gatework.layers.shapes import check_count, probability_of
from gatework.layers.stack import StackForward
from gatework.layers.switches import Switches, chosen, rewritten
from gatework.paths import Weights, vendor
from gatework.paths.call import Groups, by_name


class Recurrent(StackForward, nn.Module):
    """Layers of any cell over sequences, with the arguments and shapes of torch.nn.LSTM.

    The parameters have the letters of the equations: for an LSTM ``W_l0`` (4H, F), ``U_l0``
    (4H, H) and ``b_l0`` (4H,), the gates stacked in the order of the class body, with
    ``_reverse`` behind the name for the backward direction. ``named_weights`` gives them gate
    by gate. All are initialised uniformly in ±1/sqrt(hidden_size), as torch does, unless ``init``
    says otherwise, but for those that the cell gives a start (the gains of a normalisation: 1).

    Args:
        cell: a cell class, description, name (``"peephole_lstm"``) or ``file.py:Class``.
        input_size: features of the input, F.
        hidden_size: units of each layer and direction, H; a list of numbers makes a stack with
            a width for each layer, see ``layers.widths.Widths``.
        num_layers: layers on top of each other.
        bias: with ``False`` the cell's biases are left out (taken as zero).
        batch_first: input and output are (B, T, F) instead of (T, B, F); states never are.
        dropout: probability of zeroing an output between two layers, in training.
        bidirectional: a second direction runs from each sequence's end to its start.
        proj_size: size of the projected state, for a cell that has one.
        path: ``"auto"``, or the name of the path that must be used.
        device: where the parameters are created.
        dtype: of the parameters.
        switches: changes of the cell and of the stack by name: see ``layers.switches.Switches``.

    Raises:
        CellError: no such cell, or a switch that makes no sense for it.
        ShapeError: a size that cannot be.
        PathError: no path has this name.

    Shapes:
        See ``forward``.
    """

    def __new__(
        cls, cell: CellLike = "", input_size: int = 0, hidden_size: Any = 0, *_: Any, **__: Any
    ) -> Recurrent:
        """A stack of one width, or of several where hidden_size is a list."""
        if cls is Recurrent and isinstance(hidden_size, (list, tuple)):
            from gatework.layers.widths import Widths  # noqa: PLC0415  (which is made of these)

            return super().__new__(Widths)
        return super().__new__(cls)

    def __init__(
        self,
        cell: CellLike,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        path: str = paths.AUTO,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **switches: Unpack[Switches],
    ) -> None:
        super().__init__()
        given = chosen(type(self).__name__, switches)
        self.cell = name_of(resolve(cell))
        self._spec = rewritten(resolve(cell), given)
        self.input_size = input_size
        self.hidden_size: int = hidden_size  # type: ignore[assignment]  # or the check raises
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = probability_of("dropout", dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._check_sizes()
        self.take(given)
        self.path = paths.check_name(path)
        self.is_torch_cell = not self.dims and vendor.kernel(self._spec) is not None
        self.check_residual(self.output_size)
        for layer, direction in self.rows():
            for stem, shape in self.group_shapes(layer).items():
                empty = torch.empty(shape, device=device, dtype=dtype)
                self.register_parameter(self._name(stem, layer, direction), nn.Parameter(empty))
        self.add_first_states(device, dtype)
        self.reset_parameters()

    @property
    def spec(self) -> Spec:
        """The description of the layer's cell."""
        return self._spec

    @property
    def output_size(self) -> int:
        """The last axis of the output: D times the size of the cell's first state."""
        size = self.proj_size if self._spec.states[0].size == "P" else self.hidden_size
        return size * (2 if self.bidirectional else 1)

    def group_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """The stored parameters of one layer and direction, by stem."""
        return {s: shape for s, shape in self._shapes(layer).items() if self._is_stored(s)}

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        features = self.input_size if layer == 0 else self.output_size
        sizes = {"F": features, "H": self.hidden_size, "P": self.proj_size}
        shapes = {}
        for stem, members in self._spec.groups.items():
            one = members[0]
            rows, *cols = (width_of(letter, sizes, self._spec.heads) for letter in one.shape)
            shapes[stem] = (rows // one.chunk * len(members), *(c // one.blocks for c in cols))
        return shapes

    def reset_parameters(self) -> None:
        """Initialise all parameters anew, as ``init`` and the starts of the cell have it."""
        self.reset_first_states()
        for row in self.rows():
            stored, fan = self.stored(*row), self._summands()
            initial.fill(self._spec, stored, fan, self._init, self.forget_bias)

    def named_weights(self, layer: int = 0, direction: int = 0) -> dict[str, Tensor]:
        """One layer and direction by the names of the equations (``W_i``, ``b_f``), as views.

        Block-diagonal matrices and what has one row for a chunk are given whole, and are copies.
        """
        return by_name(self._spec, self._whole(layer, direction))

    def own_weights(self) -> Weights:
        """The parameters, as the paths want them (the layer itself gives them)."""
        return self

    def stored(self, layer: int, direction: int) -> dict[str, Tensor]:
        """The parameters of one layer and direction, by stem."""
        names = self.group_shapes(layer)
        return {stem: getattr(self, self._name(stem, layer, direction)) for stem in names}

    def groups(self, layer: int, direction: int) -> Groups:
        """One layer and direction: the parameter groups by stem; zeros where bias=False."""
        return self._whole(layer, direction)

    def _whole(self, layer: int, direction: int) -> dict[str, Tensor]:
        """The groups with all that is not stored."""
        found, stored = {}, self.stored(layer, direction)
        for stem, shape in self._shapes(layer).items():
            if stem not in stored:
                stored[stem] = next(iter(self.parameters())).new_zeros(shape)
            found[stem] = initial.dense(self._spec.groups[stem], stored[stem])
        return found

    def tensors(self) -> list[Tensor]:
        """All that the groups are made of: what has the parameters' names now."""
        names = self.group_shapes(0)
        return [getattr(self, self._name(stem, *row)) for row in self.rows() for stem in names]

    def torch_flat(self) -> tuple[list[Tensor], bool]:
        """The stack in the order of torch's kernels."""
        rows = [vendor.to_torch(self.groups(*row)) for row in self.rows()]
        return [tensor for row in rows for tensor in row], True

    def extra_repr(self) -> str:
        """The arguments that are not at their default."""
        text = f"{self.cell!r}, {self.input_size}, {self.hidden_size}"
        shown = self._options().items()
        text += "".join(f", {name}={v!r}" for name, (v, default) in shown if v != default)
        text += self.switches
        return text if self.path == paths.AUTO else f"{text}, path={self.path!r}"

    def _options(self) -> dict[str, tuple[Any, Any]]:
        """What the ``repr`` shows by name, and the default at which it does not."""
        return {
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "batch_first": (self.batch_first, False),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
            self.arguments["P"]: (self.proj_size, 0),
        }

    def _summands(self) -> int:
        """How many of a state's numbers go into each sum, which bounds the weights at first."""
        return self.hidden_size

    def _is_stored(self, stem: str) -> bool:
        is_bias = all(p.name in self._spec.biases for p in self._spec.groups[stem])
        return self.bias or not is_bias

    @staticmethod
    def _name(stem: str, layer: int, direction: int) -> str:
        return f"{stem}_l{layer}{'_reverse' if direction else ''}"

    def _check_sizes(self) -> None:
        spec, sizes = self._spec, {"H": self.hidden_size, "P": self.proj_size}
        names = self.arguments
        given = {names["F"]: self.input_size, names["H"]: self.hidden_size}
        for name, value in (given | {"num_layers": self.num_layers}).items():
            check_count(name, value)
        if self.hidden_size % spec.heads:
            raise ShapeError(
                f"{spec.name}: {self.hidden_size} units cannot be divided into {spec.heads} heads "
                f"of one size."
            )
        for p in spec.parameters:
            if uneven := [sizes[s] for s in p.shape if p.blocks > 1 and sizes[s] % p.blocks]:
                raise ShapeError(
                    f"{spec.name}: {p.name} has {p.blocks} blocks; {uneven[0]} units cannot be "
                    f"divided into so many of one size."
                )
            if sizes.get(p.rows, 0) % (p.chunk * max(p.blocks, spec.heads)):
                raise ShapeError(
                    f"{spec.name}: {p.name} has chunks of {p.chunk} units"
                    + (f" in {p.blocks} blocks" if p.blocks > 1 else "")
                    + f"; {sizes[p.rows]} units cannot be divided into such."
                )
        if "P" in spec.sizes and not 0 < self.proj_size < self.hidden_size:
            raise ShapeError(
                f"{spec.name} projects its state: {names['P']} lies above 0 and below "
                f"{names['H']}={self.hidden_size}, got {self.proj_size!r}."
            )
        if "P" not in spec.sizes and self.proj_size:
            raise ShapeError(f"{spec.name} has no projection, got {names['P']}={self.proj_size!r}.")
