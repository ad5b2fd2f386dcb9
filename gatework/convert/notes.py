"""What a converter did, kept with the layer that it made."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypeVar

from torch import nn

from gatework.errors import ConvertError

LOG = logging.getLogger("gatework.convert")
PLACE = "conversion_notes"  # an attribute of the layer, so that a copy or a pickle has them too

M = TypeVar("M", bound=nn.Module)


def noted(layer: M, notes: Sequence[str]) -> M:
    """The layer, with the notes kept and logged."""
    setattr(layer, PLACE, tuple(notes))
    for note in notes:
        LOG.info("%s: %s", type(layer).__name__, note)
    return layer


def explain(layer: nn.Module) -> str:
    """What was done to make this layer of another framework's, one line each.

    Raises:
        ConvertError: no converter made the layer.
    """
    notes: tuple[str, ...] | None = getattr(layer, PLACE, None)
    if notes is None:
        raise ConvertError(
            f"This {type(layer).__name__} was made by no converter, so there is nothing to "
            f"explain. Pass what from_torch, to_torch, from_keras or from_onnx returned."
        )
    return "\n".join(notes)
