"""From the user's table to batches: reading, times, the cube, windows, scaling, the doctor.

Axes: N series, T steps, F features (the target first); B batch, L context, H horizon.
"""

from gatework.data.bundled import bundled_names
from gatework.data.columns import Columns
from gatework.data.cube import Cube
from gatework.data.load import load_cube

__all__ = ["Columns", "Cube", "bundled_names", "load_cube"]
