"""The drop-ins under the samples and the wrong calls that torch tests its own classes with."""

import re

import pytest
import torch

import gatework as gw

common_modules = pytest.importorskip(
    "torch.testing._internal.common_modules", reason="torch's own test helpers want expecttest"
)
PAIRS = {getattr(torch.nn, n): getattr(gw, n) for n in gw.__all__ if hasattr(torch.nn, n)}
INFOS = [info for info in common_modules.module_db if info.module_cls in PAIRS]
OPTIONS = {"device": "cpu", "dtype": torch.float64}


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def made(cls, sample):
    torch.manual_seed(0)
    return cls(*sample.constructor_input.args, **sample.constructor_input.kwargs)


def make_and_call(cls, sample):
    module = made(cls, sample)
    return module(*sample.forward_input.args, **sample.forward_input.kwargs)


def wrong_calls(info):
    return info.module_error_inputs_func(info, requires_grad=False, training=True, **OPTIONS)


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value if isinstance(value, (tuple, list)) else ()
    return [t for part in parts for t in tensors(part)]


def test_every_pair_has_samples():
    assert {info.module_cls for info in INFOS} == set(PAIRS)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("info", INFOS, ids=lambda i: i.module_cls.__name__)
def test_results_and_gradients_are_torchs(info, training):
    samples = info.module_inputs_func(info, requires_grad=True, training=training, **OPTIONS)
    called = [s for s in samples if s.forward_input is not None]
    assert called
    for sample in called:
        pair = [made(c, sample).train(training) for c in (info.module_cls, PAIRS[info.module_cls])]
        results = []
        for module in pair:
            torch.manual_seed(1)  # of the dropout
            forward = sample.forward_input
            results.append(tensors(module(*forward.args, **forward.kwargs)))
            sum(t.sum() for t in results[-1]).backward()
        for theirs, ours in zip(*results, strict=True):
            assert torch.equal(theirs, ours), sample.constructor_input.kwargs
        for theirs, ours in zip(*(m.parameters() for m in pair), strict=True):
            assert torch.equal(theirs.grad, ours.grad), sample.constructor_input.kwargs


@pytest.mark.parametrize("info", INFOS, ids=lambda i: i.module_cls.__name__)
def test_errors_are_of_torchs_type_and_words(info):
    if info.module_error_inputs_func is None:
        pytest.skip("torch has no wrong calls of this class")
    cls = PAIRS[info.module_cls]
    for case in wrong_calls(info):
        sample = case.module_error_input
        with pytest.raises(case.error_type) as raised:
            make_and_call(cls, sample)
        # torch's words stand in ours; the class name may differ in front.
        assert re.search(case.error_regex, str(raised.value)), (case.error_regex, raised.value)
