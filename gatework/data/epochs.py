"""Dates that are written as a count since a first day: as a spreadsheet or Unix keeps them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# What is counted, its unit, and the day that is 0.
EPOCHS = (
    ("days of a spreadsheet", "D", "1899-12-30"),
    ("seconds since 1970", "s", "1970-01-01"),
    ("milliseconds since 1970", "ms", "1970-01-01"),
)
FROM, UNTIL = "1980-01-01", "2100-01-01"


def like_dates(times: NDArray[Any]) -> str:
    """What to do if whole numbers are meant as dates; nothing where none is likely.

    They are not turned into dates unasked: 45292 may be the day 2024-01-01, or a count.
    """
    if times.dtype.kind != "i" or not len(times):
        return ""
    for what, unit, begin in EPOCHS:
        kind = np.dtype(f"datetime64[{unit}]")
        zero, first, last = np.array([begin, FROM, UNTIL], dtype=kind).astype(np.int64)
        if first - zero <= times.min() and times.max() < last - zero:
            shown = np.datetime_as_string((times[:1] + zero).astype(kind), unit="auto")[0]
            return (
                f"If they are {what} ({times[0]} would be {shown}), write them as dates, "
                f"YYYY-MM-DD HH:MM:SS."
            )
    return ""
