"""The activations of other frameworks, written in the primitives of the equations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gatework.equations import (
    abs_,
    exp,
    positive,
    relu,
    sigmoid,
    sign,
    softplus,
    sqrt,
    square,
    tanh,
)
from gatework.equations.expr import Expr

Squash = Callable[[Any], Any]  # an expression in, an expression out


def identity(a: Expr) -> Expr:
    """Nothing."""
    return a


def clipped(a: Expr, limit: float) -> Expr:
    """The argument within [-limit, limit], exactly, with torch's slopes (0 outside)."""
    inside = positive(limit - abs_(a))
    return inside * a + (1 - inside) * (limit * sign(a))


def hard_sigmoid(a: Expr, alpha: float = 1 / 6, beta: float = 0.5) -> Expr:
    """max(0, min(1, alpha a + beta)); Keras 3's slope is 1/6, ONNX's 0.2."""
    return 1 - relu(1 - relu(alpha * a + beta))


def elu(a: Expr, alpha: float = 1.0) -> Expr:
    """The argument above zero, alpha (exp(a) - 1) below."""
    return relu(a) + alpha * (exp(-relu(-a)) - 1)


def leaky_relu(a: Expr, alpha: float) -> Expr:
    """The argument above zero, alpha times it below."""
    return relu(a) - alpha * relu(-a)


def softsign(a: Expr) -> Expr:
    """A / (1 + |a|)."""
    return a / (1 + abs_(a))


# By the name of the function in keras.activations, with its default arguments.
KERAS: dict[str, Squash] = {
    "celu": elu,
    "elu": elu,
    "exponential": exp,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": lambda a: a * hard_sigmoid(a),
    "hard_tanh": lambda a: clipped(a, 1.0),
    "leaky_relu": lambda a: leaky_relu(a, 0.2),
    "linear": identity,
    "log_sigmoid": lambda a: -softplus(-a),
    "mish": lambda a: a * tanh(softplus(a)),
    "relu": relu,
    "relu6": lambda a: 6 - relu(6 - relu(a)),
    "selu": lambda a: 1.0507009873554805 * elu(a, 1.6732632423543772),
    "sigmoid": sigmoid,
    "silu": lambda a: a * sigmoid(a),
    "softplus": softplus,
    "softsign": softsign,
    "squareplus": lambda a: 0.5 * (a + sqrt(square(a) + 4)),
    "tanh": tanh,
    "tanh_shrink": lambda a: a - tanh(a),
}


@dataclass(frozen=True)
class Row:
    """An activation of ONNX: how it is written, and its numbers where none are given.

    ``None``: it must be given. Of these ONNX and ONNX Runtime have different defaults.
    """

    build: Callable[..., Any]
    numbers: Mapping[str, float | None] = field(default_factory=dict)


# By the lower-case name; ONNX Runtime reads the names without regard to case.
ONNX: dict[str, Row] = {
    "affine": Row(lambda a, alpha, beta: alpha * a + beta, {"alpha": None, "beta": None}),
    "elu": Row(elu, {"alpha": 1.0}),
    "hardsigmoid": Row(hard_sigmoid, {"alpha": 0.2, "beta": 0.5}),
    "leakyrelu": Row(leaky_relu, {"alpha": 0.01}),
    "relu": Row(relu),
    "scaledtanh": Row(lambda a, alpha, beta: alpha * tanh(beta * a), {"alpha": None, "beta": None}),
    "sigmoid": Row(sigmoid),
    "softplus": Row(softplus),
    "softsign": Row(softsign),
    "tanh": Row(tanh),
    "thresholdedrelu": Row(lambda a, alpha: a * positive(a - alpha), {"alpha": None}),
}
