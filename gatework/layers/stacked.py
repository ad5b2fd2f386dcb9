"""A stack of different layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from gatework.errors import LayerError, ShapeError
from gatework.layers.any_layer import (
    Lengths,
    all_beside,
    input_size_of,
    is_batch_first,
    is_bidirectional,
    name_of_layer,
    output_size_of,
)
from gatework.layers.final import final_output, way_around
from gatework.layers.recording import Recording, one_above_the_other
from gatework.layers.sequences import EQUATIONS, NOTHING, STATES, Sequences
from gatework.layers.shapes import entries_of, probability_of
from gatework.layers.states import Beside, StepOptions

Each = bool | Sequence[bool]
HIGHWAY_BIAS = -1.0  # carries the input on until training says otherwise


class Stack(nn.Module):
    """Layers on top of each other: of different cells, widths and directions.

    With ``residual`` a layer's output is ``x + f(x)``. With ``highway`` it is
    ``t * f(x) + (1 - t) * x`` with ``t = sigmoid(W x + b)``: the highway of Srivastava, Greff &
    Schmidhuber 2015 (arXiv:1505.00387, its bias begins at -1) around a whole layer. The highway
    LSTM of Zhang et al. 2016 (arXiv:1510.08983), whose gate joins the memory cells of two
    layers, is another one.

    Args:
        layers: layers of ours, torch's, or modules of the form in ``layers/any_layer.py``.
        residual: add each layer's input to its output; or one truth value for each layer.
        highway: a highway around each layer; or one truth value for each layer.
        dropout: probability of zeroing an input of each layer but the first, in training. What
            goes around a layer is not dropped.

    Raises:
        LayerError: the layers' sizes do not follow each other, input and output of a layer with
            a way around it differ in size, or some are batch_first and others not.
        ShapeError: no such dropout.

    Shapes:
        See ``forward``.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        residual: Each = False,
        highway: Each = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers = list(layers) if isinstance(layers, Iterable) else [layers]
        if wrong := [layer for layer in layers if not isinstance(layer, nn.Module)]:
            raise LayerError(
                f"A Stack is a list of layers, each a module; got {type(wrong[0]).__name__}."
            )
        self.layers = nn.ModuleList(layers)
        count = len(self.layers)
        if not count:
            raise LayerError("A Stack has at least one layer.")
        self.dropout = probability_of("dropout", dropout)
        self.residual = _for_each("residual", residual, count)
        self.highway = _for_each("highway", highway, count)
        _check_order(layers)
        for number, layer in enumerate(layers):
            self._check_way_around(number, layer)
        self.gates = nn.ModuleList(
            _gate(layer) if has_gate else nn.Identity()
            for layer, has_gate in zip(layers, self.highway, strict=True)
        )
        self.batch_first = is_batch_first(layers[0])

    @property
    def input_size(self) -> int | None:
        """Features of the input; ``None`` where the first layer does not say."""
        return input_size_of(self.layers[0])

    @property
    def output_size(self) -> int | None:
        """Features of the output; ``None`` where the last layer does not say."""
        return output_size_of(self.layers[-1])

    @property
    def bidirectional(self) -> bool:
        """Whether the last layer runs in both directions."""
        return is_bidirectional(self.layers[-1])

    @property
    def merge(self) -> Any:
        """How the last layer's directions are put together."""
        return getattr(self.layers[-1], "merge", "concat")

    def reset_parameters(self) -> None:
        """Initialise the highways' gates anew; the layers have their own."""
        for gate in self.gates:
            if isinstance(gate, nn.Linear):
                gate.reset_parameters()
                nn.init.constant_(gate.bias, HIGHWAY_BIAS)

    @property
    def beside(self) -> tuple[str, ...] | None:
        """What the layers read beside the input, by name."""
        return all_beside(self.layers)

    def forward(
        self,
        input: Tensor,
        hx: Sequence[Any] | None = None,
        lengths: Lengths | None = None,
        *,
        mask: Tensor | None = None,
        resets: Tensor | None = None,
        reset_to: Sequence[Any] | None = None,
        beside: Beside | None = None,
        return_states: bool = False,
    ) -> Any:
        """Run the layers one after another over a batch of sequences.

        Args:
            input: (T, B, F), or (B, T, F) where the layers are batch_first.
            hx: the initial states, one entry for each layer in that layer's own form, or
                ``None`` in the place of an entry or of all.
            lengths: (B,) whole numbers in 0..T. Steps behind a sequence's end are not seen and
                their outputs are zero.
            mask: instead of lengths (T, B) or (B, T) with batch_first, True where a step is seen.
            resets: True where a new sequence begins in the middle of a row, shaped as ``mask``.
            reset_to: what the states are set to, in the form of ``hx``.
            beside: what the cells read beside the input by name, shaped as ``mask``; each layer
                gets what it reads.
            return_states: also give all states after every step. All of these mean what they
                mean to ``Recurrent``.

        Returns:
            output: that of the last layer, with what went around it.
            states: the final states, one entry for each layer, in that layer's own form.
            sequences: with return_states, a ``Recording`` of all layers; of one that has several
                layers itself each is counted.

        Raises:
            ShapeError: a shape that cannot be.
            LayerError: a layer takes no lengths, and they are unequal; or it does not take
                another argument.
        """
        keep = STATES if return_states else NOTHING
        batch = Sequences.of(self, input, lengths, mask, resets, reset_to, beside, keep)
        return self._run(batch, input, hx, reset_to)

    def recorded(
        self,
        input: Tensor,
        hx: Sequence[Any] | None = None,
        lengths: Lengths | None = None,
        **steps: Unpack[StepOptions],
    ) -> tuple[Tensor, tuple[Any, ...], Recording]:
        """Output and states as of ``forward``, and every equation at every step."""
        batch = Sequences.of(self, input, lengths, **steps, keep=EQUATIONS)
        result: tuple[Tensor, tuple[Any, ...], Recording]
        result = self._run(batch, input, hx, steps.get("reset_to"))
        return result

    def _run(self, batch: Sequences, x: Tensor, hx: Any, reset_to: Any) -> Any:
        first, origins = self._entries("hx", hx), self._entries("reset_to", reset_to)
        x = batch.seen_alone(x)
        states, recordings = [], []
        for number, layer in enumerate(self.layers):
            seen = dropout(x, self.dropout, self.training) if number else x
            output, last, recording = batch.run(layer, seen, first[number], origins[number])
            x = batch.seen_alone(self._around(number, x, output))
            states.append(last)
            recordings += [] if recording is None else [recording]
        result = x, tuple(states)
        return (*result, one_above_the_other(recordings)) if recordings else result

    def _entries(self, which: str, states: Any) -> tuple[Any, ...]:
        name = type(self).__name__
        entries = (None,) * len(self.layers)
        if states is not None:
            entries = entries_of(name, which, states)
        if len(entries) != len(self.layers):
            raise ShapeError(
                f"{name}: {which} has one entry for each of {len(self.layers)} "
                f"layers, got {len(entries)}."
            )
        return entries

    def final_output(self, states: Sequence[Any]) -> Any:
        """The last layer's final output; see ``gw.final_output``."""
        if self.residual[-1] or self.highway[-1]:
            raise way_around(self)
        if len(states) != len(self.layers):
            raise ShapeError(
                f"A Stack of {len(self.layers)} layers has as many entries of states, got "
                f"{len(states)}."
            )
        return final_output(self.layers[-1], states[-1])

    def extra_repr(self) -> str:
        """The options that are not at their default."""
        parts = [f"{n}={v}" for n in ("residual", "highway") if any(v := getattr(self, n))]
        return ", ".join([*parts, *([f"dropout={self.dropout}"] if self.dropout else [])])

    def _around(self, number: int, x: Tensor, output: Tensor) -> Tensor:
        if not (self.residual[number] or self.highway[number]):
            return output
        if x.shape != output.shape:
            raise ShapeError(
                f"The input {tuple(x.shape)} of layer {number} cannot go around it: its output is "
                f"{tuple(output.shape)}."
            )
        if self.residual[number]:
            return x + output
        gate = torch.sigmoid(self.gates[number](x))
        return gate * output + (1 - gate) * x

    def _check_way_around(self, number: int, layer: nn.Module) -> None:
        if self.residual[number] and self.highway[number]:
            raise LayerError(f"Layer {number} has either residual or highway, not both.")
        kind = "residual" if self.residual[number] else "highway"
        sizes = input_size_of(layer), output_size_of(layer)
        is_known = None not in sizes
        if getattr(self, kind)[number] and is_known and sizes[0] != sizes[1]:
            raise LayerError(
                f"{kind} of layer {number}, a {name_of_layer(layer)}: its input has {sizes[0]} "
                f"features and its output {sizes[1]}. Make them equal, or leave the layer out, as "
                f"in {kind}={[i != number for i in range(len(self.layers))]}."
            )


