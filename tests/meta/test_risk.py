import numpy as np
import pytest
from scipy import stats

from gradmeter.errors import InputError
from gradmeter.meta.risk import Candidate, RiskNotControlled, candidates, control_risk


def draw(count: int, random: np.random.Generator, sharpness: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """A score in [0, 1] and whether the prediction is right: more often the higher the score is."""
    score = random.random(count)
    return score, random.random(count) < 1 - 0.5 * np.exp(-sharpness * score)


def true_risk(threshold: float, sharpness: float = 6.0) -> float:
    """Rate of errors among scores of at least a threshold, by integration."""
    low = np.clip(threshold, 0, 1)
    return 0.5 * (np.exp(-sharpness * low) - np.exp(-sharpness)) / sharpness / (1 - low)


@pytest.mark.parametrize(("risk", "confidence", "count"), [(0.02, 0.9, 2000), (0.05, 0.8, 500), (0.01, 0.95, 4000)])
def test_the_promise_is_kept_as_often_as_stated(risk: float, confidence: float, count: int) -> None:
    random = np.random.default_rng(0)
    kept = found = 0
    for _ in range(1000):
        thresholds = candidates(draw(300, random)[0])
        try:
            guarantee = control_risk(*draw(count, random), risk, thresholds, confidence=confidence)
        except RiskNotControlled:
            continue
        found += 1
        kept += true_risk(guarantee.threshold) <= risk
    assert found > 500
    # 1000 repetitions would show a confidence that is a third of its complement too low.
    assert kept / found >= confidence - 3 * np.sqrt(confidence * (1 - confidence) / found)


def test_the_threshold_is_not_needlessly_strict() -> None:
    random = np.random.default_rng(1)
    guarantee = control_risk(*draw(20_000, random), 0.02, candidates(draw(5000, random)[0]))
    assert 0.015 < true_risk(guarantee.threshold) <= 0.02
    assert guarantee.coverage == pytest.approx(1 - guarantee.threshold, abs=0.02)


def test_what_is_reported_is_what_was_seen() -> None:
    random = np.random.default_rng(2)
    score, correct = draw(3000, random)
    found = control_risk(score, correct, 0.05, candidates(draw(300, random)[0]))
    taken = score >= found.threshold
    assert (found.accepted, found.errors) == (taken.sum(), (~correct[taken]).sum())
    assert found.coverage == taken.mean()
    bound = stats.beta.ppf(1 - 0.05 / 5, found.errors + 1, found.accepted - found.errors)
    assert bound <= 0.05


def test_perfect_answers_are_all_accepted() -> None:
    score = np.linspace(0, 1, 1000)
    assert control_risk(score, np.ones(1000, bool), 0.01, candidates(score)).coverage == 1


def test_no_threshold_can_promise_it() -> None:
    random = np.random.default_rng(3)
    score, thresholds = random.random(2000), candidates(random.random(500))
    with pytest.raises(RiskNotControlled, match=r"no threshold can promise a risk of 0.05 .* 31.75% are wrong"):
        control_risk(score, random.random(2000) < 0.7, 0.05, thresholds)
    with pytest.raises(RiskNotControlled, match=r"20 samples cannot promise a risk of 0.01 .* at least 459"):
        control_risk(score[:20], np.ones(20, bool), 0.01, thresholds)


def test_candidates() -> None:
    found = candidates(np.arange(1000.0))
    assert [one.threshold for one in found] == sorted((one.threshold for one in found), reverse=True)
    assert found[-1] == Candidate(0.0, 1.0)
    assert np.mean(np.arange(1000.0) >= found[19].threshold) == pytest.approx(found[19].coverage, abs=0.002)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"risk": 0}, "risk=0; expected a share"),
        ({"risk": 1.0}, "risk=1.0; expected"),
        ({"confidence": 1.5}, "confidence=1.5; expected"),
        ({"correct": np.ones(3, bool)}, r"correct has shape \(3,\); expected \(4,\)"),
        ({"correct": np.ones(4)}, "correct is float64; expected bool"),
        ({"probability": [0.1, np.nan, 0.2, 0.3]}, "expected finite numbers"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    arguments = {"probability": np.zeros(4), "correct": np.ones(4, bool), "risk": 0.1, "thresholds": []}
    with pytest.raises(InputError, match=message):
        control_risk(**{**arguments, **change})  # type: ignore[arg-type]
