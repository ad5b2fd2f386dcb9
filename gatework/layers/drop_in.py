"""Drop-ins for torch.nn.LSTM, GRU and RNN.

They are torch's own module base with our forward pass: the same arguments, parameter names,
``state_dict``, initialisation from the same random numbers, ``repr``, copying and pickling.
The base is ``RNNBase`` and not ``nn.LSTM`` itself because torch.compile refuses to look into
subclasses of that one.
"""

from __future__ import annotations

from typing import Any

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
from gatework.layers.stack import StackForward
from gatework.paths import vendor
from gatework.paths.call import Groups, Weights
from gatework.paths.segments import check_segments

Device = torch.device | str | int | None


class _DropIn(StackForward, nn.RNNBase):
    """What the three share: torch's parameters, seen through the equations' names."""

    forget_bias: float | None
    is_torch_cell = True

    def __init__(
        self,
        mode: str,
        *arguments: Any,
        forget_bias: float | None,
        learned_states: bool,
        checkpoint: str | int | None,
        path: str,
    ) -> None:
        self.forget_bias = forget_bias
        self.learned_states = learned_states
        self.checkpoint = check_segments(checkpoint)
        self.path = paths.check_name(path)
        super().__init__(mode, *arguments)
        if learned_states:
            self.add_first_states(*arguments[-2:])

    def reset_parameters(self) -> None:
        """Initialise as torch does; then the forget gate's bias, if one was given."""
        super().reset_parameters()
        self.reset_first_states()
        if self.forget_bias is not None:
            set_forget_bias(self, self.spec, self.forget_bias)

    def stack_weights(self) -> Weights:
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
        text = super().extra_repr()
        text += "" if self.forget_bias is None else f", forget_bias={self.forget_bias}"
        text += ", learned_states=True" if self.learned_states else ""
        text += "" if self.checkpoint is None else f", checkpoint={self.checkpoint!r}"
        return text if self.path == paths.AUTO else f"{text}, path={self.path!r}"


class LSTM(_DropIn):
    """torch.nn.LSTM's arguments, parameters and results; the cell is ``cells.lstm.LSTM``.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
        proj_size, device, dtype: as torch.nn.LSTM.
        forget_bias: initial value of the forget gate's bias: ``bias_ih`` gets it, ``bias_hh``
            gets zero, since torch adds the two (Gers et al. 2000 use 1).
        learned_states: the initial states are parameters (``first_h`` ..., (L*D, size)), which
            begin at zero; ``hx`` goes before them.
        checkpoint: ``"sqrt"`` or a number of steps: training keeps the states between segments of
            sqrt(T) or so many steps alone, and makes the rest again on the way back.
        path: ``"auto"``, or the name of the path that must be used.

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
        forget_bias: float | None = None,
        learned_states: bool = False,
        checkpoint: str | int | None = None,
        path: str = paths.AUTO,
    ) -> None:
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            proj_size, device, dtype, forget_bias=forget_bias,
            learned_states=learned_states, checkpoint=checkpoint, path=path,
        )  # fmt: skip

    @property
    def spec(self) -> Spec:
        """The LSTM's description, with the projection where there is one."""
        return (ProjectedLSTM if self.proj_size else LSTM_CELL).spec


class GRU(_DropIn):
    """torch.nn.GRU's arguments, parameters and results; the cell is ``cells.gru.GRU``.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
        device, dtype: as torch.nn.GRU.
        learned_states: the initial states are parameters (``first_h`` ..., (L*D, size)), which
            begin at zero; ``hx`` goes before them.
        checkpoint: ``"sqrt"`` or a number of steps: training keeps the states between segments of
            sqrt(T) or so many steps alone, and makes the rest again on the way back.
        path: ``"auto"``, or the name of the path that must be used.

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
        learned_states: bool = False,
        checkpoint: str | int | None = None,
        path: str = paths.AUTO,
    ) -> None:
        check_no_projection(proj_size)
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            0, device, dtype, forget_bias=None,
            learned_states=learned_states, checkpoint=checkpoint, path=path,
        )  # fmt: skip

    @property
    def spec(self) -> Spec:
        """The GRU's description."""
        return GRU_CELL.spec


class RNN(_DropIn):
    """torch.nn.RNN's arguments, parameters and results; ``cells.rnn.RNN`` or its relu form.

    Args:
        input_size, hidden_size, num_layers, nonlinearity, bias, batch_first, dropout,
        bidirectional, device, dtype: as torch.nn.RNN.
        learned_states: the initial states are parameters (``first_h`` ..., (L*D, size)), which
            begin at zero; ``hx`` goes before them.
        checkpoint: ``"sqrt"`` or a number of steps: training keeps the states between segments of
            sqrt(T) or so many steps alone, and makes the rest again on the way back.
        path: ``"auto"``, or the name of the path that must be used.

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
        learned_states: bool = False,
        checkpoint: str | int | None = None,
        path: str = paths.AUTO,
    ) -> None:
        check_no_projection(proj_size)
        self.nonlinearity = nonlinearity
        check_nonlinearity(nonlinearity)
        super().__init__(
            f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias, batch_first,
            dropout, bidirectional, 0, device, dtype, forget_bias=None,
            learned_states=learned_states, checkpoint=checkpoint, path=path,
        )  # fmt: skip

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
