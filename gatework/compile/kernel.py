"""How a plan lies in memory and in what pieces a kernel computes it.

A stage is cut by size into segments; the products of a segment that share their operands form a
tile, summed side by side in registers. Values that leave the step, or cross from one segment to
another, have a place in an array.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from gatework.compile.flatten import leaf_sizes
from gatework.compile.gradient import gradient_name
from gatework.compile.plan import Let, Plan, Product, Stage
from gatework.equations.spec import NEXT
from gatework.equations.symbols import EACH

TILE_COLUMNS = 4  # of sums, where a tile has few products: enough to hide the latency of a sum
MOST_PRODUCTS = 8  # of a tile; with more there are registers for two rows only


@dataclass(frozen=True)
class Tile:
    """Products that share their operands, so that they are summed side by side."""

    products: tuple[Product, ...]

    @property
    def operands(self) -> tuple[str, ...]:
        """What all of them multiply, in order."""
        return self.products[0].operands


@dataclass(frozen=True)
class Segment:
    """The part of a stage that has one size: its tiles, then its elementwise operations."""

    stage: int
    size: str
    tiles: tuple[Tile, ...]
    lets: tuple[Let, ...]

    @property
    def repeat(self) -> int:
        """Columns of units that are done together: few products take several."""
        widest = max((len(t.products) for t in self.tiles), default=TILE_COLUMNS)
        return max(1, TILE_COLUMNS // widest)

    @property
    def sets(self) -> tuple[str, ...]:
        """The values computed here."""
        return (*(p.name for t in self.tiles for p in t.products), *(x.name for x in self.lets))


@dataclass(frozen=True)
class Packed:
    """The weights by which a tile multiplies one of its operands."""

    name: str
    segment: Segment
    tile: Tile
    place: int  # of the operand

    @cached_property
    def operand(self) -> str:
        """What these weights multiply."""
        return self.tile.operands[self.place]

    @cached_property
    def transposed(self) -> bool:
        """Whether the matrices are read the other way round."""
        return self.tile.products[0].transposed

    @cached_property
    def matrices(self) -> tuple[str, ...]:
        """One matrix for each product of the tile."""
        return tuple(p.terms[self.place][0] for p in self.tile.products)


def padded(size: str) -> str:
    """How much room a size takes, as C text: whole vectors, one for a single number."""
    return "LANES" if size.islower() else f"{size}p"


@dataclass(frozen=True)
class Layout:
    """Values side by side in one array, (..., sum of sizes)."""

    names: tuple[str, ...]
    sizes: tuple[str, ...]

    def offset(self, name: str) -> str:
        """Where a value begins, as C text."""
        before = self.sizes[: self.names.index(name)]
        return " + ".join(map(padded, before)) or "0"

    @property
    def width(self) -> str:
        """The length of a row, as C text."""
        return " + ".join(map(padded, self.sizes)) or "0"


@dataclass(frozen=True)
class Kernel:
    """What a plan's C text needs to be called: the arrays of both functions, in order."""

    plan: Plan
    ready: Layout  # what the input brings to products, where that is worked out before, (T, B, ...)
    vectors: Layout  # (...)
    masks: dict[str, Layout]  # drawn each "step", (T, B, ...), and each "sequence", (B, ...)
    saved: Layout  # (T, B, ...)
    scratch: Layout  # (B, ...), values that cross from one stage to the next
    back_scratch: Layout  # (B, ...)
    gradients: Layout  # (T, B, ...), gradients by products and vectors
    factors: Layout  # (2, B, ...), what products multiply, in bfloat16 where they are in that
    back_factors: Layout  # (2, B, ...)
    forward: tuple[Segment, ...]
    backward: tuple[Segment, ...]
    forward_arrays: tuple[str, ...]
    backward_arrays: tuple[str, ...]

    @cached_property
    def forward_weights(self) -> tuple[Packed, ...]:
        """The arrays of weights of the forward function."""
        return _packed(self.forward)

    @cached_property
    def backward_weights(self) -> tuple[Packed, ...]:
        """The arrays of weights of the backward function."""
        return _packed(self.backward)

    @cached_property
    def forward_reads(self) -> frozenset[str]:
        """What the forward function reads elementwise, and all states."""
        return _read(self.plan.stages) | {s.name for s in self.plan.spec.states}

    @cached_property
    def backward_reads(self) -> frozenset[str]:
        """What the backward function reads elementwise."""
        again = Stage((), self.plan.recomputed)
        return _read((again, *self.plan.backward))

    @cached_property
    def sums(self) -> tuple[Sum, ...]:
        """The gradients by the parameters, as sums over all steps and rows."""
        spec, columns = self.plan.spec, self.gradients.names
        place = {
            p.name: (stem, index)
            for stem, members in spec.groups.items()
            for index, p in enumerate(members)
        }
        parts = [
            (operand, *place[m], columns.index(d)) for m, d, operand in self.plan.product_gradients
        ]
        parts += [
            ("", *place[v], columns.index(d))
            for v, d in self.plan.vector_gradients.items()
            if isinstance(d, str)
        ]
        found: list[Sum] = []
        for operand, stem, member, column in sorted(parts):
            last = found[-1] if found else None
            if last and last.goes_on(operand, stem, member, column):
                found[-1] = replace(last, count=last.count + 1)
            else:
                found.append(Sum(operand, stem, member, column))
        return tuple(found)

    @cached_property
    def whole_groups(self) -> frozenset[str]:
        """Parameter groups whose gradient is one sum over all their members."""
        groups = self.plan.spec.groups
        parts = [(one.stem, one.count) for one in self.sums]
        return frozenset(
            stem
            for stem, members in groups.items()
            if [count for s, count in parts if s == stem] == [len(members)]
        )


