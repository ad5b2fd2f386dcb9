"""The backward half of a plan: the chain rule over the forward operations, last one first.

What the backward pass needs of the forward one is either saved or worked out again: products and
costly primitives are saved, the cheap rest is recomputed from them.
"""

from __future__ import annotations

from dataclasses import replace

from gatework.compile.flatten import Sequence, is_zero, leaf_sizes, read_by, split
from gatework.compile.plan import Let, Operand, Plan, Product
from gatework.equations import expr as nodes
from gatework.equations.expr import Expr, Ref
from gatework.equations.ops import PRIMITIVES
from gatework.equations.spec import NEXT


def differentiate(plan: Plan) -> Plan:
    """The plan with its backward half."""
    return _Differentiator(plan).plan()


def gradient_name(value: str) -> str:
    """What the gradient by a value is called."""
    return f"d__{value}"


class _Differentiator:
    def __init__(self, forward: Plan) -> None:
        self.forward = forward
        self.spec = forward.spec
        self.lets = {let.name: let for stage in forward.stages for let in stage.lets}
        self.products = {p.name: p for stage in forward.stages for p in stage.products}
        sizes = leaf_sizes(self.spec)
        sizes |= {n: v.size for n, v in (self.lets | self.products).items()}
        sizes |= {gradient_name(s.name + NEXT): s.size for s in self.spec.states}
        # What the step has computed is not written out again: it is saved or worked out again.
        self.sequence = Sequence(sizes, taken="g", known=self.lets.values())
        self.masks = {m.name for m in self.spec.masks}
        self.parts: dict[str, list[Operand]] = {}
        self.product_gradients: list[tuple[str, str, str]] = []

    def plan(self) -> Plan:
        for state in self.spec.states:
            value = self.forward.values[state.name + NEXT]
            self.parts.setdefault(value, []).append(gradient_name(state.name + NEXT))
        waiting: list[Product] = []  # transposed products, computed before the next stage's lets
        stages = []
        for stage in reversed(self.forward.stages):
            begin = len(self.sequence.lets)
            for let in reversed(stage.lets):
                self.through(let)
            coming = self.back_through(stage.products)
            stages += split(tuple(waiting), self.sequence.lets[begin:])
            waiting = coming
        begin = len(self.sequence.lets)
        states = {s.name: self.total(s.name) for s in self.spec.states}
        vectors = {p.name: self.total(p.name) for p in self.spec.parameters if p.cols is None}
        inputs = self.total(self.spec.input)
        stages += split(tuple(waiting), self.sequence.lets[begin:])
        left = {*states.values(), *vectors.values(), inputs}
        left |= {gradient for _, gradient, _ in self.product_gradients}
        made = replace(
            self.forward,
            backward=read_by(stages, left),
            state_gradients=states,
            product_gradients=tuple(self.product_gradients),
            vector_gradients=vectors,
            input_gradient=inputs,
        )
        return self.with_saved(made)

    def total(self, value: str) -> Operand:
        """The whole gradient by a value: the sum of what came along each way."""
        parts = self.parts.get(value, [])
        total: Operand = 0.0
        sizes = self.sequence.sizes
        if parts and all(isinstance(p, str) and sizes[p] != sizes[value] for p in parts):
            parts = [self.sequence.let("spread", (p,)) for p in parts]
        for number, part in enumerate(parts):
            name = gradient_name(value) if number == len(parts) - 1 else None
            if name in self.sequence.sizes:
                name = None  # a next state whose gradient comes in under this name
            total = self.sequence.let("add", (total, part), name)
        return total

    def through(self, let: Let) -> None:
        """Pass the gradient by a result on to the arguments."""
        incoming = self.total(let.name)
        if is_zero(incoming):
            return
        row = PRIMITIVES[let.op]
        values = dict(zip("ab", let.args, strict=False)) | {"y": let.name}
        for arg, slope in zip(let.args, row.slopes, strict=True):
            if isinstance(arg, str) and arg not in self.masks:
                if row.transposed:
                    incoming = self.sequence.let(row.transposed, (incoming,))
                part = self.scaled(incoming, self.instance(slope, values))
                if isinstance(part, str) and self.sequence.sizes[part] < self.sequence.sizes[arg]:
                    part = self.sequence.let("mean", (part,))  # a vector's part of one number
                if not is_zero(part):
                    self.parts.setdefault(arg, []).append(part)

    def scaled(self, incoming: Operand, factor: Operand) -> Operand:
        if factor == -1.0:
            return self.sequence.let("neg", (incoming,))
        return self.sequence.let("mul", (incoming, factor))

    def instance(self, slope: Expr, values: dict[str, Operand]) -> Operand:
        """A slope with the real arguments in the place of a, b and y."""
        match slope:
            case nodes.Number(number):
                return number
            case Ref(name):
                return values[name]
            case nodes.Apply(op, args):
                return self.sequence.let(op, tuple(self.instance(a, values) for a in args))
        raise TypeError(f"a slope holds elementwise primitives only: {slope!r}")

    def back_through(self, products: tuple[Product, ...]) -> list[Product]:
        """Pass the gradients by products on to their operands, one sum for each operand."""
        terms: dict[str, list[tuple[str, str]]] = {}
        for product in products:
            incoming = self.total(product.name)
            if isinstance(incoming, str):
                for matrix, operand in product.terms:
                    self.product_gradients.append((matrix, incoming, operand))
                    if operand != self.spec.input:  # that one waits for no step: after them all
                        terms.setdefault(operand, []).append((matrix, incoming))
        back = []
        for operand, pairs in terms.items():
            size = self.sequence.sizes[operand]
            # Stages have operands of their own, but for states, which any stage may multiply.
            name = f"back__{operand}"
            while name in self.sequence.sizes:
                name += "_"
            self.sequence.sizes[name] = size
            self.parts.setdefault(operand, []).append(name)
            back.append(Product(name, tuple(pairs), size, transposed=True))
        return back

    def with_saved(self, plan: Plan) -> Plan:
        """Decide for each forward value that the backward pass reads: saved or recomputed."""
        states = {s.name for s in self.spec.states}
        next_values = {plan.values[s.name + NEXT] for s in self.spec.states}
        at_hand = states | next_values | {self.spec.input}
        saved: list[str] = []
        recomputed: list[Let] = []

        def need(name: Operand, keep: bool = False) -> None:
            if not isinstance(name, str) or name in at_hand:
                return
            let = self.lets.get(name)
            if let is None and name not in self.products:
                return  # a parameter, or a gradient
            at_hand.add(name)
            if let is None or keep or PRIMITIVES[let.op].costly:
                saved.append(name)
                return
            for arg in let.args:
                need(arg)
            recomputed.append(let)

        for _, _, operand in plan.product_gradients:
            need(operand, keep=True)  # read after the last step, by the products of all steps
        for stage in plan.backward:
            for let in stage.lets:
                for arg in let.args:
                    need(arg)
        return replace(plan, saved=tuple(saved), recomputed=tuple(recomputed))
