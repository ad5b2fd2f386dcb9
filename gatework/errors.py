"""The errors that Gatework raises: one base, a few kinds.

Each message says what was got, what was expected and what to do. The kinds also derive from
the built-in error that PyTorch raises in the same place, so that code which catches that one
keeps working.
"""


class GateworkError(Exception):
    """Base of every error that Gatework raises on purpose."""


class CellError(GateworkError, ValueError):
    """A cell's equations are wrong, or no cell has the name that was asked for."""


class ShapeError(GateworkError, RuntimeError, ValueError):
    """A tensor has the wrong shape or dtype (PyTorch raises RuntimeError or ValueError here)."""


class LayerError(GateworkError, ValueError):
    """Layers, or the options of a layer, do not fit together."""


class PlanError(GateworkError, ValueError):
    """The plan of a cell is ill-formed: a mistake in the compiler, not in the cell."""


class PathError(GateworkError, RuntimeError):
    """The path that was asked for by name cannot run this cell or this call."""


class ConvertError(GateworkError, ValueError):
    """A layer of another framework cannot be represented, or is no recurrent layer."""


class DataError(GateworkError, ValueError):
    """A table, a column or a series cannot be used as it stands."""


class TrainingError(GateworkError, RuntimeError):
    """Training cannot start or cannot go on (non-finite loss, checkpoint that does not fit)."""


class ModelError(GateworkError, ValueError):
    """A saved model cannot be read, or an estimator is used before it was fitted."""
