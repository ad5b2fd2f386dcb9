"""Switches of the layers: they are the transforms, and what is of the stack is as by hand."""

import copy
import inspect
import pickle

import pytest
import torch
from shared import randoms
from tolerances import EXACT
from torch import nn
from torch.nn.functional import dropout

import gatework as gw
from gatework.cells import GRU, LSTM, RNN, ProjectedLSTM, ReluRNN
from gatework.errors import CellError, ShapeError

t = gw.transform
T, B, F, H = 4, 3, 5, 6
SAME = [
    (gw.LSTM, {"peephole": True}, lambda: t.peephole(LSTM)),
    (gw.LSTM, {"coupled": True, "peephole": True}, lambda: t.couple(t.peephole(LSTM))),
    (gw.LSTM, {"layer_norm": "c"}, lambda: t.layer_norm(LSTM, state="c")),
    (gw.LSTM, {"cell_clip": 3}, lambda: t.cell_clip(LSTM, 3)),
    (
        gw.LSTM,
        {"proj_clip": 2.0, "proj_size": 2},
        lambda: t.projection_clip(ProjectedLSTM, 2.0),
    ),
    (
        gw.LSTM,
        {"activation": "relu", "gate_activation": "hard_sigmoid"},
        lambda: t.activations(
            t.activations(LSTM, candidate="relu", output="relu"), gate="hard_sigmoid"
        ),
    ),
    (gw.GRU, {"activation": "relu"}, lambda: t.activations(GRU, candidate="relu")),
    (gw.GRU, {"zoneout": 0.1}, lambda: t.zoneout(GRU, h=0.1)),
    (gw.LSTM, {"zoneout": 0.1}, lambda: t.zoneout(LSTM, h=0.1, c=0.1)),
    (gw.LSTM, {"zoneout": {"c": 0.2}}, lambda: t.zoneout(LSTM, c=0.2)),
    (gw.GRU, {"recurrent_dropout": 0.2}, lambda: t.recurrent_dropout(GRU, 0.2)),
    (gw.RNN, {"layer_norm": True}, lambda: t.layer_norm(RNN)),
    (gw.RNN, {"heads": 2, "nonlinearity": "relu"}, lambda: t.heads(ReluRNN, 2)),
]


@pytest.mark.parametrize(("kind", "switches", "cell"), SAME)
def test_a_switch_is_its_transform(kind, switches, cell):
    options = {"num_layers": 2, "batch_first": True, "path": "reference"} | switches
    layer = kind(F, H, **options)
    assert layer.spec == cell()
    assert layer.spec.name == cell().name  # which tells the order
    assert isinstance(layer, gw.Recurrent)
    assert (layer.num_layers, layer.batch_first) == (2, True)
    for name, value in switches.items():
        if name != "nonlinearity":
            assert f"{name}={value!r}" in repr(layer)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(layer))).eval()
    other = kind(F, H, **options).eval()
    other.load_state_dict(layer.eval().state_dict())
    x = torch.randn(B, T, F)
    assert torch.equal(twin(x)[0], layer(x)[0])
    assert torch.equal(other(x)[0], layer(x)[0])
    assert repr(twin) == repr(layer)


def test_torchs_arguments_may_stand_in_torchs_order():
    layer = gw.LSTM(F, H, 2, False, True, 0.1, True, 2, "cpu", torch.float64, peephole=True)
    assert repr(layer) == (
        f"Recurrent('projected_lstm', {F}, {H}, num_layers=2, bias=False, batch_first=True, "
        f"dropout=0.1, bidirectional=True, proj_size=2, peephole=True)"
    )
    assert layer.W_l0.dtype == torch.float64


def test_without_them_the_drop_ins_are_torchs():
    options = {"heads": 1, "peephole": False, "zoneout": 0.0, "activation": None, "init": "torch"}
    for kind, truth in ((gw.LSTM, nn.LSTM), (gw.GRU, nn.GRU), (gw.RNN, nn.RNN)):
        layer = kind(F, H, **options)
        assert isinstance(layer, nn.RNNBase)
        assert repr(layer) == repr(truth(F, H))
        assert [*layer.state_dict()] == [*truth(F, H).state_dict()]
    assert "num_layers" in inspect.signature(gw.LSTM).parameters
    assert "hidden_size" in inspect.signature(gw.Recurrent).parameters


def test_what_does_not_fit_is_refused():
    for make, message in {
        lambda: gw.GRU(F, H, peephole=True): "GRU: peephole: there is no state c",
        lambda: gw.RNN(F, H, forget_bias=1.0): "no forget gate bias",
        lambda: gw.LSTM(F, H, proj_clip=1.0): "no state is projected",
        lambda: gw.LSTM(F, 5, heads=2): "U_i has 2 blocks; 5 units",
        lambda: gw.LSTM(F, H, residual=True): "must be the output's size 6",
        lambda: gw.LSTM(H, H, bidirectional=True, residual=True): "must be the output's size 12",
        lambda: gw.Recurrent("gru", F, H, weight_drop=2): "weight_drop is a probability",
    }.items():
        with pytest.raises((CellError, ShapeError), match=message):
            make()
    with pytest.raises(TypeError, match="unexpected keyword argument 'peepholes'"):
        gw.LSTM(F, H, peepholes=True)

    class Own(gw.LSTM):
        pass

    assert isinstance(Own(F, H, weight_drop=0.1), Own)
    with pytest.raises(CellError, match=r"Derive from gatework\.Recurrent"):
        Own(F, H, peephole=True)


