"""From a plan to C: one function that runs all steps forward, one that runs them backward.

How the kernel works, for one layer in one direction:

- Units stand in columns of LANES (a vector); arrays are padded to whole columns.
- Threads form a grid: R parts of the rows of the batch, which do not need each other, by C parts
  of the columns, which meet after every segment.
- What the input brings to a product is summed in the step (``fused``), or comes ready from one
  large product before.
- A stage's products are summed in a register tile of some rows by some columns. The weights lie
  packed in the order in which the tile reads them.
- When a tile's sums are complete, the elementwise part follows at once on the registers.

The interface is plain C, ``void forward(long count, long *const *sizes, void *const *const *arrays,
const team *)`` for steps ``from .. to`` of some calls at once, and ``backward`` likewise;
``NUMBERS`` and ``Kernel`` say which numbers and which arrays, in which order.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

from gatework.compile.emit_places import Places
from gatework.compile.emit_products import Products, adding
from gatework.compile.kernel import Kernel, Segment, make_kernel
from gatework.compile.plan import Let, Operand, Plan
from gatework.equations.ops import PRIMITIVES, Across, Primitive
from gatework.equations.sizes import VECTORS
from gatework.read.table import equations

# The numbers that a kernel is called with: steps, rows, plain and padded sizes, steps that the
# states (but for the first one) are kept for, whether values are saved and the input is multiplied
# in the step, the steps to do, the distances between steps and rows of the input and of the masks
# (0 where one row is for all), and the grid of threads.
NUMBERS = (
    "T", "B", *VECTORS, *(f"{s}p" for s in VECTORS), "ring", "keep", "fused", "from", "to",
    "x_step", "x_row", "mask_step", "mask_row", "mask_once", "R", "C",
)  # fmt: skip


def emit(
    plan: Plan, registers: int = 32, parts: int = 0, tiles: bool = False
) -> tuple[Kernel, str]:
    """The kernel of a plan and its C text (``real`` and ``LANES`` are given to the compiler).

    Args:
        plan: the checked plan of a cell.
        registers: for vectors, of the processor.
        parts: how many numbers in bfloat16 make a factor of a product; 0 where it is a real.
            All sums are reals.
        tiles: whether the processor multiplies whole tiles of such numbers.
    """
    kernel = make_kernel(plan)
    used = {let.op for stage in (*plan.stages, *plan.backward) for let in stage.lets} | {
        let.op for let in plan.recomputed
    }
    helpers = [line for row in PRIMITIVES.values() if row.name in used for line in _functions(row)]
    names = ["vectors.h", "runtime.h", "halves.h" if parts else "reals.h", "products.h"]
    names += ["tiles.h"] if tiles else []
    writers = [_Writer(Places(kernel, parts, back), registers, tiles) for back in (False, True)]
    cases = [writer.products.columns() for writer in writers]
    columns = {n: max(c.get(n, []) for c in cases) for n in sorted(cases[0] | cases[1])}
    sections = [
        *map(_header, names),
        "\n   ".join([f"/* {plan.spec.name}, made from its equations:", *_texts(plan).values()])
        + " */",
        "\n".join(helpers),
        *("\n".join(adding(n, rows, tiles)) for n, rows in columns.items()),
        *(writer.text() for writer in writers),
    ]
    return kernel, "\n\n".join(section for section in sections if section) + "\n"


def emit_probe() -> str:
    """C text whose ``int tiles_work()`` says whether whole tiles give what sums of pairs give."""
    names = ("vectors.h", "runtime.h", "halves.h", "products.h", "tiles.h", "tiles_work.h")
    return "\n\n".join(map(_header, names))


def emit_scan() -> str:
    """C text of ``scan`` and ``scan_back``, which run the recurrence of any linear cell."""
    return "\n\n".join(map(_header, ("vectors.h", "runtime.h", "scan.h")))


def _texts(plan: Plan) -> dict[str, str]:
    """The equations as they stand in the class body, by name."""
    pairs = zip(plan.spec.equations, equations(plan.spec), strict=True)
    return {equation.name: text for equation, text in pairs}


def _functions(row: Primitive) -> list[str]:
    """What a row of the table is in C."""
    if isinstance(row.c, Across):
        column = "(vec y, vec a, long left"
        return [
            f"INLINE vec op_{row.name}_join{column}) {{ return {row.c.join}; }}",
            f"INLINE vec op_{row.name}_end{column}, real n) {{ return {row.c.end}; }}",
        ]
    arguments = f"vec {row.arguments.replace(' ', ' vec ')}"
    return [f"INLINE vec op_{row.name}({arguments}) {{ return {row.c}; }}"] if row.c else []


def _header(name: str) -> str:
    return (files("gatework.compile") / name).read_text(encoding="utf-8")


class _Scope:
    """A block of C: which values it has, and the lines that make them."""

    def __init__(self, places: Places, known: Iterable[str] = ()) -> None:
        self.places = places
        self.known = set(known)
        self.lines: list[str] = []
        self.texts = _texts(places.plan)

    def set(self, name: str, text: str) -> None:
        """A value of this name."""
        self.lines.append(f"const vec v_{name} = {text};")
        self.known.add(name)

    def make(self, name: str, text: str) -> None:
        """A value that is computed here, under its equation if it has one."""
        if name in self.texts:
            self.lines.append(f"/* {' '.join(self.texts[name].split())} */")
        self.set(name, text)

    def use(self, value: Operand) -> str:
        """A value as C text, loaded or worked out again where the block has it not yet."""
        if not isinstance(value, str):
            return f"(real){value!r}"
        if value not in self.known:
            again = self.places.recomputed.get(value)
            if again is None:
                self.set(value, self.places.load(value))
            else:
                self.let(again)
        return f"v_{value}"

    def let(self, let: Let) -> None:
        """The line of one operation."""
        row = PRIMITIVES[let.op]
        args = [self.use(a) for a in let.args]
        if not row.infix:  # a function takes vectors, an infix one goes with a number too
            pairs = zip(args, let.args, strict=True)
            args = [text if isinstance(value, str) else f"vec_all({text})" for text, value in pairs]
            text = f"op_{row.name}({', '.join(args)})"
        else:
            text = f"-{args[0]}" if row.arity == 1 else f"{args[0]} {row.infix} {args[1]}"
        self.make(let.name, text)


class _Writer:
    """Writes one of the two functions of a kernel."""

    def __init__(self, places: Places, registers: int, tiles: bool) -> None:
        self.places, self.name, self.segments = places, places.name, places.segments
        self.products = Products(places, registers, tiles)

    def text(self) -> str:
        kinds = {"lengths": "const int64_t", "meeting": "int", "factors": "uint16_t"}
        if self.places.parts:
            kinds["rows_x"] = "uint16_t"
        fields = [f"    {kinds.get(a, 'real')} *{a};" for a in self.places.arrays]
        lines = [
            "typedef struct {",
            f"    long {', '.join(NUMBERS)};",
            *fields,
            f"}} {self.name}_env;",
        ]
        first_tile = 0
        for number, segment in enumerate(self.segments):
            lines += ["", *self.segment(number, segment, first_tile)]
            first_tile += len(segment.tiles)
        return "\n".join([*lines, "", *self.driver()])

    @property
    def keeps_to_columns(self) -> bool:
        """Whether no column ever reads what another one computes: then threads need not meet."""
        operands = {o for s in self.segments for tile in s.tiles for o in tile.operands}
        is_across = any(let.over for s in self.segments for let in s.lets)
        return (
            len(self.segments) == 1 and not is_across and operands <= {self.places.plan.spec.input}
        )

    def driver(self) -> list[str]:
        """The exported function, and what each of its threads does."""
        name = self.name
        order = (
            "long t = e->to - 1; t >= e->from; t--"
            if self.places.is_backward
            else "long t = e->from; t < e->to; t++"
        )
        place = "    int *place = e->meeting + 2 * r * (CACHE_LINE / sizeof(int));"
        lines = [
            f"static void {name}_part({name}_env *e, long part)",
            "{",
            "    const long r = part / e->C, c = part % e->C;",
            "    const long begin = e->B * r / e->R, end = e->B * (r + 1) / e->R;",
            *([] if self.keeps_to_columns else [place]),
            f"    for ({order}) {{",
        ]
        meeting = "            if (e->C > 1) meet(place, e->C);"
        for number, segment in enumerate(self.segments):
            width, most = segment.repeat, self.products.most_rows(segment)
            part = f"rows = next_rows(end - b, {most})" if segment.tiles else "rows = end - b"
            lines += [
                "        {",
                f"            const long n = blocks(e->{segment.size}p, {width} * LANES);",
                "            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)",
                "                for (long b = begin, rows; b < end; b += rows) {",
                f"                    {part};",
                f"                    {name}_{number}(e, t, b, i * {width} * LANES, rows);",
                "                }",
                *([] if self.keeps_to_columns else [meeting]),
                "        }",
            ]
        lines += ["    }", *(["    tile_give_back();"] if self.products.tiles else []), "}", ""]
        lines += [
            f"typedef struct {{ {name}_env *e; long count; const team *with; }} {name}_job;",
            f"static void {name}_thread(void *argument)",
            "{",
            f"    {name}_job *job = argument;",
            "    const long each = job->e->R * job->e->C, threads = job->with->threads();",
            "    const long thread = job->with->thread();",
            "    if (threads >= each * job->count) {",
            f"        {name}_part(job->e + thread / each, thread % each);",
            "        return;",
            "    }",
            "    /* fewer than were asked for share the rows */",
            "    for (long i = 0; i < job->count; i++) {",
            f"        {name}_env own = job->e[i];",
            "        own.R = threads, own.C = 1;",
            f"        {name}_part(&own, thread);",
            "    }",
            "}",
            "",
        ]
        return [
            *lines,
            "/* So many calls at once, which do not need each other and have one shape. */",
            f"void {name}(long count, long *const *sizes, void *const *const *arrays, "
            "const team *with)",
            "{",
            f"    {name}_env e[count];",
            "    /* numbers and pointers lie in the order of the fields */",
            f"    const size_t numbers = offsetof({name}_env, {self.places.arrays[0]});",
            "    for (long i = 0; i < count; i++) {",
            "        memcpy(e + i, sizes[i], numbers);",
            "        memcpy((char *)(e + i) + numbers, arrays[i], sizeof *e - numbers);",
            "    }",
            "    if (count * e->R * e->C == 1) {",
            f"        {name}_part(e, 0);",
            "        return;",
            "    }",
            f"    {name}_job job = {{e, count, with}};",
            f"    with->parallel({name}_thread, &job, count * e->R * e->C, 0);",
            "}",
        ]

    def segment(self, number: int, segment: Segment, first_tile: int) -> list[str]:
        """One segment over some rows and columns: sums in registers, then the equations."""
        size = segment.size
        lines = [
            f"/* {self.name}, stage {segment.stage}, values of size {size} */",
            f"static void {self.name}_{number}"
            f"(const {self.name}_env *restrict e, long t, long b, long j, long rows)",
            "{",
        ]
        for index, tile in enumerate(segment.tiles):
            lines += self.products.tile(index, first_tile + index, segment, tile)
        shared, units = self.body(segment)
        lines += [
            "    for (int r = 0; r < rows; r++) {",
            "        const long row = b + r;",
            "        const int live = !e->lengths || t < e->lengths[row];",
            *(f"        {line}" for line in shared),
            f"        for (int q = 0; q < {segment.repeat}; q++) {{",
            "            const long u = j + q * LANES;",
            f"            if (u >= e->{size}p) break;",
            *(f"            {line}" for line in units),
        ]
        return [*lines, "            (void)live;", "        }", "    }", "}"]

    def body(self, segment: Segment) -> tuple[list[str], list[str]]:
        """The equations for one row: its numbers, such as a mean, and one column of units."""
        shared: list[str] = []
        numbers = [let for let in segment.lets if let.over == "all"]
        for let in numbers:
            shared += self.across(let, segment)
        scope = _Scope(self.places, [let.name for let in numbers])
        for index, tile in enumerate(segment.tiles):
            for p, product in enumerate(tile.products):
                scope.make(product.name, f"s{index}[r][{p}][q]")
        for let in segment.lets:
            if let.over in ("before", "behind"):
                own = scope.use(let.args[0])
                scope.lines += self.across(let, segment, own)
                scope.known.add(let.name)
            elif not let.over:
                scope.let(let)
        stores = self.places.stores(segment, scope.use)
        return shared, [*scope.lines, *stores]

    def across(self, let: Let, segment: Segment, own: str = "") -> list[str]:
        """What goes over the columns of a row, in which its argument lies in memory.

        Where it is no number of the row, ``own`` is the argument in the column u.
        """
        row, name, size = PRIMITIVES[let.op], f"v_{let.name}", segment.size
        assert isinstance(row.c, Across)
        columns = {
            "all": f"long u = 0; u < e->{size}p; u += LANES",
            "before": "long u = 0; u < here; u += LANES",
            "behind": f"long u = here + LANES; u < e->{size}p; u += LANES",
        }
        scope = _Scope(self.places)
        value = scope.use(let.args[0])
        loop = [
            f"for ({columns[let.over]}) {{",
            *(f"    {line}" for line in scope.lines),
            f"    {name} = op_{let.op}_join({name}, {value}, e->{size} - u);",
            "}",
        ]
        lines = [f"vec {name} = vec_all({row.c.begin});"]
        if let.over == "all":
            end = f"{name} = op_{let.op}_end({name}, {name}, 0, e->{size});"
            return [*lines, *loop, end]
        end = f"{name} = op_{let.op}_end({name}, {own}, e->{size} - u, e->{size});"
        return [*lines, "{", "    const long here = u;", *(f"    {x}" for x in loop), "}", end]
