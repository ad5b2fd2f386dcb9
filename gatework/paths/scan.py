"""The scan path: cells whose memory is proven linear, all steps at once.

What reads no state is computed for all steps, then the first state by its recurrence, then what
reads that, and so on. So a step costs no call, and every equation of every step is there to be
recorded. A matrix that grows by outer products is not written out, unless it is asked for, see
``chunks``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gatework.compile.linear import Linear, linear
from gatework.compile.outers import OfOuters, of_outers
from gatework.equations import Spec
from gatework.equations.expr import Apply, Expr, Product, Ref, walk
from gatework.equations.sizes import MATRICES
from gatework.equations.spec import NEXT
from gatework.paths import chunks, recurrence
from gatework.paths import reference as stepwise
from gatework.paths.call import Call, Given, Result, is_plain
from gatework.paths.heads import apart
from gatework.paths.layerwise import Steps, run_layers
from gatework.read import reference

# Numbers in the matrices of all steps. On a CPU, where they leave its cache, steps one by one are
# faster from there on (measured for the catalogue's); elsewhere the memory is the limit.
MOST = {"cpu": 1 << 21}
ELSEWHERE = 1 << 27
# In inference on a CPU: numbers of one value that are worked out at once, and the fewest steps.
AT_ONCE, FEWEST_STEPS = 1 << 20, 64


class ScanPath:
    """Linear cells, on every device and in every dtype."""

    name = "scan"

    def supports(self, call: Call) -> str | None:
        """``None`` where the cell's memory is linear, else what in it is not."""
        form = proven(call.spec)
        if isinstance(form, str):
            return form.removeprefix(f"{call.spec.name}: ").rstrip(".")
        if not call.x.numel():
            return "the input is empty"
        in_full = _in_full(call.x, call.record or call.every_state)
        if (reason := too_large(call.spec, call.x, call.states, in_full)) is not None:
            return reason
        if forward_ad._current_level >= 0:
            return "the recurrence has no forward-mode derivatives"
        if not all(map(is_plain, (call.x, *call.states, *call.weights.tensors()))):
            return "the recurrence needs tensors with memory of their own (no torch.func)"
        return None

    def run(self, call: Call) -> Result:
        """Layer by layer, direction by direction; all steps at once."""
        return run_layers(call, apart(_run_directions))


def _in_full(x: Tensor, is_wanted: bool) -> bool:
    """Whether the matrices of all steps are written out: over images nothing else is done."""
    return is_wanted or x.dim() > 3


def too_large(spec: Spec, x: Tensor, states: Iterable[Tensor], in_full: bool) -> str | None:
    """Why the matrices of all steps are too many to stand side by side, or ``None``.

    ``in_full``: whether they are asked for.
    """
    if not in_full and isinstance(summed(spec), OfOuters):
        return None
    pairs = zip(spec.states, states, strict=True)
    width = sum(state.shape[-1] for symbol, state in pairs if symbol.size in MATRICES)
    count, most = x.shape[:-1].numel() * width, MOST.get(x.device.type, ELSEWHERE)
    if count <= most:
        return None
    return f"the matrices of all its steps are {count:,} numbers, above {most:,}"


@cache
def proven(spec: Spec) -> Linear | str:
    """The linear form of a cell, or why it has none."""
    return linear(spec)


@cache
def summed(spec: Spec) -> OfOuters | str:
    """The form of a cell whose matrices grow by outer products, or why it has none."""
    return of_outers(spec)


def _run_directions(given: Sequence[Given], record: bool) -> list[Steps]:
    return [run_steps(one, record) for one in given]


def steps_in_torch(given: Given) -> Steps:
    """All steps in what torch can differentiate: at once for a linear cell, else one by one."""
    at_once = isinstance(proven(given.spec), Linear)
    in_full, states = _in_full(given.x, given.every_state), given.first.values()
    at_once = at_once and too_large(given.spec, given.x, states, in_full) is None
    return run_steps(given) if at_once else stepwise.run_steps(given)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # the text cannot be made in a trace
def run_steps(given: Given, record: bool = False) -> Steps:
    """All steps at once: the equations that are wanted, (T, B, size) each, and final states.

    Where no gradient is asked for they are taken some at a time, on a CPU: what stays in its cache
    need not be fresh memory at every operation.
    """
    x, in_full = given.x, _in_full(given.x, record or given.every_state)
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in given.tensors())
    steps = max(FEWEST_STEPS, AT_ONCE // (x.shape[1:-1].numel() * _widest(given)))
    if keep or in_full or x.device.type != "cpu" or len(x) <= steps:
        return _run_steps(given, record)
    parts, first = [], given.first
    for begin in range(0, len(x), steps):
        found, finals = _run_steps(_part(replace(given, first=first), begin, begin + steps), False)
        first = dict(zip(first, finals, strict=True))
        parts.append(found)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}, finals


