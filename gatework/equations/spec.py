"""A finished cell as plain data: what everything else in the package reads.

``to_dict`` and ``from_dict`` carry it through JSON, so a saved model keeps the equations that
it was trained with and needs no code to load, also when the cell was the user's own.
"""

from __future__ import annotations

import json
import keyword
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

from gatework.equations.expr import Apply, Expr, Number, Product, Ref, finite, walk
from gatework.equations.ops import PRIMITIVES
from gatework.equations.sizes import ALL, OF_PARAMETER, OF_STATE, VECTORS
from gatework.equations.symbols import EACH, Start, checked_start
from gatework.errors import CellError

NEXT = "_next"
# Names that generated text uses for itself.
TAKEN = frozenset({"np", "torch", "linear", "step", *(f"{name}_" for name in PRIMITIVES)})


@dataclass(frozen=True)
class StateSymbol:
    """A carried state: its name and the letter of its size."""

    name: str
    size: str


@dataclass(frozen=True)
class Parameter:
    """A learned matrix (rows x cols) or vector (rows, ``cols`` None); sizes are letters.

    With ``blocks`` above 1 a matrix is block-diagonal: as many blocks of rows see as many blocks
    of columns, each its own; stored is (rows, cols / blocks). With a ``chunk`` above 1 so many
    neighbouring rows are one; stored is (rows / chunk, ...). What it starts at is no part of what a
    cell computes, so it does not count in a comparison.
    """

    name: str
    rows: str
    cols: str | None = None
    start: Start | None = field(default=None, compare=False)
    blocks: int = 1
    chunk: int = 1

    @property
    def shape(self) -> tuple[str, ...]:
        """The size letters, one per axis."""
        return (self.rows,) if self.cols is None else (self.rows, self.cols)


@dataclass(frozen=True)
class MaskSymbol:
    """An array that a step reads beside input, states and parameters.

    It is random in training, ``value`` with a probability, else 0, and its mean in evaluation; or
    it is brought by the call; or it is 1 for the first unit of each ``chunk`` and 0 for others.
    """

    name: str
    size: str
    probability: float
    value: float
    each: str  # anew for each "step" or each "sequence"
    is_brought: bool = False
    chunk: int = 1

    @property
    def is_random(self) -> bool:
        """Whether it is drawn in training."""
        return not self.is_brought and self.chunk == 1

    @property
    def mean(self) -> float:
        """What it is in evaluation."""
        return self.probability * self.value


def brought(name: str, size: str) -> MaskSymbol:
    """What each call brings, one number for each step and row."""
    return MaskSymbol(name, size, 1.0, 1.0, "step", is_brought=True)


@dataclass(frozen=True)
class Equation:
    """One named equation, in the order in which it is computed."""

    name: str
    expr: Expr
    size: str


@dataclass(frozen=True)
class Spec:
    """A recurrent cell: symbols and equations, nothing else.

    Two specs are equal when they compute the same thing by the same equations; the name and
    the prose do not count.
    """

    name: str = field(compare=False)
    doc: str = field(compare=False)
    source: str = field(compare=False)
    convention: str = field(compare=False)
    input: str
    states: tuple[StateSymbol, ...]
    parameters: tuple[Parameter, ...]
    constants: tuple[tuple[str, float], ...]
    equations: tuple[Equation, ...]
    masks: tuple[MaskSymbol, ...] = ()
    heads: int = 1  # so many cells side by side, each on its part of the units
    use: str = field(default="", compare=False)
    deviations: str = field(default="", compare=False)
    torch_kernel: str = field(default="", compare=False)
    torch_backend: str = field(default="", compare=False)  # the tuned library of that kernel
    # Parameters that are stored as one tensor, by stem: see ``_grouped``.
    groups: dict[str, tuple[Parameter, ...]] = field(init=False, compare=False, repr=False)
    # The spec as JSON text, from which ``from_text`` makes it again.
    text: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # At once and not at first use: torch.compile cannot trace what fills itself in.
        object.__setattr__(self, "groups", _grouped(self))
        object.__setattr__(self, "text", json.dumps(to_dict(self)))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Asked for at every call of a layer, so it is worked out once.
        read = (self.input, self.states, self.parameters, self.constants, self.masks, self.heads)
        return hash((read, self.equations))

    @property
    def given(self) -> dict[str, str]:
        """What a step is given beside the input: states and masks, with their sizes."""
        return {s.name: s.size for s in self.states} | {m.name: m.size for m in self.masks}

    @property
    def beside(self) -> tuple[str, ...]:
        """What each call brings beside the input."""
        return tuple(m.name for m in self.masks if m.is_brought)

    @cached_property
    def biases(self) -> frozenset[str]:
        """Vectors that only ever stand as a term of a sum, and do not begin at random places."""
        vectors = {
            p.name for p in self.parameters if p.cols is None and not isinstance(p.start, tuple)
        }
        terms = {
            id(arg)
            for equation in self.equations
            for node in walk(equation.expr)
            if isinstance(node, Apply) and node.op in ("add", "sub")
            for arg in node.args
        }
        scaled = {
            node.name
            for equation in self.equations
            for node in walk(equation.expr)
            if isinstance(node, Ref) and node.name in vectors and id(node) not in terms
        }
        return frozenset(vectors - scaled)

    @property
    def sizes(self) -> frozenset[str]:
        """The size letters that occur."""
        used = {*self.given.values(), *(e.size for e in self.equations)}
        return frozenset(used | {letter for p in self.parameters for letter in p.shape})


