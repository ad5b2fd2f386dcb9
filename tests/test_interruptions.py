"""Resets, skipped steps, all states: equal to the caller's own loop over single steps."""

import pickle
from functools import partial

import pytest
import shared
import torch
from shared import CELLS, COMPILED, QUICK, EveryMatrix, each_cell
from tolerances import EXACT

import gatework as gw
from gatework import paths
from gatework.cells import name_of
from gatework.equations.spec import NEXT
from gatework.errors import ShapeError

T, B, F, H = 5, 3, 3, 11  # units that do not fit into one vector


def layer_of(cell, hidden=H, **options):
    torch.manual_seed(1)
    sizes = {"proj_size": 3} if "P" in gw.cells.resolve(cell).sizes else {}
    made = shared.layer_of(cell, F, hidden, dtype=torch.float64, **sizes, **options).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.uniform_(-0.8, 0.8)
    return made


def states_like(layer, rows=1):
    # Positive, since the normaliser of an exponential gate is.
    shapes = [s.shape[1:] for s in layer.state()]
    return tuple(torch.rand(rows, B, *s, dtype=torch.float64, requires_grad=True) for s in shapes)


def case():
    torch.manual_seed(2)
    x = torch.randn(T, B, F, dtype=torch.float64, requires_grad=True)
    resets, live = torch.rand(T, B) < 0.4, torch.rand(T, B) < 0.7
    assert resets[1:].any()
    assert not live[:-1].all()
    return x, resets, live


def chosen(rows, one, other):
    """One state in some rows of the batch, the other one in the rest."""
    return torch.where(rows.view(1, B, *(1,) * (one.dim() - 2)), one, other)


def by_hand(layer, x, hx, resets, live, origins):
    """The loop that users write today."""
    states, outputs, sequences = hx, [], []
    resets = resets & (live.flip(0).cumsum(0).flip(0) > 0)  # behind the last seen step is nothing
    for t in range(T):
        begins, seen = resets[t], live[t]
        states = tuple(chosen(begins, o, s) for s, o in zip(states, origins, strict=True))
        output, after = layer.step(x[t], states)
        after = after if isinstance(after, tuple) else (after,)
        states = tuple(chosen(seen, a, s) for a, s in zip(after, states, strict=True))
        outputs.append(output * seen.unsqueeze(1))
        sequences.append([chosen(seen, s, torch.zeros_like(s))[0] for s in states])
    return torch.stack(outputs), states, [torch.stack(s) for s in zip(*sequences, strict=True)]


def assert_same(one, other, leaves):
    """Values, and the gradients of a sum with other weights everywhere."""
    torch.manual_seed(3)
    weights = [torch.randn_like(v) for v in one]
    torch.testing.assert_close(one, other, **EXACT)
    found = [
        torch.autograd.grad(
            sum((v * w).sum() for v, w in zip(values, weights, strict=True)),
            leaves,
            allow_unused=True,
            materialize_grads=True,
        )
        for values in (one, other)
    ]
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("cell", "path"),
    [*((c, "reference") for c in (*CELLS, EveryMatrix)), *((c, "native") for c in COMPILED)],
    ids=lambda value: value if isinstance(value, str) else name_of(value),
)
def test_resets_and_skips_are_those_of_a_loop_by_hand(cell, path, monkeypatch):
    monkeypatch.setenv("GATEWORK_CFLAGS", QUICK)
    layer, (x, resets, live) = layer_of(cell, path=path), case()
    hx, given = states_like(layer), states_like(layer)
    zero = tuple(torch.zeros_like(s) for s in hx)
    for origins, reset_to in ((zero, None), (given, given)):
        output, states, sequences = layer(
            x, hx, mask=live, resets=resets, reset_to=reset_to, return_states=True
        )
        rows = [sequences[s.name] for s in layer.spec.states]
        wanted = by_hand(layer, x, hx, resets, live, origins)
        states = states if isinstance(states, tuple) else (states,)
        leaves = [x, *hx, *given, *layer.parameters()]
        one, other = (output, *states, *rows), (wanted[0], *wanted[1], *wanted[2])
        assert_same(one, other, leaves)


