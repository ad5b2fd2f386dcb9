"""What test_sanitized.py runs under the sanitizers: few cells and many shapes, on every way.

A write beyond an array's end is a matter of sizes: here they are one, odd, and just off the
tiles and vectors of the kernels. The long form takes every cell.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import kernel_cases
import pytest
import test_plan
import torch
from kernel_cases import case, run
from tolerances import EXACT, SINGLE

from gatework.cells import resolve
from gatework.paths import kernel_shape, native

# Two states, two stages, a projection: compiling more would take a minute.
FEW = [
    (resolve("peephole_lstm"), torch.float32),
    (resolve("peephole_lstm"), torch.float64),
    (resolve("gru_reset_before"), torch.float64),
    (resolve("projected_lstm"), torch.float64),
]
EVERY = list(product(test_plan.CELLS, [torch.float64, torch.float32]))
# T, B, F, H
SHAPES = [(1, 1, 3, 5), (1, 7, 1, 17), (2, 2, 5, 3), (5, 1, 4, 33), (5, 7, 3, 19)]
# Not the long sequences: in float32 the signs of small numbers make them differ.
MORE = [*SHAPES, *(shape for shape in kernel_cases.SHAPES[1:] if shape[0] <= 5)]


def pytest_generate_tests(metafunc):
    """Each test with each kernel, and with each shape where it takes one."""
    is_long = metafunc.config.getoption("every_cell", False)
    kernels = EVERY if is_long else FEW
    names = [f"{spec.name}-{str(dtype).partition('.')[2]}" for spec, dtype in kernels]
    if "spec" in metafunc.fixturenames:
        metafunc.parametrize(("spec", "dtype"), kernels, ids=names)
    if "shape" in metafunc.fixturenames:
        metafunc.parametrize("shape", MORE if is_long else SHAPES, ids=str)


@pytest.fixture(scope="session", autouse=True)
def _compiled(request):
    """All kernels, several at a time: compiling them takes longer than everything else."""
    kernels = EVERY if request.config.getoption("every_cell", False) else FEW
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda kernel: native.library(*kernel), kernels))


def compare(got, expected):
    scales = [true.abs().max().clamp(min=1e-3) for true, _ in expected]
    # Some gradients are small differences of large numbers: the reference errs in float32 too.
    errors = [
        ((r.double() - t).abs().max() / s) for (t, r), s in zip(expected, scales, strict=True)
    ]
    limits = {**SINGLE, "atol": SINGLE["atol"] + 4 * float(max(errors))}
    for mine, (true, _), scale in zip(got, expected, scales, strict=True):
        if mine.dtype == torch.float64:
            torch.testing.assert_close(mine, true, **EXACT)
        else:
            torch.testing.assert_close(mine.double() / scale, true / scale, **limits)


def by_reference(layer, x, states, ends):
    """The reference's results in float64, each beside the one in the dtype of the layer."""
    rounded = run(layer, "reference", x, states, ends)
    dtype = x.dtype
    wide = [t.detach().double().requires_grad_() for t in (x, *states)]
    truth = run(layer.double(), "reference", wide[0], wide[1:], ends)
    layer.to(dtype)
    return list(zip(truth, rounded, strict=True))


def test_forward_and_backward(spec, dtype, shape):
    layer, x, states = case(spec, shape, dtype, num_layers=2, bidirectional=True)
    steps, batch = shape[:2]
    for ends in (None, [(steps, 0, 1)[row % 3] for row in range(batch)], [0] * batch):
        compare(run(layer, "native", x, states, ends), by_reference(layer, x, states, ends))


def test_inference_and_the_stream(spec, dtype, shape):
    layer, x, states = case(spec, shape, dtype, num_layers=2)
    layer.eval()  # masks at their mean: a stream draws its own
    first, *_ = by_reference(layer, x, states, None)
    layer.path = "native"
    given = states[0] if len(states) == 1 else tuple(states)
    stream = layer.stream(shape[1])
    stream.states = given
    with torch.no_grad():
        for _ in range(2):  # set up, and as it was kept
            compare([layer(x, given)[0]], [first])
        compare([torch.stack([stream.step(row) for row in x])], [first])


@pytest.mark.parametrize(("inside", "threads"), [*product((False, True), (1, 2, 3))])
def test_threads_that_share_rows_or_columns(monkeypatch, spec, dtype, inside, threads):
    monkeypatch.setattr(kernel_shape, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(kernel_shape, "AT_ONCE", 4096)  # several parts
    monkeypatch.setattr(kernel_shape.Shape, "multiplies_inside", lambda self, given: inside)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for cache in (0, 1 << 20):  # columns are shared where weights do not stay in the cache
            monkeypatch.setattr(kernel_shape, "OWN_CACHE", cache)
            for shape, ends in (((6, 3, 5, 70), [6, 0, 2]), ((3, 13, 3, 9), None)):
                layer, x, states = case(spec, shape, dtype)
                compare(run(layer, "native", x, states, ends), by_reference(layer, x, states, ends))
    finally:
        torch.set_num_threads(before)


def test_resets_skipped_steps_and_all_states(shape):
    layer, x, _ = case(resolve("peephole_lstm"), shape, torch.float64, bidirectional=True)
    options = {"resets": torch.rand(shape[:2]) < 0.3, "mask": torch.rand(shape[:2]) < 0.7}
    leaves, found = [x, *layer.parameters()], []
    for layer.path in ("native", "reference"):
        output, states, sequences = layer(x, return_states=True, **options)
        values = [output, *states, *(v for row in sequences.rows for v in row.values())]
        loss = sum(v.square().sum() for v in values)
        found.append([*values, *torch.autograd.grad(loss, leaves)])
    torch.testing.assert_close(*found, **EXACT)
