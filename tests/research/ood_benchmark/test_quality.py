import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from gradmeter.research.ood_benchmark.quality import quality_of

RANDOM = np.random.default_rng(0)
WRONG = RANDOM.random(80) < 0.25
KNOWN = RANDOM.normal(size=80) + WRONG
UNKNOWN = RANDOM.normal(1.5, size=30)


@pytest.mark.parametrize(
    ("unknown", "pooled", "outside"),
    [
        (np.empty(0), False, KNOWN[WRONG]),
        (UNKNOWN, False, UNKNOWN),
        (UNKNOWN, True, np.concatenate([KNOWN[WRONG], UNKNOWN])),
    ],
)
def test_who_is_outside(unknown: np.ndarray, pooled: bool, outside: np.ndarray) -> None:
    quality = quality_of(KNOWN, WRONG, unknown, pooled=pooled)
    inside = KNOWN[~WRONG]
    target, scores = np.repeat([0, 1], [len(inside), len(outside)]), np.concatenate([inside, outside])
    assert quality.auroc == pytest.approx(roc_auc_score(target, scores))
    assert quality.aupr_out == pytest.approx(average_precision_score(target, scores))
    accepted = np.quantile(inside, 0.95, method="inverted_cdf")
    assert quality.fpr95 == pytest.approx((outside <= accepted).mean())


@pytest.mark.parametrize("unknown", [np.empty(0), UNKNOWN])
def test_areas_of_the_risk_count_wrong_and_unknown_as_errors(unknown: np.ndarray) -> None:
    quality = quality_of(KNOWN, WRONG, unknown)
    errors = np.concatenate([WRONG, np.ones(len(unknown), bool)])[np.concatenate([KNOWN, unknown]).argsort()]
    accepted = np.concatenate([[0], errors.cumsum()])
    assert quality.aurc == pytest.approx((accepted[1:] / np.arange(1, len(accepted))).mean())
    # Linear between the coverages 0, 1/n, ..., 1.
    assert quality.augrc == pytest.approx(((accepted[1:] + accepted[:-1]) / 2 / len(errors)).mean())