def test_units_of_several_vectors_are_reset_and_skipped_alike():
    results = []
    for path in ("native", "reference"):
        layer, (x, resets, live) = layer_of("gru_reset_before", path=path, hidden=35), case()
        results.append(layer(x, resets=resets, mask=live)[0])
    torch.testing.assert_close(*results, **EXACT)


def test_a_row_with_resets_is_the_sequences_one_by_one_in_both_directions():
    layer = layer_of("lstm", num_layers=2, bidirectional=True)
    x, lengths = case()[0], [5, 4, 0]
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[2, 0] = resets[1, 1] = resets[4, 1] = True  # the last one lies in the padding
    output, _ = layer(x, lengths=lengths, resets=resets)
    for row, parts in ((0, ((0, 2), (2, 5))), (1, ((0, 1), (1, 4)))):
        for begin, end in parts:
            alone, _ = layer(x[begin:end, row])
            torch.testing.assert_close(output[begin:end, row], alone, **EXACT)
    assert not output[:, 2].any()
    mask = torch.arange(T).unsqueeze(1) < torch.tensor(lengths)
    torch.testing.assert_close(layer(x, mask=mask, resets=resets)[0], output, **EXACT)


def test_skipped_steps_are_as_if_they_were_not_there_in_both_directions():
    layer, (x, _, live) = layer_of("gru", num_layers=2, bidirectional=True), case()
    x = torch.where(live.unsqueeze(-1), x, torch.nan)
    output, states = layer(x, mask=live)
    for row in range(B):
        alone, last = layer(x[live[:, row], row])
        torch.testing.assert_close(output[live[:, row], row], alone, **EXACT)
        torch.testing.assert_close(states[:, row], last, **EXACT)
    assert not output[~live].any()
    recorded = gw.record(layer, x, mask=live).at(1, 1)
    assert list(recorded) == [e.name for e in layer.spec.equations]
    torch.testing.assert_close(recorded["h" + NEXT], output[..., H:], **EXACT)


def test_a_reset_behind_the_last_seen_step_of_a_row_begins_nothing():
    layer, (x, _, _) = layer_of("gru", bidirectional=True), case()
    hx, given = torch.rand(2, 2, B, H, dtype=torch.float64)
    live, resets = torch.ones(2, T, B, dtype=torch.bool)
    live[3:, 0] = live[1:, 1] = False
    lengths, options = live.sum(0), {"resets": resets, "reset_to": given}
    alone = layer(x, hx, mask=live, **options)
    torch.testing.assert_close(alone, layer(x, hx, lengths=lengths, **options), **EXACT)
    live[2, 2] = False  # so the mask is no padding, which the other rows must not notice
    beside = layer(x, hx, mask=live, **options)
    for one, other in zip(beside, alone, strict=True):
        torch.testing.assert_close(one[:, :2], other[:, :2], **EXACT)


@pytest.mark.parametrize(
    ("cell", "path"),
    [("lstm", "native"), ("lstm", "reference"), ("min_gru", "scan"), ("mlstm", "reference")],
)
def test_a_reset_clears_what_is_no_number(cell, path):
    layer, (x, _, _) = layer_of(cell, path=path), case()
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[2, 0] = resets[0, 1] = True
    hx, given = states_like(layer), states_like(layer)
    broken = tuple(s.detach().clone() for s in hx)
    broken[0][0, 1], broken[-1][0, 1] = torch.nan, torch.inf
    wrong = x.detach().clone()
    wrong[1, 0] = torch.nan  # the reset of this row is behind it
    for reset_to in (None, given):
        want = layer(x, hx, resets=resets, reset_to=reset_to)[0]
        output = layer(wrong, broken, resets=resets, reset_to=reset_to)[0]
        assert output[1, 0].isnan().any()
        torch.testing.assert_close(output[2:], want[2:], **EXACT)
        # Of what a call begins with nothing reaches a gradient.
        leaves = [*layer.parameters(), x]
        found = [layer(x, s, resets=resets, reset_to=reset_to)[0].sum() for s in (hx, broken)]
        torch.testing.assert_close(
            *(torch.autograd.grad(one, leaves) for one in found), rtol=1e-9, atol=1e-9
        )


