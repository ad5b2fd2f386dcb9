"""Drop-ins for torch.nn.LSTM, GRU and RNN.

They are torch's own module base with our forward pass: the same arguments, parameter names,
``state_dict``, initialisation from the same random numbers, ``repr``, copying and pickling.
The base is ``RNNBase`` and not ``nn.LSTM`` itself because torch.compile refuses to look into
subclasses of that one.

Asked for another cell (``peephole=True``) or for a list of widths, they make a ``Recurrent``:
torch's parameters have no place for it.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gatework import paths
from gatework.cells.gru import GRU as GRU_CELL
from gatework.cells.lstm import LSTM as LSTM_CELL
from gatework.cells.projected_lstm import ProjectedLSTM
from gatework.cells.relu_rnn import ReluRNN
from gatework.cells.rnn import RNN as RNN_CELL
from gatework.equations import Cell, Spec
from gatework.errors import CellError
from gatework.layers import initial
from gatework.layers.recurrent import Recurrent
from gatework.layers.stack import StackForward
from gatework.layers.switches import Switches, chosen, makes_another_cell
from gatework.paths import vendor
from gatework.paths.call import Groups, Weights

Device = torch.device | str | int | None


class _DropIn(StackForward, nn.RNNBase):
    """What the three share: torch's parameters, seen through the equations' names."""

    is_torch_cell = True

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        """The drop-in, or a Recurrent where the arguments are about another cell than torch's."""
        own = vars(cls).get("cell_of")
        if own is None or not (arguments or options):  # a subclass; a copy or an unpickled one
            return super().__new__(cls)
        bound = cls.__signature__.bind(*arguments, **options).arguments  # type: ignore[attr-defined]
        given = bound.pop("switches", {})
        has_widths = isinstance(bound["hidden_size"], (list, tuple))
        if not (has_widths or makes_another_cell(chosen(cls.__name__, given))):
            return super().__new__(cls)
        return Recurrent(own.__func__(bound), **bound, **given)

    def __init__(
        self, mode: str, *arguments: Any, switches: Switches, path: str, **options: Any
    ) -> None:
        given = chosen(type(self).__name__, switches)
        if makes_another_cell(given):
            raise CellError(
                f"{type(self).__name__} derives from a drop-in, whose cell is torch's; "
                f"{', '.join(given)} makes another one. Derive from gatework.Recurrent."
            )
        self.take(given)
        self.path = paths.check_name(path)
        super().__init__(mode, *arguments, **options)
        self.check_residual((self.proj_size or self.hidden_size) * (2 if self.bidirectional else 1))

    def reset_parameters(self) -> None:
        """Initialise as torch does, or as ``init`` says; then the forget gate's bias, if given."""
        if self._init is initial.uniform:  # torch draws the same numbers in another order
            super().reset_parameters()
            if self.forget_bias is not None:
                set_forget_bias(self, self.spec, self.forget_bias)
            return
        for row in range(len(self.all_weights)):
            stored = self._stored(row)
            initial.fill(self.spec, stored, self.hidden_size, self._init, self.forget_bias)

    def _stored(self, row: int) -> dict[str, Tensor]:
        """Views of torch's tensors by the equations' groups; of two biases the second is zeroed."""
        weight_ih, weight_hh, *rest = self.all_weights[row]
        found: dict[str, Tensor] = {"W": weight_ih, "U": weight_hh}
        if "V" in self.spec.groups:
            found["V"] = rest.pop()
        if rest:
            found["b"], second = rest
            shared = len(second) - len(self.spec.groups.get("d", ())) * self.hidden_size
            with torch.no_grad():
                second[:shared].zero_()
                found |= {"d": second[shared:]} if shared < len(second) else {}
        return found

    def own_weights(self) -> Weights:
        """The parameters, as the paths want them (the layer itself gives them)."""
        self._update_flat_weights()
        return self

    def groups(self, layer: int, direction: int) -> Groups:
        """One layer and direction: the equations' parameter groups, made of torch's tensors."""
        row = layer * (2 if self.bidirectional else 1) + direction
        return vendor.from_torch(self.spec, self.all_weights[row], self.hidden_size)

    def tensors(self) -> list[Tensor]:
        """All parameters."""
        flat: list[Any] = self._flat_weights
        return flat

    def torch_flat(self) -> tuple[list[Tensor], bool]:
        """The stack in the order of torch's kernels: the parameters themselves."""
        flat: list[Any] = self._flat_weights
        return flat, self.bias

    def weight_dtype(self) -> torch.dtype:
        """The dtype of the parameters, which the input must have."""
        dtype: torch.dtype = self._flat_weights[0].dtype  # type: ignore[union-attr]
        return dtype

    def extra_repr(self) -> str:
        """As torch, with what is beyond torch where it is not at its default."""
        text = super().extra_repr() + self.switches
        return text if self.path == paths.AUTO else f"{text}, path={self.path!r}"


