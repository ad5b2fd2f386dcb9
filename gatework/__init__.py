"""Gatework: write a recurrent cell's equations once; get the layer, and see what it remembers.

Everything public is reached from here. Names are loaded when they are first used, so that the
equations can be read where neither torch nor NumPy is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatework import convert as convert
    from gatework.cells import all_cells as all_cells
    from gatework.equations import Cell as Cell
    from gatework.equations import transform as transform
    from gatework.errors import GateworkError as GateworkError
    from gatework.errors import ShapeError as ShapeError
    from gatework.inspect.card import card as card
    from gatework.inspect.record import record as record
    from gatework.layers import GRU as GRU
    from gatework.layers import LSTM as LSTM
    from gatework.layers import RNN as RNN
    from gatework.layers import Attention as Attention
    from gatework.layers import Bidirectional as Bidirectional
    from gatework.layers import ConvRecurrent as ConvRecurrent
    from gatework.layers import GRUCell as GRUCell
    from gatework.layers import LSTMCell as LSTMCell
    from gatework.layers import Pool as Pool
    from gatework.layers import Recurrent as Recurrent
    from gatework.layers import RNNCell as RNNCell
    from gatework.layers import Stack as Stack
    from gatework.layers import Stateful as Stateful
    from gatework.layers import final_output as final_output
    from gatework.read import reference as reference
    from gatework.read.latex import latex as latex
    from gatework.tasks.classify import Classifier as Classifier
    from gatework.tasks.detect import Detector as Detector
    from gatework.tasks.forecast import Forecaster as Forecaster

__version__ = "0.1.0"

_HOME = {
    "Cell": "gatework.equations",
    "transform": "gatework.equations",
    "GateworkError": "gatework.errors",
    "ShapeError": "gatework.errors",
    "all_cells": "gatework.cells",
    "convert": "gatework.convert",
    "reference": "gatework.read",
    "latex": "gatework.read.latex",
    "card": "gatework.inspect.card",
    "record": "gatework.inspect.record",
    "Classifier": "gatework.tasks.classify",
    "Detector": "gatework.tasks.detect",
    "Forecaster": "gatework.tasks.forecast",
} | dict.fromkeys(
    (
        "Recurrent", "LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell",
        "Bidirectional", "Stack", "Stateful", "Attention", "Pool", "ConvRecurrent", "final_output",
    ),
    "gatework.layers",
)  # fmt: skip

__all__ = ["__version__", *_HOME]  # noqa: PLE0604  (the keys are names)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gatework' has no attribute {name!r}")
    module = importlib.import_module(_HOME[name])
    if module.__name__ == f"gatework.{name}":
        return module
    if hasattr(module, name):
        return getattr(module, name)
    return importlib.import_module(f"{module.__name__}.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
