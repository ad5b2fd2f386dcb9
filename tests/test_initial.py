"""Initialisers: exact properties, ranges, and statistics of what a layer begins with."""

import pickle

import pytest
import torch
from torch import nn

import gatework as gw
from gatework.errors import CellError
from gatework.layers.initial import chrono

F, H = 20, 40
KINDS = {
    "drop-in": lambda **options: gw.LSTM(F, H, 2, bidirectional=True, **options),
    "recurrent": lambda **options: gw.Recurrent("lstm", F, H, 2, bidirectional=True, **options),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def weights(layer):
    """W, U, b and torch's second bias of each layer and direction."""
    torch_names = isinstance(layer, nn.RNNBase)
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"] if torch_names else ["W", "U", "b"]
    tails = [f"_l{row}{tail}" for row in (0, 1) for tail in ("", "_reverse")]
    for tail in tails:
        found = [layer.get_parameter(name + tail).detach() for name in names]
        yield found if torch_names else [*found, torch.zeros(4 * H)]


def is_orthogonal(matrix):
    """Whether the columns are of length one and at right angles."""
    one = torch.eye(matrix.shape[1])
    return torch.allclose(matrix.T @ matrix, one, atol=1e-5)


@each_kind
def test_orthogonal_is_so_gate_by_gate(kind):
    for w, u, b, second in weights(KINDS[kind](init="orthogonal")):
        assert all(is_orthogonal(gate) for gate in u.chunk(4))
        bound = (6 / (w.shape[1] + H)) ** 0.5
        assert 0.95 * bound < w.abs().max() <= bound
        assert not (b.any())
        assert not (second.any())


@each_kind
def test_keras_takes_all_gates_of_a_matrix_together(kind):
    for w, u, b, second in weights(KINDS[kind](init="keras")):
        assert is_orthogonal(u)
        assert not any(is_orthogonal(gate) for gate in u.chunk(4))
        bound = (6 / (w.shape[1] + 4 * H)) ** 0.5
        assert 0.95 * bound < w.abs().max() <= bound
        assert (b + second).view(4, H)[1].eq(1).all()
        assert not (b + second).view(4, H)[[0, 2, 3]].any()


@each_kind
def test_chrono_spreads_the_forget_gate_over_the_steps(kind):
    layer = KINDS[kind](init=chrono(50))
    for w, u, b, second in weights(layer):
        i, f, g, o = (b + second).view(4, H)
        steps = f.exp()
        assert 1 <= steps.min() < 10
        assert 35 < steps.max() <= 49 + 1e-3
        assert torch.equal(i, -f)
        assert torch.cat([g, o]).abs().max() <= H**-0.5 + 1e-6
        assert max(w.abs().max(), u.abs().max()) <= H**-0.5
    assert "init=chrono(50)" in repr(pickle.loads(pickle.dumps(layer)))


def test_chrono_of_a_gru_names_the_gate_that_keeps():
    layer = gw.GRU(F, H, init=chrono(30, forget="b_z"))
    assert 1 <= layer.bias_ih_l0[H : 2 * H].exp().min() <= layer.bias_ih_l0[H : 2 * H].exp().max()
    assert layer.bias_ih_l0[H : 2 * H].exp().max() <= 29 + 1e-3
    assert not layer.bias_hh_l0[: 2 * H].any()
    assert layer.bias_hh_l0[2 * H :].any()
    with pytest.raises(CellError, match="no forget gate bias b_f"):
        gw.GRU(F, H, init=chrono(30))


def test_identity_keeps_its_state():
    layer = gw.RNN(F, H, nonlinearity="relu", init="identity")
    assert torch.equal(layer.weight_hh_l0, torch.eye(H))
    assert 0.0008 < layer.weight_ih_l0.std() < 0.0012
    h = torch.rand(1, 2, H)
    output, _ = layer(torch.zeros(9, 2, F), h)
    assert torch.allclose(output, h.expand(9, 2, H))


@pytest.mark.parametrize("init", ["orthogonal", "identity"])
def test_heads_begin_head_by_head(init):
    layer = gw.RNN(F, H, nonlinearity="relu", heads=4, init=init)
    blocks = layer.U_l0.detach().chunk(4)
    assert all(is_orthogonal(block) for block in blocks)
    assert all(torch.equal(b, torch.eye(10)) for b in blocks) is (init == "identity")


@each_kind
def test_a_forget_bias_goes_before_what_an_initialiser_says(kind):
    for init in ("torch", "keras", "orthogonal"):
        for _, _, b, second in weights(KINDS[kind](init=init, forget_bias=2.5)):
            assert (b + second).view(4, H)[1].eq(2.5).all()


def test_gains_begin_at_one_whatever_the_initialiser():
    layer = gw.LSTM(F, H, layer_norm="c", init="orthogonal")
    weights = layer.named_weights()
    assert all(weights[f"gamma_{k}"].eq(1).all() for k in "ifgoc")
    assert not weights["beta_c"].any()


def test_a_function_of_ones_own():
    def halves(spec, stored, hidden_size):
        for tensor in stored.values():
            nn.init.constant_(tensor, 0.5 * hidden_size)

    for layer in (gw.LSTM(F, 2, init=halves), gw.Recurrent("mgu", F, 2, init=halves)):
        assert all(p.eq(1).all() for n, p in layer.named_parameters() if "bias_hh" not in n)
    for wrong in (2, 3.5, True):
        with pytest.raises(CellError, match="a whole number of steps above 2"):
            chrono(wrong)
    with pytest.raises(CellError, match=r"got 'chrono'. Write init=chrono\(t_max\)"):
        gw.LSTM(F, H, init="chrono")


def test_torchs_own_is_the_same_number_by_number():
    for kind, truth in ((gw.LSTM, nn.LSTM), (gw.GRU, nn.GRU), (gw.RNN, nn.RNN)):
        torch.manual_seed(3)
        expected = truth(F, H, 2).state_dict()
        torch.manual_seed(3)
        found = kind(F, H, 2, init="torch").state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