def test_interruptions_take_no_random_numbers():
    layer, (x, resets, live) = layer_of("gru", num_layers=2, dropout=0.5).train(), case()
    outputs = []
    for options in (
        {},
        {"resets": resets & False},
        {"mask": live | True, "resets": resets & False},
    ):
        torch.manual_seed(5)
        outputs.append(layer(x, **options)[0])
    for one in outputs[1:]:
        torch.testing.assert_close(one, outputs[0], **EXACT)


def test_masks_and_resets_have_the_axes_of_the_input():
    layer, (x, resets, live) = layer_of("lstm"), case()
    turned = layer_of("lstm", batch_first=True)
    want = layer(x, mask=live, resets=resets)[0]
    found = turned(x.transpose(0, 1), mask=live.t(), resets=resets.t(), return_states=True)
    torch.testing.assert_close(found[0].transpose(0, 1), want, **EXACT)
    torch.testing.assert_close(found[2]["h"], found[0], **EXACT)
    alone = layer(x[:, 0], mask=live[:, 0], resets=resets[:, 0], return_states=True)
    torch.testing.assert_close(alone[0], want[:, 0], **EXACT)
    assert alone[2]["c"].shape == (T, H)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mask": torch.ones(B, T, dtype=torch.bool)}, r"mask is a bool tensor .* \(5, 3\)"),
        ({"resets": torch.ones(T, B)}, r"resets is a bool tensor .* got torch.float32"),
        ({"reset_to": torch.zeros(1, B, H)}, "reset_to= says what resets= set states to"),
        ({"mask": torch.ones(T, B, dtype=torch.bool), "lengths": [1, 1, 1]}, "pass one of them"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    with pytest.raises(ShapeError, match=said):
        layer_of("gru")(case()[0], **options)
    packed = torch.nn.utils.rnn.pack_sequence([torch.zeros(T, F, dtype=torch.float64)])
    with pytest.raises(ShapeError, match="a PackedSequence has its lengths"):
        layer_of("gru")(packed, resets=torch.ones(T, B, dtype=torch.bool))


@pytest.mark.parametrize(
    "make",
    [
        gw.LSTM,
        gw.GRU,
        partial(gw.RNN, init="orthogonal"),
        partial(gw.Recurrent, "lstm_1997"),
    ],
)
def test_initial_states_can_be_learned(make):
    layer = make(F, H, 2, bidirectional=True, learned_states=True, dtype=torch.float64)
    own = {n: p for n, p in layer.named_parameters() if n.startswith("first_")}
    assert [*own] == [f"first_{s.name}" for s in layer.spec.states]
    assert not any(p.any() for p in own.values())
    assert "learned_states=True" in repr(layer)
    for p in own.values():
        p.data.uniform_(-1, 1)
    x, resets, _ = case()
    first = tuple(p.unsqueeze(1).expand(-1, B, -1) for p in own.values())
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            for _ in range(2):  # the second one is prepared
                torch.testing.assert_close(layer(x), layer(x, first), **EXACT)
    leaves = [*layer.parameters()]
    found = torch.autograd.grad(layer(x, resets=resets)[0].square().sum(), leaves)
    again = layer(x, first, resets=resets, reset_to=first)[0].square().sum()
    torch.testing.assert_close(found, torch.autograd.grad(again, leaves), **EXACT)
    assert all(g.any() for g in found)
    torch.testing.assert_close(layer(x[:, 0])[0], layer(x)[0][:, 0], **EXACT)
    layer.reset_parameters()
    assert not any(p.any() for p in own.values())


def test_states_have_names_and_can_be_cut_moved_and_chosen():
    layer, x = layer_of("lstm"), case()[0]
    _, states = layer(x)
    h, c = states
    assert states.h is h
    assert states.c is c
    assert not states.detach().c.requires_grad
    assert states.to(torch.float32).h.dtype == torch.float32
    chosen = states.index([2, 0, 0])
    torch.testing.assert_close(chosen.c, c[:, [2, 0, 0]], rtol=0, atol=0)
    torch.testing.assert_close(
        layer(x[:, [2, 0, 0]], chosen)[0], layer(x, states)[0][:, [2, 0, 0]], **EXACT
    )
    assert pickle.loads(pickle.dumps(states.detach())).c.equal(c)
    leaves, _ = torch.utils._pytree.tree_flatten(states)
    assert len(leaves) == 2
    gru = layer_of("gru")
    after = gru.state(gru(x)[1])
    torch.testing.assert_close(gru(x, after.index([0, 1, 2]))[0], gru(x, after.h)[0], **EXACT)
    assert gru.state(batch=2).h.shape == (1, 2, H)
    for rows in (torch.tensor([True, False, True]), [True, False, True], [0, -1], (-3, 2)):
        assert states.index(rows).h.equal(h[:, [0, 2]])
    assert states.index([]).h.shape == (1, 0, H)
    for rows in (5, [3], [-4], "a", [0.5], [True, False], slice(2)):
        with pytest.raises(ShapeError, match="wants rows of a batch of 3, as numbers below"):
            states.index(rows)
    with pytest.raises(ShapeError, match=r"index\(rows\) wants states of a batch"):
        gru.state().index([0])


@each_cell
def test_single_steps_are_the_batch_in_float32(cell):
    layer = layer_of(cell).float()
    x, states, outputs = case()[0].detach().float(), None, []
    with torch.no_grad():
        for t in range(T):
            output, states = layer.step(x[t], states)
            outputs.append(output)
        torch.testing.assert_close(torch.stack(outputs), layer(x)[0], rtol=1e-6, atol=1e-6)


def test_a_step_says_what_it_cannot_do():
    with pytest.raises(ShapeError, match=r"is bidirectional: .* which a step does not know"):
        layer_of("gru", bidirectional=True).step(torch.zeros(B, F))
    with pytest.raises(ShapeError, match=r"A step is \(B, F\) or \(F,\), got \(5, 3, 3\)"):
        layer_of("gru").step(torch.zeros(T, B, F))


def test_interrupted_layers_compile_whole():
    torch._dynamo.reset()
    layer, (x, resets, live) = layer_of("peephole_lstm"), case()

    def loss(x):
        output, _, sequences = layer(x, mask=live, resets=resets, return_states=True)
        return output.sum() + sequences["c"].square().sum()

    compiled = torch.compile(loss, fullgraph=True)
    one, other = loss(x), compiled(x)
    assert_same((one,), (other,), [x, *layer.parameters()])
    both, free = (
        layer_of("gru", bidirectional=True),
        dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC),
    )
    given = {"resets": resets, "mask": live}
    shapes = {"input": free, **dict.fromkeys(given, free)}
    with torch.no_grad():
        program = torch.export.export(both, (x,), given, dynamic_shapes=shapes).module()
        for axis in (0, 1):
            half = [v.narrow(axis, 0, 2) for v in (x, resets, live)]
            options = {"resets": half[1], "mask": half[2]}
            torch.testing.assert_close(program(half[0], **options), both(half[0], **options))
    layer = gw.LSTM(F, [H, 2], dtype=torch.float64)
    torch.compile(layer, fullgraph=True, backend="eager")(x, resets=resets)
    torch._dynamo.reset()


def test_returned_states_run_at_full_speed(caplog):
    call, _ = layer_of("lstm").prepare(case()[0], resets=case()[1])
    assert paths.choose(call).name == "native"


@pytest.mark.parametrize("cell", ["min_gru", "qrnn"])
@pytest.mark.parametrize("path", ["scan", "reference"])
def test_a_reset_keeps_what_was_before_it_from_every_later_gradient(cell, path):
    layer = gw.Recurrent(cell, 2, 11, path=path, dtype=torch.float64)
    x, resets = torch.randn(5, 1, 2, dtype=torch.float64), torch.zeros(5, 1, dtype=torch.bool)
    x[1], resets[2] = torch.nan, True
    x.requires_grad_()
    layer(x, resets=resets)[0][2:].sum().backward()
    assert x.grad[2:].isfinite().all()
