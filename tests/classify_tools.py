"""What the tests of the classifier need: a quick one, and two classes of waves."""

import functools

import numpy as np
import torch

import gatework as gw

NAN = float("nan")
ALL = {"bidirectional": True, "pool": "attention", "convolution": "beside", "num_layers": 2}


def quick(**arguments):
    """A classifier that fits in a moment."""
    small = {"hidden_size": 4, "epochs": 2, "convolution": "none", "device": "cpu"}
    return gw.Classifier(**(small | arguments))


def waves(count=24, seed=0, features=2):
    """Ragged sequences of two classes, slow and fast waves, and their classes."""
    random = np.random.default_rng(seed)
    y = np.array(["slow", "fast"])[np.arange(count) % 2]
    X = []
    for label in y:
        t = np.arange(random.integers(8, 14))[:, None] + random.uniform(0, 9, features)
        X.append(5 + 3 * np.sin(t / (3 if label == "slow" else 1)))
    return X, y


def same_weights(one, two):
    a, b = one.network_.state_dict(), two.network_.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@functools.cache
def fitted():
    """A small model of everything, and what it was fitted to."""
    X, y = waves()
    return quick(**ALL).fit(X, y), X, y
