"""The register tile: products of some rows by some columns, summed side by side, as C text.

A segment lists the factors of its sums, one for each operand; ``products.h`` adds them up, in one
function for all tiles of as many columns, so that a register tile is compiled once.

Factors in bfloat16 come in pairs of neighbours. A factor may be two such numbers, the second one
what the first has rounded off; of their four products the smallest is left out. Where the
processor multiplies whole tiles (``tiles.h``), it does so as far as the depth goes in whole tiles,
and the loop over pairs goes on from there.
"""

from __future__ import annotations

from gatework.compile.emit_places import Places, address
from gatework.compile.kernel import Segment, Tile

MOST_ROWS = 8  # of a register tile: every smaller number of rows is compiled too
TILE_ROWS = 16  # of a whole tile
FEW_ROWS = 3  # too few for a whole tile


class Products:
    """Writes the sums of a function's products.

    Attributes:
        registers: for vectors, of the processor.
        tiles: whether it multiplies whole tiles.
    """

    def __init__(self, places: Places, registers: int, tiles: bool) -> None:
        self.places, self.registers, self.tiles = places, registers, tiles

    def most_rows(self, segment: Segment) -> int:
        """The most rows that are done together.

        While a register tile is summed, its sums, one column of weights and one number of the
        operand are in registers.
        """
        if not segment.tiles:
            return 2
        if self.tiles:
            return TILE_ROWS
        columns = segment.repeat * max(len(tile.products) for tile in segment.tiles)
        return max(1, min(MOST_ROWS, (self.registers - columns - 1) // columns))

    def cases(self, segment: Segment) -> list[int]:
        """The numbers of rows that are compiled each for itself; the others share a loop."""
        most = self.most_rows(segment)
        return list(range(1, (FEW_ROWS if most == TILE_ROWS else most) + 1))

    def columns(self) -> dict[int, list[int]]:
        """The numbers of columns that tiles have, and of rows that each is compiled for."""
        found: dict[int, list[int]] = {}
        for segment in self.places.segments:
            for tile in segment.tiles:
                columns = len(tile.products) * segment.repeat
                found[columns] = max(found.get(columns, []), self.cases(segment))
        return found

    def tile(self, index: int, number: int, segment: Segment, tile: Tile) -> list[str]:
        """The sums ``s<index>`` of a tile, the ``number``-th one of the function."""
        count, repeat, most = len(tile.products), segment.repeat, self.most_rows(segment)
        sums = f"s{index}"
        each = f"for (int p = 0; p < {count}; p++) for (int q = 0; q < {repeat}; q++)"
        begin = [f"{each} {sums}[r][p][q] = vec_all(0);"]
        if self.reads_input(tile):
            begin = ["if (e->fused) {", f"    {begin[0]}", "} else {"]
            begin += [*(f"    {line}" for line in self.ready(index, segment, tile)), "}"]
        before, factors = [], []
        for place in range(len(tile.operands)):
            lines, found = self.factors(segment, tile, place, f"{number}_{place}")
            before += lines
            factors += found
        return [
            f"    /* {'; '.join(map(str, tile.products))} */",
            f"    vec {sums}[{most}][{count}][{repeat}];",
            "    for (int r = 0; r < rows; r++) {",
            *(f"        {line}" for line in begin),
            "    }",
            *before,
            f"    const factor of_{sums}[] = {{",
            *(f"        {{{', '.join(one)}}}," for one in factors),
            "    };",
            f"    add_{count * repeat}({sums}[0][0], of_{sums}, {len(factors)}, rows);",
        ]

    def reads_input(self, tile: Tile) -> bool:
        """Whether the sums of a tile may begin with what the input brings to them."""
        places = self.places
        return not places.is_backward and places.plan.spec.input in tile.operands

    def ready(self, index: int, segment: Segment, tile: Tile) -> list[str]:
        """The sums of one row begin with what one product before all steps has made."""
        lines = ["const long row = (t - e->from) * e->B + b + r;"]
        for p, product in enumerate(tile.products):
            begin = address("ready", self.places.kernel.ready, product.name, "row", "j")
            lines.append(
                f"for (int q = 0; q < {segment.repeat}; q++) "
                f"s{index}[r][{p}][q] = vec_load({begin} + q * LANES);"
            )
        return lines

    def blocks(self, tile: Tile, place: int) -> int:
        """In how many blocks all matrices by which a tile multiplies an operand lie."""
        counts = {p.name: p.blocks for p in self.places.plan.spec.parameters}
        found = {counts[product.terms[place][0]] for product in tile.products}
        return found.pop() if len(found) == 1 else 1

    def factors(
        self, segment: Segment, tile: Tile, place: int, name: str
    ) -> tuple[list[str], list[tuple[str, ...]]]:
        """What one operand brings to the sums.

        Returns:
            The lines before, and the factors, one for each pair of parts: rows of the operand,
            packed weights, the distance between rows and the depth.
        """
        places, operand, parts = self.places, tile.operands[place], self.places.parts
        count, size = len(tile.products), f"e->{self.places.plan.sizes[tile.operands[place]]}"
        deep = depth = f"(({size} + 1) / 2)" if parts else size
        lines, begin, ahead = [], "", ""
        if (blocks := self.blocks(tile, place)) > 1:
            # Of block-diagonal matrices a column reads its own block; the rest is nought.
            block = f"e->{segment.size} / {blocks}, {size} / {blocks}, {blocks}"
            end = f"block_end(j + {segment.repeat} * LANES - 1, {block})"
            first, halved = f"first_{name}", " / 2" if parts else ""
            depth = f"({end} + 1) / 2 - {first}" if parts else f"{end} - {first}"
            lines = [f"    const long {first} = block_begin(j, {block}){halved};"]
            begin, ahead = f" + {first}", f" + {first} * {count * segment.repeat} * LANES"
        if operand == places.plan.spec.input and not places.is_backward:
            depth = f"e->fused ? {depth} : 0"
        wide = f"{segment.repeat} * LANES"
        part = f"blocks(e->{segment.size}, {wide}) * {wide} * {count} * {deep}"
        found: list[tuple[str, ...]] = []
        for left, right in _parts(max(1, parts)):
            pointer, stride = places.operand(operand, left)
            if parts:
                pointer, stride = f"(const number *)({pointer})", f"({stride} / 2)"
            rest = f" + {right} * {part}" if right else ""
            rows = f"{pointer} + b * {stride}{begin}"
            found.append((rows, f"e->w{name} + j * {count} * {deep}{ahead}{rest}", stride, depth))
        return lines, found


def _parts(count: int) -> list[tuple[int, int]]:
    """Which parts of a factor and of a weight are multiplied: all but the smallest."""
    return [(a, w) for a in range(count) for w in range(count) if a + w < count]


def adding(columns: int, cases: list[int], tiles: bool) -> list[str]:
    """The function that adds up the products of tiles of so many columns."""
    lines = [
        f"/* adds products to {columns} columns of sums */",
        f"static void add_{columns}(vec *sums, const factor *of, long count, int rows)",
        "{",
        "    switch (rows) {",
        *(
            f"    case {rows}: add_products(sums, of, count, {rows}, {columns}); break;"
            for rows in cases
        ),
    ]
    if tiles:
        lines += [f"    default: add_tiles(sums, of, count, rows, {columns}); break;"]
    return [*lines, "    }", "}"]
