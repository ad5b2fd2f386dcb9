"""Training in little memory: only the states between segments are kept, the rest is made again.

Forward, a sequence of T steps runs in segments, each from the states that the last one left, and
nothing else is kept. Backward, each segment runs a second time and then back. With segments of
sqrt(T) steps the memory grows as sqrt(T), for one more forward pass (Chen et al. 2016,
arXiv:1604.06174; Gruslys et al. 2016, arXiv:1606.03401, for recurrent networks).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import get_device_states, set_device_states

from gatework.equations.spec import NEXT
from gatework.errors import PathError
from gatework.paths import vendor
from gatework.paths.call import Call, Given, Groups, Result, is_transformed
from gatework.paths.layerwise import Steps, run_layers
from gatework.paths.masks import draw, sizes_of

Run = Callable[[Call], Result]
SQRT = "sqrt"


def check_segments(value: str | int | None) -> str | int | None:
    """What a layer takes for ``checkpoint``; anything else raises."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if value is None or value == SQRT or is_count:
        return value
    raise PathError(f"checkpoint is None, {SQRT!r} or a number of steps above zero, got {value!r}.")


def run_segments(call: Call, steps: str | int, run: Run) -> Result:
    """Run a call in segments of so many steps, or of sqrt(T).

    A second direction begins at the end, so with two each layer runs for itself.

    Raises:
        PathError: torch.func or forward mode is at work.
    """
    if is_transformed():
        raise PathError(
            f"{call.spec.name}: checkpoint={steps!r} runs neither in torch.func nor in forward "
            f"mode. Set layer.checkpoint = None for that."
        )
    if call.num_directions == 1:
        return _run_along(call, steps, run)

    def run_steps(given: Sequence[Given], record: bool) -> list[Steps]:
        return [_run_direction(one, steps, run) for one in given]

    return run_layers(call, run_steps)


def _run_direction(given: Given, steps: str | int, run: Run) -> Steps:
    states = tuple(first.unsqueeze(0) for first in given.first.values())
    weights = _Held((given.groups,))
    call = Call(
        given.spec, given.x, states, weights, given.lengths, training=True, brought=(given.masks,),
        dilation=given.dilation,
    )  # fmt: skip
    result = _run_along(call, steps, run)
    output = {given.spec.states[0].name + NEXT: result.output}
    return output, tuple(s[0] for s in result.states)


def _run_along(call: Call, steps: str | int, run: Run) -> Result:
    """One segment after the other, through all layers."""
    if not torch.is_grad_enabled():
        return run(call)
    count = math.isqrt(len(call.x) - 1) + 1 if steps == SQRT else int(steps)
    weights = _Held(tuple(dict(call.weights.groups(layer, 0)) for layer in range(call.num_layers)))
    call = replace(call, weights=weights, brought=_drawn(call))
    output, *states = _Segments.apply(  # type: ignore[no-untyped-call]
        call, count, run, call.x, *call.states, *weights.tensors()
    )
    return Result(output, tuple(states))


def _drawn(call: Call) -> tuple[Mapping[str, Tensor], ...]:
    """The masks that are one for a whole sequence, drawn before it is cut."""
    brought = call.brought or ({},) * call.num_layers
    if not any(m.each == "sequence" for m in call.spec.masks):
        return brought
    whole = replace(call.spec, masks=tuple(m for m in call.spec.masks if m.each == "sequence"))
    found, features = [], call.x.shape[-1]
    for masks in brought:
        sizes, batch = sizes_of(call.spec, call.states, features), call.x.shape[1:-1]
        own = draw(whole, sizes, 1, batch, call.training, call.x, masks)
        found.append(own | dict(masks))
        features = call.states[0].shape[-1]
    return tuple(found)


@dataclass(frozen=True)
class _Held:
    """The parameter groups of each layer, as they are now."""

    rows: tuple[Groups, ...]

    def groups(self, layer: int, direction: int) -> Groups:
        return self.rows[layer]

    def tensors(self) -> list[Tensor]:
        return [tensor for row in self.rows for tensor in row.values()]

    def torch_flat(self) -> tuple[list[Tensor], bool]:
        return [tensor for row in self.rows for tensor in vendor.to_torch(row)], True

    def with_tensors(self, tensors: Sequence[Tensor]) -> _Held:
        rest = iter(tensors)
        return _Held(tuple({stem: next(rest) for stem in row} for row in self.rows))


