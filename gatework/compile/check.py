"""The checker: refuses a plan that is not well formed, and names what is wrong.

Well formed is a plan in which

- every name is set once, before it is read, and is read;
- an operation is a primitive, and its size follows from those of its arguments;
- what goes over the units reads what was there before its stage;
- a product, forward as the matrix is and backward transposed, multiplies rows that lie in memory
  by then: the input, a state, what an earlier stage has set;
- every equation has its value, every state and every vector its gradient, of the right size;
- the backward half reads what is at hand: the input, states before and after the step, what is
  saved of the step, what is worked out again as the step has done it, gradients by the next states;
- what an outer product needs of all steps is kept: the input, a state, what is saved.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NoReturn

from gatework.compile.flatten import leaf_sizes, size_of
from gatework.compile.gradient import gradient_name
from gatework.compile.plan import Let, Operand, Plan, Product, Stage
from gatework.equations.ops import PRIMITIVES
from gatework.equations.spec import NEXT
from gatework.errors import PlanError


def check(plan: Plan) -> None:
    """Raise unless a plan is well formed; a backward half that is not there yet is not missed.

    Raises:
        PlanError: names the plan, the operation and what is wrong with it.
    """
    spec = plan.spec
    states = {s.name: s.size for s in spec.states}
    rows = {*states, spec.input}
    forward = _Scope(plan, leaf_sizes(spec), rows)
    forward.stages(plan.stages, transposed=False)
    for equation in spec.equations:
        if equation.name not in plan.values:
            forward.fail(f"equation {equation.name} has no value")
        forward.known(plan.values[equation.name], f"equation {equation.name}")
    for name, size in states.items():
        forward.fits(plan.values[name + NEXT], size, f"state {name}")
    forward.all_read(plan.values.values())
    if not plan.backward:
        return
    after = {plan.values[name + NEXT]: size for name, size in states.items()}
    incoming = {gradient_name(name + NEXT): size for name, size in states.items()}
    backward = _Scope(plan, leaf_sizes(spec) | after | incoming, set())
    for name in plan.saved:
        forward.known(name, "saved")
        if name not in {*forward.lets, *forward.products}:
            forward.fail(f"{name} is saved, which is no result of the step")
        backward.define(name, forward.sizes[name])
    kept = rows | {*after, *plan.saved}
    for let in plan.recomputed:
        if forward.lets.get(let.name) != let:
            forward.fail(f"{let} is worked out again, but the step has no such operation")
        backward.let(let)
    backward.stages(plan.backward, transposed=True)
    backward.gradients(plan.state_gradients, states, "state")
    vectors = {p.name: p.rows for p in spec.parameters if p.cols is None}
    backward.gradients(plan.vector_gradients, vectors, "vector")
    backward.gradients({spec.input: plan.input_gradient}, {spec.input: "F"}, "input")
    backward.outer_products(forward.products.values(), kept)
    left = [*plan.state_gradients.values(), *plan.vector_gradients.values(), plan.input_gradient]
    backward.all_read([*left, *(part for outer in plan.product_gradients for part in outer)])


class _Scope:
    """The names that are set so far, and their sizes.

    Attributes:
        memory: those whose rows products may read.
        lets: the operations so far, by name.
    """

    def __init__(self, plan: Plan, sizes: Mapping[str, str], memory: set[str]) -> None:
        self.plan, self.sizes, self.memory = plan, dict(sizes), set(memory)
        self.lets: dict[str, Let] = {}
        self.products: dict[str, Product] = {}
        self.matrices = {p.name: p.shape for p in plan.spec.parameters if p.cols is not None}
        self.unmultiplied = {p.name for p in plan.spec.parameters} | {
            m.name for m in plan.spec.masks
        }

    def fail(self, message: str) -> NoReturn:
        raise PlanError(f"The plan of {self.plan.spec.name} is ill-formed: {message}.")

    def known(self, name: Operand, where: str) -> None:
        if isinstance(name, str) and name not in self.sizes:
            self.fail(f"{where} reads {name}, which is not set at that point")

    def fits(self, name: str, size: str, where: str) -> None:
        self.known(name, where)
        if self.sizes[name] != size:
            self.fail(f"{where} has size {size}, {name} has {self.sizes[name]}")

    def shape(self, matrix: str, where: str) -> tuple[str, ...]:
        if matrix not in self.matrices:
            self.fail(f"{where} multiplies by {matrix}, which is no matrix")
        return self.matrices[matrix]

    def define(self, name: str, size: str) -> None:
        if name in self.sizes:
            self.fail(f"{name} is set twice")
        self.sizes[name] = size

    def stages(self, stages: Iterable[Stage], transposed: bool) -> None:
        for stage in stages:
            earlier = set(self.sizes)
            for product in stage.products:
                self.product(product, transposed)
            for let in stage.lets:
                self.let(let, earlier)
            self.memory = set(self.sizes) - self.unmultiplied

    def product(self, product: Product, transposed: bool) -> None:
        if product.transposed != transposed or not product.terms:
            self.fail(f"{product} is no product of this half")
        for matrix, operand in product.terms:
            rows, columns = self.shape(matrix, str(product))
            takes, gives = (rows, columns) if transposed else (columns, rows)
            if operand not in self.memory:
                self.fail(f"{product} multiplies {operand}, which is not in memory at that point")
            if self.sizes[operand] != takes or product.size != gives:
                self.fail(f"{product} has sizes that do not fit {matrix} ({rows} x {columns})")
        self.define(product.name, product.size)
        self.products[product.name] = product

    def let(self, let: Let, earlier: Collection[str] = ()) -> None:
        if let.op not in PRIMITIVES or PRIMITIVES[let.op].arity != len(let.args):
            self.fail(f"{let} is no primitive with {len(let.args)} arguments")
        if not PRIMITIVES[let.op].has_kernel:
            self.fail(f"{let} is a primitive that no kernel knows")
        for arg in let.args:
            self.known(arg, str(let))
        if let.over and let.args[0] not in earlier:
            self.fail(f"{let} needs all units of what is computed in its own stage")
        sizes = [self.sizes[a] for a in let.args if isinstance(a, str)]
        if len({s.upper() for s in sizes}) != 1:
            self.fail(f"{let} has arguments of the sizes {', '.join(sizes) or 'of numbers alone'}")
        if let.size != (size := size_of(let.op, sizes)):
            self.fail(f"{let} has size {let.size}, its arguments make {size}")
        is_vector = sizes[0].isupper()
        if (let.over and not is_vector) or (let.op == "spread" and is_vector):
            self.fail(f"{let} has an argument of size {sizes[0]}")
        self.define(let.name, let.size)
        self.lets[let.name] = let

    def all_read(self, left: Iterable[Operand]) -> None:
        """Whether each result is read within the half, or ``left`` to others."""
        read = {*left, *(a for let in self.lets.values() for a in let.args)}
        read.update(o for product in self.products.values() for o in product.operands)
        results: dict[str, Let | Product] = {**self.lets, **self.products}
        for name, item in results.items():
            if name not in read:
                self.fail(f"nothing reads {item}")

    def gradients(self, found: Mapping[str, Operand], wanted: Mapping[str, str], kind: str) -> None:
        """One of each, which is a value of the right size or nought."""
        if odd := found.keys() ^ wanted.keys():
            self.fail(f"there are gradients by the {kind}s {', '.join(found)}, odd is {min(odd)}")
        for name, gradient in found.items():
            if isinstance(gradient, str):
                self.fits(gradient, wanted[name], f"the gradient by {name}")
            elif gradient:
                self.fail(f"the gradient by {name} is the number {gradient}")

    def outer_products(self, products: Iterable[Product], kept: set[str]) -> None:
        """All those of a forward product, or none where no gradient comes back to it."""
        by_term = {term: product for product in products for term in product.terms}
        found: dict[str, dict[tuple[str, str], str]] = {}
        for matrix, gradient, operand in self.plan.product_gradients:
            product = by_term.get((matrix, operand))
            if product is None:
                self.fail(f"the step has no product {matrix} @ {operand} to take a gradient by")
            self.fits(gradient, product.size, f"the gradient by {product.name}")
            if operand not in kept:
                self.fail(f"the gradient by {matrix} reads {operand}, which no step keeps")
            terms = found.setdefault(product.name, {})
            if (matrix, operand) in terms:
                self.fail(f"the gradient by {matrix} @ {operand} is taken twice")
            terms[matrix, operand] = gradient
        for name, terms in found.items():
            missing = {t for t, p in by_term.items() if p.name == name} - terms.keys()
            if missing or len(set(terms.values())) > 1:
                self.fail(f"the gradients by the terms of {name} do not go together")
