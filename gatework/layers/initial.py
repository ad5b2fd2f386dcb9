"""How the parameters of a layer begin.

An initialiser is a function of a cell's description and one layer's and direction's parameter
groups as they are stored (``W`` of an LSTM: (4H, F), gate under gate), which it fills in place.
Over images what it is told as the hidden size is that times the places of a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gatework.equations import Parameter, Spec
from gatework.equations.symbols import Start
from gatework.equations.transform.draft import is_recurrent
from gatework.errors import CellError

Stored = Mapping[str, Tensor]
Initialiser = Callable[[Spec, Stored, int], None]


def uniform(spec: Spec, stored: Stored, hidden_size: int) -> None:
    """Everything uniform in ±1/sqrt(hidden_size), as torch.nn."""
    for tensor in stored.values():
        nn.init.uniform_(tensor, -(hidden_size**-0.5), hidden_size**-0.5)


def orthogonal(spec: Spec, stored: Stored, hidden_size: int) -> None:
    """Recurrent matrices orthogonal gate by gate (Saxe et al. 2014), others Xavier, biases 0."""
    uniform(spec, stored, hidden_size)
    for parameter, tensor in parts(spec, stored):
        if parameter.name in spec.biases:
            nn.init.zeros_(tensor)
        elif is_recurrent(parameter):
            for block in blocks(parameter, tensor):
                nn.init.orthogonal_(block)
        elif parameter.cols is not None:
            nn.init.xavier_uniform_(tensor)


def keras(spec: Spec, stored: Stored, hidden_size: int) -> None:
    """As Keras: all gates of a matrix together Glorot uniform or orthogonal, biases 0, b_f 1."""
    uniform(spec, stored, hidden_size)
    for stem, members in spec.groups.items():
        if stem in stored and members[0].cols is not None:
            fill = nn.init.orthogonal_ if is_recurrent(members[0]) else nn.init.xavier_uniform_
            fill(stored[stem])
    for parameter, tensor in parts(spec, stored):
        if parameter.name in spec.biases:
            nn.init.constant_(tensor, float(parameter.name == "b_f"))


def identity(spec: Spec, stored: Stored, hidden_size: int) -> None:
    """Recurrent matrices the identity, others normal with deviation 0.001, biases 0.

    For a network of relu units (Le, Jaitly & Hinton 2015, arXiv:1504.00941).
    """
    uniform(spec, stored, hidden_size)
    for parameter, tensor in parts(spec, stored):
        if parameter.name in spec.biases:
            nn.init.zeros_(tensor)
        elif is_recurrent(parameter):
            for block in blocks(parameter, tensor):
                (nn.init.eye_ if block.dim() == 2 else nn.init.dirac_)(block)
        elif parameter.cols is not None:
            nn.init.normal_(tensor, std=0.001)


def chrono(t_max: int, forget: str = "b_f", take: str = "b_i") -> Initialiser:
    """Gates that keep for up to ``t_max`` steps (Tallec & Ollivier 2018, arXiv:1804.11188).

    The forget gate's bias is log(u) with u uniform in [1, t_max - 1], the input gate's its
    negative, where the cell has one; all else is as in torch. For a GRU, whose z keeps the state,
    ``chrono(t_max, forget="b_z")``.

    Raises:
        CellError: t_max is no whole number above 2; when a layer is made: no such bias.
    """
    if isinstance(t_max, bool) or not isinstance(t_max, int) or t_max < 3:
        raise CellError(f"chrono: t_max is a whole number of steps above 2, got {t_max!r}.")

    return Chrono(t_max, forget, take)


@dataclass(frozen=True)
class Chrono:
    """What ``chrono`` makes."""

    t_max: int
    forget: str
    take: str

    def __call__(self, spec: Spec, stored: Stored, hidden_size: int) -> None:
        """Fill one layer and direction."""
        uniform(spec, stored, hidden_size)
        found = {parameter.name: tensor for parameter, tensor in parts(spec, stored)}
        keep = found[_bias(spec, stored, self.forget, f"init={self}")]
        nn.init.uniform_(keep, 1, self.t_max - 1).log_()
        if self.take in found:
            found[self.take].copy_(-keep)

    def __str__(self) -> str:
        return f"chrono({self.t_max})"


INITIALISERS: dict[str, Initialiser] = {
    "torch": uniform,
    "orthogonal": orthogonal,
    "keras": keras,
    "identity": identity,
}


def initialiser(init: str | Initialiser) -> Initialiser:
    """An initialiser by its name, or itself.

    Raises:
        CellError: there is none of the name.
    """
    if callable(init):
        return init
    if init not in INITIALISERS:
        hint = (
            " Write init=chrono(t_max), from gatework.layers.initial." if init == "chrono" else ""
        )
        raise CellError(f"init is one of {', '.join(INITIALISERS)}, got {init!r}.{hint}")
    return INITIALISERS[init]


@torch.no_grad()
def fill(
    spec: Spec, stored: Stored, hidden_size: int, init: Initialiser, forget_bias: float | None
) -> None:
    """One layer and direction: what ``init`` does, what the cell says, the forget gate's bias.

    Raises:
        CellError: forget_bias is given and the layer has no ``b_f``.
    """
    init(spec, stored, hidden_size)
    for parameter, tensor in parts(spec, stored):
        if parameter.start is not None:
            begin(tensor, parameter.start)
        if parameter.name == "b_f" and forget_bias is not None:
            tensor.fill_(forget_bias)
    if forget_bias is not None:
        _bias(spec, stored, "b_f", f"forget_bias={forget_bias}")


def begin(tensor: Tensor, start: Start) -> None:
    """Fill a parameter as its cell has it, see ``Vector``."""
    if isinstance(start, tuple):
        nn.init.uniform_(tensor, *start)
    else:
        nn.init.constant_(tensor, start)


def parts(spec: Spec, stored: Stored) -> list[tuple[Parameter, Tensor]]:
    """Every stored parameter with its rows, as a view: for block-diagonal ones (rows, cols / n)."""
    return [
        pair
        for stem, members in spec.groups.items()
        if stem in stored
        for pair in zip(members, stored[stem].chunk(len(members)), strict=True)
    ]


def blocks(parameter: Parameter, tensor: Tensor) -> tuple[Tensor, ...]:
    """The blocks of a stored matrix."""
    return tensor.chunk(parameter.blocks)


def dense(members: tuple[Parameter, ...], stored: Tensor) -> Tensor:
    """A group as the equations read it: blocks filled up with zeros, a row for every unit."""
    count, chunk = members[0].blocks, members[0].chunk
    whole = stored
    if count > 1:
        cols = stored.shape[1]
        apart = stored.view(len(members), count, -1, 1, cols)
        own = torch.eye(count, dtype=torch.bool, device=stored.device).view(1, count, 1, count, 1)
        zero = stored.new_zeros(())
        whole = torch.where(own, apart, zero).reshape(len(stored), count * cols)
    return whole.repeat_interleave(chunk, 0) if chunk > 1 else whole


def _bias(spec: Spec, stored: Stored, name: str, what: str) -> str:
    """The name of a bias, if the layer has it."""
    if name not in spec.biases or not any(p.name == name for p, _ in parts(spec, stored)):
        own = name in spec.biases
        raise CellError(
            f"{spec.name} has no forget gate bias {name} for {what}. "
            f"Leave that out{' or use bias=True' if own else ''}."
        )
    return name
