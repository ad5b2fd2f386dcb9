"""The running tail: held to the same numbers worked out at once, and to chances that are known."""

import math

import numpy as np
import pytest
from scipy import stats

from gatework.tasks.surprise import FLOOR, Begin, Judge, Mean, Tail, fisher

NAN = float("nan")


def surprise(known, error):
    """Minus the logarithm of the chance of an error among known ones, from the definition."""
    known = np.sort(known)
    largest = max(1, len(known) // 100)
    tail, threshold = known[-largest:], max(known[-largest - 1], FLOOR)
    beyond = math.log((len(known) + 1) / (largest + 1))
    if error <= threshold:
        return beyond * error / threshold
    excess = (tail - threshold).clip(min=0).sum() + max(known[len(known) // 2], FLOOR)
    return beyond + (error - threshold) / (excess / (largest + 1))


@pytest.mark.parametrize("memory", [40, 150, 1000])
def test_the_tail_is_that_of_the_last_errors(memory):
    errors = np.random.default_rng(0).standard_t(3, 500).round(2).__abs__()
    tail = Tail(memory)
    found = [tail.step(e) for e in errors.tolist()]
    assert found[:20] == [0.0] * 20  # too few are known
    expected = [surprise(errors[max(0, i - memory) : i], errors[i]) for i in range(20, 500)]
    np.testing.assert_allclose(found[20:], expected, rtol=1e-12)
    assert len(tail.recent) == len(tail.ordered) == min(memory, 500)


def test_chances_of_exponential_errors_are_what_they_are_said_to_be():
    random = np.random.default_rng(1)
    tail = Tail(8000, random.exponential(2.0, 8000).tolist())
    found = np.array([tail.step(e) for e in random.exponential(2.0, 20000).tolist()])
    for chance in (1e-2, 1e-3):
        assert (found > -math.log(chance)).mean() == pytest.approx(chance, rel=0.4)


def test_errors_of_nothing_do_not_divide_by_it():
    tail = Tail(100, [0.0] * 100)
    assert tail.step(0.0) == 0.0
    assert math.isfinite(tail.step(1e12))


@pytest.mark.parametrize("chances", [[0.3], [1e-3, 0.5], [0.2, 1e-8, 0.04]])
def test_chances_are_joined_by_fishers_method(chances):
    expected = stats.combine_pvalues(chances, method="fisher").pvalue
    assert fisher([-math.log(c) for c in chances]) == pytest.approx(-math.log10(expected))


def test_nothing_seen_is_no_surprise():
    assert fisher([]) == fisher([0.0, 0.0]) == 0.0
    assert fisher([5000.0, 5000.0]) > 4000  # beyond what a float64 holds as a chance


@pytest.mark.parametrize("memory", [1, 7, 100])
def test_the_mean_is_that_of_the_last_values_that_are_there(memory):
    values = np.random.default_rng(2).normal(1e6, 1, (60, 2))
    values[np.random.default_rng(3).random((60, 2)) < 0.4] = NAN
    values[20:30] = NAN
    mean = Mean(memory, values[:5])
    for step in range(5, 60):
        mean.step(values[step])
        last = values[max(0, step + 1 - memory) : step + 1]
        with np.errstate(invalid="ignore"):
            expected = np.nansum(last, axis=0) / (~np.isnan(last)).sum(axis=0)
        np.testing.assert_allclose(mean.mean(), expected, rtol=1e-12)


def begin(level=0.0, errors=(), moves=()):
    return Begin(np.array([level]), np.array(errors), np.array(moves))


def test_what_is_missing_is_neither_judged_nor_remembered():
    judge = Judge(3, 50, 0, begin(1.0))
    for step, e in enumerate(np.random.default_rng(4).exponential(1, 60).tolist()):
        missing = step % 3 == 0
        score = judge.step(NAN if missing else e, np.array([NAN if missing else e]))
        assert not missing or score == 0.0
    # The first value that is there has no mean before it to have moved from.
    assert [len(t.recent) for t in judge.tails] == [40, 39]


def test_behind_a_loud_step_only_a_louder_one_counts():
    known = begin(errors=np.linspace(0, 1, 200))
    errors = [2.0, 1.5, 6.0, 2.9, 0.0, 0.0, 0.0, 2.5]
    plain, quiet = (Judge(0, 1000, q, known) for q in (0, 3))
    every = [plain.step(e, np.zeros(1)) for e in errors]
    heard = [quiet.step(e, np.zeros(1)) for e in errors]
    assert every[2] > every[0] > every[3] > every[7] > 1.5
    assert heard == [every[0], 0, every[2], 0, 0, 0, 0, every[7]]


def test_a_slow_move_is_seen_by_the_short_mean_alone():
    random = np.random.default_rng(5)
    values = random.normal(0, 1, 700)
    values[600:] += 1.5
    found = {}
    for short in (0, 20):
        judge = Judge(short, 1000, 0, begin())
        errors = np.abs(random.normal(0, 1, 700))
        pairs = zip(errors.tolist(), values, strict=True)
        found[short] = np.array([judge.step(e, np.array([v])) for e, v in pairs])
    assert found[20][600:640].max() > 3.5
    assert found[20][100:600].max() < 3.5
    assert found[0].max() < 3.5


def test_a_judge_goes_on_where_another_one_was():
    data = np.random.default_rng(6).exponential(1, (120, 3))
    make = lambda: Judge(4, 30, 5, Begin(np.zeros(2), data[:25, 0], data[:25, 1]))
    one, other = make(), make()
    for e, *v in data[:70]:
        one.step(e, np.array(v))
    other.restore(one.state())
    for e, *v in data[70:]:
        assert other.step(e, np.array(v)) == one.step(e, np.array(v))
    with pytest.raises(ValueError, match="expected"):
        Judge(4, 31, 5, Begin(np.zeros(2), np.empty(0), np.empty(0))).restore(one.state())
