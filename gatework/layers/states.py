"""The states of a stack of layers as one object, with the names of the equations."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypedDict

import torch
from torch import Tensor

from gatework.equations import Spec
from gatework.errors import ShapeError

BATCHED = 3  # axes of the states of a batch
States = Tensor | tuple[Tensor, ...]
Beside = Mapping[str, Tensor]  # what a cell reads beside the input, by name


class StepOptions(TypedDict, total=False):
    """What a layer can be told of the steps; see its ``forward``."""

    mask: Tensor | None
    resets: Tensor | None
    reset_to: Any  # in the form of its states
    beside: Beside | None


def inward(value: Tensor, shape: Sequence[int] = (), dims: int = 0) -> Tensor:
    """A value (..., *shape, *space) as it is inside of a layer: (..., *space, size).

    Args:
        value: an input, an output or a state.
        shape: the axes of a row: (size,), of a matrix (H, H).
        dims: how many axes an image has; vectors have none.
    """
    if len(shape) > 1:
        value = value.flatten(-len(shape) - dims, -1 - dims)
    return value.movedim(-1 - dims, -1) if dims else value


def outward(value: Tensor, shape: Sequence[int] = (), dims: int = 0) -> Tensor:
    """The way back."""
    if dims:
        value = value.movedim(-1, -1 - dims)
    return torch.unflatten(value, -1 - dims, shape) if len(shape) > 1 else value


def spread(state: Tensor, space: Sequence[int]) -> Tensor:
    """A state (..., *space) for images of this size: an axis of one goes for all places."""
    if not space or state.dim() < len(space):
        return state
    own = state.shape[-len(space) :]
    axes = [size if n == 1 else n for n, size in zip(own, space, strict=True)]
    return state.expand(*state.shape[: -len(space)], *axes)


def named_states(spec: Spec, states: Sequence[Any]) -> Any:
    """States as a tuple with names: ``states.h``, ``states.c``, else as torch.nn gives them.

    Such a tuple is one of ``collections.namedtuple``, so it unpacks, compares and goes through
    torch as any tuple. It also has

    - ``detach()``: cut off from the steps that made it (truncated back-propagation);
    - ``to(...)``: on another device or of another dtype, as ``Tensor.to``;
    - ``index(rows)``: some rows of the batch, in this order: for beams, for a batch that shrinks.

    While torch compiles or exports they are a plain tuple: it cannot make a type there.
    """
    if torch.compiler.is_compiling():
        return tuple(states)
    return _type(tuple(s.name for s in spec.states))(*states)


@cache
def _type(names: tuple[str, ...]) -> Any:
    # Methods are set and not inherited: torch takes a tuple apart only if its one base is tuple.
    make: Any = collections.namedtuple  # which type checkers want with names that they can read
    made = make("States", names)
    made.detach = _detach
    made.to = _to
    made.index = rows_of
    made.__reduce__ = lambda self: (_again, (names, *self))
    made.__doc__ = named_states.__doc__
    return made


def _again(names: tuple[str, ...], *states: Any) -> Any:
    return _type(names)(*states)


def _detach(self: Any) -> Any:
    """The same numbers, cut off from the steps that made them."""
    return map_states(self, lambda state: state.detach())


def _to(self: Any, *args: Any, **options: Any) -> Any:
    """On another device or of another dtype, as ``Tensor.to``."""
    return map_states(self, lambda state: state.to(*args, **options))


def map_states(states: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same change of every tensor in states of any form; ``None`` stays."""
    if states is None or isinstance(states, Tensor):
        return None if states is None else change(states)
    parts = [map_states(s, change) for s in states]
    return type(states)(*parts) if hasattr(states, "_fields") else type(states)(parts)


def rows_of(states: Any, rows: Tensor | Sequence[int] | Sequence[bool]) -> Any:
    """Some rows of the batch, which is the second axis, in this order.

    Args:
        states: of any form, with tensors (L*D, B, ...).
        rows: numbers of rows, also counted from the end, or a truth value for each row.

    Raises:
        ShapeError: the states have no such axis, or it has no such rows.
    """

    def chosen(state: Tensor) -> Tensor:
        if state.dim() < BATCHED:
            raise ShapeError(
                f"index(rows) wants states of a batch, (layers * directions, B, size); got "
                f"{tuple(state.shape)}, those of one sequence."
            )
        places = torch.arange(state.shape[1], device=state.device)
        try:
            which = torch.as_tensor(rows, device=state.device)
            places = places[which if which.numel() else which.long()]  # [] has no type
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            raise ShapeError(
                f"index(rows) wants rows of a batch of {state.shape[1]}, as numbers below that or "
                f"with a truth value for each; got {rows!r}."
            ) from error
        return state.index_select(1, places)

    return map_states(states, chosen)
