"""The checker: refuses a plan that is not well formed, and names what is wrong."""

from __future__ import annotations

from collections.abc import Iterable

from gatework.compile.flatten import leaf_sizes
from gatework.compile.gradient import gradient_name
from gatework.compile.plan import Let, Operand, Plan, Product, Stage
from gatework.equations.ops import PRIMITIVES
from gatework.equations.spec import NEXT
from gatework.errors import PlanError


def check(plan: Plan) -> None:
    """Raise unless every name is set once and before its use, and all sizes agree.

    Raises:
        PlanError: names the plan, the operation and what is wrong with it.
    """
    spec = plan.spec
    forward = _Scope(plan, leaf_sizes(spec))
    forward.stages(plan.stages)
    for equation in spec.equations:
        forward.known(plan.values.get(equation.name, "nothing"), f"equation {equation.name}")
    if not plan.backward:
        return
    next_sizes = {s.name + NEXT: s.size for s in spec.states}
    at_hand = leaf_sizes(spec)
    at_hand |= {plan.values[name]: size for name, size in next_sizes.items()}
    at_hand |= {gradient_name(name): size for name, size in next_sizes.items()}
    for name in plan.saved:
        forward.known(name, "saved")
        at_hand[name] = forward.sizes[name]
    backward = _Scope(plan, at_hand)
    backward.lets(plan.recomputed)
    backward.stages(plan.backward)
    for value in (*plan.state_gradients.values(), *plan.vector_gradients.values()):
        backward.known(value, "a gradient")
    for matrix, gradient, operand in plan.product_gradients:
        backward.known(gradient, f"the gradient by {matrix}")
        backward.known(operand, f"the operand of {matrix}")


def _fits(size: str, let: Let) -> bool:
    """Whether an argument of this size may stand in an operation."""
    if let.over == "all" or let.op == "spread":
        return size == let.size.swapcase()
    if let.over:
        return size == let.size
    return size in (let.size, let.size.lower())


class _Scope:
    """The names that are set so far, and their sizes."""

    def __init__(self, plan: Plan, sizes: dict[str, str]) -> None:
        self.plan = plan
        self.sizes = dict(sizes)
        self.matrices = {p.name: p for p in plan.spec.parameters if p.cols is not None}

    def fail(self, message: str) -> None:
        raise PlanError(f"The plan of {self.plan.spec.name} is ill-formed: {message}.")

    def known(self, name: Operand, where: str) -> None:
        if isinstance(name, str) and name not in self.sizes:
            self.fail(f"{where} reads {name}, which is not set at that point")

    def set(self, name: str, size: str) -> None:
        if name in self.sizes:
            self.fail(f"{name} is set twice")
        self.sizes[name] = size

    def stages(self, stages: Iterable[Stage]) -> None:
        for stage in stages:
            earlier = dict(self.sizes)
            for let in stage.lets:
                if let.over and let.args[0] not in earlier:
                    self.fail(f"{let} needs all units of what is computed in its own stage")
            self.products(stage.products)
            self.lets(stage.lets)

    def products(self, products: Iterable[Product]) -> None:
        for product in products:
            for matrix, operand in product.terms:
                if matrix not in self.matrices:
                    self.fail(f"{product} multiplies by {matrix}, which is no matrix")
                self.known(operand, str(product))
                rows, cols = self.matrices[matrix].shape
                takes, gives = (rows, cols) if product.transposed else (cols, rows)
                if self.sizes[operand] != takes or product.size != gives:
                    self.fail(f"{product} has sizes that do not fit {matrix} ({rows} x {cols})")
            self.set(product.name, product.size)

    def lets(self, lets: Iterable[Let]) -> None:
        for let in lets:
            if let.op not in PRIMITIVES or PRIMITIVES[let.op].arity != len(let.args):
                self.fail(f"{let} is no primitive with {len(let.args)} arguments")
            for arg in let.args:
                self.known(arg, str(let))
                if isinstance(arg, str) and not _fits(self.sizes[arg], let):
                    self.fail(f"{let} has size {let.size}, its argument {arg} {self.sizes[arg]}")
            self.set(let.name, let.size)
