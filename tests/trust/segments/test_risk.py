"""The guarantee over images: its p values are valid, and it holds in simulations."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gradmeter.trust.risk import Candidate, RiskNotControlled
from gradmeter.trust.segments.risk import SegmentGuarantee, control_segment_risk, least_images, p_values

LEVELS = np.linspace(0.98, 0.3, 60)


def draw(images: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, whether segments are wrong, and their images, which differ in number of segments and in difficulty."""
    image = np.repeat(np.arange(images), random.integers(1, 25, images))
    hard = random.beta(1, 4, images)[image]
    score = random.random(len(image))
    return score, random.random(len(image)) < 2.5 * hard * (1 - score), image


def thresholds(random: np.random.Generator) -> list[Candidate]:
    score, _, image = draw(400, random)
    best = np.array([score[image == number].max() for number in range(400)])
    return [Candidate(float(level), float((best >= level).mean())) for level in LEVELS]


def guarantee(images: int, random: np.random.Generator, risk: float = 0.1, confidence: float = 0.8) -> SegmentGuarantee:
    return control_segment_risk(
        *draw(images, random), risk, thresholds(random), confidence=confidence, coverage_tolerance=0.0
    )


@given(st.integers(1, 60), st.floats(0.01, 0.6), st.floats(0.001, 0.3))
def test_p_values_of_shares_0_and_1_are_valid(images: int, risk: float, delta: float) -> None:
    # All numbers of ones, with their probability if the expectation is the risk.
    columns = (np.arange(images)[:, None] < np.arange(images + 1)).astype(float)
    rejected = p_values(columns, risk) <= delta
    assert stats.binom.pmf(np.arange(images + 1), images, risk)[rejected].sum() <= delta * (1 + 1e-9)


@given(st.integers(1, 5), st.floats(0.05, 0.5), st.floats(0.05, 0.9))
def test_p_values_are_valid_for_shares_of_three_kinds(images: int, risk: float, middle: float) -> None:
    # A distribution on {0, middle, 1} with the risk as expectation, enumerated.
    high = min(0.5, risk / 2)
    part = min(1 - high, (risk - high) / middle)
    high = risk - part * middle
    chances = {0.0: 1 - part - high, middle: part, 1.0: high}
    outcomes = list(itertools.product(chances, repeat=images))
    probability = np.array([math.prod(chances[share] for share in outcome) for outcome in outcomes])
    p = p_values(np.array(outcomes).T, risk)
    for delta in np.unique(p):
        assert probability[p <= delta].sum() <= delta * (1 + 1e-9)


def test_the_order_of_images_and_images_without_segments_do_not_matter() -> None:
    shares = np.random.default_rng(0).beta(1, 20, (80, 1))
    p = p_values(shares, 0.1)
    assert p_values(shares[::-1], 0.1) == pytest.approx(p)
    assert p_values(np.concatenate([shares, np.full((9, 1), np.nan)]), 0.1) == pytest.approx(p)
    assert p_values(np.full((3, 1), np.nan), 0.1) == pytest.approx(1)


def test_shares_that_vary_little_need_few_images() -> None:
    """A binomial test of one segment of each image needs far more."""
    shares = np.full((60, 1), 0.05)
    assert p_values(shares, 0.15)[0] < 0.01
    assert stats.binom.cdf(3, 60, 0.15) > 0.01


@pytest.mark.parametrize(("risk", "delta"), [(0.1, 0.01), (0.02, 0.01), (0.3, 0.2), (0.001, 0.01)])
def test_the_least_number_of_images(risk: float, delta: float) -> None:
    count = least_images(risk, delta)
    assert p_values(np.zeros((count, 1)), risk)[0] <= delta
    assert p_values(np.zeros((count - 1, 1)), risk)[0] > delta
    # Not far above what a binomial test needs.
    assert count < 1.6 * math.log(delta) / math.log1p(-risk) + 2


def true_shares() -> np.ndarray:
    """The expected share of wrong ones among accepted segments of an image, for each level, by 60,000 images."""
    score, wrong, image = draw(60_000, np.random.default_rng(99))
    expected = []
    for level in LEVELS:
        taken = score >= level
        accepted = np.bincount(image[taken], minlength=60_000)
        errors = np.bincount(image[taken & wrong], minlength=60_000)
        expected.append((errors[accepted > 0] / accepted[accepted > 0]).mean())
    return np.array(expected)


@pytest.mark.slow
def test_the_guarantee_holds_with_the_stated_confidence() -> None:
    expected, random = true_shares(), np.random.default_rng(1)
    assert expected[0] < 0.1 < expected[-1]
    broken, coverages = 0, []
    for _ in range(400):
        try:
            found = guarantee(300, random)
        except RiskNotControlled:
            continue
        level = int(np.argmin(np.abs(LEVELS - found.threshold)))
        # The true shares are known to about 0.0005.
        broken += expected[level] > 0.1 + 0.001
        coverages.append(found.coverage)
    assert len(coverages) > 300
    assert broken / 400 <= 0.2 + 3 * math.sqrt(0.2 * 0.8 / 400)
    # It is not bought by accepting next to nothing.
    largest = 1 - LEVELS[expected <= 0.1].min()
    assert np.mean(coverages) > 0.5 * largest


def test_the_counts_are_those_of_the_data() -> None:
    random = np.random.default_rng(2)
    data, levels = draw(400, random), thresholds(random)
    found = control_segment_risk(*data, 0.12, levels, confidence=0.9, coverage_tolerance=0.01)
    score, wrong, image = data
    taken = score >= found.threshold
    assert (found.accepted, found.wrong) == (taken.sum(), wrong[taken].sum())
    assert found.coverage == taken.mean()
    each = [wrong[taken & (image == number)].mean() for number in np.unique(image[taken])]
    assert found.images == len(each)
    assert found.wrong_share == pytest.approx(np.mean(each))
    assert found.wrong_share < 0.12


def test_the_numbers_of_images_need_not_be_consecutive() -> None:
    score, wrong, image = draw(200, np.random.default_rng(3))
    levels = thresholds(np.random.default_rng(4))
    options = {"confidence": 0.9, "coverage_tolerance": 0.0}
    found = control_segment_risk(score, wrong, image, 0.2, levels, **options)
    assert control_segment_risk(score, wrong, 7 * image + 5, 0.2, levels, **options) == found


def test_one_bad_image_does_not_count_as_its_many_segments() -> None:
    """80 images of 5 right segments, and one of 400 wrong ones: a small share of images, a half of all segments."""
    image = np.concatenate([np.repeat(np.arange(80), 5), np.full(400, 80)])
    wrong = image == 80
    levels = [Candidate(0.5, 1.0)]
    found = control_segment_risk(np.ones(800), wrong, image, 0.1, levels, confidence=0.8, coverage_tolerance=0.0)
    assert found.wrong_share == pytest.approx(1 / 81)
    assert found.wrong == 400


def test_risks_that_cannot_be_guaranteed() -> None:
    random = np.random.default_rng(5)
    with pytest.raises(RiskNotControlled, match="expected at least 4"):
        guarantee(20, random, 0.01)
    with pytest.raises(RiskNotControlled, match="no threshold"):
        guarantee(300, random, 0.03, 0.8)
    score, options = np.full(100, 0.1), {"confidence": 0.9, "coverage_tolerance": 0.0}
    with pytest.raises(RiskNotControlled, match=r"in 0 of them .* about 90 would reach it, so check"):
        control_segment_risk(score, score > 1, np.arange(100), 0.3, [Candidate(0.6, 0.9)], **options)
