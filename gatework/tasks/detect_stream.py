"""A series that comes step by step, scored in constant memory as the whole of it would be."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gatework.data.scaling import COMMON, LARGEST
from gatework.errors import DataError, ModelError
from gatework.tasks.detect_model import DetectModel
from gatework.tasks.detect_network import NextStep, observed

Array = NDArray[np.float64]
JUDGE, STATE = "judge.", "state"


class DetectStream:
    """Scores one series step by step. Made by ``detector.stream()``.

    Args:
        model: what a detector has fitted.
        series: the id of the series; ``None``: the one that there is, or all together.

    Attributes:
        threshold: a step with a higher score is told anomalous.
    """

    def __init__(self, model: DetectModel, series: str | None = None) -> None:
        named = [name for name in model.begins if name != COMMON]
        if series is None:
            series = named[0] if len(named) == 1 else COMMON
        elif series not in named:
            raise DataError(
                f"The model has not met the series {series!r}; it knows {named[:5]}. Leave the "
                f"name out for the scale of all of them."
            )
        self.threshold = model.threshold
        self._model = model
        scaler = model.scaler
        scale = series if series in scaler.center else COMMON
        self._center, self._spread = scaler.center[scale], scaler.spread[scale]
        self._judge = model.judge(series)
        self._network = model.exact()
        self._last: Array | None = None  # (3F,) what the network has read of the last step
        self._layer = self._network.recurrent.stream() if self._network.ahead else None
        self._expected = np.full((1, len(model.names)), np.nan)
        self._read: deque[Array] = deque(maxlen=model.context)  # with the value, for windows
        self._values: deque[Array] = deque(maxlen=model.context)

    def step(self, value: Any) -> float:
        """The anomaly score of the next step.

        Args:
            value: a number, or (F,) numbers, target first; NaN where missing.

        Raises:
            DataError: it is something else.
        """
        row = self._scaled(value)
        self._last = observed(row[None], self._last)[0]
        errors = self._forecast(row) if self._layer is not None else self._rebuilt(row)
        distance = float(self._model.distances(errors)[0])
        return self._judge.step(distance, row)

    def state_dict(self) -> dict[str, Any]:
        """All that is remembered of the series, as tensors; to go on with later or elsewhere."""
        kept = {f"{JUDGE}{key}": value for key, value in self._judge.state().items()}
        features = len(self._model.names)
        kept["last"] = np.empty(0) if self._last is None else self._last
        kept["expected"] = self._expected
        kept["read"] = np.array(self._read).reshape(-1, 3 * features)
        kept["values"] = np.array(self._values).reshape(-1, features)
        found = {key: torch.tensor(value) for key, value in kept.items()}
        states = None if self._layer is None else self._layer.states
        parts = () if states is None else states if isinstance(states, tuple) else (states,)
        return found | {f"{STATE}{i}": part.clone() for i, part in enumerate(parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` gave.

        Raises:
            ModelError: it is of a stream of another model.
        """
        own = self.state_dict()
        try:
            arrays = {k: v.numpy() for k, v in state.items() if not k.startswith(STATE)}
            if not (
                own.keys() <= state.keys() and arrays["expected"].shape == own["expected"].shape
            ):
                raise ValueError("its parts differ")
            self._judge.restore({k.removeprefix(JUDGE): v for k, v in arrays.items()})
            self._last = arrays["last"].copy() if len(arrays["last"]) else None
            self._expected = arrays["expected"].copy()
            self._read.clear()
            self._values.clear()
            self._read.extend(arrays["read"])
            self._values.extend(arrays["values"])
            parts = tuple(v for k, v in sorted(state.items()) if k.startswith(STATE))
            if self._layer is not None:
                self._layer.states = None if not parts else parts[0] if len(parts) == 1 else parts
        except (AttributeError, KeyError, ValueError) as error:
            raise ModelError(f"This is no state of a stream of this model: {error}.") from error

    def _scaled(self, value: Any) -> Array:
        try:
            row = np.asarray(value, dtype=np.float64).reshape(-1)
        except (TypeError, ValueError) as error:
            raise DataError(f"A step is a number or some, got {value!r}.") from error
        if row.shape != self._center.shape:
            count = f"{len(row)} for {len(self._center)} features"
            raise DataError(f"A step has one value of each feature, target first; got {count}.")
        row = np.where(np.isfinite(row), row, np.nan)
        # As the whole series is scaled, whose network reads float32.
        with np.errstate(over="ignore"):
            scaled: Array = ((row - self._center) / self._spread).clip(-LARGEST, LARGEST)
        return scaled.astype(np.float32).astype(np.float64)

    def _forecast(self, row: Array) -> Array:
        errors: Array = (row - self._expected)[None]
        network, layer = self._network, self._layer
        assert isinstance(network, NextStep)
        assert layer is not None
        with torch.no_grad():
            inputs = torch.from_numpy(self._last).unsqueeze(0)
            output = layer.step(network.bounded(inputs))
            self._expected = network.expected(inputs, output).numpy()
        return errors

    def _rebuilt(self, row: Array) -> Array:
        assert self._last is not None
        self._read.append(self._last)
        self._values.append(row)
        if len(self._read) < self._model.context:
            return np.full((1, 1, len(row)), np.nan)
        with torch.no_grad():
            rebuilt = self._network(torch.from_numpy(np.array(self._read)).unsqueeze(1))
        errors: Array = (np.array(self._values) - rebuilt.squeeze(1).numpy())[None]
        return errors
