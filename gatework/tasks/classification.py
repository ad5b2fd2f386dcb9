"""How good told classes are: beside the largest class, class by class, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support


@dataclass(frozen=True)
class Classification:
    """Told classes of some sequences beside the true ones.

    Attributes:
        model: name of the model's row.
        truth: (M,) true classes.
        told: (M,) classes that the model tells.
        probabilities: (M, C) of each class that the model knows.
        classes: (C,) these classes.
        usual: the largest class of the training part, for the baseline.
    """

    model: str
    truth: NDArray[Any]
    told: NDArray[Any]
    probabilities: NDArray[np.float64]
    classes: NDArray[Any]
    usual: Any

    def all_classes(self) -> NDArray[Any]:
        """The classes that the model knows, then those of the truth that it has never seen."""
        return np.concatenate([self.classes, np.setdiff1d(self.truth, self.classes)])

    def accuracy(self) -> float:
        """The share of sequences whose class is told rightly."""
        return float((self.truth == self.told).mean())

    def baseline(self) -> float:
        """The accuracy of always telling the largest class of the training part."""
        return float((self.truth == self.usual).mean())

    def confusion(self) -> NDArray[np.int64]:
        """How many sequences of each class (rows) are told to be of which (columns)."""
        found: NDArray[np.int64] = confusion_matrix(
            self.truth, self.told, labels=self.all_classes()
        )
        return found

    def by_class(self) -> dict[str, dict[str, float]]:
        """Of each class: ``precision``, ``recall``, ``f1`` and ``count`` of its sequences.

        A precision is 0 where the class is never told, a recall where it has no sequence.
        """
        found = precision_recall_fscore_support(
            self.truth, self.told, labels=self.all_classes(), zero_division=0.0
        )
        keys = ("precision", "recall", "f1")
        rows = zip(*(part.tolist() for part in found), strict=True)
        return {
            # scikit-learn counts in floats where a class has no sequence.
            str(name): dict(zip(keys, row, strict=True)) | {"count": int(count)}
            for name, (*row, count) in zip(self.all_classes(), rows, strict=True)
        }

    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that the truth holds."""
        rows = [row["recall"] for row in self.by_class().values() if row["count"]]
        return float(np.mean(rows))

    def verdict(self) -> str:
        """In words: how often the model is right, and whether it beats the largest class."""
        count = len(self.truth)
        right, usual = f"{self.accuracy():.1%}", f"{self.baseline():.1%}"
        of = f"{count} sequence{'' if count == 1 else 's'}"
        if self.accuracy() > self.baseline():
            return (
                f"The {self.model} is right on {right} of {of}; always telling the largest class, "
                f"{str(self.usual)!r}, is right on {usual}."
            )
        return (
            f"The {self.model} does not beat the largest class: it is right on {right} of {of}, "
            f"always telling {str(self.usual)!r} on {usual}."
        )

    def to_dict(self) -> dict[str, Any]:
        """The tables as JSON-ready data."""
        return {
            "sequences": len(self.truth),
            "accuracy": self.accuracy(),
            "balanced_accuracy": self.balanced_accuracy(),
            "baseline": self.baseline(),
            "usual": str(self.usual),
            "classes": [str(name) for name in self.all_classes()],
            "confusion": self.confusion().tolist(),
            "by_class": self.by_class(),
            "verdict": self.verdict(),
        }
