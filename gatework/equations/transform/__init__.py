"""Cell to cell: every function takes a cell and gives another one, and they compose.

``zoneout(layer_norm(PeepholeLSTM), h=0.1)`` is an ordinary ``Spec``: reference, kernels, LaTeX and
saved models take it as any other cell.
"""

from gatework.equations.transform.curves import FUNCTIONS, activations
from gatework.equations.transform.noise import recurrent_dropout, zoneout
from gatework.equations.transform.normalise import layer_norm
from gatework.equations.transform.shape import (
    cell_clip,
    couple,
    heads,
    peephole,
    project,
    projection_clip,
)

__all__ = [
    "FUNCTIONS",
    "activations",
    "cell_clip",
    "couple",
    "heads",
    "layer_norm",
    "peephole",
    "project",
    "projection_clip",
    "recurrent_dropout",
    "zoneout",
]
