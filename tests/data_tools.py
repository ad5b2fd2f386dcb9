"""What the tests of the upper floors need: small files and series, and quick forecasters."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import gatework as gw
from gatework.data import Columns, load_cube
from gatework.errors import DataError

NAN = float("nan")
DAYS = [str(np.datetime64("2020-01-01") + i) for i in range(60)]

# The checks of scikit-learn that make no sense where X is series.
NOT_FOR_SERIES = {
    "check_n_features_in": "X is series, not a table of samples and features",
    "check_n_features_in_after_fitting": "the same",
    "check_fit2d_1feature": "X of one column is series of one step, refused as too short",
    "check_fit1d": "one axis is one series, and welcome",
    "check_fit2d_predict1d": "the same",
    "check_estimators_nan_inf": "missing values are masked, not refused",
    "check_dtype_object": "objects that are numbers are welcome; others are refused in our words",
    "check_estimators_empty_data_messages": "refused in our words",
    "check_estimator_sparse_tag": "sparse matrices are refused in our words",
    "check_estimator_sparse_array": "the same",
    "check_estimator_sparse_matrix": "the same",
}


def write(folder, content, name="data.csv"):
    """A file with some text, bytes or rows of cells; its path as text."""
    path = folder / name
    if isinstance(content, list):
        content = "".join(",".join(map(str, row)) + "\n" for row in content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def cube_of(folder, content, name="data.csv", **columns):
    """The cube of a file that is written first."""
    return load_cube(write(folder, content, name), Columns(**columns))


def named(series):
    """The cube of some arrays as a table with ids would give it: the ids mean something."""
    return replace(load_cube(series), named=True)


def sine(steps=80, period=8, phase=0.0, noise=0.0, seed=0):
    """A sine with noise, (T,)."""
    random = np.random.default_rng(seed).normal(0, 1, steps)
    return 10 + 3 * np.sin(2 * np.pi * np.arange(steps) / period + phase) + noise * random


def quick(**arguments):
    """A forecaster that fits in a moment."""
    return gw.Forecaster(
        **({"hidden_size": 4, "horizon": 3, "context": 6, "epochs": 2} | arguments)
    )


def state(model):
    """The weights of a fitted forecaster as arrays, by name."""
    return {k: v.numpy().copy() for k, v in model.network_.state_dict().items()}


def same_weights(one, two):
    """Whether two fitted forecasters agree in every bit."""
    a, b = state(one), state(two)
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def refusal(call):
    """The one line with which a call is refused."""
    with pytest.raises(DataError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line
    return line


def equal_runs(one, two):
    assert same_weights(one, two)
    assert one.history_ == two.history_
    assert one.best_epoch_ == two.best_epoch_
    y = sine(60, noise=0.3)
    assert np.array_equal(one.predict(y), two.predict(y))


ROLES = {"target": "sold", "time": "day", "id": "shop", "features": "rain", "future": "price",
         "static": ("size", "kind")}  # fmt: skip


def shops(steps=60, ahead=0, seed=0):
    """Shops whose sales follow the price of the day; rows of the future hold the price alone."""
    random = np.random.default_rng(seed)
    parts = []
    for number, (shop, kind) in enumerate({"a": "city", "b": "village", "c": "city"}.items()):
        price = random.normal(0, 1, steps + ahead)
        part = pd.DataFrame({
            "shop": shop,
            "day": pd.date_range("2024-01-01", periods=steps + ahead),
            "sold": 50 + 20 * number + 5 * price + random.normal(0, 0.1, steps + ahead),
            "rain": random.choice(["dry", "wet"], steps + ahead),
            "price": price,
            "size": 10.0 * number,
            "kind": kind,
        })  # fmt: skip
        part.loc[steps:, ["sold", "rain"]] = None
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def notes(cube):
    return " ".join(cube.notes)


def ragged():
    """Three series of two features with missing values, of different lengths."""
    random = np.random.default_rng(0)
    series = [random.normal(size=(steps, 2)) for steps in (23, 9, 30)]
    for part in series:
        part[random.random(part.shape) < 0.3] = NAN
        part[-1] = 1.0  # seen, so that a repetition of it behind the end would be too
    return load_cube(series)
