import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from mapie.risk_control.fwer_control import FWERFixedSequenceTesting
from scipy import stats

from gradmeter.errors import InputError
from gradmeter.trust.risk import Candidate, RiskNotControlled, _rejected_from, candidates, control_risk


def draw(count: int, random: np.random.Generator, sharpness: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """Return scores in [0, 1] and whether the predictions are right, with a probability that grows with the score."""
    score = random.random(count)
    return score, random.random(count) < 1 - 0.5 * np.exp(-sharpness * score)


def true_risk(threshold: float, sharpness: float = 6.0) -> float:
    """Return the error rate of scores at or above a threshold, by integration."""
    low = np.clip(threshold, 0, 1)
    return 0.5 * (np.exp(-sharpness * low) - np.exp(-sharpness)) / sharpness / (1 - low)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("risk", "confidence", "count"),
    [
        (0.02, 0.9, 2000),
        pytest.param(0.05, 0.8, 500, marks=pytest.mark.exhaustive),
        pytest.param(0.01, 0.95, 4000, marks=pytest.mark.exhaustive),
    ],
)
def test_the_guarantee_holds_with_the_stated_confidence(risk: float, confidence: float, count: int) -> None:
    random = np.random.default_rng(0)
    valid = guarantees = 0
    for _ in range(1000):
        thresholds = candidates(draw(300, random)[0], 0)
        try:
            guarantee = control_risk(*draw(count, random), risk, thresholds, confidence=confidence)
        except RiskNotControlled:
            continue
        guarantees += 1
        valid += true_risk(guarantee.threshold) <= risk
    assert guarantees > 500
    # With 1000 repetitions, a confidence that is too low by a third of 1 - confidence would fail.
    assert valid / guarantees >= confidence - 3 * np.sqrt(confidence * (1 - confidence) / guarantees)


def test_a_guarantee_is_serialisable_for_all_number_types() -> None:
    random = np.random.default_rng(2)
    score, correct = draw(3000, random)
    thresholds = candidates(draw(300, random)[0])
    guarantee = control_risk(score, correct, np.float32(0.125), thresholds, confidence=np.float32(0.875))  # type: ignore[arg-type]
    assert json.loads(json.dumps(asdict(guarantee)))["risk"] == 0.125


def test_the_threshold_is_not_needlessly_strict() -> None:
    random = np.random.default_rng(1)
    guarantee = control_risk(*draw(20_000, random), 0.02, candidates(draw(5000, random)[0], 0))
    assert 0.015 < true_risk(guarantee.threshold) <= 0.02
    assert guarantee.coverage == pytest.approx(1 - guarantee.threshold, abs=0.02)


def test_not_everything_is_accepted_if_errors_are_rarer_than_the_risk() -> None:
    """All thresholds satisfy the risk; a higher one protects against inputs of other kinds, with lower scores."""
    random = np.random.default_rng(4)
    score = random.beta(20, 1, 3000)
    correct = random.random(3000) < 0.999
    known = candidates(random.beta(20, 1, 3000))
    generous = control_risk(score, correct, 0.02, candidates(random.beta(20, 1, 3000), 0), coverage_tolerance=0)
    strict = control_risk(score, correct, 0.02, known)
    assert generous.threshold < 0.75
    assert strict.threshold > generous.threshold + 0.02
    assert 1 - 0.005 <= strict.coverage < 1
    assert control_risk(score, correct, 0.02, known, coverage_tolerance=0.1).coverage == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("least", [0.0, 0.5, 0.8])
def test_nothing_below_the_least_probability_is_accepted(least: float) -> None:
    random = np.random.default_rng(5)
    score = random.random(4000)
    guarantee = control_risk(
        score, np.ones(4000, bool), 0.05, candidates(random.random(1000), least), coverage_tolerance=0
    )
    assert guarantee.threshold == pytest.approx(least, abs=0.005)
    assert guarantee.threshold >= least
    assert guarantee.accepted == np.count_nonzero(score >= guarantee.threshold)


def test_negative_scores_are_never_accepted() -> None:
    score = np.concatenate([np.full(500, -1.0), np.linspace(0.1, 1, 1500)])
    correct = np.arange(2000) >= 500
    guarantee = control_risk(score, correct, 0.02, candidates(score, 0), coverage_tolerance=0)
    assert (guarantee.accepted, guarantee.errors) == (1500, 0)


@given(some.lists(some.floats(0, 0.2), min_size=1, max_size=30), some.integers(0, 29))
def test_a_sequence_rejects_what_mapie_rejects(p_values: list[float], start: int) -> None:
    start %= len(p_values)
    delta = 0.05
    rejected = np.flatnonzero(_rejected_from(np.array(p_values) <= delta, start)) - start
    assert rejected.tolist() == FWERFixedSequenceTesting().run(np.array(p_values[start:]), delta).tolist()


