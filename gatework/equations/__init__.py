"""What a cell is written in. This floor imports neither torch nor NumPy."""

from gatework.equations.cell import Cell
from gatework.equations.expr import Constant, Input, Mask, Matrix, State, Vector, matrix, vector
from gatework.equations.ops import (
    abs_,
    cumax,
    cummean,
    cummean_back,
    exp,
    floor,
    largest,
    log,
    maximum,
    mean,
    minimum,
    mod,
    positive,
    relu,
    sigmoid,
    sign,
    softplus,
    sqrt,
    square,
    tanh,
)
from gatework.equations.spec import Equation, Parameter, Spec

from gatework.equations import transform as transform  # isort: skip  (made of all the above)

__all__ = [
    "Cell",
    "Constant",
    "Equation",
    "Input",
    "Mask",
    "Matrix",
    "Parameter",
    "Spec",
    "State",
    "Vector",
    "abs_",
    "cumax",
    "cummean",
    "cummean_back",
    "exp",
    "floor",
    "largest",
    "log",
    "matrix",
    "maximum",
    "mean",
    "minimum",
    "mod",
    "positive",
    "relu",
    "sigmoid",
    "sign",
    "softplus",
    "sqrt",
    "square",
    "tanh",
    "vector",
]