def _widest(given: Given) -> int:
    """The numbers of a row in the widest state that is no matrix."""
    pairs = zip(given.spec.states, given.first.values(), strict=True)
    return max([1, *(t.shape[-1] for symbol, t in pairs if symbol.size not in MATRICES)])


def _part(given: Given, begin: int, end: int) -> Given:
    """What some of the steps are given."""
    x, lengths = given.x[begin:end], given.lengths
    masks = {n: mask[begin:end] if len(mask) > 1 else mask for n, mask in given.masks.items()}
    if lengths is not None:
        lengths = (lengths - begin).clamp(0, len(x))
    return replace(given, x=x, masks=masks, lengths=lengths)


def _run_steps(given: Given, record: bool) -> Steps:
    spec, groups, product = given.spec, given.groups, given.product
    dtype = next(iter(given.first.values())).dtype
    x, inside = given.x.to(dtype), given.inside()
    products = reference.packed_products(spec)
    # Under autocast these are in the lower precision, and nothing else is.
    ready = [product(x, groups[g]).to(dtype) for g, leaf in products.items() if leaf == spec.input]
    inputs = [x] if reference.uses_input(spec) else []
    kept = [groups[g] for g in spec.groups if products.get(g) != spec.input]
    starts = [_Start(first, len(x), inside) for first in given.first.values()]
    in_full = _in_full(x, record or given.every_state)
    with torch.autocast(x.device.type, enabled=False):
        step = _compiled(spec, in_full)
        gates = step(*ready, *inputs, *starts, *given.masks.values(), *kept)
    nexts = [s.name + NEXT for s in spec.states]
    wanted = [e.name for e in spec.equations] if record else nexts
    # What is made of vectors alone has no steps and rows of its own.
    full: dict[str, Any] = {
        n: value
        if isinstance(value := gates[n], chunks.Outers)
        else value.expand(*x.shape[:-1], -1)
        for n in wanted
    }
    finals = tuple(
        _last(full[n], first, given.lengths)
        for n, first in zip(nexts, given.first.values(), strict=True)
    )
    return full if record else {s + NEXT: full[s + NEXT] for s in given.sequences}, finals


def _last(values: Tensor | chunks.Outers, first: Tensor, lengths: Tensor | None) -> Tensor:
    """The state at each sequence's end."""
    if isinstance(values, chunks.Outers):  # which stays as it is behind that
        return values.last
    if lengths is None:
        return values[-1]
    ends = lengths.to(values.device).view(1, -1, *(1,) * (first.dim() - 1))
    index = (ends - 1).clamp(min=0).expand(1, *first.shape)
    return torch.where(ends[0] > 0, values.gather(0, index)[0], first)


@dataclass(frozen=True)
class _Start:
    """What a scan begins with, in the place of a state.

    Attributes:
        first: the state before all steps, (B, H).
        steps: how many there are, T.
        inside: where a step belongs to its sequence, (T, B, 1); ``None``: everywhere.
    """

    first: Tensor
    steps: int
    inside: Tensor | None

    def full(self, value: Tensor | float, outside: float) -> Tensor:
        """A factor or a summand as (T, B, H)."""
        if not isinstance(value, Tensor):
            value = self.first.new_full((), value)
        if self.inside is not None:
            value = torch.where(self.inside, value, outside)
        return value.expand(self.steps, *self.first.shape)


def _sums(a: Tensor | float, b: Tensor | float, start: _Start) -> Tensor:
    """The states after each step; a sequence that has ended keeps its state."""
    first = start.first
    factors, summands = (start.full(*pair).flatten(1, -2) for pair in ((a, 1.0), (b, 0.0)))
    found = recurrence.scan(factors, summands, first.flatten(0, -2))  # places are rows to it
    return found.view(len(found), *first.shape)


def _peaks(
    a: Tensor | float,
    b: Tensor | float,
    goes_on: Tensor | float,
    live: Tensor | float,
    kept: Tensor | float,
    start: _Start,
) -> Tensor:
    """The same of the largest numbers."""
    a, b = start.full(a, 0.0), start.full(b, -math.inf)
    if isinstance(live, Tensor):
        a, b = torch.where(live == 0, kept, a), torch.where(live == 0, -math.inf, b)
    if isinstance(goes_on, Tensor):
        anew = goes_on == 0 if start.inside is None else (goes_on == 0) & start.inside
        b = torch.where(anew & (b <= a), a, b)
        a = torch.where(anew, -math.inf, a)
    return recurrence.peaks(a, b, start.first)


