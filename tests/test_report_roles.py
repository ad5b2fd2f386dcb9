"""What the report says of the gates follows from the equations, and numbers bear it out."""

import re

import numpy as np
import pytest
from own_cell import LeakyGRU
from report_cells import (
    MADE,
    Bare,
    Delta,
    Highway,
    Long,
    Minimal,
    Odd,
    Opposites,
    Projected,
    Squashed,
    Steps,
    Swapped,
    TwoForget,
)

import gatework.equations as eq
from gatework import cells
from gatework.equations.expr import Apply, Number, Product, Ref
from gatework.equations.ops import PRIMITIVES
from gatework.equations.sizes import width_of
from gatework.equations.spec import NEXT
from gatework.inspect.algebra import Algebra, TooLongError
from gatework.inspect.roles import gate_roles, state_roles

each = pytest.mark.parametrize("cell", [*cells.all_cells(), *MADE], ids=lambda c: c.__name__)


def roles(spec):
    """What the report knows of a cell's gates and states, by letter."""
    return gate_roles(spec) | state_roles(spec)


GRU = ["update gate z", "reset gate r", "hidden state h"]
LSTM = ["forget gate f", "input gate i", "output gate o", "cell state c"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lstm", LSTM),
        ("peephole_lstm", LSTM),
        ("projected_lstm", LSTM),
        ("coupled_lstm", LSTM),
        ("lstm_1997", LSTM[1:]),
        ("gru", GRU),
        ("gru_reset_before", GRU),
        ("rnn", GRU[-1:]),
    ],
)
def test_the_places_in_the_catalogue_have_the_names_of_the_papers(name, expected):
    assert [role.title for role in roles(cells.resolve(name)).values()] == expected


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (Long, ["forget gate f", "cell state c"]),
        (Swapped, ["update gate f", "output gate o", "cell state c"]),
        (Steps, ["forget gate a", "input gate b", "output gate e", "cell state m"]),
        (Delta, ["gate f", "hidden state h"]),
        (Minimal, ["gate f", "hidden state h"]),
        (TwoForget, ["forget gate f", "gate k", "gate n", "cell state c"]),
        (Squashed, ["gate f", "gate i", "hidden state h", "state c"]),
        (Bare, ["gate z", "hidden state h"]),
        (Highway, ["gate t1", "gate t2", "gate t3", "hidden state h"]),
        (Opposites, ["input gate e", "gate i", "gate f", "gate o", "cell state c"]),
        (Projected, ["output gate o", "gate a", "cell state c"]),
        (Odd, ["gate r", "hidden state h", "state g"]),
    ],
)
def test_a_name_is_given_by_the_place_and_never_by_the_letter(cell, expected):
    assert [role.title for role in roles(cell.spec).values()] == expected


@pytest.mark.parametrize(
    ("cell", "letter", "expected"),
    [
        ("lstm", "f", "near 1 it keeps the cell state c, near 0 it clears c"),
        ("lstm", "i", "near 1 it adds g to the cell state c, near 0 it adds nothing"),
        ("lstm", "o", "near 1 h shows the cell state c, near 0 h is 0"),
        ("lstm", "c", ""),
        ("lstm_1997", "c", "every step keeps all of it and adds to it"),
        ("coupled_lstm", "f", "near 1 it keeps the cell state c, near 0 it replaces c by g"),
        ("coupled_lstm", "i", "near 1 it replaces the cell state c by g, near 0 it keeps c"),
        ("gru", "z", "near 1 it keeps the hidden state h, near 0 it replaces h by n"),
        ("gru", "r", "near 1 it lets n see the hidden state h, near 0 it does not"),
        ("rnn", "h", ""),
        ("min_lstm", "f", "near 1 it keeps 1 / (1 + i) * h and adds i / (1 + i) * n, near 0 it "
         "replaces the hidden state h by n"),
        ("qrnn", "f", "near 1 it keeps the cell state c, near 0 it replaces c by z"),
        ("mgu", "f", "near 1 it lets n see the hidden state h, near 0 it does not; near 1 it "
         "replaces the hidden state h by n, near 0 it keeps h"),
        (Swapped, "f", "near 1 it replaces the cell state c by g, near 0 it keeps c"),
        (Delta, "f", "near 1 it keeps 0.5 * h and adds 0.5 * n, near 0 it keeps the hidden state "
         "h"),
        (LeakyGRU, "z", "near 1 it lets n see the hidden state h, near 0 it does not; near 1 it "
         "keeps 0.9 * h, near 0 it replaces the hidden state h by n"),
        (TwoForget, "f", "near 1 it keeps c * k, near 0 it clears the cell state c"),
        (TwoForget, "k", "near 1 it keeps c * f and adds n, near 0 it clears the cell state c"),
        (Squashed, "i", "near 1 c_next = tanh(c * f + n), near 0 c_next = tanh(c * f)"),
        (Bare, "z", "near 1 h_next = h + tanh(h * p + U @ h), near 0 h_next = tanh(h * p + U @ "
         "h)"),
        (Highway, "t2", "near 1 s2 = n2, near 0 s2 = s1"),
        (Opposites, "f", "near 1 it clears the cell state c, near 0 it keeps c"),
        (Projected, "o", "near 1 h shows the cell state c, near 0 h does not"),
        (Projected, "c", "every step keeps 0.9 * c"),
        (Odd, "r", "near 1 h_next = sigmoid(W @ x + 0.5 * (U @ g)), near 0 h_next = sigmoid(W @ x "
         "+ U @ g)"),
    ],
)  # fmt: skip
def test_the_words_are_those_of_the_equations(cell, letter, expected):
    assert roles(cells.resolve(cell))[letter].says == expected


