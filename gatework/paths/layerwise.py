"""What paths that run one layer in one direction share: the stack around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import dropout

from gatework.equations.spec import NEXT
from gatework.paths.call import Call, Given, Result
from gatework.paths.masks import draw, sizes_of

# Equations by name, (T, B, size) each, and the final states of one layer in one direction
Steps = tuple[dict[str, Tensor], tuple[Tensor, ...]]
# What each direction of a layer is given, in its own order, and whether every equation is wanted
RunSteps = Callable[[Sequence[Given], bool], list[Steps]]


def run_layers(call: Call, run_steps: RunSteps) -> Result:
    """Layer by layer: dropout between, padding masked, order reversed."""
    x, seen = call.x, call.seen()
    output = call.spec.states[0].name + NEXT
    recorded: list[dict[str, Tensor]] = []
    finals: list[tuple[Tensor, ...]] = []
    for layer in range(call.num_layers):
        rows = range(layer * call.num_directions, (layer + 1) * call.num_directions)
        given = [_given(call, _where(seen, x), row) for row in rows]
        outputs = []
        for direction, (steps, states) in enumerate(run_steps(given, call.record)):
            gates = {
                name: _where(seen, in_reverse(v, call.lengths) if direction == 1 else v)
                for name, v in steps.items()
            }
            outputs.append(gates[output])
            finals.append(states)
            recorded.append(gates)
        before, x = x, outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        if call.residual:
            x = x + _where(seen, before)
        if layer < call.num_layers - 1 and call.dropout > 0:
            x = dropout(x, call.dropout, call.training)
    states = tuple(
        rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(rows)
        for rows in zip(*finals, strict=True)
    )
    return Result(x, states, recorded if call.record or call.every_state else [])


def _given(call: Call, x: Tensor, row: int) -> Given:
    """What one layer in one direction is given; x (T, B, ..., F) is nought where it is not seen."""
    spec, lengths = call.spec, call.lengths
    first = {s.name: t[row] for s, t in zip(spec.states, call.states, strict=True)}
    masks: dict[str, Tensor] = {}
    if spec.masks:
        sizes = sizes_of(spec, first.values(), x.shape[-1])
        brought = call.brought[row] if call.brought else {}
        masks = draw(spec, sizes, x.shape[0], x.shape[1:-1], call.training, x, brought)
    layer, direction = divmod(row, call.num_directions)
    groups = call.weights.groups(layer, direction)
    groups = {stem: groups[stem] for stem in spec.groups}  # in the cell's order
    given = Given(
        spec, x, first, groups, masks, lengths, every_state=call.every_state, dilation=call.dilation
    )
    return replace(given, x=in_reverse(x, lengths) if direction == 1 else x)


def _where(seen: Tensor | None, x: Tensor) -> Tensor:
    """Nought at steps that are not seen: whatever stands there must not reach a gradient."""
    return x if seen is None else x.masked_fill(~seen, 0)


def in_reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Each sequence of x (T, B, ...) from its own end to its start; the padding stays behind."""
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(x.shape[0], device=lengths.device).unsqueeze(1)
    index = torch.where(steps < lengths, lengths - 1 - steps, steps).to(x.device)
    return x.gather(0, index.view(index.shape + (1,) * (x.dim() - 2)).expand_as(x))
