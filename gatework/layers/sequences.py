"""A batch of sequences as a wrapper gets it: checked once, and handed on to any layer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from gatework.errors import CellError, LayerError
from gatework.layers.any_layer import Lengths, check_batch, name_of_layer, reads_beside, shown
from gatework.layers.recording import Recording, refusal
from gatework.layers.shapes import (
    check_beside,
    check_beside_steps,
    check_steps,
    check_together,
)
from gatework.layers.states import Beside
from gatework.paths.call import inside
from gatework.paths.interruptions import as_lengths, reset_steps
from gatework.paths.layerwise import in_reverse

# What a wrapper gives back of every step, beside the output.
NOTHING, STATES, EQUATIONS = "nothing", "states", "equations"


@dataclass(frozen=True)
class Sequences:
    """What is known of a batch beside its numbers; tensors for each step are (T, B) inside.

    Attributes:
        name: of the wrapper, for errors.
        steps, rows: T and B.
        is_turned: tensors come as (B, T, ...).
        is_single: they are one sequence, (T, ...).
        lengths: (B,) int64 on the CPU.
        mask, resets, beside: as a layer's ``forward`` has them.
        keep: what layers give back of every step.
    """

    name: str
    steps: int
    is_turned: bool
    is_single: bool
    lengths: Tensor | None
    mask: Tensor | None = None
    resets: Tensor | None = None
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    keep: str = NOTHING

    @classmethod
    def of(
        cls,
        wrapper: nn.Module,
        x: Any,
        lengths: Lengths | None,
        mask: Tensor | None = None,
        resets: Tensor | None = None,
        reset_to: Any = None,
        beside: Beside | None = None,
        keep: str = NOTHING,
    ) -> Sequences:
        """What a wrapper's ``forward`` is given, checked.

        Raises:
            ShapeError: a shape that cannot be, or arguments that do not go together.
        """
        name, batch_first = name_of_layer(wrapper), bool(wrapper.batch_first)
        check_together(name, lengths, mask, resets, reset_to)
        x, lengths = check_batch(name, x, lengths, batch_first)
        is_single = x.dim() == 2
        shape = tuple(x.shape[: 1 if is_single else 2])
        for which, values in (("mask", mask), ("resets", resets)):
            if values is not None:
                check_steps(name, which, values, shape)
        wanted = reads_beside(wrapper)
        if beside is not None and wanted is None:
            check_beside_steps(name, beside, shape)
        elif beside is not None and wanted is not None:  # where there is none the layer says it
            check_beside(name, wanted, beside, shape)
        is_turned = batch_first and not is_single
        made = cls(name, shape[is_turned], is_turned, is_single, lengths, keep=keep)
        if mask is not None:
            mask = made.time_first(mask)
            ends = None if torch.compiler.is_compiling() else as_lengths(mask)
            made = replace(made, mask=mask) if ends is None else replace(made, lengths=ends)
        return replace(
            made,
            resets=None if resets is None else made.time_first(resets),
            beside={n: made.time_first(v) for n, v in (beside or {}).items()},
        )

    def time_first(self, x: Tensor) -> Tensor:
        """What has the axes of the input, as (T, B, ...)."""
        if self.is_single:
            return x.unsqueeze(1)
        return x.transpose(0, 1) if self.is_turned else x

    def as_given(self, x: Tensor) -> Tensor:
        """The way back from (T, B, ...) to the axes of the input."""
        if self.is_single:
            return x.squeeze(1)
        return x.transpose(0, 1) if self.is_turned else x

    def seen(self, like: Tensor) -> Tensor | None:
        """True where a step of ``like`` (T, B, ...) is seen, (T, B, 1, ...); None: everywhere."""
        if self.mask is not None:
            found = self.mask.to(like.device)
            return found.view(found.shape + (1,) * (like.dim() - 2))
        return None if self.lengths is None else inside(like, self.lengths)

    def seen_alone(self, x: Tensor) -> Tensor:
        """The same with zeros at steps that are not seen; x has the axes of the input."""
        steps = self.time_first(x)
        seen = self.seen(steps)
        return x if seen is None else self.as_given(steps.masked_fill(~seen, 0))

    def in_reverse(self, x: Tensor) -> Tensor:
        """Each sequence of x from its own end to its start; the padding stays behind."""
        return self.as_given(in_reverse(self.time_first(x), self.lengths))

    def backward(self) -> Sequences:
        """The same sequences, each from its own end to its start."""
        mask, resets = self.mask, self.resets
        if resets is not None:
            columns = resets.unsqueeze(-1)
            resets = reset_steps(columns, self.seen(columns), self.lengths, True).squeeze(-1)
        return replace(
            self,
            mask=None if mask is None else in_reverse(mask, None),
            resets=resets,
            beside={n: in_reverse(v, self.lengths) for n, v in self.beside.items()},
        )

    def run(
        self, layer: nn.Module, x: Tensor, hx: Any, reset_to: Any
    ) -> tuple[Tensor, Any, Recording | None]:
        """Call any layer over x, which has the axes of the input.

        Returns:
            Output, final states, and what is kept of every step.

        Raises:
            LayerError: the layer does not take what is given, or it returns no output.
            CellError: it cannot be recorded.
        """
        call: Any = layer
        if self.keep == EQUATIONS:
            call = getattr(layer, "recorded", None)
            if call is None:
                raise CellError(refusal(layer))
        options = self._options(layer, reset_to)
        result = call(x, **options) if hx is None else call(x, hx, **options)
        count = 2 if self.keep == NOTHING else 3
        is_right = isinstance(result, tuple) and len(result) == count
        if not (is_right and isinstance(result[0], Tensor)):
            names = "output, states" if count == 2 else "output, states, recording"
            raise LayerError(
                f"{name_of_layer(layer)} is to return ({names}) with one tensor as output; got "
                f"{shown(result)}."
            )
        return result if count == 3 else (*result, None)

    def _options(self, layer: nn.Module, reset_to: Any) -> dict[str, Any]:
        """The arguments by name that a layer is called with."""
        names = reads_beside(layer)
        beside = {n: v for n, v in self.beside.items() if names is None or n in names}
        asked = {
            "lengths": self.lengths,
            "mask": None if self.mask is None else self.as_given(self.mask),
            "resets": None if self.resets is None else self.as_given(self.resets),
            "reset_to": reset_to,
            "beside": {n: self.as_given(v) for n, v in beside.items()} or None,
            "return_states": self.keep == STATES or None,
        }
        asked = {name: value for name, value in asked.items() if value is not None}
        parameters = inspect.signature(type(layer).forward).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return asked
        for name in [name for name in asked if name not in parameters]:
            why = ""
            if name == "lengths":
                assert self.lengths is not None
                if bool((self.lengths == self.steps).all()):
                    del asked[name]
                    continue
                why = f", so all sequences must have T={self.steps} steps"
                why += f"; got {self.lengths.tolist()}"
            raise LayerError(
                f"{name_of_layer(layer)}.forward has no argument `{name}`{why}. Give it one, or "
                f"use a layer that has it, such as Recurrent."
            )
        return asked
