"""Where the values of a step lie, as C text: what loads them, and what stores them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from gatework.compile.gradient import gradient_name
from gatework.compile.kernel import Kernel, Layout, Segment
from gatework.compile.plan import Operand
from gatework.equations.spec import NEXT


class Places:
    """The arrays of one of the two functions of a kernel.

    Attributes:
        name: of the function.
        arrays: in the order in which they are given to it.
        segments: what one step consists of.
        parts: numbers in bfloat16 that make a factor of a product; 0 if it is a real.
    """

    def __init__(self, kernel: Kernel, parts: int, backward: bool) -> None:
        self.kernel, self.plan, self.parts = kernel, kernel.plan, parts
        self.is_backward = backward
        self.name = "backward" if backward else "forward"
        self.arrays = kernel.backward_arrays if backward else kernel.forward_arrays
        self.segments = kernel.backward if backward else kernel.forward
        self.scratch = kernel.back_scratch if backward else kernel.scratch
        self.factors = kernel.back_factors if backward else kernel.factors
        self.states = [s.name for s in self.plan.spec.states]
        self.recomputed = {x.name: x for x in self.plan.recomputed} if backward else {}
        self.next_values: dict[str, str] = {}
        for state in self.states:
            self.next_values.setdefault(self.plan.values[state + NEXT], state)
        self.stored_in = {
            name: number for number, segment in enumerate(self.segments) for name in segment.sets
        }

    def operand(self, name: str, part: int = 0) -> tuple[str, str]:
        """Where the rows of a product's operand lie, and how far apart."""
        if name == self.plan.spec.input and not self.is_backward:
            before = f"{part} * e->T * e->x_step + " if part else ""
            return f"e->rows_x + {before}t * e->x_step", "e->x_row"
        is_state = name in self.states and not self.is_backward
        if self.parts:
            step = "t + 1" if is_state else "t"  # a state is what the step before has left
            return f"(e->{self.factor(name, step, part)})", text_of(self.factors.width)
        if is_state:
            return self.before_step(name), f"e->{self.plan.sizes[name]}p"
        begin = total("e->scratch", text_of(self.scratch.offset(name)))
        return f"({begin})", text_of(self.scratch.width)

    def factor(self, name: str, step: str, part: int) -> str:
        """Where one part of a factor of a step lies, for the first row."""
        which = f"({step}) % 2"
        if self.parts > 1:
            which = f"({which} * {self.parts} + {part})"
        width, offset = text_of(self.factors.width), text_of(self.factors.offset(name))
        return total("factors", f"{which} * e->B * {width}", offset)

    def before_step(self, state: str) -> str:
        """The rows of a state before step t."""
        size = self.plan.sizes[state]
        before = f"e->seq_{state} + {self.slot(state, 't - 1')} * e->B * e->{size}p"
        return f"(t == 0 ? e->first_{state} : {before})"

    def slot(self, state: str, step: str) -> str:
        """Where a step of a state lies: the first state is the output and keeps them all."""
        return f"({step})" if state == self.states[0] else f"(({step}) % e->ring)"

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
                    here = f"vec_load(e->by_seq_{state} + {step} * e->{size}p + u)"
                    if position:  # the first one is the output; others are seldom asked for
                        here = f"(e->by_seq_{state} ? {here} : vec_all(0))"
                    return f"{running} + {here}"
        if name in self.states:
            return f"vec_load({self.before_step(name)} + {place})"
        if name == plan.spec.input:
            return f"vec_load(e->x + {step} * e->{size}p + u)"
        if name in kernel.vectors.names:
            return f"vec_load({total('e->vectors', text_of(kernel.vectors.offset(name)), 'u')})"
        for each, masks in kernel.masks.items():
            if name in masks.names:
                at = (
                    "t * e->mask_step + row * e->mask_row"
                    if each == "step"
                    else "row * e->mask_once"
                )
                unit = "0" if size.islower() else "u"
                where = total(f"e->masks_{each}", at, text_of(masks.offset(name)), unit)
                return f"vec_load({where})"
        if self.is_backward and name in self.next_values:
            state = self.next_values[name]
            return f"vec_load(e->seq_{state} + t * e->B * e->{size}p + {place})"
        if self.is_backward and name in kernel.saved.names:
            return f"vec_load({self.address('saved', kernel.saved, name, step)})"
        return f"vec_load({self.address('scratch', self.scratch, name, 'row')})"

    def address(self, array: str, layout: Layout, name: str, row: str) -> str:
        """Where a value lies in a layout."""
        unit = "0" if self.plan.sizes[name].islower() else "u"
        return address(array, layout, name, row, unit)

    def running(self, state: str, after: int) -> str:
        """The running gradient of a state: two buffers that change places at every step."""
        return f"((e->T - t) % 2 == {1 - after} ? e->run_{state} : e->spare_{state})"

    def is_home(self, name: Operand, segment: Segment) -> bool:
        """Whether to store a value here: where it is set, else in the first of its size."""
        size = segment.size
        number = self.segments.index(segment)
        if isinstance(name, str):
            if self.plan.sizes[name].upper() != size:
                return False
            if name in self.stored_in:
                return self.stored_in[name] == number
        return next(i for i, s in enumerate(self.segments) if s.size == size) == number

    def stores(self, segment: Segment, use: Callable[[Operand], str]) -> list[str]:
        """The lines that leave the values of a segment where others read them.

        Args:
            segment: one of ``segments``.
            use: a value as C text.
        """
        lines: list[str] = []
        for name in self.scratch.names:
            if self.is_home(name, segment):
                where = self.address("scratch", self.scratch, name, "row")
                lines += [self.store(where, use(name), name), *self.store_factor(name, use(name))]
        further = self.stores_backward if self.is_backward else self.stores_forward
        return lines + further(segment, use)

    def stores_forward(self, segment: Segment, use: Callable[[Operand], str]) -> list[str]:
        """The states after the step, and what the backward function reads."""
        kernel, plan, size = self.kernel, self.plan, segment.size
        lines = []
        for state in plan.spec.states:
            value = plan.values[state.name + NEXT]
            if state.size == size and self.is_home(value, segment):
                slot = self.slot(state.name, "t")
                where = f"e->seq_{state.name} + {slot} * e->B * e->{size}p + row * e->{size}p + u"
                text = f"live ? {use(value)} : {use(state.name)}"
                lines += [self.store(where, text), *self.store_factor(state.name, text)]
        row = "(t * e->B + row)"
        kept = [
            self.store(self.address("saved", kernel.saved, name, row), use(name), name)
            for name in kernel.saved.names
            if self.is_home(name, segment)
        ]
        kept = ["if (e->keep) {", *(f"    {line}" for line in kept), "}"] if kept else []
        return [*lines, *kept]

    def stores_backward(self, segment: Segment, use: Callable[[Operand], str]) -> list[str]:
        """The gradients by the states before the step, by products, vectors and the input."""
        kernel, plan, size = self.kernel, self.plan, segment.size
        lines = []
        for state in plan.spec.states:
            before = plan.state_gradients[state.name]
            if state.size == size and self.is_home(before, segment):
                text = use(before) if isinstance(before, str) else "vec_all(0)"
                same = use(gradient_name(state.name + NEXT))
                where = f"{self.running(state.name, 1)} + row * e->{size}p + u"
                lines.append(self.store(where, f"live ? {text} : {same}"))
        for name in kernel.gradients.names:
            if plan.sizes[name] == size and self.is_home(name, segment):
                here = "((t - e->from) * e->B + row)"
                where = self.address("gradients", kernel.gradients, name, here)
                lines.append(self.store(where, f"live ? {use(name)} : vec_all(0)", name))
        by_x = plan.input_gradient
        if isinstance(by_x, str) and size == "F" and self.is_home(by_x, segment):
            where = "e->by_x + (t * e->B + row) * e->Fp + u"
            lines.append(self.store(where, f"live ? {use(by_x)} : vec_all(0)"))
        return lines

    def store(self, where: str, text: str, name: str = "") -> str:
        """One number of a row is the same in every column; the first one writes it."""
        first = "if (u == 0) " if self.plan.sizes.get(name, "").islower() else ""
        return f"{first}vec_store({where}, {text});"

    def store_factor(self, name: str, text: str) -> list[str]:
        """The same value as a factor of products, in bfloat16."""
        if not self.parts or name not in self.factors.names:
            return []
        # Of an odd size the last pair reaches into the padding, which may hold no number.
        inside = f"vec_first({text}, e->{self.plan.sizes[name]} - u, 0)"
        width = text_of(self.factors.width)
        lines = []
        for part in range(self.parts):
            where = f"e->{self.factor(name, 't', part)} + row * {width} + u"
            lines.append(f"half_store({where}, half_part({inside}, {part}));")
        return lines


def text_of(offsets: str) -> str:
    """Padded sizes as fields of the environment, equal ones counted: ``(4 * e->Hp + LANES)``."""
    counts = Counter(p if p == "LANES" else f"e->{p}" for p in offsets.split(" + ") if p != "0")
    terms = [size if n == 1 else f"{n} * {size}" for size, n in counts.items()]
    return f"({' + '.join(terms)})" if len(terms) > 1 else (terms or ["0"])[0]


def address(array: str, layout: Layout, name: str, row: str, unit: str) -> str:
    """Where a value of a row lies in an array of a layout."""
    begin = f"{row} * {text_of(layout.width)}"
    return total(f"e->{array}", begin, text_of(layout.offset(name)), unit)


def total(*terms: str) -> str:
    """The sum of some terms, without nought."""
    return " + ".join(term for term in terms if term != "0")
