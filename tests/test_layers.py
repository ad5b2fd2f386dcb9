"""``Recurrent`` for any cell, and what the layers have beyond torch."""

import copy
import logging
import pickle
from dataclasses import replace

import pytest
import torch
from shared import (
    CELLS,
    EveryMatrix,
    EveryPrimitive,
    beside_of,
    each_cell,
    projection,
    randoms,
    recurrent,
    tuple_of,
)
from tolerances import EXACT
from torch.nn.utils import parametrizations
from torch_pairs import KINDS, call, inputs, make

import gatework as gw
import gatework.equations as eq
from gatework import paths
from gatework.cells import all_cells, name_of
from gatework.equations import Cell, Input, Matrix, State, Vector, matrix, sigmoid, tanh, vector
from gatework.equations.sizes import width_of
from gatework.errors import CellError, PathError, ShapeError
from gatework.read import reference

STEPS, BATCH, FEATURES, HIDDEN = 4, 3, 3, 4


def batch(seed=1):
    return randoms((STEPS, BATCH, FEATURES), seed=seed, requires_grad=False)[0]


def same(got, expected):
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


class Delayed(Cell):
    """The state of two steps ago, a projected bias, a stem that is also a symbol."""

    x, h, c, old = Input(), State("P"), State(), State()
    W, U, V = Matrix(x), Matrix(h), Matrix(c, rows="P")
    b, b_p, c_scale = Vector(), Vector("P"), Vector()
    c_next = tanh(W @ x + U @ h + b + c_scale * old)
    old_next = c
    h_next = V @ c_next + b_p


MORE = [*CELLS, EveryPrimitive, EveryMatrix, Delayed]
every_cell = pytest.mark.parametrize("cell", MORE, ids=name_of)


@every_cell
def test_a_layer_is_the_cell_s_step_over_time(cell):
    layer = recurrent(cell, FEATURES, HIDDEN)
    x = batch()
    states = randoms(*(z.shape[1:] for z in layer.state(batch=BATCH)), requires_grad=False)
    given = tuple(s.unsqueeze(0) for s in states)
    output, finals = layer(x, given if len(given) > 1 else given[0])
    weights = {n: w.detach().numpy() for n, w in layer.named_weights().items()}
    rows = []
    for row in x.numpy():
        gates = reference.step(cell, weights, row, *states, beside=beside_of(cell, row))
        states = [gates[f"{s.name}_next"] for s in cell.spec.states]
        rows.append(torch.from_numpy(states[0]))
    same([output, *(f[0] for f in tuple_of(finals))], [torch.stack(rows), *_tensors(states)])


def _tensors(arrays):
    return [torch.from_numpy(a) for a in arrays]


# The drop-ins are this layer under torch's parameter names.


def torch_s_weights(kind, tensors):
    """One layer and direction of torch's state dict under the letters of the equations."""
    weight_ih, weight_hh, bias_ih, bias_hh, *projection_ = tensors
    groups = {"W": weight_ih, "U": weight_hh, "b": bias_ih + bias_hh}
    if kind == "gru":
        h = HIDDEN
        groups["b"] = torch.cat([(bias_ih + bias_hh)[: 2 * h], bias_ih[2 * h :]])
        groups["d"] = bias_hh[2 * h :]
    return groups | dict(zip("V", projection_, strict=False))


CELL_OF = {"lstm_projected": "projected_lstm", "rnn_tanh": "rnn", "rnn_relu": "relu_rnn"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["vendor", "reference"])
def test_a_layer_is_the_drop_in_when_given_its_weights(kind, path):
    theirs, _ = make(kind, num_layers=2, bidirectional=True)
    cell = CELL_OF.get(kind, kind)
    layer = recurrent(cell, FEATURES, HIDDEN, 2, bidirectional=True, path=path, seed=3)
    state = {}
    for number in (0, 1):
        for suffix in ("", "_reverse"):
            end = f"_l{number}{suffix}"
            tensors = [p for n, p in theirs.state_dict().items() if n.endswith(end)]
            state |= {f"{g}{end}": t for g, t in torch_s_weights(kind, tensors).items()}
    layer.load_state_dict(state, strict=True)
    leaves = inputs(theirs, "batched", True)
    layer.mode = theirs.mode  # tells the helper how many states there are
    same(call(layer, "batched", leaves), call(theirs, "batched", leaves))


