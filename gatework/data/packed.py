"""Files that may be packed with gzip."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from gatework.errors import DataError

PACKED = ".gz"
SEQUENCES = (".ts", ".arff", ".npz", ".npy")  # of archives of sequences with classes


def content_of(path: Path) -> bytes:
    """What a file holds, unpacked where its name ends in ``.gz``.

    Raises:
        DataError: it cannot be read, or is damaged.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == PACKED else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error


def beside(path: Path, name: str) -> Path | None:
    """The file of some name in the folder of another one, packed or not; ``None``: not there."""
    plain = name.removesuffix(PACKED)
    found = (path.with_name(n) for n in (name, plain, plain + PACKED))
    return next((f for f in found if f.is_file()), None)


def ending_of(path: Path) -> str:
    """The ending of a file's name in small letters, without that of its packing."""
    return Path(path.name.removesuffix(PACKED)).suffix.lower()
