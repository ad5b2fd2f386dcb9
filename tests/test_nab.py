"""The benchmark's scoring rules, held to the rules written down once more, alarm by alarm."""

import importlib
import math
import os
from pathlib import Path

import numpy as np
import pytest

from gatework.errors import DataError
from gatework.tasks.nab import PROFILES, Marked, judge, probation


def sigmoid(place):
    return 2 / (1 + math.exp(5 * place)) - 1


def worth(corpus, profile, threshold):
    """The raw score of a corpus at a threshold, one step after the other."""
    total = 0.0
    for one in corpus:
        hit, behind = {}, None
        for step, score in enumerate(one.scores):
            window = next((w for w in one.windows if w[0] <= step <= w[1]), None)
            if window is None and (past := [w for w in one.windows if w[1] < step]):
                behind = (step - past[-1][1]) / (past[-1][1] - past[-1][0])
            if step < probation(len(one.scores)) or score < threshold:
                continue
            if window is not None:
                place = (step - window[1] - 1) / (window[1] - window[0] + 1)
                hit.setdefault(window, profile.hit * sigmoid(place) / sigmoid(-1))
            else:
                far = behind is None or behind >= 3
                total += profile.false_alarm * (-1 if far else sigmoid(behind))
        total += sum(hit.get(window, -profile.miss) for window in one.windows)
    return total


def random_corpus(seed):
    random = np.random.default_rng(seed)
    # Few different scores, so that many are equal.
    return [
        Marked(random.integers(0, 9, 60) / 8, [(12, 20), (21, 23), (40, 49)]),
        Marked(random.integers(0, 9, 40) / 8, []),
        Marked(random.integers(0, 9, 100) / 8, [(5, 30), (90, 99)]),
    ]


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("seed", range(5))
def test_the_best_threshold_and_its_score_are_those_of_the_rules(name, seed):
    corpus, profile = random_corpus(seed), PROFILES[name]
    raw = {t: worth(corpus, profile, t) for t in [np.inf, *np.arange(9) / 8]}
    windows = 5
    null = -windows * profile.miss
    judged = judge(corpus, profile)
    best = max(raw.values())
    assert judged.score == pytest.approx(100 * (best - null) / (windows * profile.hit - null))
    assert raw[judged.threshold] == pytest.approx(best)
    assert judged.by_series.sum() == pytest.approx(best)
    apart = [worth([one], profile, judged.threshold) for one in corpus]
    np.testing.assert_allclose(judged.by_series, apart)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_silence_is_worth_nothing_and_perfection_a_hundred(profile):
    windows = [(40, 60), (80, 90)]
    perfect = np.zeros(100)
    perfect[[40, 80]] = 1
    judged = judge([Marked(perfect, windows)], profile)
    assert judged.score == pytest.approx(100)
    assert (judged.threshold, judged.found, judged.false_alarms) == (1.0, 2, 0)
    silent = judge([Marked(np.zeros(100), windows), Marked(np.ones(100), [])], PROFILES["low FP"])
    assert silent.score == 0
    assert (silent.threshold, silent.found, silent.false_alarms) == (np.inf, 0, 0)


def test_a_late_alarm_is_worth_less_and_a_false_one_costs():
    def score(*alarms):
        scores = np.zeros(200)
        scores[list(alarms)] = 1
        return judge([Marked(scores, [(100, 119)])]).score

    assert score(100) == pytest.approx(100)
    assert score(100, 110) == score(100)  # the first one counts
    by_hand = sigmoid(-0.5) / sigmoid(-1)
    assert score(110) == pytest.approx(50 + 50 * by_hand)
    assert score(100, 50) == pytest.approx(100 - 50 * 0.11)
    assert score(100, 129) == pytest.approx(100 + 50 * 0.11 * sigmoid(10 / 19))
    assert score(100, 10) == score(100)  # on probation


def test_the_probation_ends_with_five_thousand_steps():
    assert [probation(n) for n in (10, 4032, 5000, 20000)] == [1, 604, 750, 750]


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(DataError, match="nothing to be found"):
        judge([Marked(np.zeros(5), [])])
    with pytest.raises(DataError, match="finite numbers"):
        Marked(np.array([0, np.nan]), [])
    with pytest.raises(DataError, match="one behind the other"):
        Marked(np.zeros(5), [(3, 5)])


# The benchmark's own detectors on its own data, against what it has published of them.


@pytest.fixture(scope="module")
def corpus():
    """The benchmark script, and the series of the corpus."""
    root = Path(__file__).parent.parent
    data = Path(os.environ.get("GATEWORK_DATA", root.parent / "shared" / "data")) / "nab"
    if not (root / "benchmarks").is_dir() or not data.is_dir():
        pytest.skip(f"the benchmarks do not come with the package, or there is no {data}")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root / "benchmarks")
        script = importlib.import_module("nab")
        yield script, script.load(data)


def test_the_corpus_is_whole(corpus):
    _, series = corpus
    assert (len(series), sum(len(s.values) for s in series)) == (58, 365_558)
    assert sum(len(s.windows) for s in series) == 116


def test_its_windowed_gaussian_has_its_published_score(corpus):
    script, series = corpus
    marked = [Marked(script.windowed_gaussian(s.values, 0), s.windows) for s in series]
    assert judge(marked).score == pytest.approx(39.6, abs=1)


def test_chance_and_silence_have_theirs(corpus):
    script, series = corpus
    drawn = [
        judge([Marked(script.chance(s.values, seed), s.windows) for s in series]).score
        for seed in range(8)
    ]
    assert np.mean(drawn) == pytest.approx(11.0, abs=3.5)
    assert judge([Marked(script.silent(s.values, 0), s.windows) for s in series]).score == 0