def _multiplied(stages: Iterable[Stage]) -> list[str]:
    return [o for stage in stages for p in stage.products for o in p.operands]


def _read(stages: Iterable[Stage]) -> frozenset[str]:
    lets = [let for stage in stages for let in stage.lets]
    return frozenset(a for let in lets for a in let.args if isinstance(a, str))


@dataclass(frozen=True)
class Sum:
    """Gradients by neighbours in a parameter group, which lie side by side in the gradients too.

    For matrices it is the outer product with an operand, for vectors the sum itself.
    """

    operand: str  # "" for vectors
    stem: str
    member: int  # the first one in the group
    column: int  # of it in the layout of the gradients
    count: int = 1

    def goes_on(self, operand: str, stem: str, member: int, column: int) -> bool:
        """Whether these are the next member and the next column."""
        after = (self.operand, self.stem, self.member + self.count, self.column + self.count)
        return after == (operand, stem, member, column)


def _packed(segments: tuple[Segment, ...]) -> tuple[Packed, ...]:
    tiles = [(segment, tile) for segment in segments for tile in segment.tiles]
    return tuple(
        Packed(f"w{number}_{place}", segment, tile, place)
        for number, (segment, tile) in enumerate(tiles)
        for place in range(len(tile.operands))
    )


def make_kernel(plan: Plan) -> Kernel:
    """Lay out the arrays of a plan and cut its stages into segments."""
    spec = plan.spec
    states = [s.name for s in spec.states]
    next_values = [plan.values[s + NEXT] for s in states]
    rows = [*states, spec.input]
    forward = _segments(plan, plan.stages, next_values, rows)
    left = [*plan.gradient_values, *plan.state_gradients.values(), plan.input_gradient]
    backward = _segments(plan, plan.backward, [v for v in left if isinstance(v, str)], [])
    leaves = leaf_sizes(spec)
    crossing = _crossing(forward, leaves, rows)
    at_hand = {*leaves, *plan.saved, *next_values, *(x.name for x in plan.recomputed)}
    at_hand |= {gradient_name(s + NEXT) for s in states}
    back_crossing = _crossing(backward, at_hand, [])

    def layout(names: Iterable[str]) -> Layout:
        unique = tuple(dict.fromkeys(names))
        return Layout(unique, tuple(plan.sizes[n] for n in unique))

    # In the order of the parameters, so that those of a group lie side by side.
    order = [p.name for p in spec.parameters]
    by_parameter = sorted(plan.product_gradients, key=lambda item: order.index(item[0]))
    of_vectors = [plan.vector_gradients[n] for n in order if n in plan.vector_gradients]
    names = [d for _, d, _ in by_parameter] + [d for d in of_vectors if isinstance(d, str)]
    saved, gradients = layout(plan.saved), layout(names)
    factors = layout(o for o in _multiplied(plan.stages) if o != spec.input)
    each = [f"{kind}_{s}" for s in states for kind in ("first", "seq")]
    by_steps = [f"by_seq_{s}" for s in states]  # gradients by the states at every step
    masks = [f"masks_{name}" for name in EACH]
    running = [f"{kind}_{s}" for s in states for kind in ("run", "spare")]
    shared = ("lengths", "x", "vectors", *masks, "saved", "scratch", "meeting", "factors")
    kernel = Kernel(
        plan,
        layout(p.name for p in plan.of_input),
        layout(p.name for p in spec.parameters if p.cols is None),
        {each: layout(m.name for m in spec.masks if m.each == each) for each in EACH},
        saved,
        layout(crossing),
        layout(back_crossing),
        gradients,
        factors,
        layout(_multiplied(plan.backward)),
        forward,
        backward,
        (*shared, "rows_x", "ready", *each),
        (*shared, "gradients", "by_x", *by_steps, *each, *running),
    )
    return replace(
        kernel,
        forward_arrays=(*kernel.forward_arrays, *(w.name for w in kernel.forward_weights)),
        backward_arrays=(*kernel.backward_arrays, *(w.name for w in kernel.backward_weights)),
    )