def _gate(layer: nn.Module) -> nn.Linear:
    size = input_size_of(layer)
    if size is None or hasattr(layer, "in_channels"):
        raise LayerError(
            f"A highway around {name_of_layer(layer)} wants features on the last axis and an "
            f"attribute input_size that counts them."
        )
    gate = nn.Linear(size, size)
    if (like := next(layer.parameters(), None)) is not None:
        gate.to(like)
    nn.init.constant_(gate.bias, HIGHWAY_BIAS)
    return gate


def _for_each(name: str, value: Each, count: int) -> tuple[bool, ...]:
    values = value if isinstance(value, (list, tuple)) else (value,) * count
    if len(values) != count or not all(isinstance(one, bool) for one in values):
        raise LayerError(
            f"{name} is one truth value, or one for each of {count} layers; got {value!r}."
        )
    return tuple(values)


def _check_order(layers: Sequence[nn.Module]) -> None:
    """Each layer takes what the one below gives."""
    for number, (below, above) in enumerate(pairwise(layers)):
        if getattr(below, "merge", "concat") is None:
            raise LayerError(
                f"Layer {number} gives a pair of outputs (merge=None), and layer {number + 1} "
                f"takes one."
            )
        if is_batch_first(below) != is_batch_first(above):
            raise LayerError(
                f"batch_first is {is_batch_first(below)} in layer {number} and "
                f"{is_batch_first(above)} in layer {number + 1}. Make them agree."
            )
        given, taken = output_size_of(below), input_size_of(above)
        if None not in (given, taken) and given != taken:
            raise LayerError(
                f"Layer {number}, a {name_of_layer(below)}, gives {given} features and layer "
                f"{number + 1}, a {name_of_layer(above)}, takes {taken}. Make them agree."
            )