# The same by numbers: gates are set, and the equations are computed as they stand in the cell.

SIZE = 3
FUNCTIONS = {n: eval(f"lambda a, b=None: {row.numpy}", {"np": np})
             for n, row in PRIMITIVES.items() if not row.infix}  # fmt: skip


def value(expr, at):
    """An expression in plain NumPy."""
    match expr:
        case Ref(name):
            return at[name]
        case Number(number):
            return number
        case Product(m, operand):
            return value(m, at) @ (value(operand, at) * np.ones(SIZE))
        case Apply(op, (a,)):
            a = value(a, at)
            if PRIMITIVES[op].over:  # of a value that parameters alone make
                a = a * np.ones(SIZE) if np.size(a) == 1 else a
            return -a if op == "neg" else FUNCTIONS[op](a)
        case Apply(op, (a, b)):
            a, b = value(a, at), value(b, at)
            if op in FUNCTIONS:
                return FUNCTIONS[op](a, b)
            return {"add": a + b, "sub": a - b, "mul": a * b}[op] if op != "div" else a / b
    raise AssertionError(expr)


def computed(spec, given):
    """Every name's value: random symbols, all sizes 3, and what is given as it is."""
    rng = np.random.default_rng(7)
    names = [spec.input, *(s.name for s in spec.states), *(p.name for p in spec.parameters)]
    names += [m.name for m in spec.masks]
    shapes = {s.name: width(s.size) for s in spec.states}
    shapes |= {p.name: tuple(map(width, p.shape)) for p in spec.parameters}
    at = {n: rng.uniform(0.2, 1, shapes.get(n, SIZE)) for n in names}
    at |= dict(spec.constants) | given
    for e in spec.equations:
        at[e.name] = given.get(e.name, value(e.expr, at) * np.ones(width(e.size)))
    return at


def width(size):
    """How many numbers a value has."""
    return width_of(size, dict.fromkeys("FHP", SIZE))


def settings(spec, gate):
    """All gates' values with one of them at 1 and at 0, its opposites with it."""
    roots = Algebra(spec).roots
    rng = np.random.default_rng(1)
    drawn = {base: rng.uniform(0.2, 0.8, SIZE) for base in sorted({b for b, _ in roots.values()})}
    base, flipped = roots[gate]
    for end in (1.0, 0.0):
        own = drawn | {base: np.full(SIZE, 1 - end if flipped else end)}
        yield {name: 1 - own[b] if turned else own[b] for name, (b, turned) in roots.items()}


@each
def test_equations_multiplied_out_have_the_values_of_the_equations(cell):
    algebra = Algebra(cell.spec)
    for gate in algebra.gates:
        for end, gates in zip(algebra.ends(gate), settings(cell.spec, gate), strict=True):
            at = computed(cell.spec, gates)
            for name, expr in algebra.equations.items():
                if name in algebra.roots:
                    continue
                try:
                    terms = algebra.terms(expr, end)
                except TooLongError:
                    assert cell is Long
                    continue
                found = value(algebra.expr(terms), at) * np.ones_like(at[name])
                np.testing.assert_allclose(found, at[name], rtol=1e-9)


SAID = re.compile(r"near 1 (.+?), near 0 (.+?)(?:; |$)")
FULL = re.compile(r"the (?:hidden state|cell state|state) (?=\w)")


@each
def test_numbers_bear_out_every_word_said_of_a_gate(cell):
    """Each half sentence is taken apart and held against the values of the equations."""
    for gate, role in gate_roles(cell.spec).items():
        ends = list(settings(cell.spec, gate))
        sentences = SAID.findall(FULL.sub("", role.says))
        assert bool(sentences) == bool(role.says)
        for high, low in sentences:
            if "it adds" in f"{high}{low}":
                check_added(cell.spec, ends, [high, low])
            else:
                check(cell.spec, ends[0], high, high)
                check(cell.spec, ends[1], low, high)


