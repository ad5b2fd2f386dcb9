"""Where the boxes of a diagram stand, and how its wires run between them.

Boxes stand in columns by the longest way from the left; a wire that passes a column has a place of
its own in it. Columns are put in the order that crosses fewest wires, then moved up and down until
wires are straight. Between two columns each wire that is not straight has a track of its own, so
no two wires lie on each other. After Sugiyama, Tagawa & Toda 1981, with right angles.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

GAP = 14.0  # between two boxes of a column
LANE = 9.0  # between two wires side by side
SIDE = 16.0  # from a box to the nearest track
SWEEPS = 12
NEAR = 4.0  # wires of different values keep that far apart
TRIES = 8  # to keep them so in one channel


@dataclass(frozen=True)
class Box:
    """What is to be placed: its size, the boxes it reads, and where their wires enter.

    ``slots`` are heights of the ports below the middle, from above; wires take them in the order
    that crosses fewest. ``end`` is -1 in the first column, 1 in the last one.
    """

    width: float
    height: float
    inputs: tuple[int, ...] = ()
    slots: tuple[float, ...] = ()
    end: int = 0


@dataclass(frozen=True)
class End:
    """Where a wire ends: at a port of a box, or at the edge of a channel (``box`` is -1)."""

    x: float
    y: float
    box: int = -1
    port: int = -1


@dataclass(frozen=True)
class Wire:
    """One value's way through one channel: level, up or down its track, level to its ends."""

    source: int
    x: float
    y: float
    track: float
    ends: tuple[End, ...]


@dataclass(frozen=True)
class Layout:
    """Middles of the boxes, wires, and the size of it all."""

    places: tuple[tuple[float, float], ...]
    wires: tuple[Wire, ...]
    width: float
    height: float


@dataclass(eq=False)
class _Item:
    """A box in its column, or the place of a wire that passes it (``box`` is the wire's source)."""

    box: int
    passes: bool
    height: float
    y: float = 0.0
    before: list[tuple[_Item, int]] = field(default_factory=list)  # what it reads, and its ports
    after: list[tuple[_Item, int]] = field(default_factory=list)
    ports: dict[int, float] = field(default_factory=dict)  # port -> height below the middle


def arrange(boxes: Sequence[Box]) -> Layout:
    """Place the boxes; each must stand behind those that it reads.

    The first column keeps its order but for the best of its turns; the same boxes always give the
    same layout.
    """
    firsts = [b for b, box in enumerate(boxes) if box.end < 0]
    tried = [_Arrangement(boxes, order) for order in _orders(firsts)]
    return min(tried, key=lambda one: one.crossings()).layout()


def _orders(firsts: list[int]) -> list[tuple[int, ...]]:
    """Orders of the first column to try: the last one, the input, stays below."""
    *states, below = firsts
    few = len(states) <= 3
    orders = itertools.permutations(states) if few else (tuple(states), tuple(states[::-1]))
    return [(*order, below) for order in orders]


