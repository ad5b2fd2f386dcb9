"""What is written wrong in a class body ends as one CellError: where, what and what to do."""

import copy
import math
import pickle
import textwrap

import numpy as np
import pytest
import torch

import gatework.equations as eq
from gatework.cells import resolve
from gatework.equations import Cell, Constant, Input, Matrix, State, sigmoid, tanh
from gatework.equations.expr import Apply, Number, Product, Ref
from gatework.errors import CellError

GOOD = """
x, h = Input(), State()
W, U, b = Matrix(x), Matrix(h), Vector()
"""
SUM = "W @ x + U @ h + b"
KNOWN = (
    "abs_, cummean, cummean_back, dot, exp, floor, largest, log, maximum, mean, minimum, outer, "
    "positive, relu, sigmoid, sign, softplus, sqrt, square, tanh, times, units"
)
VALUES = "`if`, `and`, `or` and comparisons cannot be used on them, nor max and min"


def define(body, **names):
    """The cell of a class body given as text, which stands in line 2 of my_script.py."""
    namespace = {n: getattr(eq, n) for n in eq.__all__}
    namespace.update(np=np, math=math, torch=torch, **names)
    text = f"class Bad(Cell):\n{textwrap.indent(textwrap.dedent(body).strip(), '    ')}"
    exec(compile(text, "/home/me/my_script.py", "exec"), namespace)
    return namespace["Bad"]


# Told while the body runs: one line after GOOD, and the parts of the message.
IN_A_LINE = {
    "root": ("h_next = h ** 0.5", "** takes only the exponent 2", "got 0.5; write sqrt(h)"),
    "inverse": ("h_next = h ** -1", "got -1; write 1 / h"),
    "symbol as exponent": ("h_next = h ** b", "got b; multiply it out"),
    "symbol as exponent of a number": ("h_next = 2 ** h", "no ** with a symbol as", "on h", KNOWN),
    "math": ("h_next = math.tanh(h)", "h is a symbol, not a value", "as in tanh(h)", KNOWN),
    "float": ("h_next = float(h)", "h is a symbol, not a value"),
    "numpy": ("h_next = np.tanh(h)", "np.tanh is for arrays", "equations import tanh`"),
    "numpy, unknown": ("h_next = np.arctan(h)", "np.arctan is for arrays", KNOWN),
    "numpy, near": ("h_next = np.logaddexp(h, b)", "np.logaddexp is for arrays", KNOWN),
    "numpy's where": ("h_next = np.where(h, h, b)", "np.where is for arrays"),
    "numpy's dot": ("h_next = np.dot(W, x)", "np.dot is for arrays"),
    "numpy's comparison": ("h_next = np.float64(1) < h", "np.less is for arrays"),
    "numpy's addition": ("h_next = np.add(h, h)", "np.add is for arrays"),
    "an array": ("h_next = np.ones(3) * h", "got ndarray: array([1., 1., 1.])", "is learned"),
    "torch": ("h_next = torch.sigmoid(h)", "torch.sigmoid is for arrays", "import sigmoid`"),
    "torch's functional": (
        "h_next = torch.nn.functional.softmax(h, dim=-1)",
        "torch.softmax is for arrays",
        KNOWN,
    ),
    "a tensor": ("h_next = h * torch.ones(2)", "got Tensor: tensor([1., 1.])", "(Vector, Matrix)"),
    "a tensor on the left": ("h_next = torch.ones(2) * h", "torch.mul is for arrays"),
    "max": ("h_next = max(h, b)", VALUES, "the larger of a and b is maximum(a, b)"),
    "equality": ("h_next = h if h == b else b", VALUES, "arithmetic on gates"),
    "inequality of equations": ("h_next = h * (tanh(h) != sigmoid(h))", VALUES),
    "equality with a number": ("h_next = (W @ x == 0) * h", VALUES),
    "a number's equality": ("h_next = (0 == 1 - h) * h", VALUES),
    "equality of two kinds": ("h_next = h * (tanh(h) == W @ x)", VALUES),
    "equality with itself": ("h_next = h * (h == h)", VALUES),
    "in": ("h_next = h if h in (x, b) else b", VALUES),
    "transpose": ("h_next = W.T @ x", "W has no attribute T", "declare a second one"),
    "method": ("h_next = h.tanh()", "h has no attribute tanh", "as in tanh(h)", KNOWN),
    "index": ("h_next = h[0]", "h cannot be indexed", "Declare a symbol for each part"),
    "unpacking": ("a, c = h", "h is one symbol", "Declare each symbol"),
    "length": ("h_next = h / len(h)", "h is one symbol: it has no length"),
    "call": ("h_next = W(x)", "W is a symbol, not a function", "Write `W @ ...`"),
    "floor division": ("h_next = h // 2", "A cell has no //, used here on h", "+, -, *, /, @"),
    "logical and": ("h_next = h & b", "A cell has no &"),
    "not": ("h_next = ~h", "A cell has no ~"),
    "number @": ("h_next = 2 @ h", "left side of @ is a declared matrix", "`W = Matrix(h)`"),
    "one matrix as a tuple": ("V = matrix(1, x)\nh_next = V @ x", "`W = Matrix(x)`"),
    "too few names": ("V_i, V_f = matrix(3, x)", "matrix(3, ...) makes 3", "2 name(s)", "agree"),
    "too many names": ("V_i, V_f, V_o = matrix(2, x)", "matrix(2, ...) makes 2", "3 name(s)"),
    "too few names for vectors": ("b_i, b_f = vector(count=4)", "vector(4, ...) makes 4"),
    "swapped": ("V_i, V_f = matrix(x, 2)", "matrix(x, 2) declares nothing", "= matrix(2, x)`: f"),
    "no count": ("V = matrix(h)", "matrix(h) declares nothing", "first how many"),
    "none at all": ("V = matrix(0, x)", "matrix(0, x) declares nothing"),
    "vector of a symbol": ("c = vector(x)", "vector(x) declares nothing", "= vector(2)`"),
    "input with a size": ("y = Input(3)", "Input(3) declares nothing", "is given to the layer"),
    "state with two sizes": (
        "g = State('P', 3)",
        "State('P', 3) declares nothing",
        "`h = State()`",
    ),
    "state with a number": ("g = State(3)", "Unknown size 3", "are given to the layer"),
    "matrix of nothing": ("V = Matrix()", "Matrix() declares nothing", "`W = Matrix(x)`, with the"),
    "matrix with an option": ("V = Matrix(x, cols=2)", "Matrix(x, cols=2) declares nothing"),
    "matrix of two symbols": ("V = Matrix(x, h)", "Unknown size h", "'H' (hidden units)"),
    "constant of text": ("k = Constant('a')", "Constant('a') declares nothing", "with a number"),
    "constant of a truth value": ("k = Constant(True)", "Constant(True) declares nothing"),
    "constant of a symbol": ("k = Constant(h)", "Constant(h) declares nothing"),
    "huge constant": ("k = Constant(10**400)", "finite numbers", "Write another one"),
    "huge number": ("h_next = h * 10**400", "finite numbers", "Write another one"),
    "class in an equation": (
        "h_next = h + State",
        "State stands without brackets",
        "`h = State()`",
    ),
    "function in an equation": ("h_next = h * tanh", "got Primitive", "with its argument"),
}

