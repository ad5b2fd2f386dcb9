"""Weights from elsewhere: layers of torch, Keras 3 and ONNX as Gatework's, and back to torch.

Each converter returns a layer; what it had to do on the way is logged at INFO and told by
``explain(layer)``. What cannot be represented is refused with a ``ConvertError``.
"""

from gatework.convert.keras_layers import from_keras
from gatework.convert.notes import explain
from gatework.convert.onnx_nodes import from_onnx
from gatework.convert.preset import Preset
from gatework.convert.torch_modules import from_torch, to_torch
from gatework.errors import ConvertError

__all__ = ["ConvertError", "Preset", "explain", "from_keras", "from_onnx", "from_torch", "to_torch"]
