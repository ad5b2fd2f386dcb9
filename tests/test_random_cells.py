"""Cells that nobody would write: kernels against the reference, values and all gradients."""

import random

import pytest
import torch
from shared import QUICK

import gatework as gw
from gatework import equations
from gatework.paths import build

if build.compiler() is None:
    pytest.skip("there is no C compiler", allow_module_level=True)

TOLERANCE = {"rtol": 1e-9, "atol": 1e-10}


class Maker:
    """Writes the class body of a random cell; the same seed gives the same cell."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.lines = ["x, h, c = Input(), State(), State()"]
        self.values = ["h", "c"]  # of size H, to be used elementwise
        self.idle = []  # equations that nothing reads yet
        self.count = 0

    def text(self):
        for _ in range(self.random.randint(2, 4)):
            self.equation(f"g_{len(self.values)}")
        first, *rest = self.idle or ["h"]
        together = " + ".join([first, *(f"0.5 * {name}" for name in rest)])
        matrix = self.declare("Matrix(x)")
        self.lines.append(f"c_next = {self.mixed()} + 0.3 * ({together}) + {matrix} @ x")
        out = self.random.choice(["tanh(c_next)", "c_next * sigmoid(h)", "tanh(h + c_next)"])
        self.lines.append(f"h_next = {out} * {self.gate()} + 0.2 * h")
        return "class Random(Cell):\n    " + "\n    ".join(self.lines)

    def declare(self, kind):
        self.count += 1
        name = f"p_{self.count}" if kind == "Vector()" else f"M_{self.count}"
        self.lines.append(f"{name} = {kind}")
        return name

    def product(self):
        source = self.random.choice(["x", "x", "h", "c", *self.values])
        operand = source if self.random.random() < 0.7 else self.scaled(source)
        return f"{self.declare(f'Matrix({source})')} @ {operand}"

    def scaled(self, source):
        if source == "x":
            self.count += 1
            self.lines.append(f"q_{self.count} = Vector('F')")
            return f"(q_{self.count} * x)"
        return f"({source} * {self.random.choice(self.values)})"

    def term(self):
        kind = self.random.random()
        if kind < 0.2:
            return self.declare("Vector()")
        if kind < 0.35:
            return f"{self.declare('Vector()')} * {self.random.choice(self.values)}"
        return self.product()

    def gate(self):
        terms = " + ".join([self.product(), *(self.term() for _ in range(2))])
        return f"{self.random.choice(['sigmoid', 'tanh', 'softplus'])}({terms})"

    def mixed(self):
        a, b = (self.random.choice(self.values) for _ in range(2))
        text = self.random.choice(
            [
                f"{a} * {b}",
                f"({a} - 0.5 * {b})",
                f"tanh({a}) / (2 + square({b}))",
                f"-{a}",
                f"relu({a}) + abs_({b})",
                f"{a} - mean({b})",
                f"mean({a} * {b}) + 0.1 * {b}",
                "",
            ]
        )
        return text or f"{self.declare('Mask(0.8)')} * {a}"

    def equation(self, name):
        text = self.gate() if self.random.random() < 0.7 else self.mixed()
        self.lines.append(f"{name} = {text}")
        self.values.append(name)
        self.idle = [v for v in self.idle if v not in text] + [name]


def cell_of(seed):
    names = {n: getattr(equations, n) for n in equations.__all__}
    exec(Maker(seed).text(), names)
    return names["Random"]


@pytest.mark.parametrize("seed", range(24))
def test_a_random_cell(seed, monkeypatch):
    monkeypatch.setenv("GATEWORK_CFLAGS", QUICK)
    torch.manual_seed(seed)
    lengths = [None, [4, 0, 6]][seed % 2]
    layer = gw.Recurrent(cell_of(seed), 3, [5, 16, 19][seed % 3], dtype=torch.float64,
                         bidirectional=seed % 5 == 0)  # fmt: skip
    x = torch.randn(6, 3, 3, dtype=torch.float64, requires_grad=True)
    results = []
    for path in ("native", "reference"):
        layer.path = path
        torch.manual_seed(seed)  # for the masks
        output, states = layer(x, lengths=lengths)
        loss = sum(s.sin().sum() for s in (output, *states))
        results.append([output, *torch.autograd.grad(loss, [x, *layer.parameters()])])
    for mine, truth in zip(*results, strict=True):
        torch.testing.assert_close(mine, truth, **TOLERANCE)
