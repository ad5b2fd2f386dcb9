"""What the arguments of the estimators may be, said once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from typing import Any

import numpy as np

from gatework.cells import CellLike, name_of, resolve
from gatework.equations import Spec
from gatework.errors import DataError
from gatework.layers.pool import KINDS
from gatework.tasks.classify_network import PLACES
from gatework.tasks.surprise import WARM
from gatework.training.settings import SCHEDULES

WHOLE: tuple[type, ...] = (int, np.integer)
NUMBER: tuple[type, ...] = (*WHOLE, float, np.floating)
COUNT = WHOLE, lambda v: v >= 1, "a whole number above zero"
NOT_NEGATIVE = WHOLE, lambda v: v >= 0, "a whole number, zero or above"
SHARE = NUMBER, lambda v: 0 <= v < 1, "a share in [0, 1)"
SIZE = NUMBER, lambda v: 0 <= v <= 1e30, "a number from 0 to 1e30"  # beyond it float32 ends
FLAG = (bool, np.bool_), lambda v: True, "True or False"
NAME = (str,), lambda v: True, "the name of a column"
NAMES = (
    (Sized,),  # an array or the columns of a data frame will do
    lambda v: isinstance(v, str) or all(isinstance(name, str) for name in v),
    "the name of a column, or several in a list",
)
# Of each argument the types, a test and the words for both.
RULES: dict[str, tuple[tuple[type, ...], Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("horizon", "context", "season", "hidden_size", "num_layers", "epochs", "batch_size"), COUNT
    ),
    **dict.fromkeys(("folds", "stride", "windows_per_epoch"), COUNT),
    "memory": (WHOLE, lambda v: v >= WARM, f"a whole number from {WARM} on"),
    **dict.fromkeys(("validation", "dropout"), SHARE),
    **dict.fromkeys(("learning_rate", "weight_decay", "clip"), SIZE),
    **dict.fromkeys(("bidirectional", "shuffle", "relative", "reads_target"), FLAG),
    **dict.fromkeys(("time", "id"), NAME),
    **dict.fromkeys(("target", "features", "future", "static", "categories"), NAMES),
    "calendar": (
        (*FLAG[0], *NAMES[0]),
        lambda v: isinstance(v, FLAG[0]) or NAMES[1](v),
        "True, False, or names of its parts",
    ),
    "pool": ((str,), KINDS.__contains__, f"one of {', '.join(map(repr, KINDS))}"),
    "convolution": ((str,), PLACES.__contains__, f"one of {', '.join(map(repr, PLACES))}"),
    "schedule": ((str,), SCHEDULES.__contains__, f"one of {', '.join(map(repr, SCHEDULES))}"),
    **dict.fromkeys(("patience", "short", "quiet"), NOT_NEGATIVE),
    "contamination": (
        (*NUMBER, str),
        lambda v: v == "auto" if isinstance(v, str) else 0 < v <= 0.5,
        "'auto' or a share in (0, 0.5]",
    ),
    "seed": (WHOLE, lambda v: 0 <= v < 2**63, "a whole number from 0 to 2**63 - 1"),
    "forget_bias": (NUMBER, np.isfinite, "a number"),
}
# None: worked out, or without.
OPTIONAL = ("context", "season", "forget_bias", "target", "time", "id", "windows_per_epoch")


def cell_of(cell: CellLike) -> Spec:
    """The cell that an estimator is to fit.

    Raises:
        DataError: it reads something beside its input, which the data of a task do not hold.
        GateworkError: there is no such cell.
    """
    spec = resolve(cell)
    if spec.beside:
        raise DataError(
            f"{name_of(spec)} reads {', '.join(spec.beside)} beside its input, and no task gives "
            f"a cell more than its input. Choose another cell."
        )
    return spec


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Check the arguments that have a rule.

    Raises:
        DataError: one of them is not what it may be.
    """
    for name, value in arguments.items():
        if name not in RULES or (value is None and name in OPTIONAL):
            continue
        kinds, fits, words = RULES[name]
        flag = isinstance(value, bool) and bool not in kinds  # Python takes True for 1
        if flag or not isinstance(value, kinds) or not fits(value):
            raise DataError(f"{name} is {words}, got {value!r}.")
