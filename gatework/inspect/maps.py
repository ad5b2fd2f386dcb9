"""Maps of what a layer did over one sequence: a gate or a state each, for the reports."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatework.equations.spec import NEXT
from gatework.inspect.roles import Role, gate_roles, state_roles
from gatework.layers.recording import Recording

SHOWN_UNITS = 48


def maps(recording: Recording) -> dict[str, Any]:
    """Gates and states of the first layer over the first sequence, and what they say in words."""
    spec = recording.spec
    gates, states = gate_roles(spec), state_roles(spec)
    found = [(role, recording[name], False) for name, role in gates.items()]
    found += [(role, recording[name + NEXT], True) for name, role in states.items()]
    return {
        "says": [[role.title, role.says] for role, _, _ in found if role.says],
        "panels": [
            _panel(role, values[:, 0].flatten(1).cpu().numpy(), signed)
            for role, values, signed in found
        ],
    }


def _panel(role: Role, values: NDArray[Any], signed: bool) -> dict[str, Any]:
    """One map, units sorted by their mean so that like stands by like."""
    order = np.argsort(values.mean(axis=0))
    kept = order[spread(len(order), SHOWN_UNITS)]
    return {
        "title": role.title,
        "units": len(order),
        "values": np.round(values[:, kept].T.astype(float), 4).tolist(),
        "signed": signed,
    }


def spread(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of the places 0 .. count - 1, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def plain(values: NDArray[np.float64]) -> list[float | None]:
    """Numbers for JSON, which knows no NaN."""
    return [None if np.isnan(v) else float(v) for v in values]