class _Arrangement:
    def __init__(self, boxes: Sequence[Box], order: tuple[int, ...]) -> None:
        self.boxes = boxes
        self.columns = self.filled(order)
        self.settle()

    def depths(self) -> list[int]:
        found: list[int] = []
        for box in self.boxes:
            found.append(1 + max((found[i] for i in box.inputs), default=-1 if box.end < 0 else 0))
        last = max(found)
        return [
            last if box.end > 0 else depth for box, depth in zip(self.boxes, found, strict=True)
        ]

    def filled(self, order: tuple[int, ...]) -> list[list[_Item]]:
        """The columns, each wire with a place in every column that it passes."""
        depths = self.depths()
        columns: list[list[_Item]] = [[] for _ in range(max(depths) + 1)]
        self.items = [_Item(b, False, box.height) for b, box in enumerate(self.boxes)]
        ways: dict[tuple[int, int], _Item] = {}
        for b in (*order, *(b for b, box in enumerate(self.boxes) if box.end >= 0)):
            columns[depths[b]].append(self.items[b])
        for b, box in enumerate(self.boxes):
            for port, source in enumerate(box.inputs):
                item = self.items[source]
                for depth in range(depths[source] + 1, depths[b]):
                    if (source, depth) not in ways:
                        way = ways[source, depth] = _Item(source, True, LANE)
                        columns[depth].append(way)
                        way.before.append((item, 0))
                        item.after.append((way, 0))
                    item = ways[source, depth]
                self.items[b].before.append((item, port))
                item.after.append((self.items[b], port))
        return columns

    def settle(self) -> None:
        for column in self.columns:
            _place(column, [0.0] * len(column))
        best, order = self.crossings(), [list(c) for c in self.columns]
        for sweep in range(SWEEPS):
            forward = sweep % 2 == 0
            for column in self.columns[1:] if forward else self.columns[-2:0:-1]:
                wanted = {id(i): _wanted(i, forward, not forward) for i in column}
                column.sort(key=lambda i: wanted[id(i)])
                _place(column, [wanted[id(i)] for i in column])
            if (now := self.crossings()) < best:
                best, order = now, [list(c) for c in self.columns]
        self.columns = order
        for sweep in range(2 * SWEEPS):
            last = sweep == 2 * SWEEPS - 1
            turns = self.columns[1:] if sweep % 2 else self.columns[::-1]
            for column in turns:
                _place(column, [_wanted(i, True, not last) for i in column])
                for item in column:
                    self.set_ports(item)
        self.sink_input()
        for column in self.columns:
            for item in column:
                self.set_ports(item)
        self.straighten()

    def sink_input(self) -> None:
        """The input, last of its column, stands below all that is near it."""
        below = self.columns[0][-1]
        floor = max(i.y + i.height / 2 for c in self.columns[:2] for i in c if i is not below)
        below.y = max(below.y, floor + GAP + below.height / 2)

    def set_ports(self, item: _Item) -> None:
        """Give the slots to the ports in the order of where their wires come from."""
        if item.passes:
            return
        order = sorted(item.before, key=lambda pair: (pair[0].y, pair[1]))
        slots = self.boxes[item.box].slots
        item.ports = {port: slot for (_, port), slot in zip(order, slots, strict=True)}

    def straighten(self) -> None:
        """Take away the bends that are left, where an item or a port can move by as much."""
        for column in self.columns[1:]:
            for item in column:
                if len(item.before) == 1:
                    ((source, port),) = item.before
                    self.move(column, item, source.y - item.ports.get(port, 0.0))
        for column in self.columns[-2:0:-1]:
            for item in column:
                if item.passes and len(item.after) == 1 and item.y != item.before[0][0].y:
                    ((target, port),) = item.after
                    self.move(column, item, target.y + target.ports.get(port, 0.0))
        for item in self.items:
            self.move_ports(item)

    def move(self, column: list[_Item], item: _Item, wanted: float) -> None:
        """Move an item of a column to another height, if that is free."""
        place = column.index(item)
        above, below = column[place - 1] if place else None, [*column, None][place + 1]
        if above and wanted - above.y < _apart(above, item):
            return
        if below and below.y - wanted < _apart(item, below):
            return
        item.y = wanted

    def move_ports(self, item: _Item) -> None:
        """Move ports a little to where their wires come from."""
        for source, port in item.before:
            moved = source.y - item.y
            free = all(abs(moved - y) >= LANE for p, y in item.ports.items() if p != port)
            near = abs(moved - item.ports[port]) <= NEAR + 1
            if near and free and abs(moved) <= item.height / 2 - NEAR:
                item.ports[port] = moved

    def crossings(self) -> float:
        """Wires that cross between columns, and a little for their lengths."""
        count = length = 0.0
        for column in self.columns[1:]:
            pairs = [(source.y, item.y) for item in column for source, _ in item.before]
            length += sum(abs(a - b) for a, b in pairs)
            for (a, b), (c, d) in itertools.combinations(pairs, 2):
                count += (a - c) * (b - d) < 0
        return count + length / 1e4

    def layout(self) -> Layout:
        top = min(i.y - i.height / 2 for c in self.columns for i in c)
        for column in self.columns:
            for item in column:
                item.y -= top
        left, wires = 0.0, []
        places = [(0.0, 0.0)] * len(self.boxes)
        for depth, column in enumerate(self.columns):
            width = self.width(column)
            for item in column:
                own = 0.0 if item.passes else self.boxes[item.box].width
                if not item.passes:
                    places[item.box] = (left + own / 2, item.y)
                if item.after and own < width:
                    wires.append(_straight(item, left + own, left + width))
            left += width
            if depth + 1 < len(self.columns):
                found, left = self.channel(depth, left)
                wires += found
        height = max(i.y + i.height / 2 for c in self.columns for i in c)
        return Layout(tuple(places), tuple(wires), left, height)

    def channel(self, depth: int, left: float) -> tuple[list[Wire], float]:
        """The wires from one column to the next, and where that one begins."""
        for _ in range(TRIES):
            nets = self.nets(depth)
            tracks = _tracks([n for n in nets if not n.is_straight])
            clashes = [c for a, b in itertools.combinations(tracks, 2) for c in _clashes(a, b)]
            if not clashes:
                break
            self.give_way(self.columns[depth + 1], *clashes[0])
        right = left + 2 * SIDE + LANE * max(len(tracks) - 1, 0)
        places = {id(n): left + SIDE + LANE * t for t, n in enumerate(tracks)}
        wires = []
        for n in nets:
            ends = [
                End(right, _level(item, port), *(() if item.passes else (item.box, port)))
                for item, port in n.ends
            ]
            wires.append(Wire(n.source, left, n.begin, places.get(id(n), left), tuple(ends)))
        return wires, right

    def nets(self, depth: int) -> list[_Net]:
        """The wires behind a column, each with all its ends in the next one."""
        found: dict[int, _Net] = {}
        for item in self.columns[depth + 1]:
            for source, port in item.before:
                net = found.setdefault(id(source), _Net(source.box, source.y))
                net.ends.append((item, port))
        return list(found.values())

    def give_way(self, column: list[_Item], item: _Item, port: int, height: float) -> None:
        """Move the end of a wire away from a height at which another one begins."""
        if item.passes:
            down = height + NEAR + 1 - item.y
            for lower in column[column.index(item) :]:
                lower.y += down
        else:
            side = 1 if _level(item, port) > height else -1
            item.ports[port] = height + side * (NEAR + 1) - item.y

    def width(self, column: list[_Item]) -> float:
        """Of the widest box."""
        return max((self.boxes[i.box].width for i in column if not i.passes), default=0.0)


