"""What the tests of the command line and of the report need: calling it, and a messy table."""

import contextlib
import io
import math
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from unittest import mock

from data_tools import DAYS, sine

from gatework.cli.main import run

TINY = ("--hidden-size", "4", "--epochs", "2", "--device", "cpu")
AIR = ("fit", "forecast", "airpassengers", "--horizon", "12", *TINY)


@dataclass(frozen=True)
class Result:
    """What a command did."""

    status: int
    out: str
    err: str


def call(*words):
    """``gatework WORDS`` in this process."""
    out, err, status = io.StringIO(), io.StringIO(), None
    with (
        mock.patch.object(sys, "argv", ["gatework", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            run()
        except SystemExit as end:
            status = end.code
    return Result(status, out.getvalue(), err.getvalue())


def done(*words):
    """``call`` of a command that has to succeed."""
    result = call(*words)
    assert result.status == 0, result.err
    return result


def refused(*words):
    """The one line with which a command ends."""
    result = call(*words)
    assert result.status == 2, result
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("error: ")
    assert result.err.endswith("\n")
    assert "Traceback" not in result.err + result.out
    return result.err


def shops(steps=60, target="sold", ids=("north", "south")):
    """Rows of a small daily table of shops with nothing wrong in it."""
    rows = [["day", "shop", target, "price", "remark"]]
    for number, name in enumerate(ids):
        for step in range(steps):
            day = date(2021, 1, 1) + timedelta(days=step)
            sold = 20 + 5 * math.sin(2 * math.pi * step / 7 + number) + step % 3
            rows.append([day, name, f"{sold:.3f}", f"{1 + number + step % 2}", "so"])
    return rows


def messy(steps=60):
    """The same with gaps, missing and infinite values, repeated and unsorted rows."""
    header, *rows = shops(steps)
    for place, value in ((3, "NaN"), (10, ""), (20, "inf"), (70, "n/a"), (80, "-inf")):
        rows[place][2] = value
    del rows[90:93], rows[30:32]  # 5 days are absent
    rows.append(list(rows[15]))  # at the end, so neither in order nor alone with its day
    return [header, *reversed(rows[:20]), *rows[20:]]


SMALL = ["--horizon", "3", "--context", "6", "--hidden-size", "3", "--epochs", "2"]


HEADER = "day,shop,sold,price\n"


def table(shops=("a", "b"), steps=50):
    """A long table with a gap, empty and infinite numbers."""
    rows = []
    for shop in shops:
        for i, (day, y) in enumerate(zip(DAYS, sine(steps), strict=False)):
            value = {4: "", 9: "NA", 12: "inf"}.get(i, f"{y:.3f}")
            rows += [] if i == 20 else [f"{day},{shop},{value},{i % 7}\n"]
    return HEADER + "".join(rows)


COLUMNS = ["--target", "sold", "--time", "day", "--id", "shop"]
