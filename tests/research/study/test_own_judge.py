"""The evaluation of a `TrustModel` in the study."""

import numpy as np
import pytest
import torch

from gradmeter import GradientMeter, TrustModel
from gradmeter.research.study.data import Draw
from gradmeter.research.study.names import TRUST_MODEL
from gradmeter.research.study.network import PaperCNN
from gradmeter.research.study.outcome import Outcome
from gradmeter.research.study.own_judge import evaluate_trust, judge_with_trust
from gradmeter.trust.evaluation import separation
from trust.quick import fit_quickly

pytestmark = pytest.mark.slow


def test_it_is_a_trust_model_with_its_defaults(
    network: PaperCNN, draw: Draw, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_quickly(monkeypatch)
    progress: list[tuple[int, int]] = []
    judged = judge_with_trust(network, draw, lambda done, total: progress.append((done, total)))
    results = list(evaluate_trust(judged, outcome, "step"))
    assert {result.score for result in results} == {TRUST_MODEL}
    assert {result.column for result in results} == {*outcome.columns}
    assert progress[-1] == (150 + 3 * 40, 150 + 3 * 40)

    labels = draw.validation.labels
    assert labels is not None
    trust = TrustModel(GradientMeter(network)).fit((draw.validation.to_tensor(), torch.from_numpy(labels)))
    digits, letters = (
        -trust.predict_proba(images.to_tensor()).numpy() for images in (draw.test, draw.unknowns["letters"])
    )
    (value,) = [r.value for r in results if (r.column, r.measure) == ("letters", "auroc")]
    assert value == pytest.approx(separation(digits[~outcome.test_wrong], letters).auroc)
    (value,) = [r.value for r in results if (r.column, r.measure) == ("wrong", "aupr_out")]
    assert value == pytest.approx(separation(digits[~outcome.test_wrong], digits[outcome.test_wrong]).aupr_out)
    assert np.isfinite([result.value for result in results]).all()