@dataclass
class _Net:
    """A value's way through a channel: the height where it begins, and its ends."""

    source: int
    begin: float
    ends: list[tuple[_Item, int]] = field(default_factory=list)

    @property
    def levels(self) -> list[float]:
        return [_level(item, port) for item, port in self.ends]

    @property
    def is_straight(self) -> bool:
        return all(abs(y - self.begin) < 0.1 for y in self.levels)

    @property
    def span(self) -> tuple[float, float]:
        heights = [self.begin, *self.levels]
        return min(heights), max(heights)


def _level(item: _Item, port: int) -> float:
    """The height at which a wire enters."""
    return item.y + item.ports.get(port, 0.0)


def _straight(item: _Item, left: float, right: float) -> Wire:
    return Wire(item.box, left, item.y, left, (End(right, item.y),))


def _wanted(item: _Item, before: bool, after: bool) -> float:
    """The height at which its wires would be straight, as far as that can be."""
    heights = [s.y - item.ports.get(port, 0.0) for s, port in item.before if before]
    heights += [i.y + i.ports.get(port, 0.0) for i, port in item.after if after]
    return fmean(heights) if heights else item.y


def _place(column: Sequence[_Item], wanted: Sequence[float]) -> None:
    """Give each item of a column its height: near what is wanted, in their order, apart.

    Items that would overlap become one block at the mean of what they want.
    """
    offsets, at = [], 0.0
    for number, item in enumerate(column):
        if number:
            at += _apart(column[number - 1], item)
        offsets.append(at)
    blocks: list[list[float]] = []  # of each: the sum of what is wanted, and how many
    for height, offset in zip(wanted, offsets, strict=True):
        blocks.append([height - offset, 1])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            total, count = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + count]
    levels = [_mean(block) for block in blocks for _ in range(int(block[1]))]
    for item, level, offset in zip(column, levels, offsets, strict=True):
        item.y = level + offset


def _apart(above: _Item, below: _Item) -> float:
    """How far the middles of two neighbours are apart at least."""
    both_pass = above.passes and below.passes
    return (above.height + below.height) / 2 + (0.0 if both_pass else GAP)


def _mean(block: Sequence[float]) -> float:
    return block[0] / block[1]


def _tracks(nets: Sequence[_Net]) -> list[_Net]:
    """The order of the tracks, from the left: found by moving one at a time while that helps."""
    order = sorted(nets, key=lambda n: n.begin)
    trouble = {(a, b): _trouble(order[a], order[b]) for a, b in _pairs(len(order))}
    places = list(range(len(order)))
    better = True
    while better:
        better = False
        for number, place in itertools.product(range(len(order)), repeat=2):
            moved = [n for n in places if n != number]
            moved.insert(place, number)
            if _total(moved, trouble) < _total(places, trouble):
                places, better = moved, True
    return [order[n] for n in places]


def _pairs(count: int) -> itertools.permutations[tuple[int, int]]:
    return itertools.permutations(range(count), 2)


def _total(places: Sequence[int], trouble: Mapping[tuple[int, int], int]) -> int:
    return sum(trouble[pair] for pair in itertools.combinations(places, 2))


def _trouble(left: _Net, right: _Net) -> int:
    """Crossings of two wires, the first one's track left of the other's; much where they touch."""
    found = 0
    crossed = [(right.begin, left)] + [(y, right) for y in left.levels]
    for height, other in crossed:
        low, high = other.span
        found += low - NEAR < height < high + NEAR
        found += 50 * any(abs(height - y) < NEAR for y in (low, high))
    return found + 1000 * len(_clashes(left, right))


def _clashes(left: _Net, right: _Net) -> list[tuple[_Item, int, float]]:
    """Ends of the wire with the left track that lie on the beginning of the other one."""
    near = [
        (item, port) for item, port in left.ends if abs(_level(item, port) - right.begin) < NEAR
    ]
    return [(item, port, right.begin) for item, port in near]