def _before(start: _Start, after: Tensor) -> Tensor:
    """The states before each step."""
    return torch.cat([start.first.unsqueeze(0), after[:-1]])


def _outers(start: _Start, a: Tensor | float, *vectors: Tensor) -> chunks.Outers:
    """The matrices after each step; u and v of each outer product stand one behind the other."""
    batch = (start.steps, start.first.shape[0])
    inside = [v if start.inside is None else torch.where(start.inside, v, 0.0) for v in vectors]
    wide = [v.expand(*batch, -1) for v in inside]
    one = replace(start, first=start.first[:, :1]).full(a, 1.0)
    return chunks.Outers(one, list(zip(wide[::2], wide[1::2], strict=True)), start.first)


def _read(after: bool, matrix: chunks.Outers, vector: Tensor) -> Tensor:
    """The product with a vector at each step."""
    return matrix.read(vector.expand(*matrix.rows, -1), after)


def _rows_of_outers(
    spec: Spec, sums: OfOuters
) -> tuple[dict[str, list[reference.Line]], dict[str, list[reference.Line]]]:
    """The lines of all equations, and those of the states that are matrices."""
    names = {*sums.steps, *(name + NEXT for name in sums.steps)}
    rows: dict[str, list[reference.Line]] = {e.name: [(e.name, "None", ())] for e in spec.equations}
    for name, expr in sums.equations.items():
        rows[name] = _with_reads(names, (name, "{}", (expr,)))
    matrices = {}
    for name, step in sums.steps.items():
        vectors = [vector for pair in step.pairs for vector in pair]
        form = f"outers__({', '.join([name, '{}', *('{}' for _ in vectors)])})"
        matrices[name] = _with_reads(names, (name + NEXT, form, (step.a, *vectors)))
    return rows, matrices


def _with_reads(matrices: Collection[str], line: reference.Line) -> list[reference.Line]:
    """A line in which no matrix is read, behind those that do."""
    found: list[reference.Line] = []
    name, form, exprs = line

    def rewritten(expr: Expr) -> Expr:
        match expr:
            case Apply("times", (Ref(matrix), vector)) if matrix in matrices:
                when = "after" if matrix.endswith(NEXT) else "before"
                after = matrix.removesuffix(NEXT) + NEXT
                call = f"read_{when}__({after}, {{}})", (rewritten(vector),)
                known = [known for known, *same in found if tuple(same) == call]
                if not known:
                    known = [f"{name}__{len(found)}"]
                    found.append((known[0], *call))
                return Ref(known[0])
            case Apply(op, args):
                return Apply(op, tuple(map(rewritten, args)))
            case Product(matrix, operand):
                return Product(matrix, rewritten(operand))
        return expr

    last = (name, form, tuple(map(rewritten, exprs)))
    return [*found, last]


@cache
def _compiled(spec: Spec, in_full: bool = True) -> Callable[..., dict[str, Any]]:
    """The packed step of a cell, for all steps at once, its states' places holding starts.

    ``in_full``: whether its matrices are made for all steps.
    """
    form = proven(spec)
    assert isinstance(form, Linear)
    sums = None if in_full else summed(spec)
    if isinstance(sums, OfOuters):
        rows, matrices = _rows_of_outers(spec, sums)
    else:
        rows, matrices = {e.name: [(e.name, "{}", (e.expr,))] for e in spec.equations}, {}
    lines: list[reference.Line] = []
    for item in reversed(form.order):
        if isinstance(item, str):
            lines = [*rows[item], *lines]
            continue
        name, after = item.state, item.state + NEXT
        read = {node for _, _, exprs in lines for expr in exprs for node in walk(expr)}
        if name in matrices:
            lines = [*matrices[name], *lines]
            continue
        if Ref(name) in read:
            lines.insert(0, (name, f"before__({name}, {after})", ()))
        given = [item.a, item.b]
        if item.kind == "peaks":
            given += [item.goes_on, item.live, item.kept]
        form = f"{item.kind}__({', '.join('{}' for _ in given)}, {name})"
        lines.insert(0, (after, form, tuple(given)))
    text = reference.packed_source(spec, "torch", lines, of_input=True)
    calls: dict[str, Any] = {
        "sums__": _sums,
        "peaks__": _peaks,
        "before__": _before,
        "outers__": _outers,
    }
    calls |= {"read_after__": partial(_read, True), "read_before__": partial(_read, False)}
    return reference.function_of(spec, "torch", text, calls)
