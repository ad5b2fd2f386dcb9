"""What the tests of the upper floors need: small files and series, and quick forecasters."""

from dataclasses import replace

import numpy as np

import gatework as gw
from gatework.data import Columns, load_cube

DAYS = [str(np.datetime64("2020-01-01") + i) for i in range(60)]


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
