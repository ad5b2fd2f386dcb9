"""Long sequences piece by piece, and the layer's card."""

import copy
import pickle
import re

import pytest
import torch
from shared import recurrent
from tolerances import EXACT

import gatework as gw
from gatework.errors import CellError, LayerError, ShapeError

T, B, F, H = 8, 3, 3, 4


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_pieces_are_the_whole_and_gradients_end_at_their_borders(cell):
    layer = recurrent(cell, F, H)
    pieces = gw.Stateful(layer)
    x = torch.randn(T, B, F, dtype=torch.float64, requires_grad=True)
    whole = layer(x)[0]
    outputs = [pieces(part) for part in x.split(3)]
    torch.testing.assert_close(torch.cat(outputs), whole, **EXACT)
    (by_x,) = torch.autograd.grad(outputs[-1].sum(), x)
    assert by_x[6:].all()
    assert not by_x[:6].any()
    joined = gw.Stateful(layer, detach=False)
    again = torch.cat([joined(part) for part in x.split(3)])
    wanted = torch.autograd.grad(whole.square().sum(), x)
    torch.testing.assert_close(torch.autograd.grad(again.square().sum(), x), wanted, **EXACT)


def test_what_cannot_go_on_is_refused():
    for made in (gw.GRU(F, H, bidirectional=True), gw.Bidirectional("mgu", F, H)):
        with pytest.raises(LayerError, match="runs in both directions: the second one begins"):
            gw.Stateful(gw.Stack([made]))
    pieces = gw.Stateful(gw.Stack([gw.GRU(F, H, learned_states=True)]))
    pieces(torch.randn(T, B, F))
    with pytest.raises(LayerError, match="inside of this Stack have learned where they begin"):
        pieces.reset([0])
    pieces = gw.Stateful(gw.GRU(F, H))
    pieces(torch.randn(T, F))
    with pytest.raises(ShapeError, match=r"reset\(rows\) wants states of a batch"):
        pieces.reset([0])


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("width", [H, [2, H]], ids=str)
@pytest.mark.parametrize("make", [gw.LSTM, gw.GRU])
def test_rows_begin_anew_or_go_on(make, width, learned):
    layer = make(F, width, learned_states=learned, dtype=torch.float64)
    for name, parameter in layer.named_parameters():
        if "first_" in name:
            torch.nn.init.uniform_(parameter)
    pieces, (a, b) = gw.Stateful(layer), torch.randn(2, T, B, F, dtype=torch.float64)
    pieces.reset([1])  # before there is anything
    pieces(a)
    pieces.reset(torch.tensor([False, True, False]))
    output = pieces(b)
    torch.testing.assert_close(output[:, 1], layer(b[:, 1])[0], **EXACT)
    torch.testing.assert_close(output[:, 0], layer(torch.cat([a, b])[:, 0])[0][T:], **EXACT)
    pieces.keep([2, 2])
    twice = pieces(a[:, [2, 2]])
    torch.testing.assert_close(twice[:, 1], layer(torch.cat([a, b, a])[:, 2])[0][2 * T :], **EXACT)
    for same in (copy.deepcopy(pieces), pickle.loads(pickle.dumps(pieces))):
        assert same.states is None
        torch.testing.assert_close(same(a), layer(a)[0], **EXACT)
    assert pieces.states is not None
    assert [*pieces.state_dict()] == [f"layer.{name}" for name in layer.state_dict()]
    pieces.reset()
    output, sequences = pieces(a, return_states=True)
    last = sequences.at(layer.num_layers - 1)["h"]
    torch.testing.assert_close(last, layer(a)[0], **EXACT)


def test_any_layer_can_be_stateful():
    stack = gw.Stack([gw.LSTM(F, H), gw.GRU(H, H)]).double()
    pieces, x = gw.Stateful(stack), torch.randn(T, B, F, dtype=torch.float64)
    outputs = torch.cat([pieces(part) for part in x.split(5)])
    torch.testing.assert_close(outputs, stack(x)[0], **EXACT)
    pieces.reset([0])
    assert not pieces.states[0].c[:, 0].any()
    assert pieces.states[1][:, 1].all()


