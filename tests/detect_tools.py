"""What the tests of the detector need: quick ones, of both kinds."""

import numpy as np
import pytest
from data_tools import sine

import gatework as gw

NAN = float("nan")
KINDS = ("forecast", "autoencoder")


each_kind = pytest.mark.parametrize("kind", KINDS)


def quick(kind="forecast", **arguments):
    """A detector that fits in a moment."""
    return gw.Detector(kind, **({"hidden_size": 5, "context": 8, "epochs": 2} | arguments))


def two_features():
    """Two series of two features and different lengths, with missing values."""
    random = np.random.default_rng(0)
    series = [np.stack([sine(n, phase=n), random.normal(size=n)], axis=1) for n in (90, 60)]
    series[0][[10, 11, 12], [0, 1, 1]] = NAN
    series[0][30:33] = NAN
    return series
