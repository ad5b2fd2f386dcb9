"""Diagrams: what is drawn computes what the cell computes, and nothing lies on anything else."""

import itertools
import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from shared import CELLS, EveryMatrix, EveryPrimitive, LayerNormPeephole, Masked, projection
from test_random_cells import cell_of
from tolerances import EXACT

import gatework as gw
import gatework.equations as eq
from gatework.cells import name_of, resolve
from gatework.equations.sizes import width_of
from gatework.read import reference
from gatework.read.diagram import box_of, diagram
from gatework.read.flow import flow
from gatework.read.layout import arrange

CHROMIUM = Path("/usr/bin/chromium")
FUNCTIONS = {
    "sigma": torch.sigmoid, "root": torch.sqrt, "mean": lambda a: a.mean(-1, keepdim=True),
    "tanh": torch.tanh, "relu": torch.relu, "exp": torch.exp, "log": torch.log, "abs": torch.abs,
    "softplus": lambda a: torch.logaddexp(a, torch.zeros_like(a)), "sign": torch.sign,
    "max": lambda a, b: torch.maximum(*map(torch.as_tensor, (a, b))),
    "min": lambda a, b: torch.minimum(*map(torch.as_tensor, (a, b))),
    "positive": lambda a: (a > 0).to(a.dtype), "dot": lambda a, b: (a @ b).view(1),
    "outer": lambda a, b: torch.outer(a, b).flatten(),
    "times": lambda a, b: a.view(len(b), len(b)) @ b,
    "units": lambda a: torch.tensor(float(len(a))), "floor": torch.floor,
    "largest": lambda a: a.amax(-1, keepdim=True),
    "cummean": lambda a: a.cumsum(-1) / len(a),
    "cummean_back": lambda a: a.flip(-1).cumsum(-1).flip(-1) / len(a),
}  # fmt: skip
WRITTEN = {"−": "-", "×": "*", "σ": "sigma", "√": "root", "·²": "v**2", "·": "v", "²": "**2"}


class Largest(gw.Cell):
    """Functions of two values that both move."""

    x, h = eq.Input(), eq.State()
    W, U = eq.Matrix(x), eq.Matrix(h)
    a = W @ x
    h_next = eq.maximum(a, U @ h) + eq.minimum(0.5 * h, a)


class Fixed(gw.Cell):
    """What is made of parameters alone, in an equation, in a product and as a next state."""

    x, h, k = eq.Input(), eq.State(), eq.State()
    W, U, V = eq.Matrix(x), eq.Matrix(h), eq.Matrix(h)
    b, d = eq.vector(2)
    decay = eq.sigmoid(d)
    h_next = decay * h + (1 - decay) * (W @ x - U @ (2 * h) - V @ b) / 4 + k / abs(k - h) - b
    k_next = decay + b


RANDOM = [cell_of(seed) for seed in range(8)]
DRAWN = [*CELLS, EveryPrimitive, EveryMatrix, LayerNormPeephole, Masked, Fixed, Largest, *RANDOM]
each_drawn = pytest.mark.parametrize("cell", DRAWN, ids=lambda c: name_of(resolve(c)))


# What is drawn, computed.


def value(text, names, v):
    """The number of a formula as it is written in a diagram."""
    if text in FUNCTIONS or text == "σ":
        text += "(v)"
    text = re.sub(r"\|(.*)\|", r"abs(\1)", text)
    for sign, spelled in WRITTEN.items():
        text = text.replace(sign, spelled)
    return eval(text, {"__builtins__": {}}, FUNCTIONS | names | {"v": v})


def layer_sum(node, values, names):
    total = 0.0
    for port in node.ports:
        sign, mark = (-1, port.mark[1:]) if port.mark.startswith("−") else (1, port.mark)
        *scales, last = ["1"] if mark in ("", "+") else mark.split(" ")
        incoming = values[port.source]
        if last in names and getattr(names[last], "ndim", 0) == 2:
            incoming, last = names[last] @ incoming, "1"
        for scale in (*scales, last):
            incoming = value(scale, names, None) * incoming
        total = total + sign * incoming
    for text in node.added:
        matrix, _, vector = text[2:].partition(" ")
        both = matrix in names and vector in names
        brought = names[matrix] @ names[vector] if both else value(text[2:], names, None)
        total = total + (-brought if text[0] == "−" else brought)
    return total