@every_cell
def test_without_bias_is_with_zero_biases(cell):
    plain = recurrent(cell, FEATURES, HIDDEN, 2, bias=False, bidirectional=True)
    full = recurrent(cell, FEATURES, HIDDEN, 2, bidirectional=True)
    kept = dict(plain.named_parameters())
    biases = {n: p for n, p in full.named_parameters() if n not in kept}
    assert {n[:1] for n in biases} <= {"b", "d"}
    assert len(biases) == 4 * sum(s[:2] in ("b", "d", "b_") for s in cell.spec.groups)
    full.load_state_dict(kept | {n: torch.zeros_like(p) for n, p in biases.items()})
    same([plain(batch())[0]], [full(batch())[0]])
    one, two = (torch.autograd.grad(m(batch())[0].sum(), _shared(m, kept)) for m in (plain, full))
    same(one, two)


def _shared(layer, names):
    return [p for n, p in layer.named_parameters() if n in names]


@every_cell
def test_parameters_are_named_shaped_and_initialised_as_said(cell):
    layer = recurrent(cell, FEATURES, HIDDEN, 2, bidirectional=True)
    names = [f"{s}_l{n}{d}" for n in (0, 1) for d in ("", "_reverse") for s in cell.spec.groups]
    assert [n for n, _ in layer.named_parameters()] == names
    free = {p.name for p in cell.spec.parameters if p.start is None}
    rows = [layer.named_weights(n, d) for n in (0, 1) for d in (0, 1)]
    drawn = [w.detach().flatten() for row in rows for name, w in row.items() if name in free]
    everything = torch.cat(drawn)
    assert 0.45 < everything.abs().max() <= HIDDEN**-0.5
    assert layer(batch())[0].shape == (STEPS, BATCH, layer.output_size)
    sizes = {"F": layer.output_size, "H": HIDDEN, "P": 2}
    for parameter in cell.spec.parameters:
        shape = layer.named_weights(1)[parameter.name].shape
        assert shape == tuple(width_of(letter, sizes) for letter in parameter.shape)


