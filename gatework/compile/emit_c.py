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

The interface is plain C, ``void forward(const long *sizes, void *const *arrays, const team *)``
for steps ``from .. to``, and ``backward`` likewise; ``SIZES`` and ``Kernel`` say which numbers and
which arrays, in which order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.resources import files

from gatework.compile.gradient import gradient_name
from gatework.compile.kernel import Kernel, Layout, Segment, Tile, make_kernel
from gatework.compile.plan import Let, Operand, Plan
from gatework.equations.expr import SIZES
from gatework.equations.ops import PRIMITIVES
from gatework.equations.spec import NEXT

MOST_ROWS = 8  # of a register tile: every smaller number of rows is compiled too
# The numbers that a kernel is called with: steps, rows, plain and padded sizes, steps that the
# states (but for the first one) are kept for, whether values are saved and the input is multiplied
# in the step, the steps to do, the distances between steps and rows of the input and of the masks
# (0 where one row is for all), and the grid of threads.
NUMBERS = (
    "T", "B", *SIZES, *(f"{s}p" for s in SIZES), "ring", "keep", "fused", "from", "to",
    "x_step", "x_row", "mask_step", "mask_row", "mask_once", "R", "C",
)  # fmt: skip


def emit(plan: Plan, registers: int = 32, half: bool = False) -> tuple[Kernel, str]:
    """The kernel of a plan and its C text (``real`` and ``LANES`` are given to the compiler).

    Args:
        plan: the checked plan of a cell.
        registers: for vectors, of the processor.
        half: whether products take their factors in bfloat16; all sums are float.
    """
    kernel = make_kernel(plan)
    used = {let.op for stage in (*plan.stages, *plan.backward) for let in stage.lets} | {
        let.op for let in plan.recomputed
    }
    helpers = [
        f"INLINE vec op_{row.name}(vec a) {{ return {row.c}; }}"
        for row in PRIMITIVES.values()
        if row.name in used and row.c
    ]
    headers = [
        (files("gatework.compile") / name).read_text(encoding="utf-8")
        for name in ("vectors.h", "runtime.h", *(["halves.h"] if half else []))
    ]
    parts = [
        f"/* {plan.spec.name}: made from its equations, see gatework/compile. */",
        *headers,
        "\n".join(helpers),
        _Writer(kernel, registers, half, backward=False).text(),
        _Writer(kernel, registers, half, backward=True).text(),
    ]
    return kernel, "\n\n".join(part for part in parts if part) + "\n"


class _Scope:
    """A block of C: which values it has, and the lines that make them."""

    def __init__(self, writer: _Writer, known: Iterable[str] = ()) -> None:
        self.writer = writer
        self.known = set(known)
        self.lines: list[str] = []

    def set(self, name: str, text: str) -> None:
        """A value of this name."""
        self.lines.append(f"const vec v_{name} = {text};")
        self.known.add(name)

    def use(self, value: Operand) -> str:
        """A value as C text, loaded or worked out again where the block has it not yet."""
        if not isinstance(value, str):
            return f"(real){value!r}"
        if value not in self.known:
            again = self.writer.recomputed.get(value) if self.writer.is_backward else None
            if again is None:
                self.set(value, self.writer.load(value))
            else:
                self.let(again)
        return f"v_{value}"

    def let(self, let: Let) -> None:
        """The line of one operation."""
        row = PRIMITIVES[let.op]
        args = [self.use(a) for a in let.args]
        if not row.infix:
            text = f"op_{row.name}({args[0]})"
        else:
            text = f"-{args[0]}" if row.arity == 1 else f"{args[0]} {row.infix} {args[1]}"
        self.set(let.name, text)