def joined(node, values):
    result = None
    for port in node.ports:
        v = values[port.source]
        if node.text == "+":
            v = -v if port.mark == "−" else v
            result = v if result is None else result + v
        elif node.text in FUNCTIONS:
            result = v if result is None else FUNCTIONS[node.text](result, v)
        else:
            v = 1 / v if port.mark == "÷" else v
            result = v if result is None else result * v
    return result


def computed(nodes, given, names):
    """The next states, by what the nodes and their ports say."""
    values, after = [], {}
    for node in nodes:
        brought = values[node.ports[0].source] if node.ports else None
        match node.kind:
            case "state" | "input":
                values.append(given[node.text])
            case "layer":
                total = layer_sum(node, values, names)
                values.append(value(node.text, names, total) if node.text else total)
            case "join":
                values.append(joined(node, values))
            case "map":
                values.append(value(node.text, names, brought))
            case "next":
                after[node.text] = brought
                values.append(brought)
    return after


@each_drawn
def test_what_is_drawn_computes_what_the_cell_computes(cell):
    spec = resolve(cell)
    size = projection(cell)
    weights = reference.random_weights(spec, 5, 4, **size, seed=2)
    weights = {name: torch.from_numpy(2 * a) for name, a in weights.items()}
    sizes = {"F": 5, "H": 4, "h": 1, "P": size.get("proj_size")}
    torch.manual_seed(3)
    given = {spec.input: torch.rand(5, dtype=torch.float64)}
    given |= {n: torch.rand(width_of(s, sizes), dtype=torch.float64) for n, s in spec.given.items()}
    masks = {m.name: given[m.name] for m in spec.masks if not m.is_brought}
    names = weights | dict(spec.constants) | masks
    step = reference.compiled(spec, "torch")
    gates = step(*given.values(), *(weights[p.name] for p in spec.parameters))
    names |= {e.name: gates[e.name] for e in spec.equations if not reads_a_value(spec, e)}
    after = computed(flow(spec), given, names)
    for state in spec.states:
        torch.testing.assert_close(after[state.name], gates[f"{state.name}_next"], **EXACT)


def reads_a_value(spec, equation):
    """Whether an equation depends on the input or a state, found by their names."""
    moving = {spec.input, *(s.name for s in spec.states)}
    for each in spec.equations:
        if re.search(rf"\('?({'|'.join(map(re.escape, moving))})'?\)", refs(each.expr)):
            moving.add(each.name)
    return equation.name in moving


def refs(expr):
    return "".join(f"({n.name})" for n in eq.expr.walk(expr) if isinstance(n, eq.expr.Ref))


# How it is drawn.


@cache
def laid_out(cell):
    boxes = [box_of(node) for node in flow(resolve(cell))]
    return boxes, arrange(boxes)


def strokes(wire):
    """The straight pieces of a wire: (x, y, x, y), from left to right and from above."""
    for end in wire.ends:
        if abs(end.y - wire.y) < 0.1:
            yield wire.x, wire.y, end.x, end.y
            continue
        low, high = sorted((wire.y, end.y))
        yield wire.x, wire.y, wire.track, wire.y
        yield wire.track, low, wire.track, high
        yield wire.track, end.y, end.x, end.y


@each_drawn
def test_boxes_are_apart_and_within_the_picture(cell):
    boxes, layout = laid_out(cell)
    rects = [
        (x - b.width / 2, y - b.height / 2, x + b.width / 2, y + b.height / 2)
        for b, (x, y) in zip(boxes, layout.places, strict=True)
    ]
    assert all(a >= -0.1 and b >= -0.1 for a, b, _, _ in rects)
    assert all(c <= layout.width + 0.1 and d <= layout.height + 0.1 for _, _, c, d in rects)
    for (a, b, c, d), (e, f, g, h) in itertools.combinations(rects, 2):
        assert a >= g + 5 or e >= c + 5 or b >= h + 5 or f >= d + 5
    for wire in layout.wires:
        for x, y, to, down in strokes(wire):
            for a, b, c, d in rects:
                assert x >= c - 1 or to <= a + 1 or y >= d - 1 or down <= b + 1


