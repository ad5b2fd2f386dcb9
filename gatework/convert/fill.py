"""A ``Recurrent`` from a cell and the arrays of its directions."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from gatework.equations import Spec
from gatework.errors import ConvertError
from gatework.layers import Recurrent

Weights = Mapping[str, np.ndarray[Any, Any]]  # by the names of the equations


def framework(name: str, asked_by: str) -> Any:
    """Another framework's package.

    Raises:
        ConvertError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConvertError(
            f"{asked_by} needs the package {name}, which cannot be imported ({error}). "
            f"Install it: pip install {name}."
        ) from error


def by_gate(stem: str, gates: str, array: Any) -> dict[str, Any]:
    """An array of stacked rows as one part for each gate: ``W_i``, ``W_f``, ..."""
    parts = np.split(np.asarray(array), len(gates), axis=0)
    return {f"{stem}_{gate}": part for gate, part in zip(gates, parts, strict=True)}


def recurrent(
    spec: Spec, directions: Sequence[Weights], *, bias: bool, batch_first: bool, source: str
) -> Recurrent:
    """One layer of this cell, one or two directions; the weights are copied.

    What a direction brings beyond the cell's parameters (the forget gate of coupled gates) is
    left out.

    Raises:
        ConvertError: the weights are in a dtype that layers do not have.
    """
    hidden, features = _matrices(spec, directions[0])
    dtype = next(iter(directions[0].values())).dtype
    if str(dtype) not in ("float16", "float32", "float64"):
        raise ConvertError(
            f"{source}: the weights are {dtype}; expected float16, float32 or float64. "
            f"Convert the model that is not quantised."
        )
    with torch.random.fork_rng(devices=[]):  # the initial weights go, so no one misses the draws
        layer = Recurrent(
            spec,
            features,
            hidden,
            bias=bias,
            batch_first=batch_first,
            bidirectional=len(directions) == 2,
            dtype=getattr(torch, str(dtype)),
        )
    with torch.no_grad():
        for direction, weights in enumerate(directions):
            for name, parameter in layer.named_weights(0, direction).items():
                if bias or name not in spec.biases:
                    parameter.copy_(torch.from_numpy(np.array(weights[name])))
    return layer


def _matrices(spec: Spec, weights: Weights) -> tuple[int, int]:
    """The hidden size and the features, from a matrix that takes the input."""
    name = next(p.name for p in spec.parameters if p.cols == "F")
    hidden, features = weights[name].shape
    return hidden, features
