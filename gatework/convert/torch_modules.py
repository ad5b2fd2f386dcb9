"""torch.nn's recurrent modules as Gatework's layers, and back.

The drop-ins have torch's names, so their weights are copied as they are. A ``Recurrent`` has one
bias where torch has two; which of its cells are torch's is found by comparing equations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from gatework import layers
from gatework.convert.notes import noted
from gatework.errors import ConvertError
from gatework.layers import Recurrent
from gatework.layers.widths import Widths
from gatework.paths import vendor

OPTIONS = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout",
           "bidirectional")  # fmt: skip
WHERE_SET = ("proj_size", "nonlinearity")  # which only some of torch's classes take
BASES = (nn.RNNBase, nn.RNNCellBase)
COPIED = "weights copied under torch's own names; nothing reordered"


def from_torch(module: nn.Module) -> nn.Module:
    """A recurrent module of torch.nn as the drop-in of the same name, with its weights copied.

    Args:
        module: an nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell or nn.RNNCell.

    Raises:
        ConvertError: it is none of these itself, or has parameters beyond theirs.
    """
    kind = type(module)
    ours = getattr(layers, kind.__name__, None)
    if ours is None or getattr(nn, kind.__name__, None) is not kind:
        raise ConvertError(_why_not_torch(module))
    made: nn.Module = _made(ours, module)
    theirs, expected = module.state_dict(), made.state_dict()
    if theirs.keys() != expected.keys():
        extra = ", ".join(sorted(theirs.keys() ^ expected.keys()))
        raise ConvertError(
            f"This {kind.__name__} has other parameters than torch's own: {extra}. Remove what "
            f"rewrites its weights (as torch.nn.utils.remove_weight_norm does) first."
        )
    made.load_state_dict(theirs)
    for name, parameter in module.named_parameters():
        made.get_parameter(name).requires_grad_(parameter.requires_grad)
    return noted(made, [COPIED])


def to_torch(layer: nn.Module) -> nn.Module:
    """A layer of Gatework as the torch.nn module that computes the same, its weights copied.

    Args:
        layer: a drop-in, or a ``Recurrent`` whose equations are those of a kernel of torch.

    Raises:
        ConvertError: torch has no such cell, or this is no layer of Gatework.
    """
    kind = type(layer)
    if getattr(layer, "residual", False):
        raise ConvertError(
            f"This {kind.__name__} adds its input to its output (residual=True), which no module "
            f"of torch.nn does. Convert one made with residual=False, and add them yourself."
        )
    if getattr(layer, "learned_states", False):
        raise ConvertError(
            f"This {kind.__name__} has learned its initial states (learned_states=True), for which "
            f"torch.nn has no place. Convert one made with learned_states=False, and pass "
            f"layer.state(batch=B) as hx."
        )
    if isinstance(layer, BASES) and getattr(layers, kind.__name__, None) is kind:
        same: nn.Module = _made(getattr(nn, kind.__name__), layer)
        same.load_state_dict(layer.state_dict())
        return noted(same, [COPIED, *_dropped(layer)])
    if isinstance(layer, Widths):
        raise ConvertError(
            f"torch.nn has no stack of several widths, got {layer.hidden_size}. Convert its "
            f"layers one by one: layer.layers[0], and so on."
        )
    if not isinstance(layer, Recurrent):
        raise ConvertError(
            f"to_torch takes a layer of Gatework (a drop-in, or a Recurrent), got "
            f"{_full_name(layer)}.{_inside(layer, (Recurrent, *BASES))}"
        )
    kernel = vendor.kernel(layer.spec) if layer.is_torch_cell else None
    if kernel is None:
        raise ConvertError(
            f"torch has no kernel with the equations of {layer.spec.name}"
            f"{' over images' if layer.dims else ''}, so no module of "
            f"torch.nn computes it. Keep the Gatework layer, which is an nn.Module too."
        )
    name, _, nonlinearity = kernel.partition("_")
    extra = {"nonlinearity": nonlinearity} if nonlinearity else {}
    made: nn.RNNBase = _made(getattr(nn, name.upper()), layer, **extra)
    with torch.no_grad():
        for row, theirs in enumerate(made.all_weights):
            ours = vendor.to_torch(layer.groups(*divmod(row, 2 if layer.bidirectional else 1)))
            if not layer.bias:
                del ours[2:4]
            for target, value in zip(theirs, ours, strict=True):
                target.copy_(value)
    parts = ["the names of torch for those of the equations (W: weight_ih, U: weight_hh)"]
    if layer.bias:
        parts.append("the one bias became bias_ih; bias_hh is zero where the cell has no second")
    return noted(made, parts + _dropped(layer))


def _dropped(layer: Any) -> list[str]:
    """What acts in training only and has no place in torch."""
    found = {name: getattr(layer, name, None) for name in ("weight_drop", "checkpoint")}
    return [f"{n}={v!r} acts in training only and is left out" for n, v in found.items() if v]


def _made(kind: Any, like: Any, **extra: Any) -> Any:
    """A module of this kind with the options, place, dtype and mode of another."""
    options = {n: getattr(like, n) for n in OPTIONS if hasattr(like, n)}
    options |= {n: v for n in WHERE_SET if (v := getattr(like, n, None))}
    first = next(like.parameters())
    with torch.random.fork_rng(devices=[]):  # the initial weights go, so no one misses the draws
        made = kind(**options, **extra, device=first.device, dtype=first.dtype)
    return made.train(like.training)


def _why_not_torch(module: object) -> str:
    name = _full_name(module)
    if not isinstance(module, nn.Module):
        return f"from_torch takes a module of torch.nn, got {name}."
    if isinstance(module, BASES) and name.startswith("gatework."):
        return f"{name} is a layer of Gatework already. Use it as it is."
    if parametrize.is_parametrized(module):
        return (
            f"{name} has parametrised weights. Make them plain first: "
            f"torch.nn.utils.parametrize.remove_parametrizations(module, name)."
        )
    if ".ao." in name:
        return (
            f"{name} is made for quantisation and is no plain module. "
            f"Convert the float module of torch.nn that it was made of."
        )
    if isinstance(module, BASES):
        return (
            f"{name} derives from torch's module and may compute something else. "
            f"Copy its weights into the torch.nn class by load_state_dict and convert that."
        )
    return (
        f"from_torch takes an LSTM, GRU, RNN or their *Cell of torch.nn, got {name}."
        f"{_inside(module, BASES)}"
    )


def _inside(module: object, kinds: tuple[type, ...]) -> str:
    """Where in a larger module the layers lie that could be converted."""
    if not isinstance(module, nn.Module):
        return ""
    found = [name for name, part in module.named_modules() if name and isinstance(part, kinds)]
    return f" Pass a layer of it: {', '.join(found)}." if found else ""


def _full_name(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