# Told with the symbol's name in place of a line.
BY_NAME = {
    "class for a symbol": ("g = State", "g is State without brackets", "Write `g = State()`"),
    "class for a matrix": ("V = Matrix", "V is Matrix without brackets", "`V = Matrix(x)`"),
    "list": ("cs = [Vector() for _ in 'ab']", "cs is a list", "Give each symbol its own name"),
    "function for an equation": ("z = tanh", "z is a Primitive", "as in `z = tanh(...)`"),
    "matrix on the right": (f"h_next = x @ W + {SUM}", "h_next: in x @ W", "Write `W @ x`"),
    "unknown function": ("h_next = gelu(h)", "gelu is used before it is set", KNOWN, "import them"),
    "misspelt function": ("h_next = sigmod(h)", "sigmod is used before", "Did you mean sigmoid?"),
    "state set again": (f"h = {SUM}", "h is a State and is set again", "Write `h_next = ...`"),
    "state made a number": ("h = 0.5", "h is a State and is set again", "Write `h_next = ...`"),
    "state declared again": ("h = State()", "h is set twice", "Give the second one its own name"),
    "input set again": (f"x = {SUM}", "x is set twice", "Give the second one its own name"),
    "matrix made a number": ("W = 3", "W is set twice", "Give the second one its own name"),
    "source is an equation": ("source = W @ x", "source is text about the cell", "another name"),
    "convention is a number": ("convention = 3", "convention is text, got 3", "in quotes"),
    "division by zero": (f"h_next = ({SUM}) / 0", "h_next divides by 0.", "another number"),
    "division by a constant": (
        f"k = Constant(0)\nh_next = ({SUM}) / k",
        "h_next divides by k, which is 0",
        "Divide by another number",
    ),
    "number by a constant": (
        f"k = Constant(-0.0)\nz = 1 / k * x\nh_next = {SUM} + W @ z",
        "z divides by k, which is 0",
    ),
    "division by a difference": (
        f"k = Constant(1)\nh_next = ({SUM}) / (k - 1)",
        "h_next divides by sub(k, 1), which is 0",
    ),
    "overflow of constants": (
        f"k = Constant(1e200)\nh_next = k * k * ({SUM})",
        "h_next: mul(k, k) is inf",
        "Take numbers with a finite result",
    ),
}


def message_of(body):
    with pytest.raises(CellError) as caught:
        define(body)
    return str(caught.value)


@pytest.mark.parametrize("name", IN_A_LINE)
def test_a_wrong_line_is_told_with_its_number_and_what_to_write(name):
    line, *parts = IN_A_LINE[name]
    message = message_of(GOOD + line)
    number = 4 + line.count("\n")
    assert message.startswith(f"my_script.py:{number}: Bad: ")
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize("name", BY_NAME)
def test_a_wrong_symbol_is_told_with_its_name_and_what_to_write(name):
    line, *parts = BY_NAME[name]
    message = message_of(GOOD + line if "h_next" in line else f"{GOOD}{line}\nh_next = {SUM}")
    assert message.startswith("Bad: ")
    assert [part for part in parts if part not in message] == []


