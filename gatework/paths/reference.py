"""The reference path: the cell's equations in a Python loop, for every cell, dtype and device.

It is the text of ``read.reference`` with autograd, and the recording of all gates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gatework.equations.spec import NEXT
from gatework.paths import vendor
from gatework.paths.call import Call, Given, Result
from gatework.paths.heads import apart
from gatework.paths.layerwise import Steps, run_layers
from gatework.read import reference


class ReferencePath:
    """Runs everything, one step at a time."""

    name = "reference"

    def supports(self, call: Call) -> str | None:
        """Always ``None``: there is nothing it cannot run."""
        return None

    def run(self, call: Call) -> Result:
        """Layer by layer, direction by direction, step by step."""
        return vendor.lowered(call, run_layers(call, apart(_run_directions)))


def _run_directions(given: Sequence[Given], record: bool) -> list[Steps]:
    return [run_steps(one, record) for one in given]


def run_steps(given: Given, record: bool = False) -> Steps:
    """All steps in order: the equations that are wanted, (T, B, size) each, and final states.

    Over images all of them have the axes of their places between B and the size.
    """
    spec, x, groups, inside = given.spec, given.x, given.groups, given.inside()
    product = given.product
    states = tuple(given.first.values())
    step = reference.compiled(spec, "torch", packed=True, product=product)
    products = reference.packed_products(spec)
    # The products with the input need no earlier step: one large product for all steps.
    ready = [product(x, groups[g]).unbind(0) for g, leaf in products.items() if leaf == spec.input]
    kept = [groups[g] for g in spec.groups if products.get(g) != spec.input]
    inputs = [x.unbind(0)] if reference.uses_input(spec) else []
    nexts = [s.name + NEXT for s in spec.states]
    wanted = [e.name for e in spec.equations] if record else nexts[: len(given.sequences)]
    history: dict[str, list[Tensor]] = {name: [] for name in wanted}
    for t in range(x.shape[0]):
        drawn = [m[t if len(m) > 1 else 0] for m in given.masks.values()]
        gates = step(*(r[t] for r in ready), *(i[t] for i in inputs), *states, *drawn, *kept)
        # A state that is made of vectors alone has no rows of its own.
        after = tuple(gates[n].expand_as(old) for n, old in zip(nexts, states, strict=True))
        gates |= dict(zip(nexts, after, strict=True))
        if inside is not None:  # a sequence that has ended keeps its state
            after = tuple(
                torch.where(inside[t], new, old) for new, old in zip(after, states, strict=True)
            )
        states = after
        for name in wanted:
            history[name].append(gates[name])
    # Nor has an equation.
    rows = x.shape[1:-1]
    return {
        name: torch.stack([v.expand(*rows, -1) for v in values]) for name, values in history.items()
    }, states


def all_equations(given: Given, after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every equation at every step, (T, B, size), where the states after each step are known.

    Args:
        given: what the steps were given.
        after: the states after each step by the names of their equations (``h_next``).
    """
    spec, x = given.spec, given.x
    # Of a step the states before it are those after the last one.
    states = [
        torch.cat([first.unsqueeze(0), after[name + NEXT][:-1]])
        for name, first in given.first.items()
    ]
    products = reference.packed_products(spec)
    product, groups = given.product, given.groups
    ready = [product(x, groups[g]) for g, leaf in products.items() if leaf == spec.input]
    kept = [groups[g] for g in spec.groups if products.get(g) != spec.input]
    inputs = [x] if reference.uses_input(spec) else []
    step = reference.compiled(spec, "torch", packed=True, product=product)
    gates = step(*ready, *inputs, *states, *given.masks.values(), *kept)
    sizes = x.shape[:-1]
    return {n: v.expand(*sizes, v.shape[-1]) for n, v in gates.items()} | dict(after)
