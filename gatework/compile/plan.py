"""The plan of a cell: what is computed for one step, in what order, forward and backward.

Everything has a name and is computed once. A ``Let`` is one elementwise primitive, a ``Product``
one matrix product. Names of the cell's own equations and symbols stay; made-up names hold a
double underscore, which no cell's name may have:

    U_n__r        the product U_n @ r
    p__0          a sum of products, W_i @ x + U_i @ h
    t__3          an intermediate value
    d__i          the gradient of the loss by i
    back__h       what comes back to h through the transposed matrices

Sizes are letters; a small one is one number of each row, such as the mean over its units. The
gradient by such a number stands as its mean over the units, see ``mean`` in ``ops.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from gatework.equations import Spec
from gatework.equations.ops import PRIMITIVES

Operand = str | float


@dataclass(frozen=True)
class Let:
    """``name = op(args)``, elementwise or over the units; an argument is a name or a number."""

    name: str
    op: str
    args: tuple[Operand, ...]
    size: str

    @property
    def over(self) -> str:
        """The units of its argument that it needs besides its own, see ``Primitive``."""
        return PRIMITIVES[self.op].over if self.op in PRIMITIVES else ""

    def __str__(self) -> str:
        return f"{self.name} = {self.op}({', '.join(map(str, self.args))})"


@dataclass(frozen=True)
class Product:
    """``name = matrix @ operand``, or the sum of several such; or with the matrices transposed."""

    name: str
    terms: tuple[tuple[str, str], ...]  # (matrix, operand)
    size: str
    transposed: bool = False

    @property
    def operands(self) -> tuple[str, ...]:
        """What is multiplied, in order."""
        return tuple(operand for _, operand in self.terms)

    def by(self, operand: str) -> tuple[str, ...]:
        """The matrices that multiply an operand."""
        return tuple(matrix for matrix, o in self.terms if o == operand)

    def __str__(self) -> str:
        mark = ".T" if self.transposed else ""
        return f"{self.name} = " + " + ".join(f"{m}{mark} @ {v}" for m, v in self.terms)


@dataclass(frozen=True)
class Stage:
    """Products that need nothing of this stage, then the elementwise part that needs them.

    What goes over the units, such as a mean, needs nothing of its stage either: all units of its
    argument are done before it.
    """

    products: tuple[Product, ...]
    lets: tuple[Let, ...]


@dataclass(frozen=True)
class Plan:
    """One step of a cell and its gradient.

    Attributes:
        spec: the cell.
        stages: the step itself. A cell with a product of an earlier gate has a second stage.
        values: equation -> the name of its value (its own, unless it equals another one).
        saved: values of a step that the backward pass reads, besides states and input.
        recomputed: values that the backward pass works out again from those.
        backward: the stages of the backward step. They read ``d__NAME`` of each next state.
        state_gradients: state -> gradient by the state before the step.
        product_gradients: (matrix, gradient of the product, operand), whose outer products,
            summed over all steps and rows, are the gradient by the matrix.
        vector_gradients: vector -> values whose sum over steps and rows is its gradient.
        input_gradient: gradient by the input that comes through no matrix.
    """

    spec: Spec
    stages: tuple[Stage, ...]
    values: Mapping[str, str]
    saved: tuple[str, ...] = ()
    recomputed: tuple[Let, ...] = ()
    backward: tuple[Stage, ...] = ()
    state_gradients: Mapping[str, Operand] = field(default_factory=dict)
    product_gradients: tuple[tuple[str, str, str], ...] = ()
    vector_gradients: Mapping[str, Operand] = field(default_factory=dict)
    input_gradient: Operand = 0.0

    def __post_init__(self) -> None:
        for name in ("values", "state_gradients", "vector_gradients"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @cached_property
    def of_input(self) -> tuple[Product, ...]:
        """Products that multiply the input, alone or among others.

        What the input brings to them needs no state, so it can be worked out for many steps at
        once, by one large product before them.
        """
        products = (p for stage in self.stages for p in stage.products)
        return tuple(p for p in products if self.spec.input in p.operands)

    @cached_property
    def gradient_values(self) -> tuple[str, ...]:
        """What a backward step leaves behind: gradients by products and by vectors, each once."""
        found = [gradient for _, gradient, _ in self.product_gradients]
        found += [v for v in self.vector_gradients.values() if isinstance(v, str)]
        return tuple(dict.fromkeys(found))

    @cached_property
    def sizes(self) -> dict[str, str]:
        """The size letter of every value, forward and backward."""
        spec = self.spec
        sizes = {spec.input: "F"} | spec.given
        sizes |= {p.name: p.rows for p in spec.parameters if p.cols is None}
        sizes |= {f"d__{s.name}_next": s.size for s in spec.states}
        items: list[Product | Let] = [*self.recomputed]
        for stage in (*self.stages, *self.backward):
            items += [*stage.products, *stage.lets]
        return sizes | {item.name: item.size for item in items}

    def __str__(self) -> str:
        """The whole plan as text, for reading and for golden files."""
        lines = [f"plan of {self.spec.name}"]
        for number, stage in enumerate(self.stages):
            lines += ["", f"forward, stage {number}"]
            lines += [f"  {item}" for item in (*stage.products, *stage.lets)]
        lines += ["", f"saved: {', '.join(self.saved) or 'nothing'}", "", "recomputed"]
        lines += [f"  {let}" for let in self.recomputed]
        for number, stage in enumerate(self.backward):
            lines += ["", f"backward, stage {number}"]
            lines += [f"  {item}" for item in (*stage.products, *stage.lets)]
        lines += ["", "gradients"]
        lines += [f"  {name} before the step: {v}" for name, v in self.state_gradients.items()]
        lines += [f"  {m}: {d} outer {v}" for m, d, v in self.product_gradients]
        lines += [f"  {name}: sum of {v}" for name, v in self.vector_gradients.items()]
        lines += [f"  {self.spec.input}, elementwise: {self.input_gradient}"]
        return "\n".join(lines) + "\n"