def test_a_card_says_what_a_layer_does():
    layer = gw.LSTM(F, H, 2, bidirectional=True)
    before = torch.get_rng_state()
    card = gw.card(layer, torch.randn(T, B, F))
    assert card.parameters == sum(p.numel() for p in layer.parameters())
    assert card.multiply_adds == T * B * 2 * 4 * (F * H + H * H + 2 * H * H + H * H)
    assert card.kept > 4 * T * B * 2 * 2 * H  # the states at every step, at least
    assert set(card.milliseconds) == {"inference", "training", "recording"}
    assert all(p.grad is None for p in layer.parameters())
    text = str(card)
    assert "f      = sigmoid(W_f @ x + U_f @ h + b_f)" in text
    assert re.search(r"vendor +torch's kernels do not show their gates", text)
    assert card.path("recording") == "native"
    torch.set_rng_state(before)


def test_a_card_tells_why_not_another_path():
    chosen = gw.card(gw.LSTM(F, H, peephole=True, path="reference"), torch.randn(T, B, F))
    assert chosen.path() == "reference"
    reasons = dict(chosen.paths["inference"])
    assert reasons["native"] == "not asked for, path='reference'"
    free = gw.card(gw.LSTM(F, H, peephole=True), torch.randn(T, B, F))
    assert free.path("training") == "native"
    assert dict(free.paths["training"])["vendor"] == "torch has no kernel with these equations"
    with pytest.raises(CellError, match=r"torch.nn.LSTM does not show its gates"):
        gw.card(torch.nn.LSTM(F, H), torch.randn(T, B, F))


INSIDE = {
    "Bidirectional": (
        lambda: gw.Bidirectional("gru", F, H),
        {"forward_layer": (T, B, F), "backward_layer": (T, B, F)},
    ),
    "Stack": (
        lambda: gw.Stack([gw.GRU(F, [H, 2]), gw.LSTM(2, 3)]),
        {"layers.0.layers.0": (T, B, F), "layers.0.layers.1": (T, B, H), "layers.1": (T, B, 2)},
    ),
    "Widths": (lambda: gw.LSTM(F, [H, 2]), {"layers.0": (T, B, F), "layers.1": (T, B, H)}),
}


@pytest.mark.parametrize("kind", INSIDE)
def test_the_card_of_a_wrapper_is_that_of_each_layer_inside(kind):
    make, inputs = INSIDE[kind]
    layer = make()
    cards = gw.card(layer, torch.randn(T, B, F))
    assert {name: card.shape for name, card in cards.parts.items()} == inputs
    assert sum(card.parameters for card in cards.parts.values()) == cards.parameters
    lines = str(cards).splitlines()
    assert lines[0].startswith(f"{kind}(")
    titles = [f"{name}: {layer.get_submodule(name)!r}" for name in inputs]
    assert [line for line in lines if line.startswith(tuple(inputs))] == titles


def test_a_card_leaves_a_wrapper_as_it_was():
    stateful = gw.Stateful(gw.GRU(F, H))
    assert gw.card(stateful, torch.randn(T, B, F)).parts["layer"].multiply_adds
    assert stateful.states is None
    assert not stateful.layer._forward_pre_hooks


def test_what_runs_no_layer_with_equations_has_no_card():
    unused = torch.nn.Linear(F, H)
    unused.layer = gw.GRU(F, H)
    for other in (torch.nn.Linear(F, H), unused):
        with pytest.raises(CellError, match=r"^card takes .* inside, got torch\S+Linear\.$"):
            gw.card(other, torch.randn(T, B, F))


def test_what_is_no_layer_has_no_states_to_keep():
    with pytest.raises(gw.GateworkError, match=r"Stateful takes a layer, .* got str"):
        gw.Stateful("gru")
