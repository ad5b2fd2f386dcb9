"""Labelled cases of anything: files of the archives, images, arrays and lists of arrays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_array

from gatework.data.archive import read_archive
from gatework.data.cases import Labelled, cases_of
from gatework.data.cube import Cube, check_whole
from gatework.data.long_cases import LongCases
from gatework.data.packed import PACKED
from gatework.data.series import floats
from gatework.data.table import PARQUET
from gatework.errors import DataError


def load_labelled(data: Any, labels: Any = None, long: LongCases | None = None) -> Labelled:
    """Make cases of anything that holds sequences.

    Steps at the end in which every feature is missing are taken as padding and cut off, so a
    sequence that is padded with NaN is the same as one that is shorter.

    Args:
        data: the path of a ``.ts``, ``.arff``, ``.npz``, ``.npy`` or IDX file (see
            ``data.archive``); an array (N, T, F), or (N, T) of one feature; a list of N arrays
            (T, F) or (T,) of different lengths; a cube; or labelled cases. Time comes before
            features: packages that write (N, F, T) want ``X.transpose(0, 2, 1)``.
        labels: (N,) the class of each, if the data does not bring it.
        long: which column of a long table is what; where it names the ids, a data frame and the
            path of a ``.csv`` or ``.parquet`` file are long tables.

    Raises:
        DataError: in one line, what is wrong and what to do.
    """
    cases = _cases(data, long)
    if labels is None:
        return cases
    given = np.asarray(labels)
    if len(given) != len(cases):
        raise DataError(
            f"Found input variables with inconsistent numbers of samples: X holds {len(cases)} "
            f"sequences, y {len(given)} classes."
        )
    return replace(cases, labels=given)


def _cases(data: Any, long: LongCases | None) -> Labelled:
    check_whole(data)
    if isinstance(data, Labelled):
        return data
    if isinstance(data, Cube):
        return Labelled(data) if long is None else long.labelled(data)
    is_path = isinstance(data, (str, Path))
    if long is not None and long.id is not None and (is_table(data) if is_path else is_frame(data)):
        return long.read(data)
    if is_path:
        return read_archive(data)
    if _is_ragged(data):
        parts = [floats(part) for part in data]
        return cases_of([p[:, None] if p.ndim == 1 else p for p in parts])
    array = data.detach().cpu().numpy() if hasattr(data, "detach") else data
    try:
        values = check_array(array, dtype=np.float64, allow_nd=True, ensure_all_finite=False)
    except (TypeError, ValueError) as error:
        raise DataError(_in_words(error, data)) from error
    if values.ndim > 3:
        raise DataError(f"Sequences are an array (N, T, F) or (N, T), got {values.shape}.")
    return cases_of([floats(v[:, None] if v.ndim == 1 else v) for v in values])


def is_table(path: str | Path) -> bool:
    """Whether a path is that of a table, by its ending."""
    return Path(path).name.lower().removesuffix(PACKED).endswith((".csv", ".tsv", *PARQUET))


def is_frame(data: Any) -> bool:
    """Whether it is a data frame, of any kind."""
    return hasattr(data, "columns")


def _in_words(error: Exception, data: Any) -> str:
    """Why data are no array of numbers, and what to do."""
    what = " ".join(str(error).split())
    if what.startswith("Complex data"):
        return "Complex data not supported; give two features, the two parts."
    if what.startswith("float() argument"):
        return (
            f"Sequences are an array (N, T, F) or (N, T), a list of arrays (T, F) or the path of "
            f"a file, got {type(data).__name__}."
        )
    if what.startswith("could not convert"):
        return f"{what}; a category is one feature of 0 and 1 for each of its values."
    return what


def _is_ragged(data: Any) -> bool:
    """Whether it is a list of arrays that do not make one array."""
    is_objects = isinstance(data, np.ndarray) and data.dtype == object and data.ndim == 1
    if not is_objects and not isinstance(data, (list, tuple)):
        return False
    shapes = {np.shape(part) for part in data}
    return () not in shapes and (is_objects or len(shapes) > 1)
