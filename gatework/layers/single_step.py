"""Drop-ins for torch.nn.LSTMCell, GRUCell and RNNCell: one step, called by the user's own loop.

Torch computes exactly these cells, one kernel call per step; what is added is ``forget_bias``
and errors that say what to do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatework.cells.lstm import LSTM as LSTM_CELL
from gatework.errors import ShapeError
from gatework.layers.drop_in import Device, check_nonlinearity, set_forget_bias


class LSTMCell(nn.LSTMCell):
    """torch.nn.LSTMCell, with ``forget_bias``.

    Args:
        input_size, hidden_size, bias, device, dtype: as torch.nn.LSTMCell.
        forget_bias: initial value of the forget gate's bias.

    Shapes:
        input (B, F) or (F,); states h, c and results (B, H) or (H,) each.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        forget_bias: float | None = None,
    ) -> None:
        self.forget_bias = forget_bias
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def reset_parameters(self) -> None:
        """Initialise as torch does; then the forget gate's bias, if one was given."""
        super().reset_parameters()
        if self.forget_bias is not None:
            set_forget_bias(self, LSTM_CELL.spec, self.forget_bias)

    def extra_repr(self) -> str:
        """As torch, with forget_bias where it is given."""
        text = super().extra_repr()
        return text if self.forget_bias is None else f"{text}, forget_bias={self.forget_bias}"

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """One step: input (B, F) or (F,), states (B, H) or (H,); the new h and c."""
        _check(self, input, hx)
        return super().forward(input, hx)


class GRUCell(nn.GRUCell):
    """torch.nn.GRUCell; input (B, F) or (F,), state and result (B, H) or (H,)."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """One step: input (B, F) or (F,), state (B, H) or (H,); the new h."""
        _check(self, input, hx)
        return super().forward(input, hx)


class RNNCell(nn.RNNCell):
    """torch.nn.RNNCell; input (B, F) or (F,), state and result (B, H) or (H,)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, bias, nonlinearity, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """One step: input (B, F) or (F,), state (B, H) or (H,); the new h."""
        _check(self, input, hx)
        return super().forward(input, hx)


def _check(cell: nn.RNNCellBase, x: Tensor, hx: Tensor | tuple[Tensor, Tensor] | None) -> None:
    name, features, hidden = type(cell).__name__, cell.input_size, cell.hidden_size
    if x.dim() not in (1, 2):
        raise ShapeError(
            f"{name}: Expected input to be 1D or 2D, got {x.dim()}D: shape {tuple(x.shape)}. "
            f"A step takes (B, F) or (F,); a whole sequence goes to the layer of this cell."
        )
    if x.shape[-1] != features:
        raise ShapeError(
            f"{name}: input has inconsistent input_size: got {x.shape[-1]} expected {features}: "
            f"shape {tuple(x.shape)} where (B, F) or (F,) is expected."
        )
    expected = (*x.shape[:-1], hidden)
    states = () if hx is None else (hx,) if isinstance(hx, Tensor) else hx
    for position, state in enumerate(states):
        if tuple(state.shape) == expected:
            continue
        which = f"hx[{position}]" if len(states) > 1 else "hx"
        if state.dim() not in (1, 2):
            called = which if len(states) > 1 else "hidden"
            what = f"Expected {called} to be 1D or 2D, got {state.dim()}D instead"
        elif state.shape[-1] != hidden:
            what = (
                f"hidden{position} has inconsistent hidden_size: got {state.shape[-1]}, "
                f"expected {hidden}"
            )
        else:
            what = f"Input batch size {x.shape[0]} doesn't match hidden{position} batch size"
            what += f" {state.shape[0]}" if state.dim() == 2 else ": it has no batch"
        raise ShapeError(
            f"{name}: {what}: {which} has shape {tuple(state.shape)}, expected {expected} for "
            f"input {tuple(x.shape)}."
        )
