"""A cell as a picture: the data flow of one step, as SVG.

States before the step stand on the left, those after it on the right, the input below. All is
drawn from the equations, so any cell has its diagram. The text has its own two sets of colours,
for light and dark pages, and needs no font and no script.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from html import escape

from gatework.cells import CellLike, name_of, resolve
from gatework.equations.ops import PRIMITIVES
from gatework.read.flow import Node, flow
from gatework.read.latex import GREEK
from gatework.read.layout import Box, Layout, Wire, arrange

SIZE, SMALL = 14.0, 11.5  # of letters
ROW = 17.0  # between two ports of a layer
BETWEEN = 13.0  # between two ports of a join
PAD = 7.0
MARGIN = 14.0
ROUND = 4.0  # of the corners of wires
COLOURS = (  # of the states, in light and in dark
    ("#1d5fa8", "#7db7f2"), ("#b1480b", "#f2a05f"), ("#15773a", "#62cd8e"),
    ("#7a35c9", "#bb9bf5"), ("#b3196a", "#f291c2"), ("#0b7285", "#5fc9dc"),
)  # fmt: skip
LETTERS = {
    name: unicodedata.lookup(f"GREEK SMALL LETTER {name.upper()}") for name in GREEK - {"lambda"}
}
LETTERS["lambda"] = "λ"


def diagram(cell: CellLike) -> str:
    """The data flow of one step of a cell, as the text of an SVG.

    Args:
        cell: a cell class, description, name or ``file.py:Class``.

    Raises:
        CellError: there is no such cell.
    """
    spec = resolve(cell)
    nodes = flow(spec)
    layout = arrange([box_of(node) for node in nodes])
    width, height = layout.width + 2 * MARGIN, layout.height + 2 * MARGIN
    about = f"One step of {spec.name}: states before it left, after it right, the input below."
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="cell" role="img" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'aria-labelledby="{name_of(spec)}-title {name_of(spec)}-desc">',
        f'<title id="{name_of(spec)}-title">{escape(spec.name)}</title>',
        f'<desc id="{name_of(spec)}-desc">{escape(about)}</desc>',
        f"<style>{_style(len(spec.states))}</style>",
        '<rect class="page" width="100%" height="100%" rx="6"/>',
        f'<g transform="translate({MARGIN:.0f} {MARGIN:.0f})">',
        *_wires(nodes, layout),
        *(
            part
            for node, place in zip(nodes, layout.places, strict=True)
            for part in _drawn(node, *place, layout, nodes)
        ),
        "</g>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _style(states: int) -> str:
    """Colours for light and dark; those of states go round where there are many."""
    light: list[str] = []
    dark: list[str] = []
    for state in range(states):
        for scheme, colour in zip((light, dark), COLOURS[state % len(COLOURS)], strict=True):
            scheme.append(f".cell .s{state} {{ --wire: {colour}; }}")
    return " ".join(
        [
            ".cell { --text: #1d1f23; --page: #ffffff; --box: #f1f3f6; --edge: #8a919c; "
            "--wire: #5b616b; font: 14px system-ui, sans-serif; }",
            *light,
            "@media (prefers-color-scheme: dark) { .cell { --text: #e6e8eb; --page: #16181c; "
            "--box: #23272e; --edge: #7b838f; --wire: #a2a8b1; }",
            *dark,
            "}",
            ".cell .page { fill: var(--page); }",
            ".cell .box { fill: var(--box); stroke: var(--edge); }",
            ".cell .end { fill: var(--page); stroke: var(--wire); stroke-width: 1.5; }",
            ".cell .rule { stroke: var(--edge); stroke-width: 0.6; }",
            ".cell .wire { fill: none; stroke: var(--wire); stroke-width: 1.5; }",
            ".cell .tip { fill: var(--wire); }",
            ".cell text { fill: var(--text); }",
            ".cell .v { font-family: Cambria, 'Times New Roman', serif; font-style: italic; }",
            ".cell .b { font-size: 72%; }",
        ]
    )


# Boxes: what must be known before they are placed.


def box_of(node: Node) -> Box:
    """A node's box for the layout: its size, and where its ports may be."""
    width, height = _size(node)
    end = {"state": -1, "input": -1, "next": 1}.get(node.kind, 0)
    count = len(node.ports)
    if node.kind == "layer":
        slots = [PAD / 2 + ROW * (k + 0.5) - height / 2 for k in range(count)]
    else:
        slots = [_between(node) * (k - (count - 1) / 2) for k in range(count)]
    return Box(width, height, tuple(p.source for p in node.ports), tuple(slots), end)


