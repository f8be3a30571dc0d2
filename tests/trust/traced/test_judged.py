"""The traced judge gives the verdicts of `TrustModel.verdicts`, which NumPy and scikit-learn compute in float64."""

from functools import cache
from math import inf

import numpy as np
import pytest
import torch
from torch import Tensor

from apps.onnx.exported import needs_exporter
from gradmeter import GradientMeter, GradmeterError, InputError, TrustModel
from gradmeter.errors import GradmeterWarning
from gradmeter.reading.probes.mirror import MIRROR
from gradmeter.trust.candidates import ConfidenceCurve, Regression
from gradmeter.trust.confidence import KnownFeatures, NormalisedLogit, SecondLook, Softmax
from gradmeter.trust.features import ACTIVATIONS, EMBEDDING, OUTPUTS
from gradmeter.trust.meta_classifier import SCORES
from gradmeter.trust.reasons import UNFAMILIAR, split_reason
from gradmeter.trust.traced import JudgedNetwork
from gradmeter.trust.two_heads import SOFTMAX
from trust.trained import digits, loader, noise, trained

# float32 outputs of a float64 judge, whose convolutions were computed in another order.
TOLERANCE = 1e-5


@cache
def fitted() -> TrustModel:
    return TrustModel(GradientMeter(trained()), reads="forward").fit(loader(300, 900))


@cache
def stressed() -> TrustModel:
    """It reads gradients of the network's weights, without biases, for three pseudo-labels."""
    meter = GradientMeter(trained(), ["predicted", "uniform", "all-ones"], biases=False)
    trust = TrustModel(meter, reads="gradients").fit(loader(300, 900), synthetic=[noise(60)])
    trust.set_risk(0.08, loader(900, 1400))
    return trust


def guaranteed(score: str = "p_correct") -> TrustModel:
    """A copy of the fitted TrustModel with a guarantee."""
    trust = TrustModel(GradientMeter(trained()), reads="forward")
    trust.meter, trust.judge, trust.learned_contents = fitted().meter, fitted().judge, fitted().learned_contents
    trust.set_risk(0.08, loader(900, 1400), score=score)
    return trust


def images() -> Tensor:
    """Digits, turned digits and noise, so that verdicts of all kinds occur."""
    new = digits()[0][1400:1600]
    return torch.cat([new, new[:60].transpose(2, 3), noise(60)])


def require_same(trust: TrustModel, inputs: Tensor) -> None:
    network = JudgedNetwork(trust, inputs[:3])
    with torch.no_grad():
        expected, given = trust.verdicts(inputs), network(inputs)
    assert given.prediction.tolist() == expected["prediction"].to_pylist()
    np.testing.assert_allclose(given.probabilities.amax(1), expected["probability"].to_numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(given.probabilities.sum(1), 1, atol=TOLERANCE)
    for name in SCORES:
        np.testing.assert_allclose(getattr(given, name), expected[name].to_numpy(), atol=TOLERANCE)
    if trust.guarantee is None:
        assert not given.accepted.any()
        return
    accepted, reasons = expected["accepted"].to_numpy(), expected["reason"].to_pylist()
    assert 0 < accepted.sum() < len(accepted)
    assert given.accepted.tolist() == accepted.tolist()
    rejected = [split_reason(reason) for reason in reasons if reason is not None]
    unfamiliar = given.unfamiliar[~given.accepted]
    assert unfamiliar.tolist() == [kind == UNFAMILIAR for kind, _ in rejected]
    numbers = given.unfamiliar_layers[~given.accepted][unfamiliar].tolist()
    named = [tuple(network.layers[number] for number in row if number >= 0) for row in numbers]
    assert named == [layers for kind, layers in rejected if kind == UNFAMILIAR]


@pytest.mark.slow
@pytest.mark.parametrize("score", SCORES)
def test_each_score_decides_as_in_the_trust_model(score: str) -> None:
    require_same(guaranteed(score), images())


@pytest.mark.slow
def test_gradients() -> None:
    require_same(stressed(), images())
    require_same(stressed(), images()[::40])


def test_without_a_guarantee_nothing_is_accepted() -> None:
    require_same(fitted(), images())


def test_the_ranking_of_the_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    trust = guaranteed()
    assert trust.judge is not None
    monkeypatch.setattr(trust.judge.classifier, "ranking", SOFTMAX)
    require_same(trust, images())


def test_without_unknown_inputs_only_distances_count() -> None:
    trust = TrustModel(GradientMeter(trained()), reads="forward").fit(loader(300, 900), synthetic=[])
    require_same(trust, images())


def test_few_wrong_predictions_leave_the_softmax() -> None:
    inputs, labels = digits()
    predicted = trained()(inputs).argmax(1)
    right = (predicted == labels).nonzero()[:, 0][:700]
    trust = TrustModel(GradientMeter(trained()), reads="forward")
    with pytest.warns(GradmeterWarning, match="trained on these samples"):
        trust.fit((inputs[right], labels[right]), synthetic=[noise(60)])
    require_same(trust, images())


@pytest.mark.parametrize(
    "curve",
    [
        ConfidenceCurve(),
        ConfidenceCurve(Softmax(2.0)),
        ConfidenceCurve(NormalisedLogit(4.0)),
        pytest.param(ConfidenceCurve(SecondLook(-3.0)), marks=needs_exporter),
        *(
            pytest.param(Regression(SecondLook(-3.0), group, 1e-2), marks=needs_exporter)
            for group in (OUTPUTS, EMBEDDING, ACTIVATIONS)
        ),
    ],
    ids=str,
)
def test_each_model_of_the_known_head(curve: ConfidenceCurve, monkeypatch: pytest.MonkeyPatch) -> None:
    trust = fitted()
    assert trust.judge is not None
    readings = GradientMeter(trained()).for_trust_model(gradients=False)(digits()[0][300:900])
    heads, block = trust.judge.classifier, trust.judge.features.block(readings)
    assert MIRROR in readings.scores
    features = heads._known_features(
        block.values, heads._distances(block.values), heads._outputs(block.values), heads.known_.strengths
    )
    assert isinstance(features, KnownFeatures)
    wrong = (readings.predictions != digits()[1][300:900]).numpy()
    monkeypatch.setattr(heads.known_, "members_", [curve.fit(features.scored(curve.confidence), wrong)])
    monkeypatch.setattr(heads.known_, "slope_", 1.4)
    monkeypatch.setattr(heads.known_, "intercept_", -0.3)
    monkeypatch.setattr(heads.near_, "log_share_", -2.0)
    looking = TrustModel(GradientMeter(trained()), reads="forward")
    look = inf if heads.second_look is None else heads.second_look
    looking.meter = looking.meter.for_trust_model(gradients=False, second_look=look)
    looking.judge = trust.judge
    require_same(looking, images())


def test_inputs_that_cannot_be_traced() -> None:
    with pytest.raises(GradmeterError, match="fit"):
        JudgedNetwork(TrustModel(GradientMeter(trained()), reads="forward"), images()[:3])
    other = TrustModel(GradientMeter(trained()), "ridge", reads="forward").fit(loader(300, 900), [noise(60)])
    with pytest.raises(InputError, match="gradmeter"):
        JudgedNetwork(other, images()[:3])
    probing = TrustModel(GradientMeter(trained(), probes=["odin"]), reads="forward")
    probing.fit(loader(300, 700), synthetic=[])
    with pytest.raises(InputError, match="odin"):
        JudgedNetwork(probing, images()[:3])