def test_the_reported_counts_are_those_of_the_data() -> None:
    random = np.random.default_rng(2)
    score, correct = draw(3000, random)
    guarantee = control_risk(score, correct, 0.05, candidates(draw(300, random)[0]))
    taken = score >= guarantee.threshold
    assert (guarantee.accepted, guarantee.errors) == (taken.sum(), (~correct[taken]).sum())
    assert guarantee.coverage == taken.mean()
    bound = stats.beta.ppf(1 - 0.05 / 5, guarantee.errors + 1, guarantee.accepted - guarantee.errors)
    assert bound <= 0.05


def test_perfect_predictions_are_all_accepted() -> None:
    score = np.linspace(0, 1, 1000)
    guarantee = control_risk(score, np.ones(1000, bool), 0.01, candidates(score, 0), coverage_tolerance=0)
    assert guarantee.coverage == 1


def test_no_threshold_can_guarantee_the_risk() -> None:
    random = np.random.default_rng(3)
    score, thresholds = random.random(2000), candidates(random.random(500))
    with pytest.raises(RiskNotControlled, match=r"\b0.05\b.*\b31.75 % of"):
        control_risk(score, random.random(2000) < 0.7, 0.05, thresholds)
    with pytest.raises(RiskNotControlled, match=r"\b20\b.*\b0.01\b.*\b459\b"):
        control_risk(score[:20], np.ones(20, bool), 0.01, thresholds)


def test_data_of_which_fewer_reach_a_threshold_than_expected() -> None:
    """Such as images that are normalised twice: it was said that too many of the best samples are wrong."""
    thresholds = candidates(np.linspace(0.4, 1, 500))
    with pytest.raises(
        RiskNotControlled, match=r": 0 of them .* by the data of fit, about 832 would reach it, so check"
    ):
        control_risk(np.full(1000, 0.1), np.ones(1000, bool), 0.5, thresholds)
    with pytest.raises(RiskNotControlled, match=r": 40 of them .* at least \d+, .*: give more data, or a higher risk"):
        control_risk(np.full(40, 0.9), np.ones(40, bool), 0.05, thresholds)
    with pytest.raises(RiskNotControlled, match=r"none of the data of fit reach it: lower least_probability"):
        control_risk(np.full(5000, 0.4), np.ones(5000, bool), 0.5, candidates(np.linspace(0.1, 0.45, 500)))
    # More than expected, but the threshold must be chosen without them.
    with pytest.raises(RiskNotControlled, match=r": by the data of fit, about 80 of them .* at least \d+, .*give more"):
        control_risk(np.full(800, 0.9), np.ones(800, bool), 0.04, candidates(np.linspace(0, 1, 10) ** 9 * 0.8))


@pytest.mark.slow
@pytest.mark.parametrize("copies", [1, 7])
def test_copies_are_no_additional_evidence(copies: int) -> None:
    """With several copies of each sample, as in oversampled data, the guarantee holds with the stated confidence."""
    random = np.random.default_rng(5)
    valid = guarantees = 0
    for _ in range(300):
        thresholds = candidates(draw(300, random)[0], 0)
        score, correct = draw(600, random)
        rows = random.permutation(np.repeat(np.arange(600), copies))
        try:
            guarantee = control_risk(score[rows], correct[rows], 0.05, thresholds, contents=rows, confidence=0.8)
        except RiskNotControlled:
            continue
        guarantees += 1
        valid += true_risk(guarantee.threshold) <= 0.05
    assert guarantees > 100
    assert valid / guarantees >= 0.8


def test_common_inputs_count_as_often_as_they_occur() -> None:
    """A tenth of all samples are copies of one wrong input; they must not count only once."""
    score, correct = np.full(2000, 0.9), np.ones(2000, bool)
    contents = np.arange(2000)
    correct[:200], contents[:200] = False, 0
    with pytest.raises(RiskNotControlled):
        control_risk(score, correct, 0.05, candidates(score), contents=contents)
    # Of equal inputs with different labels, a wrong one is tested.
    correct[1:200] = True
    assert control_risk(score, correct, 0.05, candidates(score), contents=contents).errors == 1


