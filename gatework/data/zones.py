"""Time zones, at the two borders only: where stamps are read and where they are written.

In between, times are datetime64 without a zone: in UTC, or on the clock of the zone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gatework.errors import DataError

Moments = NDArray[np.datetime64]


@dataclass(frozen=True)
class Zone:
    """The zone of a column of time stamps, and how they are written.

    Attributes:
        name: as the zone database has it (``Europe/Berlin``), or an offset (``+02:00``, ``Z``).
        between: what stands between day and clock where the stamps are text; ``None``: no text.
    """

    name: str
    between: str | None = None

    @property
    def utc(self) -> Zone:
        """UTC, written in the same form."""
        return Zone("UTC" if self.between is None else "Z", self.between)

    def clock(self, moments: Moments) -> Moments:
        """What the clocks of the zone show at some moments of UTC."""
        if (offset := _offset(self.name)) is not None:
            return moments + offset
        return self._asked(lambda: pc.local_timestamp(self._typed(moments)))

    def moments(self, shown: Moments) -> Moments:
        """The moments (UTC) at which the clocks show this.

        Of a time that is shown twice, when summer ends, it is the first; for one that is never
        shown, when summer begins, the next that is.
        """
        if (offset := _offset(self.name)) is not None:
            return shown - offset
        naive = pa.array(shown.astype("datetime64[us]"))
        rules = {"ambiguous": "earliest", "nonexistent": "latest"}
        return self._asked(lambda: pc.assume_timezone(naive, self.name, **rules))

    def written(self, moments: Moments) -> pa.Array:
        """Moments (UTC) as the column has its stamps: text with an offset, or typed."""
        if self.between is None:
            return self._typed(moments)
        texts = whole(self.clock(moments)).astype(str)
        return pa.array([f"{t.replace('T', self.between)}{self.name}" for t in texts])

    def _typed(self, moments: Moments) -> pa.Array:
        shown = whole(moments)
        return pa.array(shown.astype(np.int64)).cast(
            pa.timestamp(np.datetime_data(shown.dtype)[0], self.name)
        )

    def _asked(self, question: Callable[[], pa.Array]) -> Moments:
        try:
            answer: Moments = question().to_numpy(zero_copy_only=False)
            return answer.astype("datetime64[us]")
        except pa.ArrowInvalid as error:
            raise DataError(
                f"The time zone {self.name!r} is not in the zone database of this machine. Write "
                f"it as Europe/Berlin or +02:00, or install the database (pip install tzdata)."
            ) from error


def _offset(name: str) -> np.timedelta64 | None:
    """How far the clocks of an offset are before UTC; ``None`` for the name of a place."""
    try:
        end = "Z" if name == "UTC" else name
        found = datetime.fromisoformat(f"2000-01-01T00:00{end}").utcoffset()
    except ValueError:
        return None
    return None if found is None else np.timedelta64(found)


def whole(times: Moments) -> Moments:
    """The same in seconds, where no fraction is lost by that."""
    seconds = times.astype("datetime64[s]")
    return seconds if (seconds == times).all() else times.astype("datetime64[us]")
