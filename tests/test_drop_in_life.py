"""What happens to a layer in other people's programs: copies, files, casts, hooks, patches."""

import copy
import io
import pickle

import pytest
import torch
from shared import randoms
from tolerances import EXACT, HALF
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, prune
from torch_pairs import BATCH, FEATURES, HIDDEN, KINDS, STEPS, make, results

import gatework as gw

each_kind = pytest.mark.parametrize("kind", KINDS)
each_path = pytest.mark.parametrize("path", ["auto", "reference"])


def assert_same(got, expected):
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def batch(seed=1):
    return randoms((STEPS, BATCH, FEATURES), seed=seed, requires_grad=False)[0]


def through_pickle(layer):
    return pickle.loads(pickle.dumps(layer))


def through_a_saved_module(layer):
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def through_a_saved_state(layer):
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    torch.manual_seed(9)
    other = type(layer)(*_sizes(layer), dtype=torch.float64, **_kind(layer))
    other.load_state_dict(state, strict=True)
    return other


def _sizes(layer):
    return layer.input_size, layer.hidden_size, layer.num_layers


def _kind(layer):
    if isinstance(layer, gw.RNN):
        return {"nonlinearity": layer.nonlinearity}
    return {"proj_size": layer.proj_size}


@each_kind
@pytest.mark.parametrize(
    "travel", [copy.deepcopy, through_pickle, through_a_saved_module, through_a_saved_state]
)
def test_a_copy_computes_the_same_and_is_its_own(kind, travel):
    _, layer = make(kind, num_layers=2)
    other = travel(layer)
    assert repr(other) == repr(layer)
    expected = results(layer)
    assert_same(results(other), expected)
    with torch.no_grad():
        other.weight_hh_l0.add_(1)
    assert_same(results(layer), expected)
    assert not torch.allclose(results(other)[0], expected[0])


@each_kind
@each_path
def test_functional_call_uses_the_given_weights(kind, path):
    theirs, ours = make(kind, num_layers=2, path=path)
    x = batch()
    moved = {n: (p + 0.1).detach().requires_grad_() for n, p in theirs.named_parameters()}
    for tied in (False, True):
        one = functional_call(theirs, moved, (x,), tie_weights=tied)[0]
        two = functional_call(ours, moved, (x,), tie_weights=tied)[0]
        assert_same([two], [one])
        assert_same(*(torch.autograd.grad(y.sum(), list(moved.values())) for y in (two, one)))
    assert_same([ours(x)[0]], [theirs(x)[0]])  # and its own again afterwards


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@each_kind
@each_path
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_half_precision_is_near_the_truth(kind, path, dtype):
    _, layer = make(kind, path=path)
    x = batch()
    truth = layer(x)[0]
    output, states = layer.to(dtype)(x.to(dtype))
    assert (
        output.dtype == (states if isinstance(states, torch.Tensor) else states[0]).dtype == dtype
    )
    name = str(dtype).removeprefix("torch.")
    torch.testing.assert_close(output.double(), truth, **HALF[name])


@each_kind
@each_path
def test_autocast_takes_single_precision_and_stays_near(kind, path):
    theirs, ours = (layer.float() for layer in make(kind, num_layers=2, path=path))
    x = batch().float()
    truth = ours(x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, expected = ours(x)[0], theirs(x)[0]
    if path == "auto":  # the reference casts operation by operation, and its sums stay float32
        assert torch.equal(output, expected)
    torch.testing.assert_close(output, truth, **HALF["bfloat16"], check_dtype=False)


@each_kind
@each_path
def test_frozen_parameters_get_no_gradient(kind, path):
    theirs, ours = make(kind, num_layers=2, path=path)
    x = batch()
    for layer in (theirs, ours):
        for name, parameter in layer.named_parameters():
            parameter.requires_grad_("hh_l0" in name)
        layer(x)[0].sum().backward()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None) == ("hh_l0" not in name)
    assert_same([ours.weight_hh_l0.grad], [theirs.weight_hh_l0.grad])
    with torch.no_grad():
        assert not ours(x)[0].requires_grad


@each_kind
@each_path
def test_input_need_not_be_contiguous(kind, path):
    theirs, ours = make(kind, path=path)
    base = randoms((FEATURES, BATCH, 2 * STEPS))[0]
    x = base[:, :, ::2].permute(2, 1, 0)
    assert not x.is_contiguous()
    assert_same([ours(x)[0]], [theirs(x)[0]])
    one, two = (torch.autograd.grad(m(x)[0].sum(), base)[0] for m in (theirs, ours))
    assert_same([two], [one])


@each_path
def test_one_step_one_sequence_one_unit(path):
    for theirs, ours in ((nn.LSTM, gw.LSTM), (nn.GRU, gw.GRU), (nn.RNN, gw.RNN)):
        layer, other = theirs(1, 1, dtype=torch.float64), ours(1, 1, dtype=torch.float64, path=path)
        other.load_state_dict(layer.state_dict())
        x = randoms((1, 1, 1))[0]
        assert_same([other(x)[0]], [layer(x)[0]])