@pytest.mark.parametrize("path", ["native", "vendor", "reference"])
@pytest.mark.parametrize("kind", [gw.LSTM, lambda *a, **k: gw.Recurrent("lstm", *a, **k)])
def test_weight_drop_is_one_mask_for_forward_and_backward(kind, path):
    torch.manual_seed(0)
    layer = kind(F, H, weight_drop=0.5, dtype=torch.float64, path=path)
    plain = kind(F, H, dtype=torch.float64, path="reference")
    plain.load_state_dict(layer.state_dict())
    name = "weight_hh_l0" if isinstance(layer, nn.RNNBase) else "U_l0"
    x, hx = randoms((T, B, F), (1, B, H))
    torch.manual_seed(5)
    output, _ = layer(x, (hx, hx))
    torch.manual_seed(5)
    weights = dict(plain.named_parameters())
    dropped = weights | {name: dropout(weights[name], 0.5)}
    truth, _ = torch.func.functional_call(plain, dropped, (x, (hx, hx)))
    torch.testing.assert_close(output, truth, **EXACT)
    ours = torch.autograd.grad(output.square().sum(), [*layer.parameters(), x, hx])
    theirs = torch.autograd.grad(truth.square().sum(), [*plain.parameters(), x, hx])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **EXACT)
    with torch.no_grad():  # inference is set up once, masks are not
        assert not torch.equal(layer(x)[0], layer(x)[0])
        for _ in range(2):
            torch.manual_seed(5)
            torch.testing.assert_close(layer(x, (hx, hx))[0], output, **EXACT)
    layer.eval()
    torch.testing.assert_close(layer(x)[0], plain(x)[0], **EXACT)
    layer.train()
    stream = layer.stream(B)
    steps = torch.stack([stream.step(x[at]) for at in range(T)])
    torch.testing.assert_close(steps, plain(x)[0], **EXACT)


@pytest.mark.parametrize("path", ["native", "reference"])
@pytest.mark.parametrize("cell", ["mgu", "lstm"])
def test_a_residual_stack_adds_each_layers_input(cell, path):
    torch.manual_seed(0)
    layer = gw.Recurrent(cell, 8, 4, 2, bidirectional=True, residual=True, dtype=torch.float64)
    layer.path = path
    alone = [
        gw.Recurrent(cell, 8, 4, bidirectional=True, dtype=torch.float64, path="reference")
        for _ in range(2)
    ]
    for position, one in enumerate(alone):
        own = {n: layer.get_parameter(n.replace("_l0", f"_l{position}")) for n in one.state_dict()}
        one.load_state_dict(own)
    (x,) = randoms((T, B, 8))
    for lengths in (None, [4, 2, 0]):
        inside = torch.ones(T, B, 1, dtype=torch.float64)
        if lengths:
            inside = (torch.arange(T)[:, None] < torch.tensor(lengths)).unsqueeze(-1).double()
        expected = x
        for one in alone:
            expected = expected * inside + one(expected, lengths=lengths)[0]
        output, _ = layer(x, lengths=lengths)
        torch.testing.assert_close(output, expected, **EXACT)
        by_layer, by_hand = (
            torch.autograd.grad(o.square().sum(), x)[0] for o in (output, expected)
        )
        torch.testing.assert_close(by_layer, by_hand, **EXACT)
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(layer(x)[0], layer(x)[0])
        torch.testing.assert_close(layer(x, lengths=[4, 4, 4])[0], layer(x)[0], **EXACT)


def test_a_residual_stack_streams_and_leaves_torchs_kernels():
    torch.manual_seed(0)
    layer = gw.LSTM(H, H, 2, residual=True, dtype=torch.float64)
    (x,) = randoms((T, B, H), requires_grad=False)
    first, second = (nn.LSTM(H, H, dtype=torch.float64) for _ in range(2))
    for position, one in enumerate((first, second)):
        for name in one.state_dict():
            own = layer.get_parameter(name.replace("_l0", f"_l{position}"))
            one.get_parameter(name).data.copy_(own)
    middle = first(x)[0] + x
    truth = second(middle)[0] + middle
    torch.testing.assert_close(layer(x)[0], truth, **EXACT)
    stream = layer.stream(B)
    steps = torch.stack([stream.step(x[at]) for at in range(T)])
    torch.testing.assert_close(steps, truth, **EXACT)
    layer.path = "vendor"
    with pytest.raises(gw.GateworkError, match="add no input to the output"):
        layer(x)


def test_heads_go_through_layers_states_and_copies():
    torch.manual_seed(0)
    layer = gw.LSTM(F, H, 2, bidirectional=True, heads=3, dtype=torch.float64)
    whole = gw.Recurrent("lstm", F, H, 2, bidirectional=True, dtype=torch.float64)
    with torch.no_grad():
        for row in whole.rows():
            for name, value in whole.named_weights(*row).items():
                value.copy_(layer.named_weights(*row)[name])
    (x,) = randoms((T, B, F))
    output, truth = layer(x)[0], whole(x)[0]
    torch.testing.assert_close(output, truth, **EXACT)
    found = torch.autograd.grad(output.square().sum(), layer.U_l1_reverse)[0]
    full = torch.autograd.grad(truth.square().sum(), whole.U_l1_reverse)[0]
    blocks = [full[k : k + 2, k % H : k % H + 2] for k in range(0, 4 * H, 2)]
    torch.testing.assert_close(found, torch.cat(blocks), **EXACT)
