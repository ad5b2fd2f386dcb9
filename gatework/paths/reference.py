"""The reference path: the cell's equations in a Python loop, for every cell, dtype and device.

It is the text of ``read.reference`` with autograd, plus what a layer adds around a cell:
directions, lengths, initial states, dropout between layers, and the recording of all gates.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import dropout, linear

from gatework.equations.spec import NEXT
from gatework.paths.call import Call, Groups, Result
from gatework.read import reference


class ReferencePath:
    """Runs everything, one step at a time."""

    name = "reference"

    def supports(self, call: Call) -> str | None:
        """Always ``None``: there is nothing it cannot run."""
        return None

    def run(self, call: Call) -> Result:
        """Layer by layer, direction by direction, step by step."""
        x = call.x
        finals: list[tuple[Tensor, ...]] = []
        recorded: list[dict[str, Tensor]] = []
        for layer in range(call.num_layers):
            outputs = []
            for direction in range(call.num_directions):
                row = layer * call.num_directions + direction
                output, states, gates = _run_direction(
                    call,
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
        states = tuple(torch.stack(rows) for rows in zip(*finals, strict=True))
        return Result(x, states, recorded if call.record else [])


def _run_direction(
    call: Call, x: Tensor, states: tuple[Tensor, ...], groups: Groups, backward: bool
) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
    """One layer in one direction: x (T, B, F) to output (T, B, H), final states, gates."""
    inside = None if call.lengths is None else _inside(call.lengths, x)
    if inside is not None:
        x = x.masked_fill(~inside, 0)  # whatever stands in the padding must not reach a gradient
    if backward:
        x = _reversed(x, call.lengths)
    gates, finals = _run_steps(call, x, states, groups, inside)
    if inside is not None:
        gates = {name: v.masked_fill(~inside, 0) for name, v in gates.items()}
    if backward:
        gates = {name: _reversed(v, call.lengths) for name, v in gates.items()}
    return gates[call.spec.states[0].name + NEXT], finals, gates


def _run_steps(
    call: Call, x: Tensor, states: tuple[Tensor, ...], groups: Groups, inside: Tensor | None
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """All steps in order: the equations that are wanted, (T, B, size) each, and final states."""
    spec = call.spec
    step = reference.compiled(spec, "torch", packed=True)
    products = reference.packed_products(spec)
    # The products with the input need no earlier step: one large product for all steps.
    ready = [linear(x, groups[g]).unbind(0) for g, leaf in products.items() if leaf == spec.input]
    kept = [groups[g] for g in spec.groups if products.get(g) != spec.input]
    inputs = [x.unbind(0)] if reference.uses_input(spec) else []
    nexts = [s.name + NEXT for s in spec.states]
    wanted = [e.name for e in spec.equations] if call.record else nexts[:1]
    history: dict[str, list[Tensor]] = {name: [] for name in wanted}
    for t in range(x.shape[0]):
        gates = step(*(r[t] for r in ready), *(i[t] for i in inputs), *states, *kept)
        after = tuple(gates[name] for name in nexts)
        if inside is not None:  # a sequence that has ended keeps its state
            after = tuple(
                torch.where(inside[t], new, old) for new, old in zip(after, states, strict=True)
            )
        states = after
        for name in wanted:
            history[name].append(gates[name])
    return {name: torch.stack(values) for name, values in history.items()}, states


def _inside(lengths: Tensor, x: Tensor) -> Tensor:
    """True where a step of x (T, B, F) belongs to its sequence, (T, B, 1)."""
    steps = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    return (steps < lengths.to(x.device)).unsqueeze(-1)


def _reversed(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Each sequence of x (T, B, ...) from its own end to its start; the padding stays behind."""
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(x.shape[0], device=lengths.device).unsqueeze(1)
    index = torch.where(steps < lengths, lengths - 1 - steps, steps).to(x.device)
    return x.gather(0, index.unsqueeze(-1).expand_as(x))
