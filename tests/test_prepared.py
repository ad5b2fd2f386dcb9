"""Calls in inference that come again: nothing that changes a layer may go unnoticed."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import gatework as gw
from gatework.equations import Cell, Input, Matrix, State, Vector, tanh
from gatework.paths import build, prepared, workspace

if build.compiler() is None:
    pytest.skip("there is no C compiler", allow_module_level=True)


class ProjectedAlone(Cell):
    """Its only state is projected: no state tells the number of hidden units."""

    x, h = Input(), State("P")
    W_a, U_a, b_a = Matrix(x), Matrix(h), Vector()
    a = tanh(W_a @ x + U_a @ h + b_a)
    V = Matrix(a, "P")
    h_next = V @ a


def check(layer, x, hx=None):
    """The native path beside the reference, twice."""
    with torch.no_grad():
        for _ in range(2):
            got = layer(x, hx)[0]
            layer.path = "reference"
            want = layer(x, hx)[0]
            layer.path = "native"
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def gru(features=8, hidden=16):
    torch.manual_seed(0)
    return gw.Recurrent("gru", features, hidden, path="native")


X = torch.randn(9, 4, 8, generator=torch.Generator().manual_seed(0))


def test_sizes_that_no_state_tells():
    for hidden in (8, 40, 24):
        check(gw.Recurrent(ProjectedAlone, 8, hidden, proj_size=4, path="native"), X)


def changed_in_place(layer):
    layer.W_l0.data.mul_(2)


def pruned(layer):
    prune.random_unstructured(layer, "U_l0", 0.5)


def mask_turned(layer):
    prune.random_unstructured(layer, "U_l0", 0.5)
    check(layer, X)
    layer.U_l0_mask.copy_(1 - layer.U_l0_mask)


def made_anew(layer):
    parametrizations.weight_norm(layer, "U_l0")


def not_a_parameter(layer):
    weight = layer.U_l0.detach().clone()
    del layer.U_l0
    layer.U_l0 = weight
    check(layer, X)
    layer.U_l0 = torch.randn_like(weight)


def assigned(layer):
    old = dict(layer.named_parameters())
    layer.load_state_dict({k: v.clone() for k, v in layer.state_dict().items()}, assign=True)
    with torch.no_grad():
        for tensor in old.values():
            tensor.normal_()  # they belong to somebody else now


@pytest.mark.parametrize(
    "change",
    [changed_in_place, pruned, mask_turned, made_anew, not_a_parameter, assigned],
    ids=lambda f: f.__name__,
)
def test_a_change_is_noticed(change):
    layer = gru()
    check(layer, X)
    with torch.no_grad():
        change(layer)
    check(layer, X)


def test_what_the_weights_were_is_nobody_s_to_change():
    layer = gw.Recurrent("gru_reset_before", 64, 16, path="native")  # the input comes ready
    x = torch.randn(9, 2, 64)
    check(layer, x)
    assigned(layer)
    check(layer, x)


def test_a_layer_that_has_left_the_processor_is_refused():
    layer = gru()
    check(layer, X)
    with torch.no_grad(), pytest.raises(RuntimeError):
        layer.to("meta")(X)


def test_a_call_that_outlived_its_weights_is_not_put_back():
    layer = gru()
    check(layer, X)
    with torch.no_grad():
        held = prepared.find(layer, X, None)
        layer.W_l0.mul_(2)
        layer(X)
        prepared.put_back(layer, X, None, held)
    check(layer, X)


def test_inference_mode_and_no_grad_may_alternate():
    layer = gw.Recurrent("gru_reset_before", 64, 32, path="native")
    x = torch.randn(9, 2, 64)
    with torch.inference_mode():
        layer(x)
    check(layer, x)
    with torch.inference_mode():
        layer(x)


@pytest.mark.parametrize("path", ["auto", "vendor", "native"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_every_form_of_the_initial_state_after_any_other(path, mode):
    layer, h = gw.GRU(8, 16, path=path), torch.randn(1, 4, 16)
    with mode():
        want = layer(X, h)[0]
        for hx in (h, (h,), [h], None, (h,), [h], h):
            output = layer(X, hx)[0]
            assert torch.equal(output, want) == (hx is not None)
        with pytest.raises(gw.ShapeError, match="got 0"):
            layer(X, ())


def test_results_are_the_callers_own():
    layer = gru()
    with torch.no_grad():
        first, state = layer(X)
        kept = first.clone(), state.clone()
        layer(2 * X)
    assert torch.equal(first, kept[0])
    assert torch.equal(state, kept[1])


def test_memory_is_given_back_when_asked():
    layer = gru()
    check(layer, X)
    workspace.release_memory()
    with torch.no_grad():
        assert prepared.find(layer, X, None) is None


def test_compiled_training_behind_a_layer_with_the_batch_first():
    torch._dynamo.reset()
    first, layer = nn.Linear(8, 8), gw.Recurrent("gru", 8, 16, batch_first=True)
    compiled = torch.compile(lambda x, h: layer(first(x), h)[0], fullgraph=True)
    hx = torch.randn(1, 16, 9).transpose(1, 2)  # not contiguous
    compiled(X, hx).sum().backward()
    want = first.weight.grad.clone()
    first.weight.grad = None
    layer(first(X), hx)[0].sum().backward()
    torch.testing.assert_close(first.weight.grad, want)
    torch._dynamo.reset()


@pytest.mark.parametrize("precision", ["highest", "half"])
def test_the_operators_pass_torchs_own_checks(precision):
    layer, x = gru(), X.transpose(0, 1).requires_grad_()
    groups = list(layer.groups(0, 0).values())
    h = torch.randn(16, 9).t()
    given = (x.detach(), [h], groups, [], None, layer.spec.text, precision, None, False, True)
    output, *rest = torch.ops.gatework.steps(*given)
    back = (*given[:-1], output, rest[1:], [output, rest[0]], True)
    torch.library.opcheck(torch.ops.gatework.steps_back, back, test_utils=("test_faketensor",))
    given = (x, *given[1:])
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.gatework.steps, given, test_utils=tests)