@each_cell
@pytest.mark.parametrize("travel", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_the_same_layer(cell, travel):
    layer = recurrent(cell, FEATURES, HIDDEN, 2, batch_first=True)
    other = travel(layer)
    assert repr(other) == repr(layer)
    same([other(batch())[0]], [layer(batch())[0]])


def test_repr_shows_the_cell_and_what_is_not_default():
    layer = gw.Recurrent("peephole_lstm", 3, 4, 2, dropout=0.1, forget_bias=1.0, path="reference")
    assert repr(layer) == (
        "Recurrent('peephole_lstm', 3, 4, num_layers=2, dropout=0.1, forget_bias=1.0, "
        "path='reference')"
    )


def test_a_parametrised_weight_is_the_one_that_runs():
    layer = recurrent("peephole_lstm", FEATURES, HIDDEN)
    before = layer(batch())[0]
    parametrizations.weight_norm(layer, "U_l0")
    same([layer(batch())[0]], [before])
    with torch.no_grad():
        layer.parametrizations.U_l0.original0.zero_()  # the length of every row
    other = recurrent("peephole_lstm", FEATURES, HIDDEN)
    with torch.no_grad():
        other.U_l0.zero_()
    same([layer(batch())[0]], [other(batch())[0]])


def test_batch_first_turns_input_and_output_but_no_state():
    layer = recurrent("coupled_lstm", FEATURES, HIDDEN, 2)
    turned = copy.deepcopy(layer)
    turned.batch_first = True
    output, states = layer(batch())
    other, states_too = turned(batch().transpose(0, 1))
    same([other.transpose(0, 1), *states_too], [output, *states])
    assert states[0].shape == (2, BATCH, HIDDEN)


# The forget gate's bias.


def forget_biases(layer):
    directions = (0, 1) if layer.bidirectional else (0,)
    return [layer.named_weights(n, d)["b_f"] for n in range(layer.num_layers) for d in directions]


@pytest.mark.parametrize("cell", ["lstm", "peephole_lstm", "projected_lstm"])
def test_forget_bias_sets_b_f_alone_and_survives_a_state_dict(cell):
    options = {"num_layers": 2, "bidirectional": True}
    layer = recurrent(cell, FEATURES, HIDDEN, forget_bias=2.0, **options)
    other = recurrent(cell, FEATURES, HIDDEN, seed=1, **options)
    other.load_state_dict(layer.state_dict(), strict=True)
    for bias in forget_biases(layer) + forget_biases(other):
        assert torch.equal(bias, torch.full_like(bias, 2.0))
    assert not (layer.named_weights()["b_i"] == 2.0).any()
    assert torch.equal(layer.W_l0, recurrent(cell, FEATURES, HIDDEN, **options).W_l0)


@pytest.mark.parametrize("proj_size", [0, 2])
def test_the_drop_in_s_forget_bias_is_the_sum_of_torch_s_two(proj_size):
    options = {"num_layers": 2, "bidirectional": True, "proj_size": proj_size}
    options["dtype"] = torch.float64
    layer = gw.LSTM(FEATURES, HIDDEN, forget_bias=1.5, **options)
    theirs = torch.nn.LSTM(FEATURES, HIDDEN, **options)
    theirs.load_state_dict(layer.state_dict(), strict=True)
    forget = slice(HIDDEN, 2 * HIDDEN)  # torch's order is i, f, g, o
    for number in (0, 1):
        for end in (f"_l{number}", f"_l{number}_reverse"):
            total = getattr(theirs, f"bias_ih{end}") + getattr(theirs, f"bias_hh{end}")
            assert torch.equal(total[forget], torch.full_like(total[forget], 1.5))
            assert not (total[:HIDDEN] == 1.5).any()
    torch.testing.assert_close(layer(batch()), theirs(batch()), **EXACT)


@pytest.mark.parametrize(
    "cell", [c for c in all_cells() if "b_f" not in c.spec.biases], ids=name_of
)
def test_forget_bias_is_refused_where_there_is_none(cell):
    with pytest.raises(CellError, match=f"{cell.__name__} has no forget gate bias b_f.*Leave"):
        recurrent(cell, FEATURES, HIDDEN, forget_bias=1.0)


def test_forget_bias_is_refused_without_biases():
    for made in (gw.LSTM, lambda *a, **k: gw.Recurrent("lstm", *a, **k)):
        with pytest.raises(CellError, match=r"no forget gate bias.*use bias=True"):
            made(FEATURES, HIDDEN, bias=False, forget_bias=1.0)


# Paths.


@each_cell
def test_every_path_gives_the_same_or_its_reason(cell):
    layer = recurrent(cell, FEATURES, HIDDEN, 2, bidirectional=True, path="reference")
    expected = layer(batch())[0]
    for path in paths.PATHS:
        layer.path = path.name
        if path.supports(layer.prepare(batch())[0]) is None:
            same([layer(batch())[0]], [expected])
        else:
            with pytest.raises(PathError, match=f"{cell.__name__} cannot run here. {path.name}: "):
                layer(batch())


def test_a_path_that_cannot_run_says_why():
    layer = recurrent("peephole_lstm", FEATURES, HIDDEN, path="vendor")
    with pytest.raises(PathError, match="vendor: torch has no kernel with these equations"):
        layer(batch())
    call, _ = recurrent("lstm", FEATURES, HIDDEN).prepare(batch())
    for asked in ({"record": True}, {"every_state": True}):
        with pytest.raises(PathError, match="vendor: torch's kernels do not show"):
            paths.choose(replace(call, **asked), "vendor")
    for made in (gw.LSTM, gw.GRU, gw.RNN, lambda *a, **k: gw.Recurrent("gru", *a, **k)):
        with pytest.raises(
            PathError, match="no path 'fast'; choose one of auto, vendor, native, scan, ref"
        ):
            made(3, 4, path="fast")


def test_the_automatic_choice_is_logged_once(caplog, monkeypatch):
    monkeypatch.setattr(paths, "_logged", set())
    caplog.set_level(logging.INFO, "gatework")
    for cell in ("lstm", "peephole_lstm"):
        for _ in range(2):
            recurrent(cell, FEATURES, HIDDEN)(batch())
    reason = "vendor: torch has no kernel with these equations"
    assert caplog.messages == [
        "LSTM runs on the vendor path",
        f"PeepholeLSTM runs on the native path ({reason})",
    ]


class MyMemory(Cell):
    """LSTM's own equations, written by somebody else."""

    x, h, c = Input(), State(), State()
    W_i, W_f, W_g, W_o = matrix(4, x)
    U_i, U_f, U_g, U_o = matrix(4, h)
    b_i, b_f, b_g, b_o = vector(4)
    i = sigmoid(W_i @ x + U_i @ h + b_i)
    f = sigmoid(W_f @ x + U_f @ h + b_f)
    g = tanh(W_g @ x + U_g @ h + b_g)
    o = sigmoid(W_o @ x + U_o @ h + b_o)
    c_next = f * c + i * g
    h_next = o * tanh(c_next)


def test_a_kernel_is_found_by_equations_and_not_by_name():
    mine, theirs = (recurrent(c, FEATURES, HIDDEN, path="vendor") for c in (MyMemory, "lstm"))
    assert torch.equal(mine(batch())[0], theirs(batch())[0])

    class LSTM(Cell):
        """Called like the catalogue's, but it is another cell."""

        x, h = Input(), State()
        W, U = Matrix(x), Matrix(h)
        h_next = sigmoid(W @ x + U @ h)

    with pytest.raises(PathError, match="no kernel with these equations"):
        recurrent(LSTM, FEATURES, HIDDEN, path="vendor")(batch())


FILE = """
from gatework.equations import Cell, Input, Matrix, State, Vector, sigmoid, tanh

class Leaky(Cell):
    x, h = Input(), State()
    W, U, b, a = Matrix(x), Matrix(h), Vector(), Vector()
    z = sigmoid(a)
    h_next = z * h + (1 - z) * tanh(W @ x + U @ h + b)
"""


def test_a_cell_from_the_user_s_own_file_trains(tmp_path):
    path = tmp_path / "leaky.py"
    path.write_text(FILE)
    layer = recurrent(f"{path}:Leaky", FEATURES, HIDDEN, 2, bidirectional=True)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.05)
    target = 0.3 * torch.ones(STEPS, BATCH, 2 * HIDDEN, dtype=torch.float64)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = (layer(batch())[0] - target).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert all(p.grad.any() for p in layer.parameters())


