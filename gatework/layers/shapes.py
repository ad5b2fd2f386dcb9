"""Shape checks whose errors say what was got, what was expected and the likely cause.

Each message keeps the wording that torch uses in the same place and adds the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gatework.equations.expr import is_number
from gatework.errors import ShapeError


def check_tensor(layer: str, which: str, value: Any) -> None:
    """What has to be a tensor."""
    if not isinstance(value, Tensor):
        raise ShapeError(f"{layer}: {which} is a tensor, got {type(value).__name__}.")


def probability_of(which: str, value: Any) -> float:
    """A number between 0 and 1."""
    if not is_number(value) or not 0 <= value <= 1:
        raise ShapeError(f"{which} is a probability in [0, 1], got {value!r}.")
    return float(value)


def check_count(which: str, value: Any) -> None:
    """A whole number above zero."""
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ShapeError(f"{which} is a whole number above zero, got {value!r}.")


def entries_of(layer: str, which: str, value: Any) -> tuple[Any, ...]:
    """Several values that come together, such as the states of a cell."""
    if not isinstance(value, (tuple, list)):
        raise ShapeError(f"{layer}: expected a tuple for {which}, got {type(value).__name__}.")
    return tuple(value)


def check_input(
    layer: str, x: Tensor, input_size: int, batch_first: bool, dtype: torch.dtype
) -> None:
    """The input of a layer: 2 or 3 axes, the last one ``input_size``, the weights' dtype."""
    axes = "(B, T, F)" if batch_first else "(T, B, F)"
    check_tensor(layer, "the input", x)
    if x.dim() not in (2, 3):
        raise ShapeError(
            f"{layer}: Expected input to be 2D or 3D, got {x.dim()}D: shape {tuple(x.shape)}. "
            f"A batch is {axes} (batch_first={batch_first}), one sequence (T, F)."
        )
    if x.dtype != dtype and not torch._C._is_any_autocast_enabled():
        raise ShapeError(
            f"{layer}: RNN input dtype ({x.dtype}) does not match weight dtype ({dtype}). "
            f"Convert input: input.to({dtype}), or convert model: model.to({x.dtype})."
        )
    if x.shape[-1] != input_size:
        raise ShapeError(
            f"{layer}: input.size(-1) must be equal to input_size. Expected {input_size}, got "
            f"{x.shape[-1]}: shape {tuple(x.shape)} where {axes if x.dim() == 3 else '(T, F)'} "
            f"with F={input_size} is expected.{_hint_features(x, input_size)}"
        )
    steps_axis = 0 if x.dim() == 2 or not batch_first else 1
    if x.shape[steps_axis] == 0:
        raise ShapeError(
            f"{layer}: Expected sequence length to be larger than 0, got shape {tuple(x.shape)} "
            f"where {axes if x.dim() == 3 else '(T, F)'} is expected."
        )


def _hint_features(x: Tensor, input_size: int) -> str:
    places = [axis for axis, size in enumerate(x.shape[:-1]) if size == input_size]
    if places:
        return (
            f" Axis {places[-1]} has size {input_size}: if the features are there, "
            f"use x.transpose({places[-1]}, -1)."
        )
    if input_size == 1:
        return " For one feature per step add an axis: x.unsqueeze(-1)."
    return ""


def check_states(
    layer: str,
    states: Sequence[Tensor],
    expected: Sequence[tuple[int, ...]],
    x: Tensor,
    batch_first: bool,
    is_batched: bool = True,
    space: str = "",
) -> None:
    """The initial states: each (L*D, B, size), or (L*D, size) with one sequence.

    Those of images have the axes of ``space`` behind that, as ``", H, W"``.
    """
    for position, (state, shape) in enumerate(zip(states, expected, strict=True)):
        which = f"hidden[{position}]" if len(states) > 1 else "hidden"
        check_tensor(layer, which, state)
        if state.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
            raise ShapeError(
                f"{layer}: {which} is {state.dtype}, the input is {x.dtype}. Bring them to one "
                f"dtype, as in {which}.to(input.dtype)."
            )
        if tuple(state.shape) == shape:
            continue
        letters = f"(layers * directions, {'B, ' if is_batched else ''}size{space})"
        if state.dim() != len(shape):
            raise ShapeError(
                f"{layer}: For {'' if is_batched else 'un'}batched {x.dim() - (not is_batched)}-D "
                f"input, "
                f"{which} should also be {len(shape)}-D but got {state.dim()}-D: shape "
                f"{tuple(state.shape)}, expected {shape} = {letters}."
            )
        raise ShapeError(
            f"{layer}: Expected {which} size {shape}, got {list(state.shape)}: expected {letters}."
            f"{_hint_batch(state.shape, shape, x, batch_first) if is_batched else ''}"
        )


