import numpy as np
import pytest
from scipy import stats

from gradmeter.errors import InputError
from gradmeter.trust.evaluation import Interval, bootstrap, separation


def test_the_mean_of_normal_numbers():
    data = np.random.default_rng(0).normal(size=400)
    interval = bootstrap(np.mean, data)
    assert interval.value == data.mean()
    half = 1.96 * data.std() / 20
    assert interval.low == pytest.approx(data.mean() - half, abs=half / 5)
    assert interval.high == pytest.approx(data.mean() + half, abs=half / 5)
    assert bootstrap(np.mean, data) == interval


@pytest.mark.parametrize("count", [4, 10, 100])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_of_a_mean_is_student_s(count: int, confidence: float) -> None:
    """Percentiles that are not expanded give 0.54 and 0.82 times the width, for 4 and 10 samples at 95 %."""
    data = np.random.default_rng(5).normal(size=count)
    interval = bootstrap(np.mean, data, confidence=confidence, repetitions=20_000)
    student = stats.ttest_1samp(data, 0).confidence_interval(confidence)
    width = student.high - student.low
    assert interval.high - interval.low == pytest.approx(width, rel=0.12 if count > 4 else 0.35)


def test_two_samples_have_an_interval_from_one_to_the_other() -> None:
    assert bootstrap(np.mean, [1.0, 3.0]) == Interval(2.0, 1.0, 3.0)


@pytest.mark.slow
def test_intervals_cover_the_true_value_with_the_stated_confidence():
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        inside, outside = random.normal(size=60), random.normal(1, 1, size=50)
        interval = bootstrap(lambda a, b: separation(a, b).auroc, inside, outside, confidence=0.9, repetitions=200)
        covered += interval.low <= 0.7602 <= interval.high  # Phi(1 / sqrt 2)
    assert 0.83 <= covered / 200 <= 0.96


def test_rows_stay_together():
    random = np.random.default_rng(2)
    first = random.normal(size=300)
    both = np.stack([first, first + 0.1], axis=1)
    interval = bootstrap(lambda rows: float(np.mean(rows[:, 1] - rows[:, 0])), both)
    assert (interval.low, interval.high) == (pytest.approx(0.1), pytest.approx(0.1))


def test_copies_add_no_evidence():
    data = np.random.default_rng(3).normal(size=200)
    rows = np.random.default_rng(4).permutation(np.repeat(np.arange(200), 5))
    once, copied = bootstrap(np.mean, data), bootstrap(np.mean, data[rows], contents=[rows.astype("u8")])
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.1)
    # Of an input with many copies, much depends on whether it is drawn.
    contents = np.repeat(np.arange(60, dtype="u8"), np.where(np.arange(60) < 50, 1, 20))
    values = contents >= 50
    assert bootstrap(np.mean, values, contents=[contents]).low < 0.7 < bootstrap(np.mean, values).low


def test_bad_input():
    with pytest.raises(InputError, match=r"\b2\b"):
        bootstrap(np.mean, [1.0])
    with pytest.raises(InputError, match=r"\b2 different\b"):
        bootstrap(np.mean, [1.0, 1.0], contents=[np.zeros(2, np.uint64)])
    with pytest.raises(InputError, match=r"\b2\b"):
        bootstrap(np.mean, [])
    with pytest.raises(InputError, match="confidence"):
        bootstrap(np.mean, [1.0, 2.0], confidence=1)
