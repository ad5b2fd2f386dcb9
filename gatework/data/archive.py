"""Files of labelled series: ``.ts``, ``.arff``, ``.npz``, ``.npy`` and IDX.

A file of text or IDX may be packed with gzip (``NAME_TRAIN.ts.gz``). The official split of a
problem is found by its names: ``NAME_TRAIN.ts`` and ``NAME_TEST.ts`` side by side, or the arrays
``X_train, y_train, X_test, y_test`` in one ``.npz``.

``.ts`` (www.timeseriesclassification.com): lines ``@key values``, then after ``@data`` one case a
line, its dimensions divided by ``:`` and their steps by ``,``, with ``?`` where a value is missing
and the class as the last part. ``.arff``: the same cases as attributes, of several dimensions as
one relational attribute; SciPy reads it. IDX, of MNIST and its like (see ``data.idx_file``):
images, each read as a sequence of its rows, with the file of classes and the test part beside.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import arff

from gatework.data.cases import Labelled, cases_of
from gatework.data.idx_file import is_idx, labels_beside, part_beside, read_idx
from gatework.data.packed import PACKED, SEQUENCES, beside, content_of, ending_of
from gatework.data.ts_file import read_ts
from gatework.errors import DataError

IDX = "-idx3-ubyte"
TRAIN, TEST = "_TRAIN", "_TEST"


def read_archive(path: str | Path, part: str = "") -> Labelled:
    """The cases of one file; their classes are text.

    Args:
        path: a file; its ending says what it is.
        part: ``"train"`` or ``"test"`` of an ``.npz`` that holds both.

    Raises:
        DataError: it is not there, is of another kind, or is damaged; in a ``.ts`` file the line
            is named.
    """
    path = Path(path)
    ending = _ending(path)
    if ending == IDX:
        return _read_images(path)
    name = path.name.partition(".")[0].removesuffix(TRAIN).removesuffix(TEST)
    if ending == ".npz":
        return _read_npz(path, part, name)
    if ending == ".npy":
        return cases_of(_series(_load(path), path), None, name)
    read = read_ts if ending == ".ts" else _read_arff
    series, labels, notes = read(_text(path), path.name)
    return cases_of(series, labels, name, notes)


def read_split(path: str | Path) -> tuple[Labelled, Labelled | None]:
    """The official split: training cases, and test cases where they are found.

    Args:
        path: ``NAME_TRAIN.ts`` (or another ending), ``train-images-idx3-ubyte``, the folder in
            which it lies, or an ``.npz`` with both parts.

    Raises:
        DataError: as ``read_archive``; or a folder that holds no training file.
    """
    path = Path(path)
    if path.is_dir():
        endings = [f"{e}{z}" for e in SEQUENCES for z in ("", PACKED)]
        found = [f for e in endings for f in sorted(path.glob(f"*{TRAIN}{e}"))]
        found += sorted(path.glob("*.npz"))
        found += [f for f in sorted(path.glob("*train*images*")) if is_idx(f)]
        if not found:
            raise DataError(f"{path} holds no NAME{TRAIN} file ({', '.join((*SEQUENCES, IDX))}).")
        path = found[0]
    if _ending(path) == ".npz" and "x_train" in _arrays(path):
        return read_archive(path, "train"), read_archive(path, "test")
    if is_idx(path):
        other = part_beside(path)
    else:
        other = beside(path, path.name.replace(TRAIN, TEST)) if TRAIN in path.name else None
    return read_archive(path), None if other is None else read_archive(other)


def is_archive(path: Path) -> bool:
    """Whether a file holds labelled series, or a folder may, by its name."""
    return path.is_dir() or is_idx(path) or ending_of(path) in SEQUENCES


def _ending(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"There is no file {path}.")
    if is_idx(path):
        return IDX
    ending = ending_of(path)
    if ending not in SEQUENCES:
        known = ", ".join((*SEQUENCES, IDX))
        raise DataError(
            f"{path} ends in {ending!r}; labelled series are {known}. Of a long table name the "
            f"columns (target, id and features)."
        )
    return ending


def _text(path: Path) -> str:
    # Comments come in any encoding; numbers and names of classes are the same in all of them.
    return content_of(path).decode("utf-8-sig", errors="replace")


def _read_arff(text: str, name: str) -> tuple[list[NDArray[Any]], NDArray[Any], list[str]]:
    try:
        table, about = arff.loadarff(io.StringIO(text))
    except StopIteration as error:
        raise DataError(f"{name} cannot be read as ARFF: it ends before its cases.") from error
    except (arff.ArffError, ValueError, LookupError, NotImplementedError) as error:
        raise DataError(
            f"{name} cannot be read as ARFF: {error}. Is the whole file there?"
        ) from error
    *values, label = about.names()
    if about[label][0] != "nominal" or not values:
        raise DataError(
            f"{name}: the last attribute is the class, of the form {{a,b}}, and values stand "
            f"before it; got {label!r} of the kind {about[label][0]} after {len(values)} others."
        )
    if not len(table):
        raise DataError(f"{name} holds no case behind @data.")
    labels = np.array([v.decode() for v in table[label]])
    relational = about[values[0]][0] == "relational"
    if relational and len(values) > 1:
        raise DataError(f"{name} has further attributes beside a relational one: {values[1:]}.")
    rows = table[values[0]] if relational else table[values]
    try:
        series = [np.array(row.tolist(), dtype=np.float64) for row in rows]
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: a value is no number: {error}.") from error
    return [s.T if relational else s[:, None] for s in series], labels, []


def _read_images(path: Path) -> Labelled:
    """Images (N, T, F), read row by row, and the classes that stand in the file beside."""
    series, classes = _series(read_idx(path), path), labels_beside(path)
    labels = None if classes is None else read_idx(classes)
    if labels is not None and labels.shape != (len(series),):
        raise DataError(
            f"{classes} is to hold one class for each of the {len(series)} images of {path.name}, "
            f"it holds {labels.shape}."
        )
    name = path.name.partition("images")[0].rstrip("-_.") or path.name
    return cases_of(series, None if labels is None else labels.astype(str), name)


def _read_npz(path: Path, part: str, name: str) -> Labelled:
    arrays = _arrays(path)
    suffix = f"_{part}" if part else ""
    if not part and "x_train" in arrays:
        raise DataError(
            f"{path} holds a training and a test part; name one: read_archive(..., part='test'), "
            f"or a file with one of them as X and y."
        )
    if f"x{suffix}" not in arrays:
        raise DataError(
            f"{path} is to hold X and y, or X_train, y_train, X_test and y_test; it holds "
            f"{', '.join(arrays) or 'nothing'}."
        )
    series, labels = _series(arrays[f"x{suffix}"], path), arrays.get(f"y{suffix}")
    if labels is not None and labels.shape != (len(series),):
        raise DataError(
            f"{path}: y{suffix} is one class for each of {len(series)} sequences, got "
            f"{labels.shape}."
        )
    return cases_of(series, None if labels is None else _classes(labels, path, suffix), name)


def _classes(labels: NDArray[Any], path: Path, suffix: str) -> NDArray[np.str_]:
    """Classes as text; whole numbers are the same class in every kind of number.

    Raises:
        DataError: one is missing, or a number with a fraction, which is no class.
    """
    if labels.dtype.kind == "f":
        odd = labels[labels != np.round(labels)]  # NaN is not equal to itself
        if len(odd):
            raise DataError(
                f"{path}: y{suffix} is one class for each sequence, as text or a whole number, "
                f"got {odd[0]}."
            )
        labels = labels.astype(np.int64)
    return labels.astype(str)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` by their names in small letters."""
    stored = _load(path)
    try:
        return {key.lower(): stored[key] for key in stored}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {_why(error)}") from error


def _load(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {_why(error)}") from error


def _why(error: Exception) -> str:
    words = f"{str(error).rstrip('.')}."
    if "pickle" not in words:
        return words
    return (
        f"{words} Arrays of objects (sequences of different lengths) are pickles and refused; pad "
        f"them with NaN."
    )


def _series(values: NDArray[Any], path: Path) -> list[NDArray[np.float64]]:
    if values.ndim not in (2, 3) or values.dtype.kind not in "biuf" or not values.size:
        raise DataError(
            f"{path}: sequences are numbers (N, T, F) or (N, T), got {values.dtype} {values.shape}."
        )
    array = values.astype(np.float64)
    array = np.where(np.isfinite(array), array, np.nan)
    return list(array[..., None] if array.ndim == 2 else array)
