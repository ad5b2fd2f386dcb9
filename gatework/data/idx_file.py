"""IDX, the form of MNIST's files: a head that says kind and shape, then the numbers.

Two zeros, one byte for the kind of number, one for how many axes there are, four bytes for the
size of each, and the numbers row by row; all big-endian (yann.lecun.com/exdb/mnist). The names
say what is in a file: ``train-images-idx3-ubyte`` has its classes in ``train-labels-idx1-ubyte``
and its test part in ``t10k-images-idx3-ubyte``.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatework.data.packed import PACKED, beside, content_of
from gatework.errors import DataError

ENDING = re.compile(r"[-.]idx\d?(-\w+)?$")
KINDS = {8: "u1", 9: "i1", 11: "i2", 12: "i4", 13: "f4", 14: "f8"}
TRAIN, TESTS = re.compile(r"(?<![A-Za-z])train(?=[-_.])"), ("t10k", "test")


def is_idx(path: Path) -> bool:
    """Whether a file is of this form, by its name."""
    return bool(ENDING.search(path.name.removesuffix(PACKED)))


def read_idx(path: str | Path) -> NDArray[Any]:
    """The array of an IDX file, which may be packed with gzip.

    Raises:
        DataError: it cannot be read, or is damaged.
    """
    path = Path(path)
    content = content_of(path)
    axes = content[3] if len(content) > 3 else 0
    first = 4 + 4 * axes
    if content[:2] != b"\0\0" or content[2] not in KINDS or not axes or len(content) < first:
        raise DataError(
            f"{path} is no IDX file: it begins with {content[:4].hex(' ') or 'nothing'}, expected "
            f"00 00, a kind of number ({', '.join(f'{kind:02x}' for kind in KINDS)}), axes."
        )
    shape = tuple(np.frombuffer(content, ">u4", axes, offset=4).tolist())
    kind = np.dtype(KINDS[content[2]]).newbyteorder(">")
    whole, there = math.prod(shape) * kind.itemsize, len(content) - first
    if whole != there:
        raise DataError(
            f"{path} is damaged: {shape} of {kind.itemsize} bytes each are {whole} bytes, and "
            f"{there} are there."
        )
    found = np.frombuffer(content, kind, offset=first).reshape(shape)
    return found.astype(kind.newbyteorder("="))


def labels_beside(path: Path) -> Path | None:
    """The file with the classes of the images in another one, by its name."""
    if "images" not in path.name:
        return None
    return beside(path, path.name.replace("images", "labels").replace("idx3", "idx1"))


def part_beside(path: Path) -> Path | None:
    """The file of the test part beside that of the training part, by its name."""
    names = [TRAIN.sub(test, path.name) for test in TESTS]
    return next(filter(None, (beside(path, n) for n in names if n != path.name)), None)