def _size(node: Node) -> tuple[float, float]:
    if node.kind == "layer":
        rows = len(node.ports) + bool(node.added)
        return _marks_width(node) + _title_width(node), PAD + ROW * max(rows, 2 if node.text else 1)
    shape, height = _shape(node)
    named = _width(node.name, SMALL) + PAD if node.name else 0.0
    return _mark_room(node) + shape + named, height + (6 if node.name else 0)


def _shape(node: Node) -> tuple[float, float]:
    """Of a join, a map or an end: the outline without what stands beside it."""
    if node.kind == "join":
        width = max(24.0, _width(node.text, SIZE) + PAD)
        return width, max(24.0, _between(node) * (len(node.ports) - 1) + 18)
    return max(_width(_shown(node), SIZE) + 2 * PAD, 26.0), 24.0


def _shown(node: Node) -> str:
    """The text of a map; the name of an end with its time."""
    time = {"state": "t−1", "input": "t", "next": "t"}.get(node.kind)
    if time is None:
        return node.text
    return f"{node.text},{time}" if "_" in node.text else f"{node.text}_{time}"


def _mark_room(node: Node) -> float:
    return 12.0 if node.kind == "join" and any(p.mark for p in node.ports) else 0.0


def _between(node: Node) -> float:
    """Between two ports of a join: room for the mark of one under the wire of the other."""
    return BETWEEN + 6 if _mark_room(node) else BETWEEN


def _marks_width(node: Node) -> float:
    texts = [p.mark for p in node.ports] + [" ".join(node.added)]
    return max(_width(text, SMALL) for text in texts) + 2 * PAD


def _title_width(node: Node) -> float:
    widths = [_width(text, SIZE) for text in (node.name, node.text) if text]
    return max(widths) + 2 * PAD if widths else 0.0


# Text: names in italics, with what stands behind their underscore below the line.


def _pieces(text: str) -> Iterator[tuple[str, str, str]]:
    """Parts of a text: what stands on the line, its class, and what stands below."""
    for word, other in re.findall(r"([^\W\d]\w*(?:,t−1|,t|−1)?)|([^A-Za-z]+|.)", text):
        if other or word in (*PRIMITIVES, "σ", "max", "min"):
            yield other or word, "", ""
            continue
        stem, _, below = word.partition("_")
        yield LETTERS.get(stem, stem), "v", LETTERS.get(below, below.replace("_", ""))


def _width(text: str, size: float) -> float:
    """About what a text takes, rather too much than too little."""
    return sum(size * (_letters(line) + 0.72 * _letters(below)) for line, _, below in _pieces(text))


def _letters(text: str) -> float:
    return sum(0.9 if c in "mwMW" else 0.3 if c in " ·,.()|ijlt" else 0.62 for c in text)


def _label(text: str, x: float, y: float, size: float, anchor: str = "middle") -> str:
    parts, lift = [], ""
    for line, kind, below in _pieces(text):
        attributes = (f' class="{kind}"' if kind else "") + lift
        parts.append(f"<tspan{attributes}>{escape(line)}</tspan>")
        lift = ""
        if below:
            parts.append(f'<tspan class="{kind} b" dy="3">{escape(below)}</tspan>')
            lift = ' dy="-3"'
    return (
        f'<text x="{x:.1f}" y="{y + 0.34 * size:.1f}" font-size="{size:g}" '
        f'text-anchor="{anchor}" xml:space="preserve">{"".join(parts)}</text>'
    )


# Drawing.


