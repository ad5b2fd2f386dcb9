"""Any cell over sequences of images: its matrix products are read as convolutions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gatework.cells import CellLike, name_of, resolve
from gatework.equations import Spec
from gatework.equations.sizes import shape_of, width_of
from gatework.errors import ShapeError
from gatework.layers.initial import begin
from gatework.layers.shapes import check_lengths, check_tensor, entries_of, probability_of
from gatework.layers.states import named_states
from gatework.paths.call import Call, Given, Groups
from gatework.paths.layerwise import Steps, run_layers
from gatework.paths.reference import run_steps

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
States = Tensor | tuple[Tensor, ...]


class ConvRecurrent(nn.Module):
    """Layers of any cell over sequences of images, with every ``@`` a convolution.

    ConvLSTM (Shi et al. 2015, arXiv:1506.04214) is the cell ``"peephole_lstm"``; Keras' form of
    it, without peepholes, is ``"lstm"``. The convolutions keep the image's size: an odd kernel,
    zeros around the image. Biases are one number for each channel. Vectors that scale something
    (peepholes, gains) have a number for each channel and place, as the paper's peepholes do.
    ``mean`` in a cell is the mean over the channels at each place, and a projection is a
    convolution too. With a kernel of 1 this is ``Recurrent`` at each place on its own.

    It runs as torch's convolutions with the equations step by step between them (the text of
    ``gatework.reference.source(cell, "torch", packed=True)``), on any device, in any dtype; what
    the input brings is convolved for all steps at once. No kernel is compiled for it.

    Parameters are named as those of ``Recurrent``: for an LSTM ``W_l0`` (4H, C, *kernel),
    ``U_l0`` (4H, H, *kernel) and ``b_l0`` (4H,); peepholes ``p_l0`` are (3H, *image_size). They
    begin uniformly in ±1/sqrt(H * places of the kernel), or where the cell says.

    Args:
        cell: a cell class, description, name or ``file.py:Class``.
        in_channels: channels of the input, C.
        hidden_channels: channels of each layer and direction, H.
        kernel_size: places of the kernel along each axis, odd; one number goes for all axes.
        dims: axes of an image: 1, 2 or 3.
        image_size: the size of the images, for a cell with vectors that scale. An axis of 1
            shares a weight along it: ``(1, 1)`` goes for images of any size.
        num_layers: layers on top of each other.
        bias: with ``False`` the cell's biases are left out (taken as zero).
        batch_first: input and output are (B, T, C, *space) instead of (T, B, C, *space);
            states never are.
        dropout: probability of zeroing an output between two layers, in training.
        bidirectional: a second direction runs from each sequence's end to its start.
        proj_channels: channels of the projected state, for a cell that has one.
        dilation: distance of the kernel's places along each axis; one number goes for all.

    Raises:
        CellError: no such cell.
        ShapeError: a size that cannot be, or a cell that needs an image_size.

    Shapes:
        See ``forward``.
    """

    def __init__(
        self,
        cell: CellLike,
        in_channels: int,
        hidden_channels: int,
        kernel_size: int | Sequence[int],
        dims: int = 2,
        image_size: Sequence[int] | None = None,
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
    ) -> None:
        super().__init__()
        self.spec = resolve(cell)
        if self.spec.beside:
            raise ShapeError(
                f"{name_of(self.spec)} reads {', '.join(self.spec.beside)} beside the input, which "
                f"images have none of; run it in a Recurrent."
            )
        if parted := [p.name for p in self.spec.parameters if p.blocks * p.chunk > 1]:
            raise ShapeError(
                f"{name_of(self.spec)}: {parted[0]} has blocks or chunks, which convolutions have "
                f"none of; run it in a Recurrent."
            )
        if dims not in CONVOLUTIONS:
            raise ShapeError(f"An image has 1, 2 or 3 axes (dims), got {dims!r}.")
        self.dims = dims
        self.in_channels = _whole("in_channels", in_channels)
        self.hidden_channels = _whole("hidden_channels", hidden_channels)
        self.num_layers = _whole("num_layers", num_layers)
        self.kernel_size = _each_axis("kernel_size", kernel_size, dims)
        if any(size % 2 == 0 for size in self.kernel_size):
            raise ShapeError(
                f"kernel_size is odd along each axis, so that states keep the image's size; "
                f"got {kernel_size}."
            )
        self.dilation = _each_axis("dilation", dilation, dims)
        self.image_size = None if image_size is None else _each_axis("image_size", image_size, dims)
        self.bias, self.batch_first = bias, batch_first
        self.dropout = probability_of("dropout", dropout)
        self.bidirectional = bidirectional
        self.proj_channels = _checked_projection(self.spec, proj_channels)
        self._scaling = _scaling(self.spec)
        if self._scaling and self.image_size is None:
            ones = ", ".join("1" * dims)
            raise ShapeError(
                f"{name_of(self.spec)} has vectors that scale ({', '.join(self._scaling)}), with a "
                f"weight for each place: give image_size. image_size=({ones}{',' * (dims == 1)}) "
                f"shares them among all places."
            )
        for row in self._rows():
            for stem, shape in self.group_shapes(row[0]).items():
                empty = torch.empty(shape, device=device, dtype=dtype)
                self.register_parameter(_name(stem, *row), nn.Parameter(empty))
        self.reset_parameters()

    @property
    def input_size(self) -> int:
        """The channels of the input."""
        return self.in_channels

    @property
    def output_size(self) -> int:
        """The channels of the output: D times those of the cell's first state."""
        sizes = {"H": self.hidden_channels, "P": self.proj_channels}
        return sizes[self.spec.states[0].size] * (2 if self.bidirectional else 1)

    def group_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """The stored parameters of one layer and direction, by stem."""
        sizes = {
            "F": self.in_channels if layer == 0 else self.output_size,
            "H": self.hidden_channels,
            "P": self.proj_channels,
        }
        shapes: dict[str, tuple[int, ...]] = {}
        for stem, members in self.spec.groups.items():
            rows, *cols = (width_of(letter, sizes) for letter in members[0].shape)
            places = self.kernel_size if cols else self.image_size
            if cols or stem in self._scaling:
                shapes[stem] = (rows * len(members), *cols, *(places or ()))
            elif self.bias:
                shapes[stem] = (rows * len(members),)
        return shapes

    def reset_parameters(self) -> None:
        """Initialise all parameters anew."""
        bound = (self.hidden_channels * prod(self.kernel_size)) ** -0.5
        for row in self._rows():
            for stem in self.group_shapes(row[0]):
                parameter = getattr(self, _name(stem, *row))
                nn.init.uniform_(parameter, -bound, bound)
                members = self.spec.groups[stem]
                for member, part in zip(members, parameter.chunk(len(members)), strict=True):
                    if member.start is not None:
                        begin(part, member.start)

    def groups(self, layer: int, direction: int) -> Groups:
        """One layer and direction, as the steps read them: features last, biases never absent."""
        shapes = self.group_shapes(layer)
        found: dict[str, Tensor] = {}
        for stem, members in self.spec.groups.items():
            if stem not in shapes:
                found[stem] = next(self.parameters()).new_zeros(len(members))
                continue
            found[stem] = getattr(self, _name(stem, layer, direction))
            if stem in self._scaling:  # (n*H, *space) to (n, *space, H)
                rows = found[stem].reshape(len(members), -1, *shapes[stem][1:])
                found[stem] = rows.movedim(1, -1)
        return found

    def forward(
        self,
        input: Tensor,
        hx: States | None = None,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> tuple[Tensor, States]:
        """Run the stack over a batch of sequences of images.

        Args:
            input: (T, B, C, *space), or (B, T, C, *space) with batch_first.
            hx: initial states, (L*D, B, H, *space) each, also with batch_first; one tensor for
                a cell with one state, else a tuple in the order of the cell's states. Default 0.
            lengths: (B,) whole numbers in 0..T. Steps behind a sequence's end are not seen by
                any direction; their outputs are zero, and the final states are those at the end.

        Returns:
            output: (T, B, D*H, *space), or (B, T, D*H, *space) with batch_first.
            states: the final states, in the form of ``hx``; several have names (``states.c``).

        Raises:
            ShapeError: a shape or a dtype that cannot be.
        """
        self._check_input(input)
        if lengths is not None:
            lengths = check_lengths(type(self).__name__, lengths, input, self.batch_first)
        x = (input.transpose(0, 1) if self.batch_first else input).movedim(2, -1)
        call = Call(
            self.spec,
            x,
            self._states(x, hx),
            self,  # type: ignore[arg-type]  # of which run_layers asks groups() alone
            lengths,
            self.num_layers,
            2 if self.bidirectional else 1,
            self.dropout,
            self.training,
        )
        result = run_layers(call, partial(_run_directions, SameConvolution(self.dilation)))
        output = result.output.movedim(-1, 2)
        shapes = self._shapes_of_states()
        pairs = zip(result.states, shapes, strict=True)
        states = tuple(torch.unflatten(s.movedim(-1, 2), 2, shape) for s, shape in pairs)
        return (
            output.transpose(0, 1) if self.batch_first else output,
            states[0] if len(states) == 1 else named_states(self.spec, states),
        )

    def extra_repr(self) -> str:
        """The arguments that are not at their default."""
        text = f"{name_of(self.spec)!r}, {self.in_channels}, {self.hidden_channels}"
        text += f", kernel_size={self.kernel_size}, dims={self.dims}"
        shown: dict[str, tuple[Any, Any]] = {
            "image_size": (self.image_size, None),
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "batch_first": (self.batch_first, False),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
            "proj_channels": (self.proj_channels, 0),
            "dilation": (self.dilation, (1,) * self.dims),
        }
        return text + "".join(f", {k}={v!r}" for k, (v, default) in shown.items() if v != default)

    def _rows(self) -> Iterator[tuple[int, int]]:
        return product(range(self.num_layers), range(2 if self.bidirectional else 1))

    def _check_input(self, x: Tensor) -> None:
        name, space = type(self).__name__, "DHW"[-self.dims :]
        axes = ", ".join(("BTC" if self.batch_first else "TBC") + space)
        check_tensor(name, "the input", x)
        if x.dim() != 3 + self.dims or x.shape[2] != self.in_channels:
            raise ShapeError(
                f"{name}: expected input ({axes}) with C={self.in_channels} "
                f"(batch_first={self.batch_first}, dims={self.dims}), got {tuple(x.shape)}."
            )
        if 0 in (x.shape[1 if self.batch_first else 0], *x.shape[3:]):
            raise ShapeError(
                f"{name}: expected at least one step and place, got {tuple(x.shape)} = ({axes})."
            )
        dtype = next(self.parameters()).dtype
        if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
            raise ShapeError(
                f"{name}: the input is {x.dtype}, the weights are {dtype}. Convert one of them, "
                f"as in input.to({dtype})."
            )
        fixed = self.image_size or ()
        if any(a not in (1, b) for a, b in zip(fixed, x.shape[3:], strict=False)):
            raise ShapeError(
                f"{name}: has weights for images of {fixed}, got images of {tuple(x.shape[3:])}."
            )

    def _states(self, x: Tensor, hx: States | None) -> tuple[Tensor, ...]:
        """The initial states as (L*D, B, *space, size), zero where none are given."""
        name = type(self).__name__
        rows = self.num_layers * (2 if self.bidirectional else 1)
        shapes = self._shapes_of_states()
        expected = [(rows, x.shape[1], *shape, *x.shape[2:-1]) for shape in shapes]
        if hx is None:
            hx = tuple(x.new_zeros(shape) for shape in expected)
        states = (hx,) if isinstance(hx, Tensor) else entries_of(name, "the states", hx)
        for state in states:
            check_tensor(name, "a state", state)
        if any(s.dtype != x.dtype for s in states):
            raise ShapeError(
                f"{type(self).__name__}: the initial states are "
                f"{[s.dtype for s in states]}, the input is {x.dtype}. Bring them to one dtype."
            )
        if [(*s.shape,) for s in states] != expected:
            raise ShapeError(
                f"{type(self).__name__}: expected initial states {expected} = (layers * "
                f"directions, B, H, *space) each, got {[(*s.shape,) for s in states]}."
            )
        pairs = zip(states, shapes, strict=True)
        return tuple(s.flatten(2, 1 + len(shape)).movedim(2, -1) for s, shape in pairs)

    def _shapes_of_states(self) -> list[tuple[int, ...]]:
        """The channels of each state: (H,), of a matrix (H, H)."""
        sizes = {"H": self.hidden_channels, "P": self.proj_channels}
        return [shape_of(s.size, sizes) for s in self.spec.states]


@dataclass(frozen=True)
class SameConvolution:
    """``W @ x`` over images: a convolution that keeps their size, zeros around them.

    Compares by its value, so that layers of one kind share one compiled step.
    """

    dilation: tuple[int, ...]

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        """Images (..., *space, C) and a weight (H, C, *kernel) to (..., *space, H)."""
        axes = len(self.dilation)
        images = x.flatten(0, -axes - 2).movedim(-1, 1)
        around = [d * (k // 2) for d, k in zip(self.dilation, weight.shape[2:], strict=True)]
        found = CONVOLUTIONS[axes](images, weight, padding=around, dilation=self.dilation)
        return found.movedim(1, -1).reshape(*x.shape[:-1], len(weight))


def _run_directions(
    convolution: SameConvolution, given: Sequence[Given], record: bool
) -> list[Steps]:
    return [run_steps(one, record, convolution) for one in given]


def _scaling(spec: Spec) -> list[str]:
    """The groups of vectors of which one at least is no bias."""
    return [
        stem
        for stem, members in spec.groups.items()
        if members[0].cols is None and any(p.name not in spec.biases for p in members)
    ]


def _checked_projection(spec: Spec, channels: int) -> int:
    if ("P" in spec.sizes) != bool(channels) or channels < 0:
        raise ShapeError(
            f"{name_of(spec)} has {'a' if 'P' in spec.sizes else 'no'} projected state: "
            f"proj_channels is {'above' if 'P' in spec.sizes else ''} 0, got {channels!r}."
        )
    return channels


def _name(stem: str, layer: int, direction: int) -> str:
    return f"{stem}_l{layer}{'_reverse' if direction else ''}"


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ShapeError(f"{name} is a whole number above zero, got {value!r}.")
    return value


def _each_axis(name: str, value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    values = (value,) * dims if isinstance(value, int) else tuple(value)
    if len(values) != dims:
        raise ShapeError(
            f"{name} is one number for each of {dims} axes (dims={dims}), got {value!r}."
        )
    return tuple(_whole(name, v) for v in values)
