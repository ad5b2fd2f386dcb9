"""What a call brings for each step besides its input.

Resets and skipped steps are brought into it by rewriting its cell, see ``equations``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gatework.equations.interruption import Interrupted, with_origins, with_resets, with_skips
from gatework.equations.spec import from_text
from gatework.paths.call import Call, beside_of
from gatework.paths.layerwise import in_reverse

REWRITINGS = {"skips": with_skips, "resets": with_resets, "origins": with_origins}


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _rewritten(cell: str, how: str) -> Interrupted:
    """A cell, by its text, rewritten; that is nothing to trace."""
    return REWRITINGS[how](from_text(cell))


def _rewriting(call: Call, made: Interrupted) -> Call:
    return replace(call, spec=made.spec, plain=call.plain or call.spec)


def with_mask(call: Call, mask: Tensor) -> Call:
    """The call in which the steps where mask (T, B) is False are not seen by any direction.

    States stay as they are over them, and the output there is zero.
    """
    if not torch.compiler.is_compiling() and (lengths := as_lengths(mask)) is not None:
        return replace(call, lengths=lengths)
    made: Interrupted = _rewritten(call.spec.text, "skips")
    live = beside_of(call.x, mask.to(call.x.device))
    brought = [
        dict.fromkeys(made.masks, _numbers(_of_direction(live, call, backward), call))
        for backward in range(call.num_directions)
    ]
    return replace(_rewriting(call, made), brought=_joined(call, brought), live=live)


def with_reset_steps(call: Call, resets: Tensor, origins: Sequence[Tensor] | None) -> Call:
    """The call whose states are set anew before the steps where resets (T, B) is True.

    Args:
        call: the call.
        resets: (T, B), bool.
        origins: what the states are set to, (L*D, B, size) each; ``None``: zero.
    """
    how = "resets" if origins is None else "origins"
    made: Interrupted = _rewritten(call.spec.text, how)
    columns, seen = beside_of(call.x, resets), call.seen()
    begins = [
        reset_steps(columns, seen, call.lengths, bool(backward)).to(call.x.device)
        for backward in range(call.num_directions)
    ]
    brought = [dict.fromkeys(made.masks, _numbers(~mine, call)) for mine in begins]
    # What is not gone on with must not reach a gradient either.
    at_first = torch.cat([mine[:1] for mine in begins] * call.num_layers)
    states = tuple(s.masked_fill(at_first, 0) for s in call.states)
    states = states if origins is None else (*states, *origins)
    return replace(_rewriting(call, made), states=states, brought=_joined(call, brought))


def reset_steps(
    resets: Tensor, seen: Tensor | None, lengths: Tensor | None, backward: bool
) -> Tensor:
    """Where a direction is set anew, in the order in which it meets the steps.

    The one that runs backward is set anew where it enters a sequence from behind: after the step
    before which the next one begins. Behind the last step that a direction sees nothing begins.

    Args:
        resets: (T, B, 1, ...), bool: before these steps sequences begin.
        seen: (T, B, 1, ...), or ``None`` for all steps.
        lengths: (B,), those that ``seen`` has.
        backward: whether it is the direction from the end to the start.
    """
    if seen is not None:
        seen = seen.to(resets.device)
        resets = resets & ~_is_behind(seen)
    if not backward:
        return resets
    # Not resets[1:], whose length of one would be a case of its own to torch.export.
    steps = resets.shape[0]
    later = torch.arange(1, steps + 1, device=resets.device)
    is_there = (later < steps).view(-1, *(1,) * (resets.dim() - 1))
    resets = resets[later.clamp(max=steps - 1)] & is_there
    resets = in_reverse(resets, lengths)
    return resets if seen is None else resets & ~_is_behind(in_reverse(seen, lengths))


def _is_behind(seen: Tensor) -> Tensor:
    """True from where on no step is seen."""
    return seen.flip(0).cumsum(0).flip(0) == 0


def with_beside(call: Call, values: Mapping[str, Tensor]) -> Call:
    """The call with numbers beside its input by name, (T, B).

    Where a step is not seen they are zero: whatever stands there must not reach a gradient.
    """
    seen = call.seen()
    columns = {name: beside_of(call.x, v) for name, v in values.items()}
    if seen is not None:
        columns = {name: v.masked_fill(~seen, 0) for name, v in columns.items()}
    brought = [
        {name: _numbers(_of_direction(v, call, backward), call) for name, v in columns.items()}
        for backward in range(call.num_directions)
    ]
    return replace(call, brought=_joined(call, brought))


def as_lengths(mask: Tensor) -> Tensor | None:
    """The lengths of the sequences, where only padding behind their ends is masked."""
    lengths = mask.sum(0)
    steps = torch.arange(len(mask), device=mask.device).unsqueeze(1)
    is_padding = bool((mask == (steps < lengths)).all())
    return lengths.cpu() if is_padding else None


def _of_direction(values: Tensor, call: Call, backward: int) -> Tensor:
    """Values (T, B, 1, ...) in the order in which a direction meets the steps."""
    return in_reverse(values, call.lengths) if backward else values


def _numbers(values: Tensor, call: Call) -> Tensor:
    dtype = next(iter(call.weights.tensors())).dtype
    return values.to(call.x.device, dtype)


def _joined(call: Call, brought: list[dict[str, Tensor]]) -> tuple[dict[str, Tensor], ...]:
    """These masks, which come by direction, beside those that the call has."""
    rows = call.brought or ({},) * (call.num_layers * call.num_directions)
    return tuple({**old, **brought[row % call.num_directions]} for row, old in enumerate(rows))
