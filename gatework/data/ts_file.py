"""The ``.ts`` form of labelled series; every mistake is named with its line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from gatework.errors import DataError

MISSING = ("?", "nan", "")


def read_ts(text: str, name: str) -> tuple[list[NDArray[Any]], NDArray[Any] | None, list[str]]:
    """Read cases.

    Args:
        text: the whole file.
        name: what it is called in errors.

    Returns:
        The sequences (T, F), NaN where missing; their classes (N,), if the file has them; and
        what was found and done, in words.

    Raises:
        DataError: with the line at which the file is not as it should be.
    """
    return _Reader(name).read(text.splitlines())


@dataclass
class _Reader:
    name: str
    line: int = 0
    header: dict[str, list[str]] = field(default_factory=dict)
    series: list[NDArray[Any]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    uneven: list[int] = field(default_factory=list)  # lines whose dimensions differ in length

    def read(self, lines: list[str]) -> tuple[list[NDArray[Any]], NDArray[Any] | None, list[str]]:
        in_data = False
        for self.line, line in enumerate((text.strip() for text in lines), start=1):
            if not line or line.startswith(("#", "%")):
                continue
            if in_data:
                self.read_case(line)
            elif line.lower() == "@data":
                self.check_header()
                in_data = True
            elif line.startswith("@"):
                key, *values = line[1:].split()
                self.header[key.lower()] = values
            else:
                self.fail(f"got {_shown(line)}, expected @key values, or @data before the cases")
        if not in_data:
            self.fail("the file ends without @data")
        if not self.series:
            self.fail("no case stands behind @data")
        return self.series, np.array(self.labels) if self.labels else None, self.notes()

    def check_header(self) -> None:
        if self.says("timestamps"):
            self.fail("@timeStamps true is not read here; write the values alone, one a step")
        if "classlabel" not in self.header:
            if self.says("targetlabel"):
                self.fail("@targetLabel true: these cases have a number each, and no class")
            self.fail("no @classLabel stands before @data; write `@classLabel true a b ...`, or "
                      "`@classLabel false` where the cases have none")  # fmt: skip

    def says(self, key: str) -> bool:
        return self.header.get(key, ["false"])[0].lower() == "true"

    def read_case(self, line: str) -> None:
        *parts, label = line.split(":")
        if not self.says("classlabel"):
            parts = [*parts, label]
        else:
            self.labels.append(self.known_class(label.strip()))
        declared = self.header.get("dimensions") or (["1"] if self.says("univariate") else [""])
        expected = int(declared[0]) if declared[0].isdecimal() else len(parts)
        expected = self.series[0].shape[1] if self.series else expected
        if len(parts) != expected or not parts:
            what = "with the class behind it" if self.says("classlabel") else "and no class"
            self.fail(f"got {len(parts)} dimensions divided by ':', expected {expected} {what}")
        rows = [self.numbers(part) for part in parts]
        steps = max(map(len, rows))
        if min(map(len, rows)) < steps:
            self.uneven.append(self.line)
        padded = [np.pad(r, (0, steps - len(r)), constant_values=np.nan) for r in rows]
        self.series.append(np.stack(padded, axis=1))

    def known_class(self, label: str) -> str:
        classes = self.header["classlabel"][1:]
        if not label or (classes and label not in classes):
            self.fail(f"got the class {_shown(label)}, expected one of {', '.join(classes)}")
        return label

    def numbers(self, part: str) -> NDArray[np.float64]:
        words = [word.strip() for word in part.split(",")]
        words = ["nan" if word.lower() in MISSING else word for word in words]
        try:
            values = np.array([float(word) for word in words])
        except ValueError as error:
            self.fail(f"{str(error).rpartition(': ')[2]} is no number")
        return np.where(np.isfinite(values), values, np.nan)

    def notes(self) -> list[str]:
        notes = []
        if self.uneven:
            notes.append(
                f"{len(self.uneven)} of {len(self.series)} cases have dimensions of different "
                f"lengths (first on line {self.uneven[0]} of {self.name}); what the shorter ones "
                f"lack is missing."
            )
        if self.says("equallength") and len(lengths := {len(s) for s in self.series}) > 1:
            notes.append(
                f"{self.name} says @equalLength true; its cases have {min(lengths)} to "
                f"{max(lengths)} steps, and are read as they are."
            )
        return notes

    def fail(self, what: str) -> NoReturn:
        raise DataError(f"{self.name}, line {self.line}: {what}.")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
