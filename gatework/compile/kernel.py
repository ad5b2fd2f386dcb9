"""How a plan lies in memory and in what pieces a kernel computes it, for any language.

A stage is cut by size into segments; the products of a segment that share their operands form a
tile, summed side by side in registers. Values that leave the step, or cross from one segment to
another, have a place in an array.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gatework.compile.flatten import leaf_sizes
from gatework.compile.gradient import gradient_name
from gatework.compile.plan import Let, Plan, Product, Stage
from gatework.equations.spec import NEXT

TILE_COLUMNS = 4


MOST_PRODUCTS = 8


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
    def columns(self) -> int:
        """Columns of sums that are held in registers."""
        return self.repeat * sum(len(t.products) for t in self.tiles)

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

    @property
    def operand(self) -> str:
        """What these weights multiply."""
        return self.tile.operands[self.place]

    @property
    def matrices(self) -> tuple[str, ...]:
        """One matrix for each product of the tile."""
        return tuple(p.terms[self.place][0] for p in self.tile.products)


@dataclass(frozen=True)
class Layout:
    """Values side by side in one array, (..., sum of sizes)."""

    names: tuple[str, ...]
    sizes: tuple[str, ...]

    def offset(self, name: str) -> str:
        """Where a value begins, as C text."""
        before = self.sizes[: self.names.index(name)]
        return " + ".join(f"{s}p" for s in before) or "0"

    @property
    def width(self) -> str:
        """The length of a row, as C text."""
        return " + ".join(f"{s}p" for s in self.sizes) or "0"


@dataclass(frozen=True)
class Kernel:
    """What a plan's C text needs to be called: the arrays of both functions, in order."""

    plan: Plan
    ready: Layout  # what the input brings to products, where that is worked out before, (T, B, ...)
    vectors: Layout  # (...)
    saved: Layout  # (T, B, ...)
    scratch: Layout  # (B, ...), values that cross from one stage to the next
    back_scratch: Layout  # (B, ...)
    gradients: Layout  # (T, B, ...), gradients by products and vectors
    forward: tuple[Segment, ...]
    backward: tuple[Segment, ...]
    forward_arrays: tuple[str, ...]
    backward_arrays: tuple[str, ...]

    def packed(self, segments: Iterable[Segment]) -> list[Packed]:
        """The arrays of weights: one for each tile and each operand of it."""
        return [
            Packed(f"w{number}_{place}", segment, tile, place)
            for number, (segment, tile) in enumerate(
                (segment, tile) for segment in segments for tile in segment.tiles
            )
            for place in range(len(tile.operands))
        ]


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

    saved, gradients = layout(plan.saved), layout(plan.gradient_values)
    each = [f"{kind}_{s}" for s in states for kind in ("first", "seq")]
    running = [f"{kind}_{s}" for s in states for kind in ("run", "spare")]
    kernel = Kernel(
        plan,
        layout(p.name for p in plan.of_input),
        layout(p.name for p in plan.spec.parameters if p.cols is None),
        saved,
        layout(crossing),
        layout(back_crossing),
        gradients,
        forward,
        backward,
        ("lengths", "x", "rows_x", "ready", "vectors", "saved", "scratch", "meeting", *each),
        (
            *("lengths", "x", "vectors", "saved", "scratch", "meeting"),
            *("gradients", "by_x", "by_output", *each, *running),
        ),
    )
    return replace(
        kernel,
        forward_arrays=(*kernel.forward_arrays, *(w.name for w in kernel.packed(forward))),
        backward_arrays=(*kernel.backward_arrays, *(w.name for w in kernel.packed(backward))),
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
        sizes = dict.fromkeys([*(p.size for p in stage.products), *(x.size for x in stage.lets)])
        if number == 0:
            sizes |= dict.fromkeys(plan.sizes[v] for v in (*stored, *sorted(operands)))
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
            lets = tuple(let for let in stage.lets if let.size == size)
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
