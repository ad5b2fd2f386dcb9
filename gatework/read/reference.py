"""The reference: a cell's equations, run as they are written.

``step`` runs one time step in NumPy and returns every named gate; ``source`` prints the Python
text it runs. The same text in PyTorch is what the reference path of the layers runs, with
autograd. Nothing here is fast; everything else is measured against it.

Shapes: B batch, F input features, H hidden units, P projected units. In the text a matrix is the
vector of its rows; ``step`` takes and gives it as (H, H).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatework.cells import CellLike, name_of, resolve
from gatework.equations.expr import Apply, Expr, Product, Ref, walk
from gatework.equations.ops import PRIMITIVES, Primitive
from gatework.equations.sizes import MATRICES, SINGLE, shape_of, width_of
from gatework.equations.spec import MaskSymbol, Spec
from gatework.errors import CellError, ShapeError
from gatework.read.render import Spelling, render

PRODUCTS = {"numpy": "{operand} @ {matrix}.T", "torch": "linear({operand}, {matrix})"}
# A line of a text: the names that it sets, a form for what they are set to, what stands in its gaps
Line = tuple[str, str, tuple[Expr, ...]]
PARTS = {"numpy": "np.split({whole}, {count}, {axis})", "torch": "{whole}.chunk({count}, {axis})"}


def step(
    cell: CellLike,
    weights: Mapping[str, ArrayLike],
    x: ArrayLike,
    *states: ArrayLike,
    masks: Mapping[str, ArrayLike] | None = None,
    beside: Mapping[str, ArrayLike] | None = None,
) -> dict[str, NDArray[Any]]:
    """One time step in plain NumPy, gate by gate.

    Args:
        cell: a cell class, description, name or ``file.py:Class``.
        weights: every parameter by its name in the equations; matrices (rows, columns),
            vectors (rows,). ``random_weights`` makes a set.
        x: the input, (F,) or (B, F).
        states: the states in the order of their declaration, (H,) or (B, H) each (LSTM: h, c); a
            matrix (H, H) or (B, H, H), of n heads (n, H/n, H/n) or (B, n, H/n, H/n).
        masks: those of the cell's masks that are not at their mean, by name, (H,) or (B, H).
        beside: what the cell reads beside the input, by name, () or (B,).

    Returns:
        Every equation by its name, in the order of computation; the new states are
        ``h_next``, ``c_next`` and so on.

    Raises:
        CellError: no such cell, or something is missing or unknown.
        ShapeError: a weight, the input or a state has the wrong shape.
    """
    spec = resolve(cell)
    if spec.heads > 1:
        return _step_of_heads(spec, weights, x, *states, masks=masks or {}, beside=beside)
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    values = [np.asarray(x), *(np.asarray(s) for s in states)]
    if len(states) != len(spec.states):
        names = ", ".join(s.name for s in spec.states)
        raise ShapeError(
            f"{spec.name} carries {len(spec.states)} state(s) ({names}), got {len(states)}. "
            f"Call step(cell, weights, x, {names})."
        )
    sizes = _checked_sizes(spec, arrays, values)
    values[1:] = [
        v.reshape(*v.shape[:-2], -1) if s.size in MATRICES else v
        for s, v in zip(spec.states, values[1:], strict=True)
    ]
    named = [arrays[p.name] for p in spec.parameters]
    at = {m.name: _mean_of(m, width_of(m.size, sizes)) for m in spec.masks if not m.is_brought}
    given = masks or {}
    if unknown := set(given) - set(at):
        raise CellError(f"{spec.name} has no mask {', '.join(sorted(unknown))}: {[*at]}.")
    at.update((name, np.asarray(value)) for name, value in given.items())
    if set(beside or {}) != set(spec.beside):
        raise CellError(
            f"{spec.name} reads {', '.join(spec.beside) or 'nothing'} beside the input, got "
            f"{', '.join(beside or {}) or 'nothing'}. Pass it as beside=."
        )
    at.update((name, np.asarray(value)[..., None]) for name, value in (beside or {}).items())
    at = {m.name: at[m.name] for m in spec.masks}
    result: dict[str, NDArray[Any]] = compiled(spec, "numpy")(*values, *at.values(), *named)
    for equation in spec.equations:
        if equation.size in MATRICES:
            rows = result[equation.name]
            result[equation.name] = rows.reshape(*rows.shape[:-1], *shape_of(equation.size, sizes))
    return result


def _step_of_heads(
    spec: Spec,
    weights: Mapping[str, ArrayLike],
    x: ArrayLike,
    *states: ArrayLike,
    masks: Mapping[str, ArrayLike],
    beside: Mapping[str, ArrayLike] | None,
) -> dict[str, NDArray[Any]]:
    """The step of each head by itself, and what they give side by side."""
    count = spec.heads
    one = replace(spec, heads=1, parameters=tuple(replace(p, blocks=1) for p in spec.parameters))
    sizes = {m.name: m.size for m in spec.masks}
    shapes = {p.name: p.shape for p in spec.parameters}

    def part(value: ArrayLike, size: str, head: int, axis: int = -1) -> NDArray[Any]:
        array = np.asarray(value)
        if size in MATRICES:
            return array[..., head, :, :]
        if size not in ("H", "h"):
            return array
        if array.shape[axis] % count:
            raise ShapeError(f"{spec.name}: {array.shape} cannot be divided into {count} heads.")
        return np.split(array, count, axis)[head]

    found = []
    for head in range(count):
        own = {}
        for name, value in weights.items():
            rows, *cols = shapes.get(name, ("", ""))
            own[name] = part(value, rows, head, 0)
            own[name] = part(own[name], cols[0], head) if cols else own[name]
        mine = [part(v, s.size, head) for v, s in zip(states, spec.states, strict=False)]
        drawn = {name: part(v, sizes.get(name, ""), head) for name, v in masks.items()}
        found.append(step(one, own, x, *mine, *states[len(mine) :], masks=drawn, beside=beside))
    joined = {}
    for equation in spec.equations:
        parts = [each[equation.name] for each in found]
        if equation.size in MATRICES:
            joined[equation.name] = np.stack(parts, -3)
        else:
            is_shared = equation.size.upper() == "F"
            joined[equation.name] = parts[0] if is_shared else np.concatenate(parts, -1)
    return joined


def _mean_of(mask: MaskSymbol, width: int) -> NDArray[Any]:
    """A mask in evaluation."""
    return np.where(np.arange(width) % mask.chunk == 0, mask.mean, 0.0)


def source(cell: CellLike, backend: str = "numpy", *, packed: bool = False) -> str:
    """The Python text of one step; ``backend`` is ``"numpy"`` or ``"torch"``.

    With ``packed`` the parameters are the stacked groups (``W``, ``U``, ``b``) and the products
    with the input are taken as ready (``W__x``), as a layer computes them for all steps at once.
    """
    spec = resolve(cell)
    lines = tuple((e.name, "{}", (e.expr,)) for e in spec.equations)
    return packed_source(spec, backend, lines) if packed else _plain_source(spec, backend, lines)


@lru_cache(maxsize=256)
def compiled(
    spec: Spec,
    backend: str,
    packed: bool = False,
    product: Callable[[Any, Any], Any] | None = None,
) -> Callable[..., dict[str, Any]]:
    """The function of ``source``: takes its arguments in the order that the text shows.

    ``product`` stands in for ``linear`` in torch's text.
    """
    text = source(spec, backend, packed=packed)
    return function_of(spec, backend, text, {} if product is None else {"linear": product})


def function_of(
    spec: Spec, backend: str, text: str, more: Mapping[str, Any]
) -> Callable[..., dict[str, Any]]:
    """The function that a text defines; ``more`` is what it calls by other names than ours."""
    namespace: dict[str, Any] = {"np": np, **more}
    if backend == "torch":
        import torch  # noqa: PLC0415  (a NumPy step needs no torch)

        namespace = {"torch": torch, "linear": torch.nn.functional.linear, **more}
    # The text is made from a checked Spec: names are identifiers, operations are table rows.
    exec(compile(text, f"<{spec.name}>", "exec"), namespace)
    function: Callable[..., dict[str, Any]] = namespace["step"]
    return function


def random_weights(
    cell: CellLike,
    input_size: int,
    hidden_size: int,
    proj_size: int = 0,
    seed: int = 0,
) -> dict[str, NDArray[np.float64]]:
    """Weights by name, uniform in ±1/sqrt(hidden_size) as torch initialises them, float64."""
    spec = resolve(cell)
    sizes = {"F": input_size, "H": hidden_size, "P": proj_size}
    if "P" in spec.sizes and proj_size <= 0:
        raise ShapeError(f"{spec.name} needs proj_size, got {proj_size}.")
    random = np.random.default_rng(seed)
    bound = hidden_size**-0.5
    return {
        p.name: random.uniform(-bound, bound, [width_of(s, sizes, spec.heads) for s in p.shape])
        for p in spec.parameters
    }


def packed_products(spec: Spec) -> dict[str, str]:
    """Groups that can be multiplied in one product, with the symbol that they multiply.

    They are the groups of which every matrix multiplies the same input or state, and nothing
    else. For an LSTM: ``{"W": "x", "U": "h"}``.
    """
    operands: dict[str, set[str]] = {}
    leaves = {spec.input, *(s.name for s in spec.states)}
    for equation in spec.equations:
        for node in walk(equation.expr):
            if isinstance(node, Product) and isinstance(node.matrix, Ref):
                leaf = node.operand.name if isinstance(node.operand, Ref) else ""
                operands.setdefault(node.matrix.name, set()).add(leaf)
    found = {}
    for stem, members in spec.groups.items():
        used = set().union(*(operands.get(p.name, {""}) for p in members))
        if len(used) == 1 and used <= leaves:
            found[stem] = used.pop()
    return found


def packed_arguments(spec: Spec) -> list[str]:
    """The arguments of the packed step: ready input products, states, masks, groups."""
    products = packed_products(spec)
    ready = [f"{stem}__{leaf}" for stem, leaf in products.items() if leaf == spec.input]
    kept = [stem for stem in spec.groups if products.get(stem) != spec.input]
    return [*ready, *([spec.input] if uses_input(spec) else []), *spec.given, *kept]


def uses_input(spec: Spec) -> bool:
    """Whether a step reads the input other than through its ready products."""
    products = packed_products(spec)
    ready = {p.name for s, leaf in products.items() if leaf == spec.input for p in spec.groups[s]}

    def reads(node: Any) -> bool:
        match node:
            case Product(Ref(matrix), Ref()) if matrix in ready:
                return False
            case Product(_, operand):
                return reads(operand)
            case Apply(_, args):
                return any(reads(a) for a in args)
        return isinstance(node, Ref) and node.name == spec.input

    return any(reads(e.expr) for e in spec.equations)


def _plain_source(spec: Spec, backend: str, lines: Sequence[Line]) -> str:
    arguments = [spec.input, *spec.given, *(p.name for p in spec.parameters)]
    return _text(spec, backend, arguments, [], {}, lines)


def packed_source(spec: Spec, backend: str, lines: Sequence[Line], of_input: bool = False) -> str:
    """The packed text with these lines for the equations; together they must give them all.

    With ``of_input`` only the products with the input are taken together: states come later.
    """
    products = packed_products(spec)
    if of_input:
        products = {stem: leaf for stem, leaf in products.items() if leaf == spec.input}
    arguments = packed_arguments(spec)
    unpacking = []
    replaced: dict[tuple[str, str], str] = {}
    for stem, members in spec.groups.items():
        names = [p.name for p in members]
        if stem in products:
            leaf = products[stem]
            replaced |= {(name, leaf): f"{name}__{leaf}" for name in names}
            names = [f"{name}__{leaf}" for name in names]
            whole, axis = f"{stem}__{leaf}", -1
            if leaf != spec.input:
                whole = PRODUCTS[backend].format(matrix=stem, operand=leaf)
        else:
            whole, axis = stem, 0
        if len(names) > 1:
            parts = PARTS[backend].format(whole=whole, count=len(names), axis=axis)
            unpacking.append(f"{', '.join(names)} = {parts}")
        elif names != [whole]:
            unpacking.append(f"{names[0]} = {whole}")
    return _text(spec, backend, arguments, unpacking, replaced, lines)


def _text(
    spec: Spec,
    backend: str,
    arguments: list[str],
    unpacking: list[str],
    products: Mapping[tuple[str, str], str],
    equations: Sequence[Line],
) -> str:
    every = [expr for *_, exprs in equations for expr in exprs]
    used = {node.op for expr in every for node in walk(expr) if isinstance(node, Apply)}
    helpers = [row for row in PRIMITIVES.values() if row.name in used and not row.infix]
    spelling = Spelling(
        name=lambda name: name,
        apply=_python_apply,
        product=lambda m, operand: PRODUCTS[backend].format(matrix=m, operand=operand),
        encloses=lambda row: not row.infix,
        products=products,
    )
    lines = []
    for row in helpers:
        lines += [f"def {row.name}_({row.arguments}):", f"    return {getattr(row, backend)}", ""]
    lines += [f"def step({', '.join(arguments)}):"]
    lines += [f"    {name} = {value!r}" for name, value in spec.constants]
    lines += [f"    {line}" for line in unpacking]
    for names, form, written in equations:
        lines.append(f"    {names} = {form.format(*(render(e, spelling) for e in written))}")
    found = ", ".join(f"{e.name!r}: {e.name}" for e in spec.equations)
    return "\n".join([*lines, f"    return {{{found}}}", ""])


def _python_apply(row: Primitive, args: list[str]) -> str:
    if not row.infix:
        return f"{row.name}_({', '.join(args)})"
    return f"{row.infix}{args[0]}" if row.arity == 1 else f"{args[0]} {row.infix} {args[1]}"


def _checked_sizes(
    spec: Spec, weights: Mapping[str, NDArray[Any]], values: list[NDArray[Any]]
) -> dict[str, int]:
    """The sizes by their letters, where all agree."""
    expected = [p.name for p in spec.parameters]
    if missing := [name for name in expected if name not in weights]:
        raise CellError(f"{spec.name}: weights lack {', '.join(missing)}. The cell has {expected}.")
    if unknown := [name for name in weights if name not in expected]:
        raise CellError(f"{spec.name} has no weight {', '.join(unknown)}. The cell has {expected}.")
    sizes = dict.fromkeys(SINGLE, (1, "one number"))
    leaves = [(spec.input, ("F",)), *((s.name, tuple(s.size)) for s in spec.states)]
    shaped = [(n, s, weights[n].shape) for n, s in ((p.name, p.shape) for p in spec.parameters)]
    shaped += [(n, s, v.shape[-len(s) :]) for (n, s), v in zip(leaves, values, strict=True)]
    for name, letters, shape in shaped:
        if len(shape) != len(letters):
            raise ShapeError(f"{spec.name}: {name} has shape {shape}, expected {letters}.")
        for letter, size in zip(letters, shape, strict=True):
            first, owner = sizes.setdefault(letter, (size, name))
            if first != size:
                raise ShapeError(
                    f"{spec.name}: {name} has shape {shape}, expected {letters} with "
                    f"{letter}={first} as in {owner}."
                )
    batches = {v.shape[: -len(s)] for (_, s), v in zip(leaves, values, strict=True)} - {()}
    if len(batches) > 1:
        raise ShapeError(
            f"{spec.name}: {name_of(spec)} step got input and states of different batch: "
            f"{[v.shape for v in values]}."
        )
    return {letter: size for letter, (size, _) in sizes.items()}
