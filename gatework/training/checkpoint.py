"""Checkpoints: one safetensors file with everything a run needs to go on, and no pickle.

A checkpoint is written under a temporary name and renamed, so there is a whole one or none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gatework.errors import TrainingError
from gatework.training.files import write_whole

FORMAT = 1
NAME = "checkpoint.safetensors"


@dataclass
class Progress:
    """Where a run stands, apart from weights: what is written as JSON."""

    epoch: int = 0  # epochs done
    best_epoch: int = 0
    best_loss: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)


def write(
    path: Path,
    identity: dict[str, Any],
    progress: Progress,
    model: torch.nn.Module,
    best: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    """Write model, best weights, optimiser, random states and position to ``path``."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    tensors |= {"random.torch": torch.get_rng_state(), "random.order": generator.get_state()}
    if torch.cuda.is_available():
        tensors |= {f"random.cuda{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(v) for key, v in values.items()}
    about = {"format": FORMAT, "identity": identity, "progress": vars(progress)}
    # Weights may be views of each other's storage; a file holds each one by itself.
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save(plain, metadata={"gatework": json.dumps(about)}))


def json_ready(data: dict[str, Any]) -> dict[str, Any]:
    """The same data as it comes back from a file: NumPy's numbers are plain, tuples are lists."""
    result: dict[str, Any] = json.loads(json.dumps(data, default=lambda value: value.item()))
    return result


@dataclass(frozen=True)
class Stored:
    """What a checkpoint holds, on the CPU."""

    progress: Progress
    tensors: dict[str, Tensor]


def load(path: Path, identity: dict[str, Any]) -> Stored:
    """Read a checkpoint of this run.

    Raises:
        TrainingError: there is no checkpoint, it is damaged, or it is of another run (other
            data or settings); the message names the difference.
    """
    kept, stored = _read(path)
    for key, value in identity.items():
        if kept.get(key) != value:
            raise TrainingError(
                f"{path} is a checkpoint of another run: {key} was {kept.get(key)!r}, now it is "
                f"{value!r}. Resume with the arguments of the first run, or start a new folder."
            )
    return stored


def restore(
    path: Path,
    stored: Stored,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> tuple[Progress, dict[str, Tensor]]:
    """Put a run back where a checkpoint left it; gives its progress and the best weights.

    Raises:
        TrainingError: its tensors are not those of such a model.
    """
    tensors = stored.tensors
    groups = optimizer.state_dict()["param_groups"]
    try:
        model.load_state_dict(_part(tensors, "model."))
        optimizer.load_state_dict({"state": _optimizer_state(tensors), "param_groups": groups})
        torch.set_rng_state(tensors["random.torch"])
        generator.set_state(tensors["random.order"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error
    if torch.cuda.is_available() and "random.cuda0" in tensors:
        states = [v for k, v in sorted(tensors.items()) if k.startswith("random.cuda")]
        torch.cuda.set_rng_state_all(states[: torch.cuda.device_count()])
    return stored.progress, _part(tensors, "best.")


def epochs_done(path: Path) -> int:
    """How many whole epochs a checkpoint holds; 0 where there is none that can be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return int(json.loads(file.metadata()["gatework"])["progress"]["epoch"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return 0


def _read(path: Path) -> tuple[dict[str, Any], Stored]:
    """What a run was made with, and where it stood."""
    if not path.is_file():
        raise TrainingError(f"There is no checkpoint {path} to resume from; run without resume.")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["gatework"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no dict)
        newer, identity = about["format"] > FORMAT, dict(about["identity"])
        progress = Progress(**about["progress"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    if newer:
        raise TrainingError(f"{path} was written by a newer Gatework; update to resume from it.")
    return identity, Stored(progress, tensors)


def _damaged(path: Path, error: Exception) -> TrainingError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return TrainingError(f"{path} is no checkpoint of Gatework or is damaged: {first}")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _optimizer_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "optimizer.").items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    return state
