"""The primitives: one row each, with every spelling of it side by side.

A row's ``numpy`` and ``torch`` columns are the right-hand side of ``def name(a): return ...``
(infix primitives share one Python spelling). ``latex`` takes the rendered arguments.
``precedence`` tells the renderers when an argument needs brackets.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatework.equations.expr import Apply, Expr, lift
from gatework.errors import CellError

SUM, TERM, SIGN, ATOM = 1, 2, 3, 9


@dataclass(frozen=True, slots=True)
class Primitive:
    """One elementwise operation; calling it builds the node."""

    name: str
    latex: str
    infix: str = ""
    numpy: str = ""
    torch: str = ""
    arity: int = 1
    precedence: int = ATOM

    def __call__(self, *args: Expr | float) -> Apply:
        if len(args) != self.arity:
            raise CellError(f"{self.name} takes {self.arity} argument(s), got {len(args)}.")
        return Apply(self.name, tuple(lift(a) for a in args))


add = Primitive("add", "{0} + {1}", infix="+", arity=2, precedence=SUM)
sub = Primitive("sub", "{0} - {1}", infix="-", arity=2, precedence=SUM)
mul = Primitive("mul", r"{0} \odot {1}", infix="*", arity=2, precedence=TERM)
div = Primitive("div", r"\frac{{{0}}}{{{1}}}", infix="/", arity=2, precedence=TERM)
neg = Primitive("neg", "-{0}", infix="-", precedence=SIGN)

# tanh is the one form of the logistic function that overflows nowhere.
sigmoid = Primitive(
    "sigmoid",
    r"\sigma\left({0}\right)",
    numpy="0.5 + 0.5 * np.tanh(0.5 * a)",
    torch="torch.sigmoid(a)",
)
tanh = Primitive("tanh", r"\tanh\left({0}\right)", numpy="np.tanh(a)", torch="torch.tanh(a)")
relu = Primitive(
    "relu",
    r"\operatorname{{relu}}\left({0}\right)",
    numpy="np.maximum(a, 0)",
    torch="torch.relu(a)",
)
softplus = Primitive(
    "softplus",
    r"\operatorname{{softplus}}\left({0}\right)",
    numpy="np.logaddexp(a, 0)",
    torch="torch.logaddexp(a, torch.zeros_like(a))",
)
exp = Primitive("exp", r"\exp\left({0}\right)", numpy="np.exp(a)", torch="torch.exp(a)")
log = Primitive("log", r"\log\left({0}\right)", numpy="np.log(a)", torch="torch.log(a)")
sqrt = Primitive("sqrt", r"\sqrt{{{0}}}", numpy="np.sqrt(a)", torch="torch.sqrt(a)")
square = Primitive("square", r"\left({0}\right)^2", numpy="a * a", torch="a * a")
abs_ = Primitive("abs", r"\left|{0}\right|", numpy="np.abs(a)", torch="torch.abs(a)")

PRIMITIVES: dict[str, Primitive] = {
    row.name: row
    for row in (
        add, sub, mul, div, neg, sigmoid, tanh, relu, softplus, exp, log, sqrt, square, abs_,
    )
}  # fmt: skip