def _grouped(spec: Spec) -> dict[str, tuple[Parameter, ...]]:
    """Parameters that are stored as one tensor: same stem (``W`` of ``W_i``), same shape.

    They are stacked along the rows in the order of their declaration. A stem that is itself
    a symbol (``h`` of ``h_scale``) groups nothing.
    """
    symbols = {spec.input, *spec.given}
    symbols |= {n for n, _ in spec.constants}
    groups: dict[str, list[Parameter]] = {}
    for parameter in spec.parameters:
        stem = parameter.name.rpartition("_")[0] or parameter.name
        first = groups.get(stem, [parameter])[0]
        if replace(parameter, name=first.name) != first or stem in symbols:
            stem = parameter.name
        groups.setdefault(stem, []).append(parameter)
    return {stem: tuple(members) for stem, members in groups.items()}


def to_dict(spec: Spec) -> dict[str, Any]:
    """The spec as JSON-ready data."""
    return {
        "name": spec.name,
        "doc": spec.doc,
        "source": spec.source,
        "convention": spec.convention,
        "use": spec.use,
        "deviations": spec.deviations,
        "input": spec.input,
        "states": [[s.name, s.size] for s in spec.states],
        "parameters": [[p.name, *p.shape] for p in spec.parameters],
        "starts": {p.name: p.start for p in spec.parameters if p.start is not None},
        "blocks": {p.name: p.blocks for p in spec.parameters if p.blocks != 1},
        "chunks": {p.name: p.chunk for p in spec.parameters if p.chunk != 1}
        | {m.name: m.chunk for m in spec.masks if m.chunk != 1},
        "heads": spec.heads,
        "constants": [[name, value] for name, value in spec.constants],
        "masks": [[m.name, m.size, m.probability, m.value, m.each] for m in spec.masks],
        "beside": list(spec.beside),
        "equations": [[e.name, e.size, _expr_to_data(e.expr)] for e in spec.equations],
    }


@lru_cache(maxsize=256)
def from_text(text: str) -> Spec:
    """The spec of its own ``text``."""
    return from_dict(json.loads(text))


