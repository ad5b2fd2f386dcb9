"""The register tile: products of some rows by some columns, summed side by side, as C text.

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
TILE_SUMS = 6  # of the processor's eight tiles; one holds rows, one weights


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

    def tile(self, index: int, number: int, segment: Segment, tile: Tile) -> list[str]:
        """The sums ``s<index>`` of a tile, the ``number``-th one of the function."""
        count, repeat, most = len(tile.products), segment.repeat, self.most_rows(segment)
        each_row = _loop("r", "rows", 1 if self.tiles else most)
        each = f"{_loop('p', count, count)} {_loop('q', repeat, repeat)}"
        zero = f"{each_row} {each} s{index}[r][p][q] = vec_all(0);"
        lines = [
            f"    /* {'; '.join(map(str, tile.products))} */",
            f"    vec s{index}[{most}][{count}][{repeat}];",
        ]
        if self.reads_input(tile):
            lines += ["    if (e->fused) {", f"        {zero}", "    } else {"]
            lines += [f"        {each_row} {{", *self.ready(index, segment, tile), "        }"]
            lines += ["    }"]
        else:
            lines += [f"    {zero}"]
        for place, operand in enumerate(tile.operands):
            is_input = operand == self.places.plan.spec.input and not self.places.is_backward
            lines += ["    if (e->fused) {" if is_input else "    {"]
            weights = f"e->w{number}_{place}"
            write = self.halves if self.places.parts else self.reals
            lines += write(index, segment, tile, place, weights, (each_row, each))
            lines += ["    }"]
        return lines

    def reads_input(self, tile: Tile) -> bool:
        """Whether the sums of a tile may begin with what the input brings to them."""
        places = self.places
        return not places.is_backward and places.plan.spec.input in tile.operands

    def ready(self, index: int, segment: Segment, tile: Tile) -> list[str]:
        """The sums of one row begin with what one product before all steps has made."""
        lines = ["            const long row = (t - e->from) * e->B + b + r;"]
        for p, product in enumerate(tile.products):
            begin = address("ready", self.places.kernel.ready, product.name, "row", "j")
            lines.append(
                f"            {_loop('q', segment.repeat, segment.repeat)} "
                f"s{index}[r][{p}][q] = vec_load({begin} + q * LANES);"
            )
        return lines

    def blocks(self, tile: Tile, place: int) -> int:
        """In how many blocks all matrices by which a tile multiplies an operand lie."""
        counts = {p.name: p.blocks for p in self.places.plan.spec.parameters}
        found = {counts[product.terms[place][0]] for product in tile.products}
        return found.pop() if len(found) == 1 else 1

    def depth(
        self, segment: Segment, tile: Tile, place: int, stride: str
    ) -> tuple[list[str], str, str]:
        """How many numbers (or pairs) of an operand a column reads.

        Of block-diagonal matrices it reads its own block: before and behind it they are nought.

        Returns:
            The lines that set ``stride`` and ``depth``; the depth of the packed weights; and where
            a column begins, as a term of an address.
        """
        size, count = f"e->{self.places.plan.sizes[tile.operands[place]]}", self.blocks(tile, place)
        halved = (lambda n: f"({n} + 1) / 2") if self.places.parts else (lambda n: n)
        if count == 1:
            return [f"        const long stride = {stride}, depth = {halved(size)};"], "depth", ""
        block = f"e->{segment.size} / {count}, {size} / {count}, {count}"
        begin, end = (
            f"block_begin(j, {block})",
            f"block_end(j + {segment.repeat} * LANES - 1, {block})",
        )
        lines = [
            f"        const long stride = {stride}, all = {halved(size)};",
            f"        const long first = {begin}{' / 2' if self.places.parts else ''};",
            f"        const long depth = {halved(end)} - first;",
        ]
        return lines, "all", " + first"

    def reals(
        self,
        index: int,
        segment: Segment,
        tile: Tile,
        place: int,
        weights: str,
        loops: tuple[str, str],
    ) -> list[str]:
        """Add what one operand brings: number by number of its rows."""
        (each_row, each), count = loops, len(tile.products)
        pointer, stride = self.places.operand(tile.operands[place])
        lines, whole, first = self.depth(segment, tile, place, stride)
        ahead = first and f"{first} * {count * segment.repeat} * LANES"
        return [
            *lines,
            f"        const real *a = {pointer} + b * stride{first};",
            f"        const real *w_{index} = {weights} + j * {count} * {whole}{ahead};",
            "        for (long k = 0; k < depth; k++) {",
            *self.weights(index, segment, tile, each),
            f"            {each_row} {{",
            "                const real n = a[r * stride + k];",
            f"                {each} s{index}[r][p][q] += n * w[p][q];",
            "            }",
            "        }",
        ]

    def halves(
        self,
        index: int,
        segment: Segment,
        tile: Tile,
        place: int,
        weights: str,
        loops: tuple[str, str],
    ) -> list[str]:
        """The same, two neighbours of the operand at once, and part by part."""
        (each_row, each), count = loops, len(tile.products)
        places, block, operand = self.places, f"{segment.repeat} * LANES", tile.operands[place]
        stride = places.operand(operand)[1]
        lines, deep, first = self.depth(segment, tile, place, f"{stride} / 2")
        ahead = first and f"{first} * {count * segment.repeat} * LANES"
        if places.parts > 1:
            whole = f"blocks(e->{segment.size}, {block}) * {block}"
            lines.append(f"        const long part = {whole} * {count} * {deep};")
        for left, right in _parts(places.parts):
            pointer = places.operand(operand, left)[0]
            rest = f"{right} * part + " if right else ""
            lines += [
                "        {",
                f"        const uint32_t *a = (const uint32_t *)({pointer}) + b * stride{first};",
                f"        const real *w_{index} = {weights} + {rest}j * {count} * {deep}{ahead};",
                "        long k = 0;",
                *(self.whole_tiles(index, segment, tile) if self.tiles else ()),
                "        for (; k < depth; k++) {",
                *self.weights(index, segment, tile, each),
                f"            {each_row} {{",
                "                const uint32_t n = a[r * stride + k];",
                f"                {each} s{index}[r][p][q] = "
                f"half_product(s{index}[r][p][q], n, w[p][q]);",
                "            }",
                "        }",
                "        }",
            ]
        return lines

    def weights(self, index: int, segment: Segment, tile: Tile, each: str) -> list[str]:
        """The next weights of a loop over the depth."""
        count, repeat = len(tile.products), segment.repeat
        return [
            f"            vec w[{count}][{repeat}];",
            f"            {each} w[p][q] = vec_load(w_{index} + (p * {repeat} + q) * LANES);",
            f"            w_{index} += {count * repeat} * LANES;",
        ]

    def whole_tiles(self, index: int, segment: Segment, tile: Tile) -> list[str]:
        """The depth that whole tiles cover, for some columns of sums after the other."""
        columns = len(tile.products) * segment.repeat
        lines = [f"        if (rows > {FEW_ROWS} && depth >= TILE_DEPTH) {{", "tile_rows(rows);"]
        for begin in range(0, columns, TILE_SUMS):
            group = range(begin, min(begin + TILE_SUMS, columns))
            sums = f"(real *)s{index}"
            apart = f"{columns} * sizeof(vec)"
            lines += [f"TILE_LOAD({c - begin}, {sums} + {c} * LANES, {apart});" for c in group]
            lines += [
                "for (k = 0; k + TILE_DEPTH <= depth; k += TILE_DEPTH) {",
                f"    TILE_LOAD({TILE_SUMS}, a + k, stride * sizeof *a);",
            ]
            for c in group:
                lines += [
                    f"    TILE_LOAD({TILE_SUMS + 1}, "
                    f"w_{index} + (k * {columns} + {c}) * LANES, {apart});",
                    f"    TILE_ADD({c - begin});",
                ]
            lines += ["}"]
            lines += [f"TILE_STORE({c - begin}, {sums} + {c} * LANES, {apart});" for c in group]
        indented = [lines[0], *(f"            {line}" for line in lines[1:])]
        return [*indented, f"            w_{index} += k * {columns} * LANES;", "        }"]


def _loop(index: str, end: int | str, unrolled: int) -> str:
    """The head of a loop that the compiler writes out so many times."""
    head = f"for (int {index} = 0; {index} < {end}; {index}++)"
    return f'_Pragma("GCC unroll {unrolled}") {head}' if unrolled > 1 else head


def _parts(count: int) -> list[tuple[int, int]]:
    """Which parts of a factor and of a weight are multiplied: all but the smallest."""
    return [(a, w) for a in range(count) for w in range(count) if a + w < count]
