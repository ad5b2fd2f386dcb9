"""Any cell over sequences of images: its matrix products are read as convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from gatework.cells import CellLike, name_of
from gatework.equations import Spec
from gatework.errors import ShapeError
from gatework.layers.recurrent import Recurrent
from gatework.layers.shapes import check_count, check_tensor
from gatework.layers.switches import Switches
from gatework.paths.call import Groups
from gatework.paths.products import CONVOLUTIONS


class ConvRecurrent(Recurrent):
    """Layers of any cell over sequences of images, with every ``@`` a convolution.

    ConvLSTM (Shi et al. 2015, arXiv:1506.04214) is the cell ``"peephole_lstm"``; Keras' form of
    it, without peepholes, is ``"lstm"``. The convolutions keep the image's size: an odd kernel,
    zeros around the image. Biases are one number for each channel. Vectors that scale something
    (peepholes, gains) have a number for each channel and place, as the paper's peepholes do.
    ``mean`` in a cell is the mean over the channels at each place, and a projection is a
    convolution too. With a kernel of 1 this is ``Recurrent`` at each place on its own.

    It runs as torch's convolutions with the equations step by step between them (the text of
    ``gatework.reference.source(cell, "torch", packed=True)``), on any device, in any dtype; what
    the input brings is convolved for all steps at once. A cell whose memory is linear runs as a
    scan. No kernel is compiled for it.

    Parameters are named as those of ``Recurrent``: for an LSTM ``W_l0`` (4H, C, *kernel),
    ``U_l0`` (4H, H, *kernel) and ``b_l0`` (4H,); peepholes ``p_l0`` are (3H, *image_size). They
    begin uniformly in ±1/sqrt(H * places of the kernel), or where the cell says.

    Args:
        cell: a cell class, description, name or ``file.py:Class``.
        in_channels: channels of the input, C.
        hidden_channels: channels of each layer and direction, H.
        kernel_size: places of the kernel along each axis, odd; one number goes for all axes.
        dims: axes of an image: 1, 2 or 3.
        image_size: the size of the images, for a cell with vectors that scale, and for initial
            states that are learned place by place. An axis of 1 shares a weight along it:
            ``(1, 1)`` goes for images of any size.
        num_layers: layers on top of each other.
        bias: with ``False`` the cell's biases are left out (taken as zero).
        batch_first: input and output are (B, T, C, *space) instead of (T, B, C, *space);
            states never are.
        dropout: probability of zeroing an output between two layers, in training.
        bidirectional: a second direction runs from each sequence's end to its start.
        proj_channels: channels of the projected state, for a cell that has one.
        dilation: distance of the kernel's places along each axis; one number goes for all.
        device: where the parameters are created.
        dtype: of the parameters.
        switches: as for ``Recurrent``, but for ``heads``.

    Raises:
        CellError: no such cell, or a switch that makes no sense for it.
        ShapeError: a size that cannot be, or a cell that needs an image_size.

    Shapes:
        See ``forward``. Where that says (T, B, F) images are (T, B, C, *space), and states
        (L*D, B, H, *space); in those that are given an axis of 1 goes for all places. Images
        come in batches, and what is told of steps (``mask``, ``resets``, ``beside``) is told
        for the whole image, (T, B).
    """

    arguments: ClassVar = {"F": "in_channels", "H": "hidden_channels", "P": "proj_channels"}

    def __init__(
        self,
        cell: CellLike,
        in_channels: int,
        hidden_channels: int,
        kernel_size: int | Sequence[int],
        dims: int = 2,
        image_size: int | Sequence[int] | None = None,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        proj_channels: int = 0,
        dilation: int | Sequence[int] = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **switches: Unpack[Switches],
    ) -> None:
        if dims not in tuple(CONVOLUTIONS):
            raise ShapeError(f"An image has 1, 2 or 3 axes (dims), got {dims!r}.")
        self.dims, self.axes = dims, ", ".join("C" + "DHW"[-dims:])
        self.kernel_size = _each_axis("kernel_size", kernel_size, dims)
        if any(size % 2 == 0 for size in self.kernel_size):
            raise ShapeError(
                f"kernel_size is odd along each axis, so that states keep the image's size; "
                f"got {kernel_size}."
            )
        self.dilation = _each_axis("dilation", dilation, dims)
        self.image_size = None if image_size is None else _each_axis("image_size", image_size, dims)
        super().__init__(
            cell, in_channels, hidden_channels, num_layers, bias, batch_first, dropout,
            bidirectional, proj_channels, device=device, dtype=dtype, **switches,
        )  # fmt: skip

    @property
    def in_channels(self) -> int:
        """The channels of the input."""
        return self.input_size

    @property
    def hidden_channels(self) -> int:
        """The channels of each layer and direction."""
        return self.hidden_size

    @property
    def proj_channels(self) -> int:
        """The channels of the projected state, for a cell that has one."""
        return self.proj_size

    def groups(self, layer: int, direction: int) -> Groups:
        """One layer and direction, as the steps read them: of what scales the features last."""
        found = self._whole(layer, direction)
        for stem in _scaling(self.spec):  # (n*H, *space) to (n, *space, H)
            rows = torch.unflatten(found[stem], 0, (len(self.spec.groups[stem]), -1))
            found[stem] = rows.movedim(1, -1)
        return found

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        places = dict.fromkeys(_scaling(self.spec), self.image_size or ())
        return {
            stem: (*shape, *(self.kernel_size if len(shape) > 1 else places.get(stem, ())))
            for stem, shape in super()._shapes(layer).items()
        }

    def _summands(self) -> int:
        return self.hidden_size * prod(self.kernel_size)

    def _check_sizes(self) -> None:
        if parted := [p.name for p in self.spec.parameters if p.blocks * p.chunk > 1]:
            raise ShapeError(
                f"{name_of(self.spec)}: {parted[0]} has blocks or chunks, which convolutions have "
                f"none of; run it in a Recurrent."
            )
        if self.spec.heads > 1:
            raise ShapeError(
                f"{name_of(self.spec)} has heads of its own, which run in a Recurrent alone."
            )
        super()._check_sizes()
        if self.image_size is None and (scaling := _scaling(self.spec)):
            ones = (1,) * self.dims
            raise ShapeError(
                f"{name_of(self.spec)} has vectors that scale ({', '.join(scaling)}), with a "
                f"weight for each place: give image_size. image_size={ones} shares them among all "
                f"places."
            )

    def _check_input(self, x: Tensor, batch_first: bool) -> None:
        name, steps = type(self).__name__, "B, T" if batch_first else "T, B"
        check_tensor(name, "the input", x)
        if x.dim() != 3 + self.dims or x.shape[2] != self.input_size:
            raise ShapeError(
                f"{name}: expected input ({steps}, {self.axes}) with C={self.input_size} "
                f"(batch_first={batch_first}, dims={self.dims}), got {tuple(x.shape)}."
                + f" One sequence wants a batch axis: x.unsqueeze({int(not batch_first)})."
                * (x.dim() == 2 + self.dims)
            )
        if 0 in (x.shape[1 if batch_first else 0], *x.shape[3:]):
            raise ShapeError(
                f"{name}: expected at least one step and place, got {tuple(x.shape)} = "
                f"({steps}, {self.axes})."
            )
        dtype = self.weight_dtype()
        if x.dtype != dtype and not torch._C._is_any_autocast_enabled():
            raise ShapeError(
                f"{name}: the input is {x.dtype}, the weights are {dtype}. Convert one of them, "
                f"as in input.to({dtype})."
            )
        fixed = self.image_size or ()
        if any(own != 1 and own != n for own, n in zip(fixed, x.shape[3:], strict=False)):  # noqa: PLR1714  (a free size is in no tuple)
            raise ShapeError(
                f"{name}: has weights for images of {fixed}, got images of {tuple(x.shape[3:])}."
            )

    def _options(self) -> dict[str, tuple[Any, Any]]:
        return {
            "kernel_size": (self.kernel_size, None),
            "dims": (self.dims, None),
            "image_size": (self.image_size, None),
            **super()._options(),
            "dilation": (self.dilation, (1,) * self.dims),
        }


def _scaling(spec: Spec) -> list[str]:
    """The groups of vectors of which one at least is no bias."""
    return [
        stem
        for stem, members in spec.groups.items()
        if members[0].cols is None and any(p.name not in spec.biases for p in members)
    ]


def _each_axis(name: str, value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, Iterable) else (value,) * dims
    if len(values) != dims:
        raise ShapeError(
            f"{name} is one number for each of {dims} axes (dims={dims}), got {value!r}."
        )
    for one in values:
        check_count(name, one)
    return values
