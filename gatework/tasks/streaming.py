"""Fitting any task on a file that is larger than memory, a piece of whole series at a time.

``Survey`` is the first reading of the file, ``Streamed`` the problem that the training loop gets of
it; both know of no task.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gatework.data.cube import Cube
from gatework.data.stream import Stream
from gatework.errors import DataError
from gatework.training.loop import Problem

PARTS = ("train", "validation")
MOST_NOTES = 100  # of a file, which may have as many as it has pieces
Places = NDArray[np.int64]
# Of a piece where the training part of each series ends, and how many examples each part has.
Look = Callable[[int, Cube], tuple[Places, dict[str, int]]]
P = TypeVar("P", bound=Problem)


class Survey:
    """The first reading of a stream: what has to be known of all pieces before training.

    Args:
        stream: the file.
        look: what a task looks at in each piece.

    Attributes:
        first: the first piece.
        sizes: examples of each piece, by part.
        series: how many there are.
        notes: what was found in the pieces, in words.
        marks: of each piece a number that no other data has, (32,) bytes each.
    """

    def __init__(self, stream: Stream, look: Look) -> None:
        self.stream, self.look, self.first = stream, look, stream[0]
        self.sizes: dict[str, list[int]] = {part: [] for part in PARTS}
        self.series, self.notes = 0, [stream.words()]
        self.marks: list[NDArray[np.uint8]] = []

    def pieces(self) -> Iterator[tuple[Cube, Places]]:
        """Every piece with the ends of its training parts; what it holds is noted on the way."""
        said: set[str] = set()
        for number, cube in enumerate(self.stream):
            # Single rows say nothing of their step.
            step = self.first.step if cube.lengths.max() == 1 else cube.step
            if (step, cube.names) != (self.first.step, self.first.names):
                raise DataError(
                    f"The series of {self.stream.path} differ: those with id "
                    f"{self.first.ids[0]!r} and after have steps of {self.first.step.words()}, "
                    f"those with {cube.ids[0]!r} and after of {cube.step.words()}."
                )
            ends, sizes = self.look(number, cube)
            self.series += len(cube.ids)
            for part, count in sizes.items():
                self.sizes[part].append(count)
            whole = hashlib.sha256(np.ascontiguousarray(cube.values).tobytes())
            whole.update(repr((cube.ids, cube.levels, cube.lengths.tolist())).encode())
            self.marks.append(np.frombuffer(whole.digest(), np.uint8))
            new = [note for note in cube.notes if note not in said][: MOST_NOTES - len(said)]
            said.update(new)
            self.notes += [f"From row {self.stream.cuts[number] + 1}: {note}" for note in new]
            yield cube, ends


@dataclass
class Streamed(Generic[P]):
    """Examples of a stream: a ``training.loop.Problem`` that holds those of one piece at a time.

    They are shuffled within a piece, and pieces among each other.

    Attributes:
        model: the network.
        load: the problem of one piece, by its number.
        sizes: examples of each piece, by part.
    """

    model: nn.Module
    load: Callable[[int], P]
    sizes: dict[str, list[int]]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _held: tuple[int, P] | None = None

    @property
    def train_parts(self) -> list[int]:
        """How many examples each piece has for training."""
        return self.sizes["train"]

    @property
    def train_size(self) -> int:
        """How many there are for training."""
        return sum(self.sizes["train"])

    @property
    def validation_size(self) -> int:
        """How many for validation."""
        return sum(self.sizes["validation"])

    def to(self, device: torch.device) -> None:
        """Have the pieces on a device."""
        self.device, self._held = device, None

    def losses(self, index: Tensor, part: str) -> Tensor:
        """The loss of each example, (B,); those of a piece are best next to each other."""
        edges = torch.from_numpy(self._edges(part))
        pieces = torch.searchsorted(edges, index, right=True) - 1
        cuts = [0, *(torch.nonzero(pieces.diff()).flatten() + 1).tolist(), len(index)]
        found = []
        for begin, end in pairwise(cuts):
            piece = int(pieces[begin])
            found.append(self.piece(piece).losses(index[begin:end] - edges[piece], part))
        return torch.cat(found)

    def describe(self, index: int, part: str) -> str:
        """One example in words."""
        edges = self._edges(part)
        piece = int(np.searchsorted(edges, index, side="right")) - 1
        return self.piece(piece).describe(index - int(edges[piece]), part)

    def sample(self, part: str) -> P | None:
        """The problem of the first piece that has examples of a part."""
        piece = next((i for i, count in enumerate(self.sizes[part]) if count), None)
        return None if piece is None else self.piece(piece)

    def piece(self, piece: int) -> P:
        """The problem of one piece; that of another one is let go."""
        if self._held is None or self._held[0] != piece:
            self._held = None
            problem = self.load(piece)
            problem.to(self.device)
            self._held = piece, problem
        return self._held[1]

    def _edges(self, part: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The number of the first example of each piece, and how many there are."""
        return np.concatenate([[0], np.cumsum(self.sizes[part])]).astype(np.int64)