@each_path
def test_an_empty_batch_gives_an_empty_output(path):
    theirs, ours = make("lstm", path=path)
    x = torch.zeros(STEPS, 0, FEATURES, dtype=torch.float64)
    assert [t.shape for t in (ours(x)[0], *ours(x)[1])] == [
        t.shape for t in (theirs(x)[0], *theirs(x)[1])
    ]


# Tools that reach into a layer from outside.


def normalised(layer):
    return parametrizations.weight_norm(layer, "weight_hh_l0")


def orthogonal(layer):
    torch.manual_seed(3)
    return parametrizations.orthogonal(layer, "weight_hh_l0")


def pruned(layer):
    return prune.l1_unstructured(layer, "weight_hh_l0", amount=0.5)


def replaced(layer):
    layer.weight_hh_l0 = nn.Parameter(layer.weight_hh_l0.detach() * 2)
    return layer


TOOLS = (normalised, orthogonal, pruned, replaced)


@each_path
@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_does_to_the_drop_in_what_it_does_to_torch_s(tool, path):
    pair = [tool(layer) for layer in make("lstm", num_layers=2, path=path)]
    x = batch()
    for _ in range(2):  # the second step sees what the first one's update did
        outputs = [layer(x)[0] for layer in pair]
        assert_same([outputs[1]], [outputs[0]])
        for layer, output in zip(pair, outputs, strict=True):
            layer.zero_grad()
            output.square().sum().backward(retain_graph=True)
            with torch.no_grad():
                for parameter in layer.parameters():
                    parameter.sub_(0.1 * parameter.grad)
    for a, b in zip(*(layer.parameters() for layer in pair), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def replica(layer):
    """What DataParallel runs: a shallow copy whose parameters are plain tensors."""
    copied = layer._replicate_for_data_parallel()
    for name, parameter in layer.named_parameters():
        setattr(copied, name, parameter * 1)
    return copied


@each_path
def test_a_replica_sends_its_gradients_to_the_original(path):
    gradients = []
    for layer in make("gru", num_layers=2, path=path):
        loss = replica(layer)(batch())[0].square().sum()
        gradients.append(torch.autograd.grad(loss, list(layer.parameters())))
    assert_same(*gradients)


def test_a_hook_sees_the_call():
    seen = []
    layer = gw.GRU(FEATURES, HIDDEN, dtype=torch.float64)
    layer.register_forward_hook(lambda module, args, output: seen.append(output[0].shape))
    layer(batch())
    assert seen == [(STEPS, BATCH, HIDDEN)]


class Tagger(nn.Module):
    """Code written against torch.nn by somebody who has never heard of us."""

    def __init__(self, kind):
        super().__init__()
        made = getattr(nn, kind)
        self.rnn = made(FEATURES, HIDDEN, 2, batch_first=True, dropout=0.1, bidirectional=True)
        self.cell = getattr(nn, f"{kind}Cell")(2 * HIDDEN, HIDDEN)
        self.head = nn.Linear(HIDDEN, 2)
        for module in self.modules():
            if isinstance(module, (getattr(nn, kind), nn.RNNCellBase)):
                for name, parameter in module.named_parameters():
                    if "weight" in name:
                        nn.init.orthogonal_(parameter)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
        output, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        state = self.cell(output.sum(1))
        return self.head(state[0] if isinstance(state, tuple) else state)


def trained(kind):
    """Losses of a few steps, and the parameters afterwards."""
    torch.manual_seed(0)
    model = Tagger(kind).double()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    x = batch().transpose(0, 1)
    losses = []
    for _ in range(4):
        optimiser.zero_grad()
        loss = model(x, torch.tensor([2, 4, 3])).square().sum()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss)
    return [torch.stack(losses), *model.parameters()], model


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_foreign_code_trains_the_same_with_the_drop_ins_patched_in(kind, monkeypatch):
    expected, _ = trained(kind)
    for name in (kind, f"{kind}Cell"):
        monkeypatch.setattr(nn, name, getattr(gw, name))
    got, model = trained(kind)
    assert type(model.rnn) is getattr(gw, kind)
    assert_same(got, expected)
    monkeypatch.undo()
    theirs = Tagger(kind).double()
    theirs.load_state_dict(model.state_dict(), strict=True)


@pytest.mark.filterwarnings("ignore")  # torch.ao announces its own end
def test_dynamic_quantisation_of_the_rest_leaves_the_layer_alone():
    # torch quantises its own LSTM class alone (it compares types), so this layer stays as it is.
    model = nn.ModuleDict({"rnn": gw.LSTM(FEATURES, HIDDEN), "head": nn.Linear(HIDDEN, 2)})
    x = torch.randn(STEPS, BATCH, FEATURES)
    before = model["rnn"](x)[0]
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    assert type(quantised["head"]) is not nn.Linear
    assert torch.equal(quantised["rnn"](x)[0], before)
    assert quantised["head"](before).shape == (STEPS, BATCH, 2)


def test_accelerate_runs_a_layer():
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    _, layer = make("lstm")
    expected = layer(batch())[0]
    layer, optimiser = accelerator.prepare(layer, torch.optim.SGD(layer.parameters(), lr=0.1))
    output = layer(batch())[0]
    assert_same([output], [expected])
    accelerator.backward(output.square().sum())
    before = layer.weight_hh_l0.detach().clone()
    optimiser.step()
    assert not torch.equal(layer.weight_hh_l0, before)
