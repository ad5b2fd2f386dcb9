"""Windows and splits: against plain loops."""

import numpy as np
import pytest
import torch
from data_tools import ragged

from gatework.data import load_cube
from gatework.data.splits import check_long_enough, check_plan, default_context, held_out, split
from gatework.data.windows import Windows, places
from gatework.errors import DataError

NAN = float("nan")


# Windows.


@pytest.mark.parametrize(("context", "horizon"), [(1, 1), (4, 3), (7, 2)])
@pytest.mark.parametrize("stride", [1, 3])
def test_places_are_those_of_a_plain_loop(context, horizon, stride):
    cube = ragged()
    begin = np.array([5, 0, 20])
    expected = []
    for row, length in enumerate(cube.lengths):
        first = max(begin[row], context)
        for origin in range(first, length - horizon + 1, stride):
            past = cube.values[row, origin - context : origin, 0]
            future = cube.values[row, origin : origin + horizon, 0]
            if not (np.isnan(past).all() or np.isnan(future).all()):
                expected.append((row, origin))
    rows, origins = places(cube, begin, cube.lengths, context, horizon, stride)
    assert list(zip(rows.tolist(), origins.tolist(), strict=True)) == expected
    assert expected


def test_no_place_at_all():
    rows, origins = places(ragged(), np.zeros(3, int), np.full(3, 4), 4, 3)
    assert (len(rows), len(origins)) == (0, 0)


@pytest.mark.parametrize(("context", "horizon"), [(1, 1), (5, 4), (40, 3)])
def test_batches_equal_slices_with_padding_and_masks(context, horizon):
    cube = ragged()
    # Every origin, also those with a context that begins before the series or at its end.
    pairs = [(row, o) for row, n in enumerate(cube.lengths) for o in range(1, n + 1)]
    rows, origins = (np.array(v) for v in zip(*pairs, strict=True))
    batch = Windows(torch.from_numpy(cube.values), rows, origins, context, horizon).batch(
        np.arange(len(rows))
    )
    for i, (row, origin) in enumerate(pairs):
        past = np.full((context, 2), NAN)
        for step in range(context):
            if origin - context + step >= 0:
                past[step] = cube.values[row, origin - context + step]
        future = np.full(horizon, NAN)
        for step in range(horizon):
            if origin + step < cube.lengths[row]:
                future[step] = cube.values[row, origin + step, 0]
        assert np.array_equal(batch.context[i], np.nan_to_num(past))
        assert np.array_equal(batch.seen[i], ~np.isnan(past))
        assert np.array_equal(batch.target[i], np.nan_to_num(future))
        assert np.array_equal(batch.known[i], ~np.isnan(future))


def test_a_batch_is_in_the_order_of_its_index():
    cube = load_cube(np.arange(20.0))
    rows, origins = places(cube, np.array([0]), cube.lengths, 3, 2)
    batch = Windows(torch.from_numpy(cube.values), rows, origins, 3, 2).batch(torch.tensor([4, 0]))
    assert batch.target.tolist() == [[7, 8], [3, 4]]


# Splits.


@pytest.mark.parametrize("validation", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("horizon", [1, 4])
def test_parts_do_not_overlap_in_time(validation, horizon):
    cube = ragged()
    begin = held_out(cube, horizon)
    cut = split(cube, horizon, validation, begin)
    edges = [(np.zeros(3, int), cut.train), (cut.train, cut.validation), (begin, cube.lengths)]
    last = np.zeros(3, int)
    for start, end in edges:
        rows, origins = places(cube, start, end, 2, horizon)
        for row in range(3):
            targets = [o + h for r, o in zip(rows, origins, strict=True) for h in range(horizon)
                       if r == row]  # fmt: skip
            if targets:
                assert min(targets) >= last[row]
                last[row] = max(targets) + 1
    assert (last > 0).any()


def test_the_test_part_is_a_share_and_holds_a_forecast():
    cube = load_cube([np.ones(100), np.ones(20), np.ones(3)])
    assert held_out(cube, 4).tolist() == [85, 16, 0]
    assert held_out(cube, 4, test=10).tolist() == [90, 10, 0]


def test_validation_is_a_share_and_holds_a_forecast():
    cube = load_cube([np.ones(100), np.ones(20), np.ones(3)])
    cut = split(cube, 6, 0.2)
    assert cut.train.tolist() == [80, 14, 0]
    assert cut.validation.tolist() == [100, 20, 3]
    assert split(cube, 6, 0.0).train.tolist() == [100, 20, 3]


@pytest.mark.parametrize(
    ("steps", "horizon", "season", "context"),
    [(200, 12, 12, 24), (200, 5, 1, 15), (40, 12, 12, 14), (14, 12, 12, 1), (12, 12, 12, 1)],
)
def test_the_default_context(steps, horizon, season, context):
    cut = split(load_cube(np.ones(steps)), horizon, 0.0)
    assert default_context(cut, horizon, season) == context


def test_series_that_are_too_short_are_named_and_all_of_them_refused():
    cube = load_cube([np.ones(30), np.ones(6), np.ones(5)])
    cut = split(cube, 2, 0.0)
    assert check_long_enough(cube, cut, 3, 2) == []
    assert (
        "1 of 3 series have no training window of 6 steps" in check_long_enough(cube, cut, 4, 2)[0]
    )
    with pytest.raises(DataError, match=r"context 40 \+ horizon 2 = 42 steps.*'0'.*has 30 steps"):
        check_long_enough(cube, cut, 40, 2)


def test_a_plan_counts_what_is_held_out():
    cube = load_cube(np.ones(50))
    context, short = check_plan(cube, 10, None, None, held_out(cube, 10))
    assert (context, short) == (10, [])
    with pytest.raises(DataError, match="has 50 steps, 16 of them for training, 34 for validation"):
        check_plan(cube, 17, None, None, held_out(cube, 17))
