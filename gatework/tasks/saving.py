"""Saved models: a folder with model.safetensors and config.json, and no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from gatework import __version__
from gatework.errors import ModelError
from gatework.training import checkpoint
from gatework.training.files import write_whole

FORMAT = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
BESIDE = "fitted."  # before the names of arrays that are no weights of the network
FILES = (checkpoint.NAME, WEIGHTS, CONFIG)  # what the folder of a run holds


def save_model(
    folder: str | Path,
    task: str,
    config: dict[str, Any],
    model: torch.nn.Module,
    fitted: Mapping[str, NDArray[Any]],
) -> None:
    """Write both files; each appears whole or not at all.

    Args:
        folder: where to.
        task: whose model it is.
        config: everything but the numbers, JSON-ready.
        model: the network.
        fitted: arrays that were fitted beside its weights, by name.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = model.state_dict()
    state |= {f"{BESIDE}{name}": torch.from_numpy(v) for name, v in fitted.items()}
    tensors = {name: v.detach().cpu().contiguous().clone() for name, v in state.items()}
    write_whole(folder / WEIGHTS, save(tensors))
    about = {"format": FORMAT, "gatework": __version__, "task": task}
    write_json(folder / CONFIG, about | config)


def load_config(folder: str | Path, task: str) -> dict[str, Any]:
    """The configuration of a saved model of one task.

    Raises:
        ModelError: there is no such model, it is damaged, of another task or of a newer version.
    """
    config = _read_config(folder)
    if config.get("task") != task:
        raise ModelError(f"{folder} holds a model for {config.get('task')!r}, expected {task!r}.")
    if config.get("format") not in range(1, FORMAT + 1):
        raise ModelError(
            f"{folder} was saved in a form that is not known here (by Gatework "
            f"{config.get('gatework')}); update to load it."
        )
    return config


def task_of(folder: str | Path) -> str:
    """The task of a saved model, as its configuration has it.

    Raises:
        ModelError: there is no such model, or it is damaged.
    """
    return str(_read_config(folder).get("task"))


def _read_config(folder: str | Path) -> dict[str, Any]:
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise ModelError(
            f"{folder} holds no saved model ({CONFIG} is missing). Fit one with `gatework fit`, or "
            f"go on with an unfinished run by --resume."
        )
    return read_json(path)


def load_weights(folder: str | Path, model: torch.nn.Module) -> dict[str, NDArray[Any]]:
    """Put the saved weights into a model of the same shape; gives what was fitted beside them.

    Raises:
        ModelError: the file is missing or damaged, or does not fit.
    """
    path = Path(folder) / WEIGHTS
    try:
        state = load_file(path)
        fitted = {name: state.pop(name) for name in list(state) if name.startswith(BESIDE)}
        model.load_state_dict(state)
    except (OSError, SafetensorError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise ModelError(f"{path} cannot be loaded: {first}") from error
    return {name.removeprefix(BESIDE): value.numpy() for name, value in fitted.items()}


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    write_whole(path, json.dumps(data, indent=1, default=_plain))


def read_json(path: Path) -> dict[str, Any]:
    """Read JSON that ``write_json`` wrote.

    Raises:
        ModelError: the file is damaged.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}.") from error
    if not isinstance(data, dict):
        raise ModelError(f"{path} is no configuration of a model.")
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item() if not isinstance(value, np.datetime64) else str(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON-ready")
