"""The vendor path: torch's own kernels, for the cells that they compute exactly.

Which cells those are is not told but compared: a cell runs here when its equations are those of
a catalogue cell that names a torch kernel, whoever wrote them down. Torch keeps two bias
vectors where the equations have one; ``to_torch`` and ``from_torch`` say how the two relate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from gatework.cells import all_cells
from gatework.equations import Spec
from gatework.paths.call import Call, Groups, Result, is_transformed
from gatework.paths.per_layer import MOST, PerLayer, key_of

# Of these kernels those whose results are in the lower precision under autocast on the CPU.
LOWERED = ("torch.lstm", "torch.rnn_tanh", "torch.rnn_relu")


class VendorPath:
    """torch.lstm, torch.gru, torch.rnn_tanh and torch.rnn_relu."""

    name = "vendor"

    def supports(self, call: Call) -> str | None:
        """``None`` for torch's own cells, unless every gate is to be recorded."""
        if call.dilation or kernel(call.spec) is None:
            return "torch has no kernel with these equations"
        if call.residual:
            return "torch's kernels add no input to the output"
        if call.record or call.every_state:
            return "torch's kernels do not show their gates, nor the states at every step"
        if forward_ad._current_level >= 0:
            return "torch's kernels have no forward-mode derivatives"
        given = (call.x, *call.states, *call.weights.tensors())
        if any(map(torch._C._functorch.is_batchedtensor, given)):
            return "torch's kernels have no rule for vmap"
        return None

    def run(self, call: Call) -> Result:
        """One call of the kernel for the whole stack."""
        if call.lengths is not None and call.lengths.numel():  # no rows cannot be packed
            return _run_packed(call)
        output, states = _call_kernel(call, (call.x,), batch_first=(False,))
        return Result(output, states)


_known: PerLayer[set[tuple[Any, ...]]] = PerLayer()


def remember(layer: Any, x: Tensor, hx: Any) -> None:
    """This call was checked and is to run here; so will every other one of the kind."""
    calls = _known.get(layer)
    if calls is None or len(calls) >= MOST:
        calls = set()
        _known.set(layer, calls)
    calls.add(_key(layer, x, hx))


def again(layer: Any, x: Tensor, hx: Any) -> Any:
    """The result of a remembered call, as torch.nn gives it; ``None`` where it is not known.

    The checks of a short call take longer than the call.
    """
    calls = _known.get(layer)
    if not calls or is_transformed() or _key(layer, x, hx) not in calls:
        return None
    flat, has_biases = layer.stack_weights().torch_flat()
    directions = 2 if layer.bidirectional else 1
    if hx is None:
        sizes = {"H": layer.hidden_size, "P": layer.proj_size}
        batch = x.shape[0 if layer.batch_first else 1]
        rows = layer.num_layers * directions
        zero = [x.new_zeros(rows, batch, sizes[s.size]) for s in layer.spec.states]
        hx = zero[0] if len(zero) == 1 else zero
    elif not isinstance(hx, Tensor) and len(hx) == 1:
        hx = hx[0]
    output, *finals = getattr(torch._VF, kernel(layer.spec) or "")(
        x, hx, flat, has_biases, layer.num_layers, layer.dropout, layer.training,
        layer.bidirectional, layer.batch_first,
    )  # fmt: skip
    return output, finals[0] if len(finals) == 1 else tuple(finals)


def _key(layer: Any, x: Tensor, hx: Any) -> tuple[Any, ...]:
    # The precision of float32 decides between this path and the native one, where it has tiles.
    precision = torch._C._is_any_autocast_enabled(), torch.get_float32_matmul_precision()
    return (torch.is_grad_enabled(), *precision, layer.weight_dtype(), *key_of(layer, x, hx))


@cache
def kernel(spec: Spec) -> str | None:
    """The torch function that computes these equations, if there is one."""
    for cell in all_cells():
        if cell.torch_kernel and cell.spec == spec:
            return cell.torch_kernel
    return None


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def is_lowered(spec: Spec, from_lower: bool = False) -> bool:
    """Whether the results of torch's kernel are in the lower precision under autocast.

    Those of a kernel that autocast does not know are in that of the input.
    """
    name = kernel(spec)
    return name is not None and (from_lower or f"torch.{name}" in LOWERED)


