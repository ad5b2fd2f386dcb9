"""What fitting a classifier leaves behind: all that a class is told with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatework.data.cases import Labelled
from gatework.data.cube import Cube, pieces_of
from gatework.data.labelled import load_labelled
from gatework.data.long_cases import LongCases
from gatework.data.scaling import Scaler
from gatework.data.words import counted
from gatework.equations import Spec
from gatework.equations.spec import from_dict, to_dict
from gatework.errors import DataError
from gatework.tasks.arguments import check_arguments
from gatework.tasks.classify_network import ClassifyNetwork
from gatework.tasks.stacks import seeded

AT_ONCE = 256  # sequences that are classified together


@dataclass(frozen=True)
class Cases:
    """Sequences in the units of the network.

    Attributes:
        inputs: (N, T, 2F) float32, values and their masks; zero where missing.
        lengths: (N,), on the CPU.
    """

    inputs: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Some cases, as long as the longest of them: (B, T, 2F) and (B,)."""
        lengths = self.lengths[index]
        rows = self.inputs[index.to(self.inputs.device), : int(lengths.max())]
        return rows, lengths


@dataclass(frozen=True)
class ClassifyModel:
    """A network with all that it was fitted with; later changes of the estimator do not reach it.

    Attributes:
        parameters: the arguments of the estimator.
        cell: the equations.
        classes: (C,) sorted.
        counts: (C,) sequences of each that were given for training.
        features: F of the sequences.
        steps: T of the longest training sequence.
        scaler: fitted on the training part.
        network: of these equations, trained or not.
    """

    parameters: Mapping[str, Any]
    cell: Spec
    classes: NDArray[Any]
    counts: NDArray[np.int64]
    features: int
    steps: int
    scaler: Scaler
    network: ClassifyNetwork

    @property
    def usual(self) -> Any:
        """The largest class of the training data."""
        return self.classes[self.counts.argmax()]

    def load(self, data: Any, labels: Any = None) -> Labelled:
        """New sequences, read as the training data was.

        Raises:
            DataError: they cannot be read, have other features, or are too long to be shuffled.
        """
        cases = load_labelled(data, labels, long_of(self.parameters))
        longest, most = int(cases.cube.lengths.max()), self.steps if self.network.shuffle else None
        check_readable(len(cases.cube.names), longest, cases.name, self.features, most)
        return cases

    def parts(self, data: Any, labels: Any = None) -> Iterator[Labelled]:
        """``load`` of the data, or of each of its pieces, which bring their classes."""
        return (self.load(part, labels) for part in pieces_of(data))

    def cases(self, cube: Cube) -> Cases:
        """Sequences in the units of the network."""
        scaled = torch.from_numpy(self.scaler.scaled(cube))
        seen = ~scaled.isnan()
        inputs = torch.cat([scaled.nan_to_num(), seen.to(scaled)], dim=2)
        return Cases(inputs, torch.from_numpy(cube.lengths))

    def probabilities(self, data: Labelled) -> NDArray[np.float64]:
        """The probability of each class, (N, C)."""
        cases, device = self.cases(data.cube), next(self.network.parameters()).device
        # Sequences of like length together: less padding.
        order = torch.argsort(cases.lengths, stable=True)
        found = torch.empty(len(cases), len(self.classes), dtype=torch.float64)
        with torch.no_grad():
            for index in torch.split(order, AT_ONCE):
                inputs, lengths = cases.batch(index)
                scores = self.network(inputs.to(device), lengths)
                found[index] = scores.cpu().double().softmax(dim=1)
        return found.numpy()

    def to_config(self) -> dict[str, Any]:
        """Everything but the weights, JSON-ready."""
        weights = self.parameters["class_weight"]
        pairs = weights if not isinstance(weights, Mapping) else list(weights.items())
        return {
            "parameters": {**self.parameters, "cell": None, "class_weight": pairs},
            "cell": to_dict(self.cell),
            "classes": {"kind": self.classes.dtype.str, "values": self.classes.tolist()},
            "counts": self.counts.tolist(),
            "features": self.features,
            "steps": self.steps,
            "scaler": self.scaler.to_dict(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ClassifyModel:
        """The model of ``to_config``'s data, its weights as they are before training.

        Raises:
            KeyError, TypeError, ValueError, GateworkError: it is not such data.
        """
        parameters = dict(config["parameters"])
        if isinstance(parameters["class_weight"], Sequence):
            given = parameters["class_weight"]
            parameters["class_weight"] = given if isinstance(given, str) else dict(given)
        check_arguments(parameters)
        cell, kept = from_dict(config["cell"]), config["classes"]
        classes = np.array(kept["values"], dtype=np.dtype(kept["kind"]))
        features, steps = int(config["features"]), int(config["steps"])
        counts = np.array(config["counts"], dtype=np.int64)
        if (
            classes.ndim != 1
            or counts.shape != classes.shape
            or min(features, steps, len(classes) - 1) < 1
        ):
            raise ValueError("the classes or sizes are incomplete")
        network = make_network(cell, features, steps, len(classes), parameters).eval()
        scaler = Scaler.from_dict(config["scaler"])
        return cls(parameters, cell, classes, counts, features, steps, scaler, network)


def long_of(parameters: Mapping[str, Any]) -> LongCases:
    """Which column of a long table is what, by an estimator's arguments; earlier ones lack them."""
    target, time, case = (parameters.get(name) for name in ("target", "time", "id"))
    return LongCases(target, time, case, parameters.get("features", ()))


def check_readable(found: int, longest: int, name: str, features: int, steps: int | None) -> None:
    """Refuse sequences that a model cannot read.

    Args:
        found: F of the sequences.
        longest: T of the longest of them.
        name: what they are called.
        features: F of those that the model learns from.
        steps: T of the longest of them, where the model reads at most so many.

    Raises:
        DataError: they have other features, or are longer.
    """
    if found != features:
        raise DataError(
            f"The training sequences have {counted(features, 'feature')}, those of {name} {found}."
        )
    if steps is not None and longest > steps:
        raise DataError(
            f"With shuffle the model reads at most the {steps} steps of its training sequences; "
            f"one of {name} has {longest}. Shorten it, or fit with shuffle=False."
        )


def make_network(
    cell: Spec, features: int, steps: int, classes: int, parameters: Mapping[str, Any]
) -> ClassifyNetwork:
    """The untrained network of an estimator's arguments; the same for the same seed."""
    with seeded(parameters["seed"]):
        return ClassifyNetwork(
            cell,
            features,
            steps,
            classes,
            int(parameters["hidden_size"]),
            int(parameters["num_layers"]),
            bool(parameters["bidirectional"]),
            parameters["pool"],
            parameters["convolution"],
            bool(parameters["shuffle"]),
            parameters["dropout"],
            parameters["forget_bias"],
        )