class LSTM(_DropIn):
    """torch.nn.LSTM's arguments, parameters and results; the cell is ``cells.lstm.LSTM``.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
        proj_size, device, dtype: as torch.nn.LSTM.
        path: ``"auto"``, or the name of the path that must be used.
        switches: see ``layers.switches.Switches``. Of a forget_bias ``bias_ih`` gets the value,
            ``bias_hh`` zero, since torch adds the two (Gers et al. 2000 use 1). With one that
            makes another cell (a peephole, a clip, ...) this is a ``Recurrent`` of that cell, in
            all but the names of its parameters called as before; so it is with a list of widths.

    Shapes:
        See ``forward``, which also takes ``lengths``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        path: str = paths.AUTO,
        **switches: Unpack[Switches],
    ) -> None:
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            proj_size, device, dtype, switches=switches, path=path,
        )  # fmt: skip

    @staticmethod
    def cell_of(options: dict[str, Any]) -> type[Cell]:
        """The cell of a layer with these arguments."""
        return ProjectedLSTM if options.get("proj_size") else LSTM_CELL

    @property
    def spec(self) -> Spec:
        """The LSTM's description, with the projection where there is one."""
        return (ProjectedLSTM if self.proj_size else LSTM_CELL).spec


class GRU(_DropIn):
    """torch.nn.GRU's arguments, parameters and results; the cell is ``cells.gru.GRU``.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
        device, dtype: as torch.nn.GRU.
        path: ``"auto"``, or the name of the path that must be used.
        switches: as for ``LSTM``.

    Raises:
        ValueError: a proj_size is given; torch has it for the LSTM alone.

    Shapes:
        See ``forward``, which also takes ``lengths``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        proj_size: int = 0,
        path: str = paths.AUTO,
        **switches: Unpack[Switches],
    ) -> None:
        check_no_projection(proj_size)
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            0, device, dtype, switches=switches, path=path,
        )  # fmt: skip

    @staticmethod
    def cell_of(options: dict[str, Any]) -> type[Cell]:
        """The cell of a layer with these arguments."""
        check_no_projection(options.get("proj_size", 0))
        return GRU_CELL

    @property
    def spec(self) -> Spec:
        """The GRU's description."""
        return GRU_CELL.spec


class RNN(_DropIn):
    """torch.nn.RNN's arguments, parameters and results; ``cells.rnn.RNN`` or its relu form.

    Args:
        input_size, hidden_size, num_layers, nonlinearity, bias, batch_first, dropout,
        bidirectional, device, dtype: as torch.nn.RNN.
        path: ``"auto"``, or the name of the path that must be used.
        switches: as for ``LSTM``.

    Raises:
        ValueError: nonlinearity is neither "tanh" nor "relu", or a proj_size is given; torch
            has it for the LSTM alone.

    Shapes:
        See ``forward``, which also takes ``lengths``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        proj_size: int = 0,
        path: str = paths.AUTO,
        **switches: Unpack[Switches],
    ) -> None:
        check_no_projection(proj_size)
        self.nonlinearity = nonlinearity
        check_nonlinearity(nonlinearity)
        super().__init__(
            f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias, batch_first,
            dropout, bidirectional, 0, device, dtype, switches=switches, path=path,
        )  # fmt: skip

    @staticmethod
    def cell_of(options: dict[str, Any]) -> type[Cell]:
        """The cell of a layer with these arguments."""
        check_no_projection(options.get("proj_size", 0))
        nonlinearity = options.pop("nonlinearity", "tanh")
        check_nonlinearity(nonlinearity)
        return SIMPLE[nonlinearity]

    @property
    def spec(self) -> Spec:
        """The description of the simple network with this nonlinearity."""
        return SIMPLE[self.nonlinearity].spec


SIMPLE: dict[str, type[Cell]] = {"tanh": RNN_CELL, "relu": ReluRNN}


def check_no_projection(proj_size: int) -> None:
    """Zero; anything else raises as torch does."""
    if proj_size:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")


def check_nonlinearity(name: str) -> None:
    """``"tanh"`` or ``"relu"``; anything else raises as torch does."""
    if name not in SIMPLE:
        raise ValueError(f"Unknown nonlinearity {name!r}. Select from 'tanh' or 'relu'.")


def set_forget_bias(module: nn.Module, spec: Spec, value: float) -> None:
    """Set the forget gate's part of every bias_ih to ``value`` and of every bias_hh to zero."""
    gates = [p.name for p in spec.groups["b"]]
    biases = {n: p for n, p in module.named_parameters(recurse=False) if n.startswith("bias_")}
    if "b_f" not in gates or not biases:
        raise CellError(
            f"{type(module).__name__} has no forget gate bias to set to {value}. "
            f"Leave forget_bias out or use bias=True."
        )
    with torch.no_grad():
        for name, bias in biases.items():
            part = bias.chunk(len(gates))[gates.index("b_f")]
            part.fill_(value if name.startswith("bias_ih") else 0.0)