def test_a_common_input_that_the_judge_has_seen() -> None:
    """A tenth of all samples are copies of one wrong input; the others say nothing about it."""
    score = np.concatenate([np.linspace(0.5, 1, 1800), np.full(200, 0.9)])
    correct, seen = np.arange(2000) < 1800, np.arange(2000) >= 1800
    contents = np.arange(2000).clip(max=1800)
    thresholds = candidates(score)
    without = control_risk(score[~seen], correct[~seen], 0.05, thresholds, contents=contents[~seen])
    guarantee = control_risk(score, correct, 0.05, thresholds, contents=contents, seen=seen)
    assert without.threshold < 0.9 < guarantee.threshold
    # Only inputs that it has not seen are counted.
    assert guarantee.errors == 0
    assert guarantee.accepted == (score[~seen] >= guarantee.threshold).sum()
    assert guarantee.coverage == guarantee.accepted / 1800
    with pytest.raises(RiskNotControlled, match="also hold with 200 more"):
        control_risk(score, correct, 0.05, candidates(score[seen]), contents=contents, seen=seen)
    with pytest.raises(RiskNotControlled, match=r"^0 samples"):
        control_risk(score, correct, 0.05, thresholds, contents=contents, seen=np.ones(2000, bool))


@pytest.mark.slow
@pytest.mark.parametrize("mass", [0.01, 0.03, 0.06, 0.12])
def test_the_guarantee_holds_where_an_input_is_common_and_wrong(mass: float) -> None:
    """Copies are in one half of the data: to fit on, or to prove the guarantee."""
    random, broken, guarantees = np.random.default_rng(6), 0, 0
    for _ in range(400):
        score, correct = draw(2000, random)
        common = random.random(2000) < mass
        score[common], correct[common] = 0.8, False
        fitted = random.random(2000) < 0.5
        fitted[common] = random.random() < 0.5
        proof = ~fitted | common
        contents = np.where(common, -1, np.arange(2000))
        try:
            guarantee = control_risk(
                *(score[proof], correct[proof], 0.05, candidates(score[fitted], 0)),
                contents=contents[proof],
                seen=(fitted & common)[proof],
            )
        except RiskNotControlled:
            continue
        guarantees += 1
        accepted = (1 - mass) * (1 - min(guarantee.threshold, 1.0))
        wrong = accepted * true_risk(guarantee.threshold) + (guarantee.threshold <= 0.8) * mass
        broken += wrong / (accepted + (guarantee.threshold <= 0.8) * mass) > 0.05
    assert guarantees > 100
    assert broken / guarantees <= 0.05


def test_the_number_of_distinct_samples_is_reported_where_too_many_are_wrong() -> None:
    score = np.arange(700) % 350 / 350
    with pytest.raises(RiskNotControlled, match=r"\b700 samples\b.*\b350\b"):
        control_risk(score, np.arange(700) % 2 == 0, 0.1, candidates(score), contents=np.arange(700) % 350)


def test_the_number_of_distinct_samples_is_reported() -> None:
    score = np.full(700, 0.9)
    with pytest.raises(RiskNotControlled, match=r"^70\b.*\b0.01\b"):
        control_risk(score, np.ones(700, bool), 0.01, candidates(score), contents=np.arange(700) % 70)
    with pytest.raises(InputError, match=r"contents.*\(3,\).*\(700,\)"):
        control_risk(score, np.ones(700, bool), 0.01, candidates(score), contents=[1, 2, 3])


@pytest.mark.parametrize("risk", [1e-12, 1e-300, 5e-324])
def test_tiny_risks(risk: float) -> None:
    score = np.linspace(0, 1, 1000)
    with pytest.raises(RiskNotControlled, match=f"{risk:g}") as raised:
        control_risk(score, np.ones(1000, bool), risk, candidates(score))
    assert len(str(raised.value)) < 300


def test_candidates() -> None:
    score = np.linspace(0, 1, 1001)
    thresholds = candidates(score, 0)
    assert [candidate.threshold for candidate in thresholds] == sorted(
        {candidate.threshold for candidate in thresholds}, reverse=True
    )
    assert thresholds[-1] == Candidate(0.0, 1.0)
    for candidate in thresholds:
        assert np.mean(score >= candidate.threshold) == candidate.coverage
    assert candidates(score)[-1] == Candidate(0.5, np.mean(score >= 0.5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"risk": 0}, "risk=0"),
        ({"risk": 1.0}, "risk=1.0"),
        ({"risk": "0.1"}, "risk is a str; expected a number"),
        ({"risk": np.ones(3)}, "risk is a ndarray; expected a number"),  # as in set_risk(loader, 0.1)
        ({"confidence": 1.5}, "confidence=1.5"),
        ({"correct": np.ones(3, bool)}, r"correct.*\(3,\).*\(4,\)"),
        ({"correct": np.ones(4)}, "correct.*float64"),
        ({"coverage_tolerance": 1.0}, "coverage_tolerance=1.0"),
        ({"score": [0.1, np.nan, 0.2, 0.3]}, "score.* 1 of 4"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    arguments = {"score": np.zeros(4), "correct": np.ones(4, bool), "risk": 0.1, "thresholds": []}
    with pytest.raises(InputError, match=message):
        control_risk(**{**arguments, **change})  # type: ignore[arg-type]