def _hint_batch(got: Sequence[int], expected: tuple[int, ...], x: Tensor, batch_first: bool) -> str:
    if tuple(got) == (expected[1], expected[0], *expected[2:]):
        return " Its first two axes are exchanged; batch_first does not apply to states."
    other = x.shape[1] if batch_first else x.shape[0]
    if tuple(got) == (expected[0], other, *expected[2:]):
        return _hint_batch_first(x, batch_first)
    return ""


def check_lengths(
    layer: str, lengths: Tensor | Sequence[int], x: Tensor, batch_first: bool
) -> Tensor:
    """Lengths as a (B,) int64 tensor on the CPU, each between 0 and T."""
    batch, steps = (x.shape[0], x.shape[1]) if batch_first else (x.shape[1], x.shape[0])
    try:
        values = torch.as_tensor(lengths)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(f"{layer}: lengths are whole numbers, got {lengths!r}.") from error
    if not values.numel():
        values = values.to(torch.int64)  # an empty list says nothing of its type
    if values.is_floating_point() or values.dtype == torch.bool:
        raise ShapeError(f"{layer}: lengths are whole numbers, got {values.dtype}.")
    # A copy: the caller may change theirs before the backward pass reads it.
    values = values.to(device="cpu", dtype=torch.int64, copy=True)
    if tuple(values.shape) != (batch,):
        hint = ""
        if tuple(values.shape) == (steps,):
            hint = _hint_batch_first(x, batch_first)
        raise ShapeError(
            f"{layer}: lengths has shape {tuple(values.shape)}, expected one for each of the "
            f"{batch} sequences of the input {tuple(x.shape)}.{hint}"
        )
    if torch.compiler.is_compiling():
        return values.clamp(0, steps)  # their numbers are not known yet
    if batch and not 0 <= int(values.min()) <= int(values.max()) <= steps:
        raise ShapeError(
            f"{layer}: lengths lie in 0..T with T={steps}, got {int(values.min())}.."
            f"{int(values.max())} for input {tuple(x.shape)}."
        )
    return values


def check_together(
    layer: str, lengths: object, mask: object, resets: object, reset_to: object
) -> None:
    """Arguments that exclude or want each other."""
    if lengths is not None and mask is not None:
        raise ShapeError(f"{layer}: lengths= and mask= say the same thing; pass one of them.")
    if reset_to is not None and resets is None:
        raise ShapeError(f"{layer}: reset_to= says what resets= set states to; pass both.")


def check_steps(layer: str, which: str, values: Any, expected: tuple[int, ...]) -> None:
    """A truth value for each step and row."""
    is_tensor = isinstance(values, Tensor)
    if is_tensor and values.dtype == torch.bool and values.shape == expected:
        return
    got = f"{values.dtype} of shape {tuple(values.shape)}" if is_tensor else type(values).__name__
    raise ShapeError(
        f"{layer}: {which} is a bool tensor with a value for each step, {expected} for this "
        f"input; got {got}."
    )


def check_beside(
    layer: str, wanted: Sequence[str], given: Mapping[str, Tensor], expected: tuple[int, ...]
) -> None:
    """What a cell reads beside the input, by name, as ``check_beside_steps`` has it."""
    check_names(layer, given)
    if set(given) != set(wanted):
        names = f"a number for each step as {', '.join(wanted)}" if wanted else "nothing"
        raise ShapeError(
            f"{layer}: the cell reads {names} beside the input, got "
            f"{', '.join(given) or 'nothing'}. "
            + (f"Pass beside={{{wanted[0]!r}: ...}}." if wanted else "Leave beside= out.")
        )
    check_beside_steps(layer, given, expected)


def check_names(layer: str, given: object) -> None:
    """Values by name."""
    if not isinstance(given, Mapping):
        raise ShapeError(
            f"{layer}: beside= has values by name, as in {{'t': times}}; got "
            f"{type(given).__name__}."
        )


def check_beside_steps(layer: str, given: Mapping[str, Tensor], expected: tuple[int, ...]) -> None:
    """Of each name one number for each step and row, without a gradient."""
    check_names(layer, given)
    for name, values in given.items():
        check_tensor(layer, f"beside[{name!r}]", values)
        if tuple(values.shape) != expected or values.dtype == torch.bool or values.is_complex():
            raise ShapeError(
                f"{layer}: beside[{name!r}] has a real number for each step, {expected} for this "
                f"input; got {values.dtype} of shape {tuple(values.shape)}."
            )
        if values.requires_grad:
            raise ShapeError(
                f"{layer}: there is no gradient by what comes beside the input. Pass "
                f"{name}.detach()."
            )


def _hint_batch_first(x: Tensor, batch_first: bool) -> str:
    if batch_first:
        return (
            f" This looks like (T, B, F) data: the layer has batch_first=True and reads "
            f"{tuple(x.shape)} as (B, T, F)."
        )
    return (
        f" This looks like batch_first data: the layer reads {tuple(x.shape)} as (T, B, F); "
        f"pass batch_first=True if it is (B, T, F)."
    )