# Mistakes.

SIZES = {
    "hidden_size": ({"hidden_size": 0}, "hidden_size is a whole number above zero, got 0"),
    "input_size": ({"input_size": 2.5}, "input_size is a whole number above zero, got 2.5"),
    "num_layers": ({"num_layers": True}, "num_layers is a whole number above zero, got True"),
    "dropout": ({"dropout": 1.5}, r"dropout is a probability in \[0, 1\], got 1.5"),
    "no projection": ({"cell": "projected_lstm"}, "ProjectedLSTM.*below hidden_size=4, got 0"),
    "too wide": ({"cell": "projected_lstm", "proj_size": 4}, "below hidden_size=4, got 4"),
    "projection": ({"proj_size": 2}, "PeepholeLSTM has no projection, got proj_size=2"),
}


@pytest.mark.parametrize("name", SIZES)
def test_a_size_that_cannot_be_is_refused(name):
    changes, message = SIZES[name]
    given = {"cell": "peephole_lstm", "input_size": FEATURES, "hidden_size": HIDDEN} | changes
    with pytest.raises(ShapeError, match=message):
        gw.Recurrent(**given)


def test_every_cell_takes_torch_s_defaults():
    for cell in CELLS:
        layer = gw.Recurrent(cell, 3, 4, **projection(cell))
        assert next(layer.parameters()).dtype == torch.get_default_dtype()


class Started(gw.Cell):
    x, h = eq.Input(), eq.State()
    W, U = eq.Matrix(x), eq.Matrix(h)
    s_a, s_b = eq.vector(2, start=1.5)
    b_f = eq.Vector(start=0)
    h_next = eq.tanh(s_a * (W @ x) + s_b * (U @ h) + b_f)


@pytest.mark.parametrize("forget_bias", [None, 2.0])
def test_what_a_cell_gives_a_start_begins_there_and_the_forget_bias_last(forget_bias):
    layer = gw.Recurrent(Started, 3, 50, 2, bidirectional=True, forget_bias=forget_bias)
    for row in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weights = layer.named_weights(*row)
        assert (weights["s_a"] == 1.5).all() and (weights["s_b"] == 1.5).all()  # noqa: PT018
        assert (weights["b_f"] == (forget_bias or 0.0)).all()
        assert 0.05 < weights["U"].std() < 0.15