def _drawn(node: Node, x: float, y: float, layout: Layout, nodes: Sequence[Node]) -> Iterator[str]:
    box = nodes.index(node)
    ends = {e.port: (e.x, e.y, w.source) for w in layout.wires for e in w.ends if e.box == box}
    width, height = _size(node)
    left = x - width / 2
    if node.kind == "layer":
        yield _rect(left, y, width, height, 5, "box")
        yield from _layer_text(node, left, y, {p: at for p, (_, at, _) in ends.items()})
        shape_left = left
    else:
        shape_left = left + _mark_room(node)
        shape, tall = _shape(node)
        yield from _named_shape(node, shape_left, y, shape, tall, left + width, box, nodes)
    for port, (at, level, source) in sorted(ends.items()):
        kind = _kind(source, nodes)
        if shape_left > at:
            yield f'<path class="wire {kind}" d="M{at:.1f} {level:.1f}H{shape_left:.1f}"/>'
        if node.kind == "join" and node.ports[port].mark:
            yield _label(node.ports[port].mark, at + 3, level - 7, SMALL)
        yield (f'<path class="tip {kind}" d="M{shape_left:.1f} {level:.1f}l-7 -3.5v7z"/>')


def _layer_text(node: Node, left: float, y: float, ports: dict[int, float]) -> Iterator[str]:
    width, height = _size(node)
    for port, level in sorted(ports.items()):
        yield _label(node.ports[port].mark, left + PAD, level, SMALL, "start")
    if node.added:
        low = y + height / 2 - PAD / 2 - ROW / 2
        yield _label(" ".join(node.added), left + PAD, low, SMALL, "start")
    if title := _title_width(node):
        rule = left + width - title
        yield (f'<path class="rule" d="M{rule:.1f} {y - height / 2 + 4:.1f}v{height - 8:.1f}"/>')
        texts = [text for text in (node.name, node.text) if text]
        for row, text in enumerate(texts):
            yield _label(text, rule + title / 2, y + ROW * (row - (len(texts) - 1) / 2), SIZE)


def _named_shape(
    node: Node, left: float, y: float, width: float, height: float, right: float, box: int,
    nodes: Sequence[Node],
) -> Iterator[str]:  # fmt: skip
    kind = _kind(box, nodes)
    is_end = node.kind in ("state", "input", "next")
    if node.name:
        yield f'<path class="wire {kind}" d="M{left + width:.1f} {y:.1f}H{right:.1f}"/>'
        yield _label(node.name, left + width + PAD / 2, y - 8, SMALL, "start")
    yield _rect(left, y, width, height, 12, f"end {kind}" if is_end else "box")
    yield _label(_shown(node), left + width / 2, y, SIZE)


def _rect(left: float, y: float, width: float, height: float, turn: float, kind: str) -> str:
    return (
        f'<rect class="{kind}" x="{left:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="{turn:g}"/>'
    )


def _kind(place: int, nodes: Sequence[Node]) -> str:
    """The class of a value's wires: which state it is, before the step or after it."""
    states = [node.text for node in nodes if node.kind == "state"]
    for name in [nodes[place].text] if nodes[place].kind in ("state", "next") else []:
        return f"s{states.index(name)}"
    for node in nodes:
        if node.kind == "next" and node.ports[0].source == place:
            return f"s{states.index(node.text)}"
    return ""


def _wires(nodes: Sequence[Node], layout: Layout) -> Iterator[str]:
    for wire in layout.wires:
        kind = _kind(wire.source, nodes)
        path = "".join(_way(wire, end.x, end.y) for end in wire.ends)
        yield f'<path class="wire {kind}" d="{path}"/>'
        for level in _branches(wire):
            yield f'<circle class="tip {kind}" cx="{wire.track:.1f}" cy="{level:.1f}" r="2.6"/>'


def _way(wire: Wire, x: float, y: float) -> str:
    """From the wire's beginning to one end, the corners a little round."""
    drop = y - wire.y
    if abs(drop) < 0.1:
        return f"M{wire.x:.1f} {wire.y:.1f}H{x:.1f}"
    turn = min(ROUND, abs(drop) / 2)
    step = turn if drop > 0 else -turn
    return (
        f"M{wire.x:.1f} {wire.y:.1f}H{wire.track - turn:.1f}"
        f"q{turn:.1f} 0 {turn:.1f} {step:.1f}V{y - step:.1f}q0 {step:.1f} {turn:.1f} {step:.1f}"
        f"H{x:.1f}"
    )


def _branches(wire: Wire) -> list[float]:
    """The heights at which a wire goes more than one way."""
    heights = [wire.y, *(end.y for end in wire.ends)]
    low, high = min(heights), max(heights)
    ends = {end.y for end in wire.ends}
    begin = {wire.y} if low < wire.y < high or wire.y in ends else set()
    inner = {y for y in ends if low < y < high}
    return sorted((begin | inner) if low < high else [])
