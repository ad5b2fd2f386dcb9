"""A detector reads long series in parts, so that its memory does not go by their length."""

import numpy as np
import pytest
from data_tools import sine

import gatework as gw

TINY = {"hidden_size": 5, "context": 8, "epochs": 2, "device": "cpu"}
DATA = [np.stack([sine(n, phase=n), sine(n, noise=1.0)], axis=1) for n in (90, 60)]
DATA[0][[10, 11, 12], [0, 1, 1]] = np.nan
DATA[0][30:33] = np.nan


@pytest.mark.parametrize("kind", ["forecast", "autoencoder"])
def test_errors_are_made_in_parts_and_are_the_same(kind, monkeypatch):
    """Of windows never more than so many at once, in fitting and in scoring."""
    whole = gw.Detector(kind, **TINY).fit(DATA)
    monkeypatch.setattr("gatework.tasks.detect_model.AT_ONCE", 7)
    model = gw.Detector(kind, **TINY).fit(DATA)
    np.testing.assert_allclose(model.model_.scatter, whole.model_.scatter, rtol=1e-12)
    scores = [m.anomaly_scores(DATA) for m in (model, whole)]
    np.testing.assert_allclose(*scores, rtol=1e-9)
    values = model.model_.scaled(model.load_data(DATA))[0]
    errors, network = model.model_.errors, model.model_.exact()
    pieces = list(errors(network, values, begin=20))
    if kind == "autoencoder":
        assert max(map(len, pieces)) == 7
    np.testing.assert_allclose(
        np.concatenate(pieces), np.concatenate(list(errors(network, values)))[20:], rtol=1e-12
    )
