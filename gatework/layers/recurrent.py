"""A stack of recurrent layers of any cell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gatework import paths
from gatework.cells import CellLike, name_of, resolve
from gatework.equations import Spec
from gatework.errors import CellError, ShapeError
from gatework.layers.stack import StackForward
from gatework.paths import vendor
from gatework.paths.call import Groups, by_name
from gatework.paths.segments import check_segments


class Recurrent(StackForward, nn.Module):
    """Layers of any cell over sequences, with the arguments and shapes of torch.nn.LSTM.

    The parameters have the letters of the equations: for an LSTM ``W_l0`` (4H, F), ``U_l0``
    (4H, H) and ``b_l0`` (4H,), the gates stacked in the order of the class body, with
    ``_reverse`` behind the name for the backward direction. ``named_weights`` gives them gate
    by gate. All are initialised uniformly in ±1/sqrt(hidden_size), as torch does, but for those
    that the cell gives a start (the gains of a normalisation: 1).

    Args:
        cell: a cell class, description, name (``"peephole_lstm"``) or ``file.py:Class``.
        input_size: features of the input, F.
        hidden_size: units of each layer and direction, H.
        num_layers: layers on top of each other.
        bias: with ``False`` the cell's biases are left out (taken as zero).
        batch_first: input and output are (B, T, F) instead of (T, B, F); states never are.
        dropout: probability of zeroing an output between two layers, in training.
        bidirectional: a second direction runs from each sequence's end to its start.
        proj_size: size of the projected state, for a cell that has one.
        forget_bias: initial value of the forget gate's bias (``b_f``), for every layer.
        learned_states: the initial states are parameters (``first_h`` ..., (L*D, size)), which
            begin at zero; ``hx`` goes before them.
        checkpoint: ``"sqrt"`` or a number of steps: training keeps the states between segments of
            sqrt(T) or so many steps alone, and makes the rest again on the way back.
        path: ``"auto"``, or the name of the path that must be used.
        device: where the parameters are created.
        dtype: of the parameters.

    Raises:
        CellError: no such cell, or the cell has no ``b_f`` while forget_bias is given.
        ShapeError: a size that cannot be.
        PathError: no path has this name.

    Shapes:
        See ``forward``.
    """

    def __init__(
        self,
        cell: CellLike,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        forget_bias: float | None = None,
        learned_states: bool = False,
        checkpoint: str | int | None = None,
        path: str = paths.AUTO,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self._spec = resolve(cell)
        _check_sizes(self._spec, input_size, hidden_size, num_layers, proj_size, dropout)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.forget_bias = forget_bias
        self.learned_states = learned_states
        self.checkpoint = check_segments(checkpoint)
        self.path = paths.check_name(path)
        self.is_torch_cell = vendor.kernel(self._spec) is not None
        for layer, direction in self._rows():
            for stem, shape in self.group_shapes(layer).items():
                empty = torch.empty(shape, device=device, dtype=dtype)
                self.register_parameter(self._name(stem, layer, direction), nn.Parameter(empty))
        if learned_states:
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
            rows, *cols = (sizes[letter] for letter in members[0].shape)
            shapes[stem] = (rows * len(members), *cols)
        return shapes

    def reset_parameters(self) -> None:
        """Initialise all parameters anew: uniformly, where the cell says so, the forget gate."""
        bound = self.hidden_size**-0.5
        for parameter in self.tensors():
            nn.init.uniform_(parameter, -bound, bound)
        self.reset_first_states()
        starts = {p.name: p.start for p in self._spec.parameters if p.start is not None}
        for row in self._rows() if starts else ():
            weights = self.named_weights(*row)
            with torch.no_grad():
                for name, start in starts.items():
                    weights[name].fill_(start)
        if self.forget_bias is not None:
            if not self.bias or "b_f" not in self._spec.biases:
                raise CellError(
                    f"{self._spec.name} has no forget gate bias b_f to set to {self.forget_bias}. "
                    f"Leave forget_bias out{'' if self.bias else ' or use bias=True'}."
                )
            for layer, direction in self._rows():
                with torch.no_grad():
                    self.named_weights(layer, direction)["b_f"].fill_(self.forget_bias)

    def named_weights(self, layer: int = 0, direction: int = 0) -> dict[str, Tensor]:
        """One layer and direction by the names of the equations (``W_i``, ``b_f``), as views."""
        return by_name(self._spec, self.groups(layer, direction))

    def stack_weights(self) -> Recurrent:
        """The parameters, as the paths want them (the layer itself gives them)."""
        return self

    def groups(self, layer: int, direction: int) -> Groups:
        """One layer and direction: the parameter groups by stem; zeros where bias=False."""
        found: dict[str, Tensor] = {}
        for stem, shape in self._shapes(layer).items():
            if self._is_stored(stem):
                found[stem] = getattr(self, self._name(stem, layer, direction))
            else:
                found[stem] = next(iter(self.parameters())).new_zeros(shape)
        return found

    def tensors(self) -> list[Tensor]:
        """All that the groups are made of: what has the parameters' names now."""
        names = self.group_shapes(0)
        return [getattr(self, self._name(stem, *row)) for row in self._rows() for stem in names]

    def torch_flat(self) -> tuple[list[Tensor], bool]:
        """The stack in the order of torch's kernels."""
        rows = [vendor.to_torch(self.groups(*row)) for row in self._rows()]
        return [tensor for row in rows for tensor in row], True

    def extra_repr(self) -> str:
        """The arguments that are not at their default."""
        text = f"{name_of(self._spec)!r}, {self.input_size}, {self.hidden_size}"
        shown: dict[str, tuple[Any, Any]] = {
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "batch_first": (self.batch_first, False),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
            "proj_size": (self.proj_size, 0),
            "forget_bias": (self.forget_bias, None),
            "learned_states": (self.learned_states, False),
            "checkpoint": (self.checkpoint, None),
            "path": (self.path, paths.AUTO),
        }
        return text + "".join(f", {k}={v!r}" for k, (v, default) in shown.items() if v != default)

    def _rows(self) -> Iterator[tuple[int, int]]:
        for layer in range(self.num_layers):
            for direction in range(2 if self.bidirectional else 1):
                yield layer, direction

    def _is_stored(self, stem: str) -> bool:
        is_bias = all(p.name in self._spec.biases for p in self._spec.groups[stem])
        return self.bias or not is_bias

    @staticmethod
    def _name(stem: str, layer: int, direction: int) -> str:
        return f"{stem}_l{layer}{'_reverse' if direction else ''}"


def _check_sizes(
    spec: Spec, input_size: int, hidden_size: int, num_layers: int, proj_size: int, dropout: float
) -> None:
    given = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
    for name, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise ShapeError(f"{name} is a whole number above zero, got {value!r}.")
    if not 0 <= dropout <= 1:
        raise ShapeError(f"dropout is a probability in [0, 1], got {dropout!r}.")
    if "P" in spec.sizes and not 0 < proj_size < hidden_size:
        raise ShapeError(
            f"{spec.name} projects its state: proj_size lies above 0 and below "
            f"hidden_size={hidden_size}, got {proj_size!r}."
        )
    if "P" not in spec.sizes and proj_size:
        raise ShapeError(f"{spec.name} has no projection, got proj_size={proj_size!r}.")