@each_drawn
def test_no_two_wires_lie_on_each_other(cell):
    _, layout = laid_out(cell)
    pieces = [(w.source, *stroke) for w in layout.wires for stroke in strokes(w)]
    for (a, *one), (b, *other) in itertools.combinations(pieces, 2):
        if a == b:
            continue
        for axis in (0, 1):  # upright ones, then level ones
            level = one[axis] == one[axis + 2] and other[axis] == other[axis + 2]
            if level and abs(one[axis] - other[axis]) < 3:
                along = 1 - axis
                shared = min(one[along + 2], other[along + 2]) - max(one[along], other[along])
                assert shared <= 0.1, (one, other)


@each_drawn
def test_each_port_has_one_wire_which_begins_at_its_source(cell):
    boxes, layout = laid_out(cell)
    ends = [(e.box, e.port, w.source) for w in layout.wires for e in w.ends if e.box >= 0]
    expected = [(b, p, s) for b, box in enumerate(boxes) for p, s in enumerate(box.inputs)]
    assert sorted(ends) == expected
    points = {}
    for wire in layout.wires:
        points.setdefault(wire.source, []).append(wire)
    for source, wires in points.items():
        x, y = layout.places[source]
        reached = {(round(x + boxes[source].width / 2, 3), round(y, 3))}
        for wire in sorted(wires, key=lambda w: w.x):
            assert (round(wire.x, 3), round(wire.y, 3)) in reached
            reached |= {(round(e.x, 3), round(e.y, 3)) for e in wire.ends}


@each_drawn
def test_the_picture_is_well_formed_and_says_all_names(cell):
    spec = resolve(cell)
    text = diagram(cell)
    assert text == diagram(cell)
    tree = ElementTree.fromstring(text)
    assert [tree[0].tag.rpartition("}")[2], tree[1].tag.rpartition("}")[2]] == ["title", "desc"]
    nodes = flow(spec)
    said = " ".join(
        [*(n.text for n in nodes), *(n.name for n in nodes), *(a for n in nodes for a in n.added)]
        + [p.mark for n in nodes for p in n.ports]
    )
    words = {*re.findall(r"[^\W\d]\w*", said)}
    needed = {p.name for p in spec.parameters} | {m.name for m in spec.masks}
    in_others = {"fixed": {"d"}, "phased_lstm": {"q"}}  # in what is made of parameters alone
    hidden = in_others.get(name_of(spec), set())
    assert needed - hidden <= words


@pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"there is no {CHROMIUM}")
def test_no_label_is_cut_or_lies_on_another_in_a_browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page()
        page.set_content("".join(diagram(cell) for cell in DRAWN))
        trouble = page.evaluate("""() => [...document.querySelectorAll('svg')].flatMap(svg => {
            const box = e => e.getBoundingClientRect(), all = box(svg);
            const texts = [...svg.querySelectorAll('text')].map(e => [e.textContent, box(e)]);
            const shapes = [...svg.querySelectorAll('rect:not(.page)')].map(box);
            const name = svg.querySelector('title').textContent, found = [];
            const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
                && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 5;
            texts.forEach(([t, b], i) => {
                if (b.left < all.left || b.right > all.right || b.top < all.top)
                    found.push([name, t, 'is cut']);
                for (const [other, c] of texts.slice(i + 1))
                    if (meet(b, c)) found.push([name, t, 'lies on', other]);
                for (const s of shapes)
                    if (meet(b, s) && (b.left < s.left || b.right > s.right))
                        found.push([name, t, 'sticks out of its box']);
            });
            return found;
        })""")
        browser.close()
    assert trouble == []