def test_no_message_shows_an_address_or_a_whole_object():
    for line, *_ in (*IN_A_LINE.values(), *BY_NAME.values()):
        body = GOOD + line if "h_next" in line else f"{GOOD}{line}\nh_next = {SUM}"
        message = message_of(body)
        assert " at 0x" not in message
        assert len(message) < 380


def test_a_function_that_is_not_imported_is_named_with_its_import():
    text = "class Bad(Cell):\n    h = State()\n    h_next = softplus(h)"
    with pytest.raises(CellError, match=r"^Bad: softplus is not imported\. Write `from gatework"):
        exec(text, {"Cell": Cell, "State": State})


def test_outside_a_class_body_the_same_is_told_without_a_place():
    with pytest.raises(CellError, match=r"^\*\* takes only the exponent 2 in a cell, got 3;"):
        State() ** 3


def test_a_helper_function_s_mistake_is_told_with_the_line_of_the_body():
    with pytest.raises(CellError, match=r"^my_script.py:4: Bad: .*got 3; multiply it out"):
        define(GOOD + "h_next = cube(h)", cube=lambda g: g**3)


def test_declarations_may_be_handed_on_without_names_for_each():
    """Only names that wait in the same line are counted."""

    class Split(Cell):
        x, h = Input(), State()
        pair = eq.matrix(2, x)
        W_a, W_b = pair
        (U,) = eq.matrix(1, h)
        h_next = tanh(W_a @ x + U @ h) * sigmoid(W_b @ x)
        del pair

    assert [p.name for p in Split.spec.parameters] == ["W_a", "W_b", "U"]


@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5), np.int64(2)])
def test_numpy_s_numbers_are_numbers(number):
    h = State()
    for made, plain in (
        (number * h, ("mul", number, h)),
        (number + h, ("add", number, h)),
        (number - h, ("sub", number, h)),
        (number / h, ("div", number, h)),
        (h * number, ("mul", h, number)),
    ):
        op, *args = plain
        assert made.op == op
        assert [a if a is h else a.value for a in made.args] == args
    assert (h ** np.int64(2)).op == "square"
    assert Constant(number).value == number


def test_finished_expressions_are_compared_and_unfinished_ones_are_not():
    h, k = State(), Constant(2.0)
    open_ones = [h, k, tanh(h), Number(1.0) - tanh(h), Matrix(h) @ h, 2 * h, 1 - k]
    for one in open_ones:
        for other in (*open_ones, 0, None, "h", Ref("h"), Number(1.0)):
            for compare in (lambda a, b: a == b, lambda a, b: a != b):
                with pytest.raises(CellError, match="comparisons cannot be used"):
                    compare(one, other)
                with pytest.raises(CellError, match="comparisons cannot be used"):
                    compare(other, one)
    finished = [
        Ref("h"), Number(1.0), tanh(Ref("h")), sigmoid(Ref("h")), 1 - tanh(Ref("h")),
        Product(Ref("W"), Ref("h")), Product(Ref("W"), 2 * Ref("h")), Apply("add", (Ref("h"),)),
    ]  # fmt: skip
    for i, one in enumerate(finished):
        for j, other in enumerate(finished):
            assert (one == copy.deepcopy(other)) is (i == j)
            assert (one != copy.deepcopy(other)) is (i != j)
        assert one != "h"
        assert hash(one) == hash(copy.deepcopy(one))
    assert len({*finished, *copy.deepcopy(finished)}) == len(finished)


def test_symbols_still_serve_as_keys_members_and_patterns():
    x, h = Input(), State()
    assert {x: 1, h: 2}[h] == 2
    assert len({x, h, x}) == 2
    assert x in [x, h]  # identity is looked at first
    assert hash(tanh(h)) != hash(tanh(x))
    match tanh(h):
        case Apply("tanh", (State() as found,)):
            assert found is h


def test_symbols_and_specs_are_copied_and_answer_the_questions_of_tools():
    h = State("P")
    assert copy.copy(h).size == "P"
    assert copy.deepcopy(tanh(h)).args[0].size == "P"
    assert pickle.loads(pickle.dumps(h)).size == "P"
    assert pickle.loads(pickle.dumps(resolve("lstm"))) == resolve("lstm")
    assert not hasattr(h, "_repr_html_")
    assert "Constant" in repr(Constant(0.5))


def test_a_number_that_nothing_reads_is_refused():
    text = """
class Bad(Cell):
    x, h = Input(), State()
    W, U = Matrix(x), Matrix(h)
    leak, idle = 0.9, 0.5
    h_next = tanh(W @ x + leak * (U @ h))
"""
    scope = {}
    with pytest.raises(CellError, match="Bad: idle is a number that nothing reads"):
        exec("from gatework.equations import Cell, Input, Matrix, State, tanh\n" + text, scope)
