"""The primitives: one row each, with every spelling of it side by side.

A row's ``numpy`` and ``torch`` columns are the right-hand side of ``def name(a): return ...``,
or of ``name(a, b)`` (infix primitives share one Python spelling); ``c`` is the same over vectors
of ``real``, by the functions of ``compile/vectors.h``. ``latex`` takes the rendered arguments.
``precedence`` tells the renderers when an argument needs brackets. ``slopes`` are the derivatives
by each argument, written with the arguments ``a`` and ``b`` and the result ``y``. ``costly`` marks
what is better kept than computed a second time.

Some rows go over the units of a vector, see ``over``. Their C is an ``Across``. Where a gradient
does not come back unit by unit, ``transposed`` names the row that carries it back; ``slopes`` are
further factors.

``takes`` and ``gives`` are the sizes of products of vectors and matrices of one row: ``n`` a
vector, ``nn`` a matrix, ``1`` one number. A matrix comes as the vector of its rows, see
``sizes.py``. What has no ``c`` column has no kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatework.equations.expr import Apply, Expr, Number, Ref, lift
from gatework.equations.refusal import refusal

SUM, TERM, SIGN, ATOM = 1, 2, 3, 9
A, B, Y = Ref("a"), Ref("b"), Ref("y")
ZERO, ONE, MINUS_ONE = Number(0.0), Number(1.0), Number(-1.0)


@dataclass(frozen=True, slots=True)
class Across:
    """How C goes over a vector, column by column: ``y`` begins, is joined with each, and ends.

    ``a`` is a column of units, the last one with its padding; ``left`` is how many units there
    are from its first one on, ``n`` how many of all. What is not in one column alone is known
    with ``join`` of all the others that belong to it; ``end`` has its own column as ``a``.
    """

    begin: str
    join: str
    end: str


@dataclass(frozen=True, slots=True)
class Primitive:
    """One operation; calling it builds the node.

    Attributes:
        over: the units that one unit's value is made of: ``""`` itself alone, ``"all"`` all of
            them (it is then one number of the vector), ``"before"`` those up to itself,
            ``"behind"`` itself and those behind it.
    """

    name: str
    latex: str
    slopes: tuple[Expr, ...]
    infix: str = ""
    numpy: str = ""
    torch: str = ""
    c: str | Across = ""
    arity: int = 1
    precedence: int = ATOM
    costly: bool = False
    over: str = ""
    transposed: str = ""
    takes: tuple[str, ...] = ()
    gives: str = ""

    @property
    def reduces(self) -> bool:
        """Whether it makes one number of a vector."""
        return self.over == "all"

    @property
    def mixes(self) -> bool:
        """Whether a unit of the result is made of more than that unit of the arguments."""
        return bool(self.over or self.gives)

    @property
    def sums(self) -> bool:
        """Whether it multiplies and adds up, as a product with a matrix does."""
        return len(self.takes) == 2 and len(self.gives.strip("1")) < max(map(len, self.takes))

    @property
    def has_kernel(self) -> bool:
        """Whether the compiler of kernels knows it."""
        return bool(self.infix or self.c)

    @property
    def arguments(self) -> str:
        """The letters of the arguments, as in the columns of the table."""
        return ", ".join("ab"[: self.arity])

    def __call__(self, *args: Expr | float) -> Apply:
        if len(args) != self.arity:
            raise refusal(
                f"{self.name} takes {self.arity} argument(s), got {len(args)}. Write it as in "
                f"{self.name}({self.arguments})."
            )
        return Apply(self.name, tuple(lift(a) for a in args))


add = Primitive("add", "{0} + {1}", (ONE, ONE), infix="+", arity=2, precedence=SUM)
sub = Primitive("sub", "{0} - {1}", (ONE, MINUS_ONE), infix="-", arity=2, precedence=SUM)
mul = Primitive("mul", r"{0} \odot {1}", (B, A), infix="*", arity=2, precedence=TERM)
div = Primitive("div", r"\frac{{{0}}}{{{1}}}", (1 / B, -Y / B), infix="/", arity=2, precedence=TERM)
neg = Primitive("neg", "-{0}", (MINUS_ONE,), infix="-", precedence=SIGN)

# tanh is the one form of the logistic function that overflows nowhere.
sigmoid = Primitive(
    "sigmoid",
    r"\sigma\left({0}\right)",
    (Y * (1 - Y),),
    numpy="0.5 + 0.5 * np.tanh(0.5 * a)",
    torch="torch.sigmoid(a)",
    c="1 / (1 + vec_exp(-a))",
    costly=True,
)
tanh = Primitive(
    "tanh",
    r"\tanh\left({0}\right)",
    (1 - Y * Y,),
    numpy="np.tanh(a)",
    torch="torch.tanh(a)",
    c="vec_tanh(a)",
    costly=True,
)
# 0 and 1, -1 and 1, with 0 at 0: the slopes of relu and abs, as torch has them.
positive = Primitive(
    "positive",
    r"\left[{0} > 0\right]",
    (ZERO,),
    numpy="np.heaviside(a, 0)",
    torch="(a > 0).to(a.dtype)",
    c="vec_positive(a)",
)
sign = Primitive(
    "sign",
    r"\operatorname{{sign}}\left({0}\right)",
    (ZERO,),
    numpy="np.sign(a)",
    torch="torch.sign(a)",
    c="vec_positive(a) - vec_positive(-a)",
)
relu = Primitive(
    "relu",
    r"\operatorname{{relu}}\left({0}\right)",
    (positive(Y),),
    numpy="np.maximum(a, 0)",
    torch="torch.relu(a)",
    c="vec_positive(a) * a",
)
softplus = Primitive(
    "softplus",
    r"\operatorname{{softplus}}\left({0}\right)",
    (sigmoid(A),),
    numpy="np.logaddexp(a, 0)",
    torch="torch.logaddexp(a, torch.zeros_like(a))",
    c="vec_softplus(a)",
    costly=True,
)
exp = Primitive(
    "exp",
    r"\exp\left({0}\right)",
    (Y,),
    numpy="np.exp(a)",
    torch="torch.exp(a)",
    c="vec_exp(a)",
    costly=True,
)
log = Primitive(
    "log",
    r"\log\left({0}\right)",
    (1 / A,),
    numpy="np.log(a)",
    torch="torch.log(a)",
    c="vec_log(a)",
    costly=True,
)
sqrt = Primitive(
    "sqrt",
    r"\sqrt{{{0}}}",
    (0.5 / Y,),
    numpy="np.sqrt(a)",
    torch="torch.sqrt(a)",
    c="vec_sqrt(a)",
    costly=True,
)
square = Primitive(
    "square", r"\left({0}\right)^2", (2 * A,), numpy="a * a", torch="a * a", c="a * a"
)
abs_ = Primitive(
    "abs", r"\left|{0}\right|", (sign(A),), numpy="np.abs(a)", torch="torch.abs(a)", c="vec_abs(a)"
)
floor = Primitive(
    "floor",
    r"\left\lfloor {0} \right\rfloor",
    (ZERO,),
    numpy="np.floor(a)",
    torch="torch.floor(a)",
    c="vec_floor(a)",
)
# At a tie both are their first argument, so the slope of a clip is 1 up to and at its bounds.
maximum = Primitive(
    "maximum",
    r"\max\left({0}, {1}\right)",
    (1 - positive(B - A), positive(B - A)),
    numpy="np.where(a < b, b, a)",
    torch="torch.where(a < b, b, a)",
    c="vec_pick(a < b, b, a)",
    arity=2,
)
minimum = Primitive(
    "minimum",
    r"\min\left({0}, {1}\right)",
    (1 - positive(A - B), positive(A - B)),
    numpy="np.where(a > b, b, a)",
    torch="torch.where(a > b, b, a)",
    c="vec_pick(a > b, b, a)",
    arity=2,
)
# A product in which nought wins: also where the other factor is infinite or no number.
gated = Primitive(
    "gated",
    r"{0} \odot {1}",
    (B, A),
    numpy="np.where(b == 0, 0, a) * b",
    torch="torch.where(b == 0, 0, a) * b",
    c="vec_pick(b == 0, vec_all(0), a * b)",
    arity=2,
    precedence=TERM,
)
# The mean over the units. The gradient by one number of a row is kept as its mean over the units
# too: what comes back to the mean of a vector is then what goes on to each unit.
mean = Primitive(
    "mean",
    r"\operatorname{{mean}}\left({0}\right)",
    (ONE,),
    numpy="np.mean(a, -1, keepdims=True)",
    torch="a.mean(-1, keepdim=True)",
    c=Across("0", "y + vec_first(a, left, 0)", "vec_all(vec_sum(y) / n)"),
    costly=True,
    over="all",
)
# The gradient goes in equal parts to all units that are the largest, as torch has it.
largest = Primitive(
    "largest",
    r"\max\left({0}\right)",
    ((1 - positive(Y - A)) / mean(1 - positive(Y - A)),),
    numpy="np.max(a, -1, keepdims=True)",
    torch="a.amax(-1, keepdim=True)",
    c=Across(
        "-INFINITY", "vec_larger(y, vec_first(a, left, -INFINITY))", "vec_all(vec_largest(y))"
    ),
    costly=True,
    over="all",
)
# The sums of the units up to each one, divided by the number of all: the last one is the mean.
cummean = Primitive(
    "cummean",
    r"\frac{{1}}{{n}} \operatorname{{cumsum}}\left({0}\right)",
    (ONE,),
    numpy="np.cumsum(a, -1) / a.shape[-1]",
    torch="a.cumsum(-1) / a.shape[-1]",
    c=Across("0", "y + a", "(vec_sum(y) + vec_up_to(a)) / n"),
    costly=True,
    over="before",
    transposed="cummean_back",
)
# The same from the other end: each unit and those behind it.
cummean_back = Primitive(
    "cummean_back",
    r"\frac{{1}}{{n}} \operatorname{{cumsum}}^{{\top}}\left({0}\right)",
    (ONE,),
    numpy="np.cumsum(a[..., ::-1], -1)[..., ::-1] / a.shape[-1]",
    torch="a.flip(-1).cumsum(-1).flip(-1) / a.shape[-1]",
    c=Across(
        "0", "y + vec_first(a, left, 0)", "(vec_sum(y) + vec_from(vec_first(a, left, 0))) / n"
    ),
    costly=True,
    over="behind",
    transposed="cummean",
)
# Matrices of one row and step. No kernel has them, so autograd alone needs their slopes.
outer = Primitive(
    "outer",
    r"{0} {1}^\top",
    (),
    numpy="np.repeat(a, b.shape[-1], -1) * np.tile(b, a.shape[-1])",
    torch="(a.unsqueeze(-1) * b.unsqueeze(-2)).flatten(-2)",
    arity=2,
    precedence=SIGN,
    takes=("n", "n"),
    gives="nn",
)
times = Primitive(
    "times",
    "{0} {1}",
    (),
    numpy="np.matmul(a.reshape(*a.shape[:-1], -1, b.shape[-1]), b[..., None])[..., 0]",
    torch="torch.matmul(a.unflatten(-1, (-1, b.shape[-1])), b.unsqueeze(-1)).squeeze(-1)",
    arity=2,
    precedence=SIGN,
    takes=("nn", "n"),
    gives="n",
)
dot = Primitive(
    "dot",
    r"{0}^\top {1}",
    (),
    numpy="np.sum(a * b, -1, keepdims=True)",
    torch="(a * b).sum(-1, keepdim=True)",
    arity=2,
    precedence=SIGN,
    takes=("n", "n"),
    gives="1",
)
# How many units a vector has: the d of a scale 1 / sqrt(d).
units = Primitive(
    "units",
    r"\dim\left({0}\right)",
    (),
    numpy="np.full_like(a[..., :1], a.shape[-1])",
    torch="torch.full_like(a[..., :1], a.shape[-1])",
    takes=("n",),
    gives="1",
)
# Its transpose, which only gradients hold: one number for every unit.
spread = Primitive("spread", "{0}", (ONE,), numpy="a", torch="a", c="a")

PRIMITIVES: dict[str, Primitive] = {
    row.name: row
    for row in (
        add, sub, mul, div, neg, sigmoid, tanh, positive, sign, relu, softplus, exp, log, sqrt,
        square, abs_, floor, maximum, minimum, gated, mean, largest, cummean, cummean_back,
        outer, times, dot, units, spread,
    )
}  # fmt: skip


def cumax(a: Expr) -> Expr:
    """The cumulative sum of a softmax over the units: it rises from unit to unit, up to 1."""
    e = exp(a - largest(a))
    return cummean(e) / mean(e)


def mod(a: Expr | float, b: Expr | float) -> Expr:
    """What is left of a number when as many whole b as fit are taken away; it has b's sign."""
    a, b = lift(a), lift(b)
    return a - b * floor(a / b)