def from_dict(data: Mapping[str, Any]) -> Spec:
    """The spec of ``to_dict``'s data; anything that is no such data is refused.

    Raises:
        CellError: a field is missing, or a name or an operation is not one of a cell's.
    """
    try:
        starts = {
            str(n): checked_start(v) for n, v in data.get("starts", {}).items()
        }  # which older files lack
        beside = data.get("beside", ())  # this too
        blocks = {str(n): _count(v) for n, v in data.get("blocks", {}).items()}  # and these
        chunks = {str(n): _count(v) for n, v in data.get("chunks", {}).items()}
        spec = Spec(
            name=str(data["name"]),
            doc=str(data["doc"]),
            source=str(data["source"]),
            convention=str(data["convention"]),
            use=str(data.get("use", "")),  # which older files lack, as the next
            deviations=str(data.get("deviations", "")),
            input=_name(data["input"]),
            states=tuple(StateSymbol(_name(n), _size(s, OF_STATE)) for n, s in data["states"]),
            parameters=tuple(
                _parameter(n, shape, starts.get(n), blocks.get(n, 1), chunks.get(n, 1))
                for n, *shape in data["parameters"]
            ),
            constants=tuple((_name(n), finite(v)) for n, v in data["constants"]),
            heads=_count(data.get("heads", 1)),  # which older files lack, as the next
            masks=tuple(
                _mask(n, s, p, v, e, n in beside, chunks.get(n, 1))
                for n, s, p, v, e in data.get("masks", ())
            ),
            equations=tuple(
                Equation(_name(n), _expr_from_data(e), _size(s)) for n, s, e in data["equations"]
            ),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise CellError(f"This is no saved cell: {error}.") from error
    check_names(spec)
    return spec


def check_names(spec: Spec) -> None:
    """Every name is set once and before its use, only matrices multiply, and states go on."""
    declared = [spec.input, *(s.name for s in spec.states), *(p.name for p in spec.parameters)]
    declared += [*(name for name, _ in spec.constants), *(m.name for m in spec.masks)]
    computed = [e.name for e in spec.equations]
    if len({*declared, *computed}) < len(declared) + len(computed):
        raise CellError(f"{spec.name}: a name is set twice.")
    if not spec.states or not {s.name + NEXT for s in spec.states} <= set(computed):
        raise CellError(f"{spec.name}: a state has no next value.")
    matrices = {Ref(p.name) for p in spec.parameters if p.cols is not None}
    sizes = {e.name: e.size for e in spec.equations}
    if any(sizes[s.name + NEXT] != s.size for s in spec.states):
        raise CellError(f"{spec.name}: a state and its next value differ in size.")
    known = set(declared)
    for equation in spec.equations:
        for node in walk(equation.expr):
            if isinstance(node, Ref) and node.name not in known:
                raise CellError(f"{spec.name}: {equation.name} uses {node.name}, which is not set.")
            if isinstance(node, Product) and node.matrix not in matrices:
                raise CellError(f"{spec.name}: {equation.name} multiplies by what is no matrix.")
        known.add(equation.name)


def _expr_to_data(expr: Expr) -> Any:
    match expr:
        case Ref(name):
            return name
        case Number(value):
            return value
        case Apply(op, args):
            return [op, *(_expr_to_data(a) for a in args)]
        case Product(matrix, operand):
            return ["@", _expr_to_data(matrix), _expr_to_data(operand)]
    raise TypeError(f"not a finished expression: {expr!r}")


def _expr_from_data(data: Any) -> Expr:
    if isinstance(data, str):
        return Ref(_name(data))
    if isinstance(data, (int, float)):
        return Number(finite(data))
    op, *args = data
    nodes = tuple(_expr_from_data(a) for a in args)
    if op == "@":
        return Product(nodes[0], nodes[1])
    if op not in PRIMITIVES or op == "spread" or len(nodes) != PRIMITIVES[op].arity:
        raise ValueError(f"unknown operation {op!r} with {len(nodes)} arguments")
    return Apply(op, nodes)


def _name(value: Any) -> str:
    # Names become names in generated text, so nothing but an identifier may pass.
    if not isinstance(value, str) or not value.isidentifier() or keyword.iskeyword(value):
        raise ValueError(f"{value!r} is no name")
    if value in TAKEN or "__" in value:
        raise ValueError(f"{value!r} is a reserved name")
    return value


def _parameter(
    name: Any, shape: Sequence[Any], start: Start | None, blocks: int, chunk: int
) -> Parameter:
    rows, cols = shape if len(shape) > 1 else (*shape, None)
    if cols is None and blocks != 1:
        raise ValueError(f"the vector {name!r} has no blocks")
    columns = None if cols is None else _size(cols, VECTORS)
    return Parameter(_name(name), _size(rows, OF_PARAMETER), columns, start, blocks, chunk)


def _mask(
    name: Any, size: Any, p: Any, value: Any, each: Any, is_brought: bool, chunk: int
) -> MaskSymbol:
    drawn = _probability(p), finite(value), _each(each)
    return MaskSymbol(_name(name), _size(size), *drawn, is_brought, chunk)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{value!r} is no number of blocks or units")
    return value


def _probability(value: Any) -> float:
    if not 0 <= finite(value) <= 1:
        raise ValueError(f"{value!r} is no probability")
    return finite(value)


def _each(value: Any) -> str:
    if value not in EACH:
        raise ValueError(f"a mask is drawn each {' or '.join(EACH)}, not {value!r}")
    return str(value)


def _size(value: Any, allowed: Iterable[str] = ALL) -> str:
    if value not in allowed:
        raise ValueError(f"unknown size {value!r}")
    return str(value)