def check(spec, gates, said, first):
    """One half of a sentence, where the gate is at that end; ``first`` says what it is about."""
    at = computed(spec, gates)
    match said.split():
        case ["it", "does", "not"] | [_, "does", "not"] | ["it", "lets", *_] | [_, "shows", *_]:
            subject, what = re.fullmatch(r"(?:it lets )?(\w+) (?:see|shows) (.+)", first).groups()
            for state in what.split(" and "):
                other = computed(spec, gates | {state: at[state] + 0.1})
                is_state = subject in {s.name for s in spec.states}
                name = subject + NEXT if is_state else subject
                assert (other[name] != at[name]).any() == (said == first)
        case [state, "is", "0"]:
            assert (at[state + NEXT] == 0).all()
        case ["it", "clears", state]:
            assert (carried(spec, gates, state)[0] == 0).all()
        case ["it", "replaces", state, "by", *text]:
            np.testing.assert_allclose(at[state + NEXT], meaning(text, at))
        case ["it", "keeps", *text]:
            kept = " ".join(text).partition(" and adds ")[0].split()
            state = next(s.name for s in spec.states if s.name in kept)
            found, blank = carried(spec, gates, state)
            np.testing.assert_allclose(found, meaning(kept, blank))
            if "adds" in text:
                added = meaning(text[text.index("adds") + 1 :], at)
                np.testing.assert_allclose(at[state + NEXT], meaning(kept, at) + added)
        case [name, "=", *text]:
            np.testing.assert_allclose(at[name], meaning(text, at))
        case _:
            raise AssertionError(said)


def check_added(spec, ends, said):
    """What a gate adds is the difference between its ends."""
    (state,) = {words.split()[-1] for words in said} - {"nothing"}
    news = [computed(spec, gates)[state + NEXT] for gates in ends]
    texts = [w.removeprefix("it adds ").removesuffix(f" to {state}").split() for w in said]
    at = [computed(spec, gates) | {"nothing": 0.0} for gates in ends]
    added = [meaning(text, values) for text, values in zip(texts, at, strict=True)]
    np.testing.assert_allclose(news[0] - news[1], added[0] - added[1])


def carried(spec, gates, state):
    """What of a new state comes from the same unit's old one: no matrix lets another in."""
    matrices = {p.name: tuple(map(width, p.shape)) for p in spec.parameters if p.cols}
    closed = gates | {name: np.zeros(shape) for name, shape in matrices.items()}
    at = computed(spec, closed)
    none = np.zeros_like(at[state])
    return at[state + NEXT] - computed(spec, closed | {state: none})[state + NEXT], at


def meaning(words, at):
    """The value of an expression in words of the report."""
    return eval(" ".join(words), {"__builtins__": {}}, {**FUNCTIONS, **at})


@each
def test_numbers_bear_out_what_is_said_of_a_state(cell):
    for state, role in state_roles(cell.spec).items():
        if role.says:
            held = computed(cell.spec, {})  # what gates see of a state is not carried over
            found, at = carried(cell.spec, {g: held[g] for g in gate_roles(cell.spec)}, state)
            kept = role.says.removeprefix("every step keeps ").removesuffix(" and adds to it")
            kept = state if kept == "all of it" else kept
            np.testing.assert_allclose(found, meaning(kept.split(), at))


def test_numbers_without_end_are_left_alone():
    huge = Apply("mul", (Number(1e200), Number(1e200)))
    kept = Apply("mul", (Apply("add", (huge, Ref("f"))), Ref("h")))
    gate = Apply("sigmoid", (Ref("x"),))
    spec = eq.Spec("Huge", "", "", "", "x", cells.resolve("rnn").states, (), (),
                   (eq.Equation("f", gate, "H"), eq.Equation("h_next", kept, "H")))  # fmt: skip
    assert [role.title for role in roles(spec).values()] == ["gate f", "hidden state h"]
    assert {role.says for role in roles(spec).values()} == {""}


def test_a_long_cell_is_looked_at_in_no_time():
    """Twenty steps in one, each reading the last one twice."""
    x, h = "x", "h"
    equations, last = [], h
    for k in range(20):
        gate = Apply("sigmoid", (Product(Ref("U"), Ref(last)),))
        mixed = (1 - Ref(f"t{k}")) * Ref(last) + Ref(f"t{k}") * Ref(x)
        last = f"s{k}" if k < 19 else "h_next"
        equations += [eq.Equation(f"t{k}", gate, "H"), eq.Equation(last, mixed, "H")]
    spec = eq.Spec("Deep", "", "", "", x, cells.resolve("rnn").states,
                   (eq.Parameter("U", "H", "H"),), (), tuple(equations))  # fmt: skip
    assert gate_roles(spec)["t7"].says == "near 1 s7 = x, near 0 s7 = s6"
