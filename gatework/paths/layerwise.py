"""What paths that run one layer in one direction share: the stack around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import dropout

from gatework.equations.spec import NEXT
from gatework.paths.call import Call, Given, Groups, Result
from gatework.paths.masks import draw

# What a layer is given, in the direction's own order, and whether every equation is wanted
#   -> equations by name, (T, B, size) each, and the final states
RunSteps = Callable[[Given, bool], tuple[dict[str, Tensor], tuple[Tensor, ...]]]


def run_layers(call: Call, run_steps: RunSteps) -> Result:
    """Layer by layer, direction by direction: dropout between, padding masked, order reversed."""
    x = call.x
    finals: list[tuple[Tensor, ...]] = []
    recorded: list[dict[str, Tensor]] = []
    for layer in range(call.num_layers):
        outputs = []
        for direction in range(call.num_directions):
            row = layer * call.num_directions + direction
            output, states, gates = _run_direction(
                call,
                run_steps,
                x,
                tuple(s[row] for s in call.states),
                call.weights.groups(layer, direction),
                backward=direction == 1,
            )
            outputs.append(output)
            finals.append(states)
            recorded.append(gates)
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        if layer < call.num_layers - 1 and call.dropout > 0:
            x = dropout(x, call.dropout, call.training)
    states = tuple(
        rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(rows)
        for rows in zip(*finals, strict=True)
    )
    return Result(x, states, recorded if call.record else [])


def _run_direction(
    call: Call,
    run_steps: RunSteps,
    x: Tensor,
    states: tuple[Tensor, ...],
    groups: Groups,
    backward: bool,
) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
    """One layer in one direction: x (T, B, F) to output (T, B, H), final states, gates."""
    spec, lengths = call.spec, call.lengths
    masks: dict[str, Tensor] = {}
    if spec.masks:
        sizes = {s.size: t.shape[-1] for s, t in zip(spec.states, states, strict=True)}
        sizes["F"] = x.shape[2]
        masks = draw(spec, sizes, x.shape[0], x.shape[1], call.training, x)
    first = {s.name: t for s, t in zip(spec.states, states, strict=True)}
    groups = {stem: groups[stem] for stem in spec.groups}  # in the cell's order
    given = Given(spec, x, first, groups, masks, lengths)
    inside = given.inside()
    if inside is not None:
        x = x.masked_fill(~inside, 0)  # whatever stands in the padding must not reach a gradient
    if backward:
        x = _reversed(x, lengths)
    gates, finals = run_steps(replace(given, x=x), call.record)
    if inside is not None:
        gates = {name: v.masked_fill(~inside, 0) for name, v in gates.items()}
    if backward:
        gates = {name: _reversed(v, lengths) for name, v in gates.items()}
    return gates[spec.states[0].name + NEXT], finals, gates


def _reversed(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Each sequence of x (T, B, ...) from its own end to its start; the padding stays behind."""
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(x.shape[0], device=lengths.device).unsqueeze(1)
    index = torch.where(steps < lengths, lengths - 1 - steps, steps).to(x.device)
    return x.gather(0, index.unsqueeze(-1).expand_as(x))