class _Writer:
    """Writes one of the two functions of a kernel."""

    def __init__(self, kernel: Kernel, registers: int, half: bool, backward: bool) -> None:
        self.kernel, self.registers, self.half = kernel, registers, half
        self.plan = kernel.plan
        self.is_backward = backward
        self.name = "backward" if backward else "forward"
        self.arrays = kernel.backward_arrays if backward else kernel.forward_arrays
        self.segments = kernel.backward if backward else kernel.forward
        self.scratch = kernel.back_scratch if backward else kernel.scratch
        self.factors = kernel.back_factors if backward else kernel.factors
        self.states = [s.name for s in self.plan.spec.states]
        self.recomputed = {x.name: x for x in self.plan.recomputed}
        self.next_values: dict[str, str] = {}
        for state in self.states:
            self.next_values.setdefault(self.plan.values[state + NEXT], state)
        self.stored_in = self.homes()

    def text(self) -> str:
        kinds = {"lengths": "const int64_t", "meeting": "int", "factors": "uint16_t"}
        if self.half:
            kinds["rows_x"] = "uint16_t"
        fields = [f"    {kinds.get(a, 'real')} *{a};" for a in self.arrays]
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

    def driver(self) -> list[str]:
        """The exported function, and what each of its threads does."""
        name = self.name
        order = (
            "long t = e->to - 1; t >= e->from; t--"
            if self.is_backward
            else "long t = e->from; t < e->to; t++"
        )
        lines = [
            f"static void {name}_part({name}_env *e, long part)",
            "{",
            "    const long r = part / e->C, c = part % e->C;",
            "    const long begin = e->B * r / e->R, end = e->B * (r + 1) / e->R;",
            "    int *place = e->meeting + 2 * r * (CACHE_LINE / sizeof(int));",
            f"    for ({order}) {{",
        ]
        for number, segment in enumerate(self.segments):
            width, most = segment.repeat, self.most_rows(segment)
            lines += [
                "        {",
                f"            const long n = blocks(e->{segment.size}p, {width} * LANES);",
                "            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)",
                "                for (long b = begin, rows; b < end; b += rows) {",
                f"                    rows = next_rows(end - b, {most});",
                "                    switch (rows) {",
            ]
            lines += [
                f"                    case {rows}: "
                f"{name}_{number}(e, t, b, i * {width} * LANES, {rows}); break;"
                for rows in range(1, most + 1)
            ]
            lines += [
                "                    }",
                "                }",
                "            if (e->C > 1) meet(place, e->C);",
                "        }",
            ]
        lines += ["    }", "}", ""]
        lines += [
            f"typedef struct {{ {name}_env *e; const team *with; }} {name}_job;",
            f"static void {name}_thread(void *argument)",
            "{",
            f"    {name}_job *job = argument;",
            "    /* if there are fewer threads than were asked for, they share the rows */",
            f"    {name}_env own = *job->e;",
            "    const long threads = job->with->threads();",
            "    if (threads < own.R * own.C) own.R = threads, own.C = 1;",
            f"    {name}_part(&own, job->with->thread());",
            "}",
            "",
            f"void {name}(const long *sizes, void *const *arrays, const team *with)",
            "{",
            f"    {name}_env env, *e = &env;",
        ]
        return [
            *lines,
            "    /* numbers and pointers lie in the order of the fields */",
            f"    const size_t numbers = offsetof({name}_env, {self.arrays[0]});",
            "    memcpy(e, sizes, numbers);",
            "    memcpy((char *)e + numbers, arrays, sizeof env - numbers);",
            "    if (e->R * e->C == 1) {",
            f"        {name}_part(e, 0);",
            "        return;",
            "    }",
            f"    {name}_job job = {{e, with}};",
            f"    with->parallel({name}_thread, &job, e->R * e->C, 0);",
            "}",
        ]

    def segment(self, number: int, segment: Segment, first_tile: int) -> list[str]:
        """One segment over some rows and columns: sums in registers, then the equations."""
        size = segment.size
        most = self.most_rows(segment)
        lines = [
            f"/* {self.name}, stage {segment.stage}, values of size {size} */",
            f"INLINE void {self.name}_{number}"
            f"({self.name}_env *e, long t, long b, long j, const int rows)",
            "{",
        ]
        for index, tile in enumerate(segment.tiles):
            lines += self.tile(index, first_tile + index, segment, tile, most)
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

    def most_rows(self, segment: Segment) -> int:
        """The most rows of a segment's register tiles.

        While a tile is summed, its sums, one column of weights and one number of the operand are
        in registers.
        """
        if not segment.tiles:
            return 2
        columns = segment.repeat * max(len(tile.products) for tile in segment.tiles)
        return max(1, min(MOST_ROWS, (self.registers - columns - 1) // columns))

    def tile(self, index: int, number: int, segment: Segment, tile: Tile, most: int) -> list[str]:
        """The register tile of some products."""
        count, repeat = len(tile.products), segment.repeat
        lines = [f"    /* {'; '.join(map(str, tile.products))} */"]
        lines += [f"    vec s{index}[{most}][{count}][{repeat}];"]
        each_row = f'_Pragma("GCC unroll {most}") for (int r = 0; r < rows; r++)'
        each = (
            f'_Pragma("GCC unroll {count}") for (int p = 0; p < {count}; p++) '
            f'_Pragma("GCC unroll {repeat}") for (int q = 0; q < {repeat}; q++)'
        )
        zero = f"{each_row} {each} s{index}[r][p][q] = vec_all(0);"
        if self.reads_input(tile):
            lines += [
                "    if (e->fused) {",
                f"        {zero}",
                "    } else {",
                f"        {each_row} {{",
                "            const long row = (t - e->from) * e->B + b + r;",
            ]
            for p, product in enumerate(tile.products):
                begin = _address("ready", self.kernel.ready, product.name, "row", "j")
                lines.append(
                    f'            _Pragma("GCC unroll {repeat}") '
                    f"for (int q = 0; q < {repeat}; q++) "
                    f"s{index}[r][{p}][q] = vec_load({begin} + q * LANES);"
                )
            lines += ["        }", "    }"]
        else:
            lines += [f"    {zero}"]
        for place, operand in enumerate(tile.operands):
            pointer, stride = self.operand(operand)
            is_input = operand == self.plan.spec.input and not self.is_backward
            depth, kind, factor = f"e->{self.plan.sizes[operand]}", "real", "a[r * stride + k]"
            add = f"s{index}[r][p][q] += n * w[p][q];"
            if self.half:  # two neighbours of the operand at once
                depth, kind, factor = f"({depth} + 1) / 2", "uint32_t", "a[r * stride / 2 + k]"
                pointer = f"(const uint32_t *)({pointer} + b * stride)"
                add = f"s{index}[r][p][q] = half_product(s{index}[r][p][q], n, w[p][q]);"
            else:
                pointer = f"{pointer} + b * stride"
            lines += [
                "    if (e->fused) {" if is_input else "    {",
                f"        const long stride = {stride}, depth = {depth};",
                f"        const {kind} *a = {pointer};",
                f"        const real *w_{index} = e->w{number}_{place} + j * {count} * depth;",
                "        for (long k = 0; k < depth; k++) {",
                f"            vec w[{count}][{repeat}];",
                f"            {each} w[p][q] = vec_load(w_{index} + (p * {repeat} + q) * LANES);",
                f"            w_{index} += {count * repeat} * LANES;",
                f"            {each_row} {{",
                f"                const {kind} n = {factor};",
                f"                {each} {add}",
                "            }",
                "        }",
                "    }",
            ]
        return lines

    def reads_input(self, tile: Tile) -> bool:
        """Whether the sums of a tile may begin with what the input brings to them."""
        return not self.is_backward and self.plan.spec.input in tile.operands

    def operand(self, name: str) -> tuple[str, str]:
        """Where the rows of a product's operand lie, and how far apart."""
        if name == self.plan.spec.input and not self.is_backward:
            return "e->rows_x + t * e->x_step", "e->x_row"
        is_state = name in self.states and not self.is_backward
        if self.half:
            offset, width = _text(self.factors.offset(name)), _text(self.factors.width)
            step = "t + 1" if is_state else "t"  # a state is what the step before has left
            return f"(e->factors + ({step}) % 2 * e->B * {width} + {offset})", width
        if is_state:
            return self.before_step(name), f"e->{self.plan.sizes[name]}p"
        offset, width = _text(self.scratch.offset(name)), _text(self.scratch.width)
        return f"(e->scratch + {offset})", width

    def before_step(self, state: str) -> str:
        """The rows of a state before step t."""
        size = self.plan.sizes[state]
        before = f"e->seq_{state} + {self.slot(state, 't - 1')} * e->B * e->{size}p"
        return f"(t == 0 ? e->first_{state} : {before})"

    def slot(self, state: str, step: str) -> str:
        """Where a step of a state lies: the first state is the output and keeps them all."""
        return f"({step})" if state == self.states[0] else f"(({step}) % e->ring)"

    def body(self, segment: Segment) -> tuple[list[str], list[str]]:
        """The equations for one row: the means of it, and one column of units."""
        shared: list[str] = []
        means = _Scope(self)
        for let in segment.lets:
            if let.reduces:
                shared += self.mean(let, segment)
                means.known.add(let.name)
        scope = _Scope(self, means.known)
        for index, tile in enumerate(segment.tiles):
            for p, product in enumerate(tile.products):
                scope.set(product.name, f"s{index}[r][{p}][q]")
        for let in segment.lets:
            if not let.reduces:
                scope.let(let)
        stores = self.stores(segment, scope.use)
        return shared, [*scope.lines, *stores]

    def mean(self, let: Let, segment: Segment) -> list[str]:
        """A mean over the units of a row, whose argument lies in memory or is made of what does."""
        size, scope = segment.size, _Scope(self)
        value = scope.use(let.args[0])
        return [
            f"vec v_{let.name} = vec_all(0);",
            f"for (long u = 0; u < e->{size}p; u += LANES) {{",
            *(f"    {line}" for line in scope.lines),
            f"    v_{let.name} += vec_first({value}, e->{size} - u);",
            "}",
            f"v_{let.name} = vec_all(vec_sum(v_{let.name}) / e->{size});",
        ]

    def load(self, name: str) -> str:
        """Where a value that is not computed in this segment comes from."""
        kernel, plan = self.kernel, self.plan
        size = plan.sizes[name]
        place = f"row * e->{size}p + u"
        step = "(t * e->B + row)"
        if self.is_backward:
            for position, state in enumerate(self.states):
                if name == gradient_name(state + NEXT):
                    running = f"vec_load({self.running(state, 0)} + {place})"
                    output = f"vec_load(e->by_output + {step} * e->{size}p + u)"
                    return running if position else f"{running} + {output}"
        if name in self.states:
            return f"vec_load({self.before_step(name)} + {place})"
        if name == plan.spec.input:
            return f"vec_load(e->x + {step} * e->{size}p + u)"
        if name in kernel.vectors.names:
            return f"vec_load(e->vectors + {_text(kernel.vectors.offset(name))} + u)"
        for each, masks in kernel.masks.items():
            if name in masks.names:
                at = (
                    "t * e->mask_step + row * e->mask_row"
                    if each == "step"
                    else "row * e->mask_once"
                )
                return f"vec_load(e->masks_{each} + {at} + {_text(masks.offset(name))} + u)"
        if self.is_backward and name in self.next_values:
            state = self.next_values[name]
            return f"vec_load(e->seq_{state} + t * e->B * e->{size}p + {place})"
        if self.is_backward and name in kernel.saved.names:
            return f"vec_load({self.address('saved', kernel.saved, name, step)})"
        return f"vec_load({self.address('scratch', self.scratch, name, 'row')})"

    def address(self, array: str, layout: Layout, name: str, row: str) -> str:
        """Where a value lies in a layout."""
        unit = "0" if self.plan.sizes[name].islower() else "u"
        return _address(array, layout, name, row, unit)

    def running(self, state: str, after: int) -> str:
        """The running gradient of a state: two buffers that change places at every step."""
        return f"((e->T - t) % 2 == {1 - after} ? e->run_{state} : e->spare_{state})"

    def homes(self) -> dict[str, int]:
        """The segment in which each value that leaves the step is stored."""
        found: dict[str, int] = {}
        for number, segment in enumerate(self.segments):
            for name in segment.sets:
                found[name] = number
        return found

    def home(self, name: Operand, size: str) -> int:
        """Where to store a value: where it is set, else in the first segment of its size."""
        if isinstance(name, str) and name in self.stored_in:
            return self.stored_in[name]
        return next(i for i, s in enumerate(self.segments) if s.size == size.upper())

    def stores(self, segment: Segment, use: Callable[[Operand], str]) -> list[str]:
        number = self.segments.index(segment)
        kernel, plan, size = self.kernel, self.plan, segment.size
        place, step = f"row * e->{size}p + u", "(t * e->B + row)"
        lines: list[str] = []

        def store_factor(name: str, text: str) -> None:
            if self.half and name in self.factors.names:
                width, offset = _text(self.factors.width), _text(self.factors.offset(name))
                where = f"e->factors + (t % 2 * e->B + row) * {width} + {offset} + u"
                # Of an odd size the last pair reaches into the padding, which may hold no number.
                lines.append(f"half_store({where}, vec_first({text}, e->{size} - u));")

        def store(where: str, text: str, name: str = "") -> None:
            # One number of a row is the same in every column; the first one writes it.
            first = "if (u == 0) " if plan.sizes.get(name, size).islower() else ""
            lines.append(f"{first}vec_store({where}, {text});")

        for name in self.scratch.names:
            if plan.sizes[name].upper() == size and self.home(name, size) == number:
                store(self.address("scratch", self.scratch, name, "row"), use(name), name)
                store_factor(name, use(name))
        states = {s.name: s.size for s in plan.spec.states}
        if not self.is_backward:
            for state, of in states.items():
                value = plan.values[state + NEXT]
                if of == size and self.home(value, of) == number:
                    slot = self.slot(state, "t")
                    where = f"e->seq_{state} + {slot} * e->B * e->{size}p + {place}"
                    store(where, f"live ? {use(value)} : {use(state)}")
                    store_factor(state, f"live ? {use(value)} : {use(state)}")
            kept = [
                n
                for n in kernel.saved.names
                if plan.sizes[n].upper() == size and self.home(n, size) == number
            ]
            texts = [(self.address("saved", kernel.saved, n, step), use(n), n) for n in kept]
            if texts:
                lines.append("if (e->keep) {")
                for place_and_value in texts:
                    store(*place_and_value)
                lines.append("}")
            return lines
        for state, of in states.items():
            after = plan.state_gradients[state]
            if of == size and self.home(after, of) == number:
                text = use(after) if isinstance(after, str) else "vec_all(0)"
                same = use(gradient_name(state + NEXT))
                store(f"{self.running(state, 1)} + {place}", f"live ? {text} : {same}")
        for name in kernel.gradients.names:
            if plan.sizes[name] == size and self.home(name, size) == number:
                here = "((t - e->from) * e->B + row)"
                store(
                    self.address("gradients", kernel.gradients, name, here),
                    f"live ? {use(name)} : vec_all(0)",
                )
        by_x = plan.input_gradient
        if isinstance(by_x, str) and size == "F" and self.home(by_x, "F") == number:
            store(f"e->by_x + {step} * e->Fp + u", f"live ? {use(by_x)} : vec_all(0)")
        return lines


def _text(offsets: str) -> str:
    """Padded sizes as fields of the environment."""
    parts = [p if p in ("0", "LANES") else f"e->{p}" for p in offsets.split(" + ")]
    return f"({' + '.join(parts)})"


def _address(array: str, layout: Layout, name: str, row: str, unit: str) -> str:
    return f"e->{array} + {row} * {_text(layout.width)} + {_text(layout.offset(name))} + {unit}"