def lowered(call: Call, result: Result) -> Result:
    """The same in the dtype that torch's own kernel of the cell gives under autocast."""
    is_lowering = torch.is_autocast_enabled("cpu") and call.x.device.type == "cpu"
    dtype = torch.get_autocast_dtype("cpu")
    from_lower = call.x.dtype == dtype
    if not (is_lowering and call.is_single and is_lowered(call.plain or call.spec, from_lower)):
        return result
    states = tuple(s.to(dtype) for s in result.states)
    return replace(result, output=result.output.to(dtype), states=states)


@cache
def is_tuned(spec: Spec) -> bool:
    """Whether torch runs these equations on a tuned library."""
    return any(cell.torch_backend and cell.spec == spec for cell in all_cells())


def to_torch(groups: Groups) -> list[Tensor]:
    """One layer and direction as torch's kernels take it: w_ih, w_hh, b_ih, b_hh and w_hr.

    The equations' one bias goes to b_ih; b_hh holds only what has a place of its own there.
    """
    bias = groups["b"]
    own = groups["d"] if "d" in groups else bias.new_zeros(0)
    hidden_bias = torch.cat([bias.new_zeros(len(bias) - len(own)), own])
    projection = [groups["V"]] if "V" in groups else []
    return [groups["W"], groups["U"], bias, hidden_bias, *projection]


def from_torch(spec: Spec, tensors: Sequence[Tensor], hidden_size: int) -> dict[str, Tensor]:
    """The cell's parameter groups from torch's tensors of one layer and direction."""
    has_projection = "V" in spec.groups
    weight_ih, weight_hh, *rest = tensors
    groups = {"W": weight_ih, "U": weight_hh}
    if has_projection:
        groups["V"] = rest.pop()
    own = len(spec.groups.get("d", ())) * hidden_size
    if not rest:  # bias=False
        rest = [weight_ih.new_zeros(len(weight_ih)), weight_ih.new_zeros(len(weight_ih))]
    bias_ih, bias_hh = rest
    if not own:
        return groups | {"b": bias_ih + bias_hh}
    shared = len(bias_hh) - own
    padded = torch.cat([bias_hh[:shared], bias_hh.new_zeros(own)])
    return groups | {"b": bias_ih + padded, "d": bias_hh[shared:]}


def _call_kernel(
    call: Call, inputs: tuple[Tensor, ...], batch_first: tuple[bool, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    name = kernel(call.spec)
    assert name is not None  # supports() said so
    flat, has_biases = call.weights.torch_flat()
    states: Any = call.states if len(call.states) > 1 else call.states[0]
    # A packed call takes (data, batch_sizes, states, ...), a padded one (data, states, ...).
    output, *finals = getattr(torch._VF, name)(
        *inputs,
        states,
        flat,
        has_biases,
        call.num_layers,
        call.dropout,
        call.training,
        call.num_directions == 2,
        *batch_first,
    )
    return output, tuple(finals)


def _run_packed(call: Call) -> Result:
    """Lengths: the kernel takes a packed batch, which cannot hold empty sequences.

    An empty sequence runs as one zero step; what it gave is then put right.
    """
    assert call.lengths is not None
    steps = call.x.shape[0]
    lengths = call.lengths.cpu()
    empty = (lengths == 0).to(call.x.device).unsqueeze(-1)
    x = call.x.masked_fill(empty, 0) if bool(empty.any()) else call.x
    is_sorted = bool((lengths[:-1] >= lengths[1:]).all())
    packed = pack_padded_sequence(x, lengths.clamp(min=1), enforce_sorted=is_sorted)
    order, back = packed.sorted_indices, packed.unsorted_indices
    if order is not None:
        call = replace(call, states=tuple(s.index_select(1, order) for s in call.states))
    data, finals = _call_kernel(call, (packed.data, packed.batch_sizes), batch_first=())
    result = PackedSequence(data, packed.batch_sizes, order, back)
    output, _ = pad_packed_sequence(result, total_length=steps)
    first = call.states
    if back is not None:
        finals = tuple(s.index_select(1, back) for s in finals)
        first = tuple(s.index_select(1, back) for s in first)
    if x is not call.x:
        output = output.masked_fill(empty, 0)
        finals = tuple(torch.where(empty, a, b) for a, b in zip(first, finals, strict=True))
    return Result(output, finals)
