"""A cell checks itself where it is written, and is plain data afterwards."""

import copy
import json
import textwrap

import pytest
from shared import EveryMatrix, EveryPrimitive, Masked, each_cell

import gatework.equations as eq
from gatework.cells import resolve
from gatework.equations import Cell, Constant, Input, Matrix, State, Vector, tanh
from gatework.equations.spec import from_dict, to_dict
from gatework.errors import CellError

GOOD = """
x, h = Input(), State()
W, U, b = Matrix(x), Matrix(h), Vector()
"""


def define(body, name="Bad"):
    """The cell of a class body given as text."""
    namespace = {n: getattr(eq, n) for n in eq.__all__}
    exec(f"class {name}(Cell):\n{textwrap.indent(textwrap.dedent(body), '    ')}", namespace)
    return namespace[name]


# Each row: the body after GOOD (or, with "x" in front, the whole body), the symbol that the
# message names, and the words that say what to do.
MISTAKES = {
    "parameter unused": ("h_next = tanh(W @ x + U @ h)", "b reaches no next", "Use it or delete"),
    "equation unused": (
        "z = tanh(W @ x)\nh_next = tanh(W @ x + U @ h + b)",
        "z reaches no next",
        "Use it or delete",
    ),
    "input unused": ("x, h = Input(), State()\nh_next = tanh(h)", "x reaches no", "delete it"),
    "state unused": (
        "x, h = Input(), State()\nW = Matrix(x)\nh_next = W @ x",
        "h reaches no next",
        "delete it",
    ),
    "no state carries anything": (
        "x, h, c = Input(), State(), State()\nW = Matrix(x)\nc_next = W @ x\nh_next = c_next",
        "h reaches no next",  # the first of h and c
        "delete it",
    ),
    "a state beside the output unused": (
        "x, h, c = Input(), State(), State()\nW = Matrix(x)\nc_next = W @ x\nh_next = c_next + h",
        "c reaches no next",
        "delete it",
    ),
    "equations that only feed each other": (
        "y = W @ x\nz = tanh(y)\nh_next = U @ h + b",
        "x reaches no next",  # the first of x, W, y and z
        "Use it or delete",
    ),
    "state without next": ("z = tanh(W @ x + U @ h + b)", "state h has no next", "Add `h_next ="),
    "next without state": (
        "h_next = tanh(W @ x + U @ h + b)\nc_next = h_next",
        "c_next is set, but c is no State",
        "Declare `c = State()`",
    ),
    "next is the input": (
        "x, h = Input(), State()\nh_next = x",
        "h_next and x are the same symbol",
        "Declare each one",
    ),
    "matrix with the wrong operand": (
        "h_next = tanh(W @ h + U @ h + b)",
        "W @ h cannot be",
        "W takes size F, h has size H. Declare W with matrix(..., h)",
    ),
    "elementwise of F and H": (
        "h_next = tanh(W @ x + U @ h + b) * x",
        "h_next: mul of different sizes",
        "Bring one to the other's size with a matrix",
    ),
    "next of the wrong size": (
        "x, h = Input(), State('P')\nU = Matrix(h)\nW = Matrix(x)\nh_next = tanh(W @ x + U @ h)",
        "h_next has size H, but state h has size P",
        "Make the two agree",
    ),
    "used before it is set": (
        "h_next = tanh(z * (W @ x) + U @ h + b)\nz = sigmoid(h)",
        "z is used before it is set",
        "Declare it (Input, State, Matrix, Vector) or move its equation up",
    ),
    "set twice": (
        "z = W @ x\nz = tanh(z + b)\nh_next = z + U @ h",
        "z is set twice",
        "Give the second one its own name",
    ),
    "matrix without @": (
        "h_next = tanh(W * x + U @ h + b)",
        "h_next: W is a matrix and stands without `@`",
        "Write `W @ ...`",
    ),
    "vector @": (
        "h_next = tanh(W @ x + U @ h) + b @ h",
        "the left side of @ is a declared matrix, got b",
        "For an elementwise product write *",
    ),
    "gate @": (
        "z = W @ x\nh_next = tanh(U @ h + b) + z @ h",
        "the left side of @ is a declared matrix, got z",
        "write *",
    ),
    "anonymous matrix": (
        "h_next = tanh(W @ x + U @ h + b) + Matrix(h) @ h",
        "h_next uses a Matrix that has no name",
        "Declare it in the body first",
    ),
    "anonymous vector": (
        "h_next = tanh(W @ x + U @ h + b) * Vector()",
        "h_next uses a Vector that has no name",
        "Declare it in the body first",
    ),
    "one symbol, two names": (
        "W2 = W\nh_next = tanh(W @ x + W2 @ x + U @ h + b)",
        "W2 and W are the same symbol",
        "Declare each one",
    ),
    "text in the body": (
        "note = 'hello'\nh_next = tanh(W @ x + U @ h + b)",
        "note is a str",
        "holds only symbols, equations and numbers",
    ),
    "several matrices under one name": (
        "Ws = matrix(2, x)\nh_next = tanh(W @ x + U @ h + b)",
        "Ws is a tuple",
        "holds only symbols",
    ),
    "source is no text": (
        "source = 1997\nh_next = tanh(W @ x + U @ h + b)",
        "source is text",
        "got 1997",
    ),
    "two inputs": (
        "x, y, h = Input(), Input(), State()\nh_next = h",
        "one Input, got 2",
        "Declare it as `x = Input()`",
    ),
    "no input": ("h = State()\nh_next = tanh(h)", "one Input, got 0", "`x = Input()`"),
    "no state": ("x = Input()\nz = tanh(x)", "at least one State", "`h = State()`"),
    "numbers alone": (
        "k = Constant(2.0)\nz = 1 - k\nh_next = z * tanh(W @ x + U @ h + b)",
        "z is made of numbers alone",
        "Use a Constant or a plain number",
    ),
    "function of a number": (
        "k = Constant(2.0)\nh_next = tanh(k) * (W @ x + U @ h + b)",
        "tanh of a plain number",
        "Write its value",
    ),
    "matrix for a number": (
        "k = Constant(2.0)\nV = Matrix(k)\nh_next = tanh(W @ x + U @ h + b) + V @ k",
        "V multiplies a plain number",
        "Use a vector",
    ),
}
RESERVED = ("spec", "np", "torch", "linear", "step", "tanh_", "_hidden", "a__b")
# These are raised by the expression itself, where the traceback shows the line.
AT_THE_LINE = {
    "cube": ("h_next = h ** 3", "exponent 2", "multiply it out"),
    "if on a gate": (
        "z = W @ x\nif z:\n    h_next = z",
        "`if`, `and`, `or` and comparisons",
        "Write the choice as arithmetic on gates",
    ),
    "text in an equation": ("h_next = h + 'one'", "str", "symbols and numbers"),
    "a truth value in an equation": ("h_next = h * True", "bool", "symbols and numbers"),
    "infinity": ("h_next = h * float('inf')", "inf", "finite numbers"),
    "infinite constant": ("k = Constant(float('nan'))", "nan", "finite numbers"),
    "matrix of a number": ("V = Matrix(3)", "Matrix(x)", "got 3"),
    "unknown size": ("v = Vector('Q')", "Unknown size 'Q'", "'H' (hidden units)"),
    "state of the input's size": ("s = State('F')", "size 'H' or 'P'", "other input features"),
    "two arguments": ("h_next = tanh(h, h)", "tanh takes 1", "got 2"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_cell_and_what_to_do(name):
    body, symbol, advice = MISTAKES[name]
    whole = body if "Input()" in body or "State()" in body else GOOD + body
    with pytest.raises(CellError) as caught:
        define(whole)
    message = str(caught.value)
    assert message.startswith("Bad: ")
    assert symbol in message
    assert advice in message


@pytest.mark.parametrize("name", AT_THE_LINE)
def test_a_mistake_inside_an_expression_says_what_to_do(name):
    body, symbol, advice = AT_THE_LINE[name]
    with pytest.raises(CellError) as caught:
        define(GOOD + body)
    assert symbol in str(caught.value)
    assert advice in str(caught.value)


@pytest.mark.parametrize("name", RESERVED)
def test_names_that_generated_text_needs_are_refused(name):
    with pytest.raises(CellError, match=f"Bad: {name}.*(Rename it|Give this symbol another name)"):
        define(f"{GOOD}{name} = W @ x\nh_next = tanh({name} + U @ h + b)")


def test_the_bodies_above_are_wrong_only_in_what_they_show():
    assert define(GOOD + "h_next = tanh(W @ x + U @ h + b)").spec == resolve("rnn")


def test_a_cell_is_not_subclassed_called_or_changed():
    mine = define(GOOD + "h_next = tanh(W @ x + U @ h + b)", "Mine")
    with pytest.raises(CellError, match=r"Other: a cell derives from Cell alone.*Write its equ"):
        type(Cell)("Other", (mine,), {})
    with pytest.raises(CellError, match=r"Mine is a definition.*gatework.Recurrent\(Mine, "):
        mine(3, 4)
    with pytest.raises(CellError, match="Mine is frozen; write a new cell to change W"):
        mine.W = None
    with pytest.raises(AttributeError):
        mine.spec.input = "y"


def make_leaky(rate):
    class Leaky(Cell):
        x, h = Input(), State()
        W, U = Matrix(x), Matrix(h)
        h_next = (1 - rate) * h + rate * tanh(W @ x + U @ h)

    return Leaky.spec


def test_a_local_number_is_a_number_of_the_equations():
    assert make_leaky(0.25) == make_leaky(0.25)
    assert make_leaky(0.25) != make_leaky(0.5)


def test_the_output_need_not_be_read_back():
    cell = define(
        "x, h, c = Input(), State(), State()\nW, V = Matrix(x), Matrix(c)\n"
        "c_next = tanh(W @ x + c)\nh_next = V @ c_next"
    )
    assert [state.name for state in cell.spec.states] == ["h", "c"]


def test_a_state_may_take_over_another_one():
    class Delayed(Cell):
        x, h, g = Input(), State(), State()
        W, U = Matrix(x), Matrix(g)
        h_next = tanh(W @ x + U @ g)
        g_next = h

    assert [s.name for s in Delayed.spec.states] == ["h", "g"]
    assert Delayed.spec.equations[-1].expr == eq.expr.Ref("h")


@each_cell
def test_a_catalogue_cell_survives_json(cell):
    again = from_dict(json.loads(json.dumps(to_dict(cell.spec))))
    assert again == cell.spec
    assert to_dict(again) == to_dict(cell.spec)


def test_a_cell_with_every_primitive_survives_json():
    equations = EveryPrimitive.spec.equations + EveryMatrix.spec.equations
    used = {n.op for e in equations for n in eq.expr.walk(e.expr) if _op(n)}
    # Those that only gradients and interrupted cells hold.
    assert used | {"spread", "gated"} == set(eq.ops.PRIMITIVES)
    for spec in (EveryPrimitive.spec, EveryMatrix.spec, Masked.spec):
        assert from_dict(json.loads(json.dumps(to_dict(spec)))) == spec


def _op(node):
    return isinstance(node, eq.expr.Apply)


def _set(path, value):
    def change(data):
        *first, last = path
        for key in first:
            data = data[key]
        data[last] = value

    return change


def test_a_start_travels_with_the_cell_and_is_no_part_of_what_it_computes():
    class Gain(eq.Cell):
        x, h = eq.Input(), eq.State()
        W, U = eq.Matrix(x), eq.Matrix(h)
        s_a, s_b = eq.vector(2, start=1.5)
        b = eq.Vector(start=0)
        h_next = eq.tanh(s_a * (W @ x) + s_b * (U @ h) + b)

    class Plain(eq.Cell):
        x, h = eq.Input(), eq.State()
        W, U = eq.Matrix(x), eq.Matrix(h)
        s_a, s_b = eq.vector(2)
        b = eq.Vector()
        h_next = eq.tanh(s_a * (W @ x) + s_b * (U @ h) + b)

    assert Gain.spec == Plain.spec
    again = from_dict(json.loads(Gain.spec.text))
    assert [p.start for p in again.parameters] == [None, None, 1.5, 1.5, 0.0]
    old = to_dict(Plain.spec)
    del old["starts"]
    assert from_dict(old) == Plain.spec
    for start in (float("nan"), 10**400):
        with pytest.raises(CellError, match="finite numbers"):
            eq.Vector(start=start)
    for start in ("1", True):
        with pytest.raises(CellError, match="declares nothing"):
            eq.Vector(start=start)


H_NEXT = ["equations", 0]
TAMPERED = {
    "unknown operation": (_set([*H_NEXT, 2], ["system", "h"]), "unknown operation 'system'"),
    "wrong number of arguments": (_set([*H_NEXT, 2], ["tanh", "h", "h"]), "2 arguments"),
    "code as an equation's name": (_set([*H_NEXT, 0], "x; import os"), "is no name"),
    "code as a parameter": (_set(["parameters", 0, 0], "W=open('f')"), "is no name"),
    "code as a reference": (_set([*H_NEXT, 2], "h + 1"), "is no name"),
    "code as a number": (_set(["constants"], [["k", "__import__('os')"]]), "no saved cell"),
    "code as a size": (_set(["states", 0, 1], "H if 1 else 2"), "unknown size"),
    "a dunder": (_set([*H_NEXT, 2], "__builtins__"), "reserved name"),
    "a keyword": (_set(["input"], "lambda"), "is no name"),
    "a name of the generated text": (_set(["input"], "torch"), "reserved name"),
    "a helper of the generated text": (_set(["input"], "tanh_"), "reserved name"),
    "an unset reference": (_set([*H_NEXT, 2], "q"), "uses q, which is not set"),
    "a later reference": (_set([*H_NEXT, 2], "h_next"), "uses h_next, which is not set"),
    "a number that is none": (_set([*H_NEXT, 2], float("nan")), "finite"),
    "an infinite constant": (_set(["constants"], [["k", float("inf")]]), "finite"),
    "a product by a state": (_set([*H_NEXT, 2], ["@", "h", "h"]), "no matrix"),
    "half a product": (_set([*H_NEXT, 2], ["@", "W"]), "no saved cell"),
    "three axes": (_set(["parameters", 0], ["W", "H", "F", "F"]), "no saved cell"),
    "a name set twice": (_set(["parameters", 1, 0], "W"), "set twice"),
    "no next value": (_set([*H_NEXT, 0], "g"), "no next value"),
    "no state": (_set(["states"], []), "no next value"),
    "a start that is none": (_set(["starts"], {"b": "1"}), "expected a number"),
    "starts that are none": (_set(["starts"], [1.0]), "no saved cell"),
    "null": (_set(["equations"], None), "no saved cell"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_data_is_refused(name):
    change, message = TAMPERED[name]
    data = copy.deepcopy(to_dict(resolve("rnn")))
    change(data)
    with pytest.raises(CellError, match=message):
        from_dict(data)


LATER = {
    "masks",
    "beside",
    "starts",
    "blocks",
    "chunks",
    "use",
    "heads",
    "deviations",
}  # what older files lack


def test_a_file_without_the_later_fields_loads():
    data = {k: v for k, v in to_dict(resolve("rnn")).items() if k not in LATER}
    assert from_dict(data) == resolve("rnn")
    assert from_dict(data).use == ""
    assert from_dict(to_dict(resolve("rnn"))).use == resolve("rnn").use != ""


@pytest.mark.parametrize("field", sorted({*to_dict(resolve("rnn"))} - LATER))
def test_a_missing_field_is_refused(field):
    data = to_dict(resolve("rnn"))
    del data[field]
    with pytest.raises(CellError, match=field):
        from_dict(data)


def members(cell):
    return {stem: [p.name for p in group] for stem, group in resolve(cell).groups.items()}


def test_parameters_group_by_stem_and_shape():
    assert members("gru") == {
        "W": ["W_r", "W_z", "W_n"],
        "U": ["U_r", "U_z", "U_n"],
        "b": ["b_r", "b_z", "b_n"],
        "d": ["d_n"],
    }
    assert members("rnn") == {"W": ["W"], "U": ["U"], "b": ["b"]}


def test_a_stem_never_takes_the_name_of_a_symbol():
    class Scaled(Cell):
        x, h, k = Input(), State(), Constant(0.5)
        W_h, W_c = Matrix(x), Matrix(h)  # one stem, two shapes
        h_scale, k_scale = Vector(), Vector()
        h_next = tanh(W_h @ x + k * (W_c @ (h_scale * h)) + k_scale)

    assert members(Scaled) == {
        "W": ["W_h"],
        "W_c": ["W_c"],
        "h_scale": ["h_scale"],
        "k_scale": ["k_scale"],
    }


def test_biases_are_the_vectors_that_are_only_added():
    assert resolve("gru").biases == {"b_r", "b_z", "b_n", "d_n"}
    assert resolve("peephole_lstm").biases == {"b_i", "b_f", "b_g", "b_o"}

    class Both(Cell):
        x, h = Input(), State()
        W = Matrix(x)
        b, s, m = Vector(), Vector(), Vector()
        h_next = tanh(W @ x + s * h - b + s) + tanh(m)

    assert Both.spec.biases == {"b"}


def test_abs_is_the_primitive_and_comparisons_are_refused():
    class Absolute(Cell):
        x, h = Input(), State()
        W = eq.Matrix(x)
        h_next = abs(W @ x) - h

    assert any(n.op == "abs" for n in eq.expr.walk(Absolute.spec.equations[0].expr) if _op(n))
    for compared in (lambda h: h < 0, lambda h: h <= 0, lambda h: h > 0, lambda h: h >= 0):
        with pytest.raises(CellError, match="comparisons cannot be used"):
            compared(State())