class _Segments(torch.autograd.Function):
    """All segments of a call, by its input, its first states and its weights."""

    @staticmethod
    def forward(
        ctx: Any, call: Call, count: int, run: Run, x: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.call, ctx.count, ctx.run = replace(call, x=x[:0], states=()), count, run
        begins, output, states = range(0, len(x), count), None, call.states
        # In one piece: small ones that stay between large ones that go leave holes in memory.
        between = [s.new_empty(len(begins), *s.shape) for s in states]
        ctx.surroundings = _Surroundings(x, len(begins))
        for number, begin in enumerate(begins):
            ctx.surroundings.keep(number)
            for kept, state in zip(between, states, strict=True):
                kept[number] = state
            result = run(_segment(call, x, states, begin, count))
            if output is None:
                output = result.output.new_empty(len(x), *result.output.shape[1:])
            output[begin : begin + count] = result.output
            states = result.states
        assert output is not None  # there is at least one step
        ctx.save_for_backward(x, *call.weights.tensors(), *between)
        return output, *states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_output: Tensor | None, *by_states: Tensor | None) -> Any:
        _, _, _, wants_x, *wants_rest = ctx.needs_input_grad
        x, *saved = ctx.saved_tensors
        width = len(by_states)
        count = len(wants_rest) - width
        own = zip(saved[:count], wants_rest[width:], strict=True)
        weights = [tensor.detach().requires_grad_(wanted) for tensor, wanted in own]
        call = replace(ctx.call, weights=ctx.call.weights.with_tensors(weights))
        by_x = torch.zeros_like(x) if wants_x else None
        by_weights: list[Tensor | None] = [None] * count
        coming = list(by_states)
        for number in reversed(range(len(saved[count]))):
            here = slice(number * ctx.count, (number + 1) * ctx.count)
            part = x[here].detach().requires_grad_(wants_x)
            states = [between[number].detach().requires_grad_() for between in saved[count:]]
            with ctx.surroundings.again(number), torch.enable_grad():
                result = ctx.run(_segment(call, part, states, here.start, ctx.count))
            by_output_here = None if by_output is None else by_output[here]
            found = _gradients(
                (result.output, *result.states),
                (by_output_here, *coming),
                (part, *states, *weights),
            )
            if by_x is not None and found[0] is not None:
                by_x[here] = found[0]
            coming = found[1 : 1 + width]
            pairs = zip(by_weights, found[1 + width :], strict=True)
            by_weights = [b if a is None else a if b is None else a + b for a, b in pairs]
        return None, None, None, by_x, *coming, *by_weights


def _gradients(
    values: Sequence[Tensor], by_values: Sequence[Tensor | None], leaves: Sequence[Tensor]
) -> list[Tensor | None]:
    """The gradients by leaves, where those by values are known; ``None`` is nought."""
    pairs = zip(values, by_values, strict=True)
    known = [(v, g) for v, g in pairs if g is not None and v.requires_grad]
    if not known:
        return [None] * len(leaves)
    asked = [leaf for leaf in leaves if leaf.requires_grad]
    reached, gradients = zip(*known, strict=True)
    found = iter(torch.autograd.grad(reached, asked, gradients, allow_unused=True))
    return [next(found) if leaf.requires_grad else None for leaf in leaves]


def _segment(call: Call, x: Tensor, states: Sequence[Tensor], begin: int, count: int) -> Call:
    """Some steps of a call; x is all of its input or these steps of it."""
    steps = slice(begin, begin + count)
    x = x if len(x) <= count else x[steps]
    lengths = call.lengths
    return replace(
        call,
        x=x,
        states=tuple(states),
        lengths=None if lengths is None else (lengths - begin).clamp(0, len(x)),
        brought=tuple(
            {name: m[steps] if len(m) > 1 else m for name, m in row.items()} for row in call.brought
        ),
        live=None if call.live is None else call.live[steps],
    )


class _Surroundings:
    """What the results of segments depend on besides their arguments: random numbers, autocast."""

    def __init__(self, like: Tensor, count: int) -> None:
        self.like, self.random = like[:0], torch.get_rng_state().repeat(count, 1)
        self.devices: dict[int, Any] = {}
        kind = self.kind = like.device.type
        self.autocast = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

    def keep(self, number: int) -> None:
        """Keep the random numbers of a segment."""
        self.random[number] = torch.get_rng_state()
        self.devices[number] = get_device_states(self.like)

    @contextmanager
    def again(self, number: int) -> Iterator[None]:
        """All as it was then."""
        devices = self.devices[number]
        enabled, dtype = self.autocast
        with (
            torch.random.fork_rng(devices[0]),
            torch.autocast(self.kind, dtype=dtype, enabled=enabled),
        ):
            torch.set_rng_state(self.random[number].clone())  # it crashes on a part of a tensor
            set_device_states(*devices)
            yield
