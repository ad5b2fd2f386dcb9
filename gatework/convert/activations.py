"""The activations of other frameworks, written in the primitives of the equations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gatework.equations import (
    exp,
    maximum,
    minimum,
    positive,
    relu,
    sigmoid,
    softplus,
    sqrt,
    square,
    tanh,
)
from gatework.equations.expr import Expr
from gatework.equations.transform.curves import hard_sigmoid, hard_tanh, linear, silu, softsign

Squash = Callable[[Any], Any]  # an expression in, an expression out


def clipped(a: Expr, limit: float) -> Expr:
    """The argument within [-limit, limit]."""
    return minimum(maximum(a, -limit), limit)


def elu(a: Expr, alpha: float = 1.0) -> Expr:
    """The argument above zero, alpha (exp(a) - 1) below."""
    return relu(a) + alpha * (exp(minimum(a, 0)) - 1)


def leaky_relu(a: Expr, alpha: float = 0.2) -> Expr:
    """The argument above zero, alpha times it below."""
    return relu(a) + alpha * minimum(a, 0)


# By the name of the function in keras.activations, with its default arguments.
KERAS: dict[str, Squash] = {
    "celu": elu,
    "elu": elu,
    "exponential": exp,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": lambda a: a * hard_sigmoid(a),
    "hard_tanh": hard_tanh,
    "leaky_relu": leaky_relu,
    "linear": linear,
    "log_sigmoid": lambda a: -softplus(-a),
    "mish": lambda a: a * tanh(softplus(a)),
    "relu": relu,
    "relu6": lambda a: minimum(relu(a), 6),
    "selu": lambda a: 1.0507009873554805 * elu(a, 1.6732632423543772),
    "sigmoid": sigmoid,
    "silu": silu,
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
    "hardsigmoid": Row(
        lambda a, alpha, beta: minimum(maximum(alpha * a + beta, 0), 1), {"alpha": 0.2, "beta": 0.5}
    ),
    "leakyrelu": Row(leaky_relu, {"alpha": 0.01}),
    "relu": Row(relu),
    "scaledtanh": Row(lambda a, alpha, beta: alpha * tanh(beta * a), {"alpha": None, "beta": None}),
    "sigmoid": Row(sigmoid),
    "softplus": Row(softplus),
    "softsign": Row(softsign),
    "tanh": Row(tanh),
    "thresholdedrelu": Row(lambda a, alpha: a * positive(a - alpha), {"alpha": None}),
}