def _segments(
    plan: Plan, stages: tuple[Stage, ...], stored: Iterable[str], rows: Iterable[str]
) -> tuple[Segment, ...]:
    """Cut stages by size.

    ``stored`` are values that leave the step; ``rows`` are those whose rows lie in memory before
    it. The first stage has a segment for the size of whatever must be stored and is not computed.
    """
    operands = {o for stage in stages for p in stage.products for o in p.operands} - {*rows}
    found: list[Segment] = []
    for number, stage in enumerate(stages):
        found_sizes = [*(p.size for p in stage.products), *(x.size for x in stage.lets)]
        if number == 0:
            found_sizes += [plan.sizes[v] for v in (*stored, *sorted(operands))]
        sizes = dict.fromkeys(size.upper() for size in found_sizes)
        for size in sizes:
            shared: dict[tuple[str, ...], list[Product]] = {}
            for product in stage.products:
                if product.size == size:
                    shared.setdefault(product.operands, []).append(product)
            groups = [
                tuple(group[i : i + MOST_PRODUCTS])
                for group in shared.values()
                for i in range(0, len(group), MOST_PRODUCTS)
            ]
            lets = tuple(let for let in stage.lets if let.size.upper() == size)
            found.append(Segment(number, size, tuple(Tile(g) for g in groups), lets))
    return tuple(found)


def _crossing(
    segments: tuple[Segment, ...], at_hand: Iterable[str], rows: Iterable[str]
) -> list[str]:
    """Values that need a place in memory within a step: read in another segment, or multiplied."""
    home = {name: s for s in segments for name in s.sets}
    known, lying = set(at_hand), set(rows)
    found = []
    for segment in segments:
        operands = {o for t in segment.tiles for p in t.products for o in p.operands}
        read = {a for let in segment.lets for a in let.args if isinstance(a, str)}
        elsewhere = {n for n in read - known if n in home and home[n] is not segment}
        found += sorted((operands - lying) | elsewhere)
    return found
