"""What fitting a detector leaves behind: all that scores are made with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gatework.data.columns import Columns
from gatework.data.cube import Cube, pieces_of
from gatework.data.scaling import COMMON, Scaler
from gatework.data.times import Step
from gatework.equations import Spec
from gatework.equations.spec import from_dict, to_dict
from gatework.tasks.arguments import check_arguments
from gatework.tasks.detect_network import NextStep, Rebuild, make_network, observed
from gatework.tasks.same_kind import load_same
from gatework.tasks.surprise import FLOOR, Begin, Judge

AT_ONCE = 1024  # windows that are rebuilt together

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DetectModel:
    """A network with all that it was fitted with; later changes of the estimator do not reach it.

    Attributes:
        parameters: the arguments of the estimator.
        cell: the equations.
        columns: which column of a table is what, also where that was found and not given.
        names: (F,) names of the features.
        step: the distance between steps.
        scaler: fitted on the training part.
        network: of these equations, trained or not.
        scatter: (F, F) mean products of the errors in steps that were not trained on.
        begins: by id, and of all series together.
        threshold: a higher score is an anomaly.
    """

    parameters: Mapping[str, Any]
    cell: Spec
    columns: Columns
    names: tuple[str, ...]
    step: Step
    scaler: Scaler
    network: NextStep | Rebuild
    scatter: Array
    begins: Mapping[str, Begin]
    threshold: float

    @property
    def context(self) -> int:
        """Steps of a window."""
        return int(self.parameters["context"])

    def load(self, data: Any) -> Cube:
        """The cube of new data, read as the training data was.

        Raises:
            DataError: it cannot be read, or has other features or steps.
        """
        return load_same(data, self.columns, self.names, self.step)

    def scaled(self, cube: Cube) -> Array:
        """A cube in the units of the network, (N, T, F), as the network gets it.

        A value that no model could read is as far away as can be: it is not to stop a detector.
        """
        return self.scaler.scaled(cube, cut=True).astype(np.float64)

    def judge(self, name: str) -> Judge:
        """A judge that begins with what is known of a series, or of all of them."""
        return self._judge(self.begins[name if name in self.begins else COMMON])

    def parts(self, data: Any) -> Iterator[Cube]:
        """``load`` of the data, or of each of its pieces."""
        return (self.load(part) for part in pieces_of(data))

    def scores(self, cube: Cube) -> Array:
        """How anomalous each step is, (N, T); NaN behind the end of a series."""
        network, found = self.exact(), np.full(cube.values.shape[:2], np.nan)
        for row, values in enumerate(self.scaled(cube)):
            own = values[: cube.lengths[row]]
            judge = self.judge(cube.ids[row] if cube.named else COMMON)
            distances = self.along(network, own)
            found[row, : len(own)] = [judge.step(d, v) for d, v in zip(distances, own, strict=True)]
        return found

    def exact(self) -> NextStep | Rebuild:
        """The network on the CPU in float64: scores are the same step by step and all at once."""
        return copy.deepcopy(self.network).cpu().double().eval()

    def along(self, network: NextStep | Rebuild, values: Array) -> list[float]:
        """The distance of each step of a series (T, F), which is read in parts."""
        parts = [self.distances(errors) for errors in self.errors(network, values)]
        found: list[float] = np.concatenate(parts).tolist()
        return found

    def errors(self, network: NextStep | Rebuild, values: Array, begin: int = 0) -> Iterator[Array]:
        """How far a series (T, F) is from what is expected of it; NaN where nothing is.

        From step ``begin`` on, in parts of M steps: (M, 1, F) of a network that forecasts. Of one
        that rebuilds windows each step has those of the window that ends with it, (M, L, F), so
        the memory goes by L and not by T.
        """
        inputs, size = torch.from_numpy(observed(values)), self.context
        if isinstance(network, NextStep):
            with torch.no_grad():
                expected = network.along(inputs).numpy()
            before = np.concatenate([np.full_like(expected[:1], np.nan), expected[:-1]])
            yield (values - before)[begin:, None]
            return
        first = max(begin, min(size - 1, len(values)))
        yield np.full((first - begin, size, len(self.names)), np.nan)
        for start in range(first, len(values), AT_ONCE):
            read = slice(start - size + 1, start + AT_ONCE)
            with torch.no_grad():  # not while a part is looked at
                rebuilt = network(inputs[read].unfold(0, size, 1).permute(2, 0, 1).contiguous())
            truth = np.lib.stride_tricks.sliding_window_view(values[read], size, axis=0)
            yield truth.transpose(0, 2, 1) - rebuilt.transpose(0, 1).numpy()

    def distances(self, errors: Array) -> Array:
        """How large errors (T, L, F) are, (T,); NaN where none is known.

        Mahalanobis' distance of each step's errors, by the features that are there, squared; the
        root of their mean.
        """
        flat = errors.reshape(-1, errors.shape[-1])
        patterns, which = np.unique(~np.isnan(flat), axis=0, return_inverse=True)
        squares = np.full(len(flat), np.nan)
        for number, there in enumerate(patterns):
            rows = np.flatnonzero(which.ravel() == number)
            if there.any():
                seen = flat[np.ix_(rows, np.flatnonzero(there))]
                inverse = np.linalg.inv(self.scatter[np.ix_(there, there)])
                squares[rows] = np.einsum("tf,fg,tg->t", seen, inverse, seen) / there.sum()
        windows = squares.reshape(errors.shape[:2])
        known = ~np.isnan(windows)
        total, count = np.where(known, windows, 0.0).sum(axis=1), known.sum(axis=1)
        mean: Array = np.full(len(total), np.nan)
        np.divide(total, count, out=mean, where=count > 0)
        distances: Array = np.sqrt(mean)
        return distances

    def calibrated(
        self, cubes: Iterable[Cube], begin: Callable[[Cube], NDArray[np.int64]]
    ) -> DetectModel:
        """The model with scatter and begins of some steps of each series.

        Args:
            cubes: the data, or its pieces; they are gone through twice.
            begin: (N,) of a cube, from which step on; a series of none tells nothing of the others.
        """
        network = self.exact()
        later = (
            part
            for cube in cubes
            for values, first in zip(self._series(cube), begin(cube).tolist(), strict=True)
            for part in self.errors(network, values, first)
        )
        model = replace(self, scatter=_scatter(later, len(self.names)))
        sums, own, named = np.zeros((2, len(self.names))), [], {}
        for cube in cubes:
            firsts = begin(cube).tolist()
            for name, values, first in zip(cube.ids, self._series(cube), firsts, strict=True):
                level = _mean(_sums(values))
                judge = model._judge(Begin.of(level, np.empty((0, 2))))
                distances = model.along(network, values)
                seen = [judge.evidence(d, v) for d, v in zip(distances, values, strict=True)]
                own.append(Begin.of(level, np.array(seen)[first:]))
                if first < len(values):
                    sums += _sums(values)
                if cube.named:
                    named[name] = own[-1]
        return replace(model, begins={COMMON: Begin.joined(_mean(sums), own), **named})

    def at_most(self, cube: Cube, share: float) -> DetectModel:
        """The model with the threshold that so many of the cube's steps lie above."""
        scores = self.scores(cube)
        return replace(self, threshold=float(np.nanquantile(scores, 1 - share)))

    def to_config(self) -> dict[str, Any]:
        """Everything but the weights, JSON-ready."""
        return {
            "parameters": {**self.parameters, "cell": None},
            "cell": to_dict(self.cell),
            "columns": vars(self.columns),
            "names": self.names,
            "step": vars(self.step),
            "scaler": self.scaler.to_dict(),
            "scatter": self.scatter,
            "begins": {name: begin.to_dict() for name, begin in self.begins.items()},
            "threshold": self.threshold,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DetectModel:
        """The model of ``to_config``'s data, its weights as they are before training.

        Raises:
            KeyError, TypeError, ValueError, GateworkError: it is not such data.
        """
        parameters = dict(config["parameters"])
        check_arguments(parameters)
        cell, names = from_dict(config["cell"]), tuple(config["names"])
        columns, features = Columns(**config["columns"]), len(names)
        scatter = np.array(config["scatter"], dtype=np.float64)
        begins = {k: Begin.from_dict(v, features) for k, v in config["begins"].items()}
        if scatter.shape != (features, features) or COMMON not in begins:
            raise ValueError("the spread of the errors is incomplete")
        return cls(
            parameters,
            cell,
            replace(columns, features=tuple(columns.features)),
            names,
            Step(**config["step"]),
            Scaler.from_dict(config["scaler"]),
            make_network(cell, features, parameters).eval(),
            scatter,
            begins,
            float(config["threshold"]),
        )

    def _series(self, cube: Cube) -> list[Array]:
        """Each series in the units of the network, (T, F), up to its end."""
        return [v[:end] for v, end in zip(self.scaled(cube), cube.lengths, strict=True)]

    def _judge(self, begin: Begin) -> Judge:
        short, memory, quiet = (int(self.parameters[key]) for key in ("short", "memory", "quiet"))
        return Judge(short, memory, quiet, begin)


def _sums(values: Array) -> Array:
    """Of each feature of a series (T, F) the sum of its values, and how many there are; (2, F)."""
    seen = ~np.isnan(values)
    return np.stack([np.where(seen, values, 0.0).sum(axis=0), seen.sum(axis=0)])


def _mean(sums: Array) -> Array:
    """The mean of each feature, (F,); 0 where it has no value."""
    found: Array = sums[0] / np.maximum(sums[1], 1)
    return found


def _scatter(parts: Iterable[Array], features: int) -> Array:
    """Mean products (F, F) of errors (..., F); of each feature alone where few are complete."""
    products, squares, count = np.zeros((features, features)), np.zeros(features), 0
    known = np.zeros(features)
    for part in parts:
        errors = part.reshape(-1, features)
        there = ~np.isnan(errors)
        whole = errors[there.all(axis=1)]
        products, count = products + whole.T @ whole, count + len(whole)
        squares += np.square(np.where(there, errors, 0.0)).sum(axis=0)
        known += there.sum(axis=0)
    alone = np.diag(squares / np.maximum(known, 1))
    found = products / count if count > 2 * features else alone
    scatter: Array = found + FLOOR**2 * np.eye(features)
    return scatter
