"""A TrustModel that reads only the forward pass."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter, InputError, TrustModel

pytestmark = pytest.mark.usefixtures("quick_fits")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()


@pytest.fixture(scope="module")
def data(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Random images; every tenth label differs from the prediction."""
    images = torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        network[-1].bias.sub_(network(images).mean(0))  # type: ignore[union-attr, operator]
        labels = network(images).argmax(1)
    labels[::10] = (labels[::10] + 1) % 3
    return images, labels


@pytest.fixture(scope="module")
def trust(network: nn.Module, data: tuple[Tensor, Tensor]) -> TrustModel:
    return TrustModel(GradientMeter(network), reads="forward").fit(data, synthetic=[1 - data[0][:60]])


def test_no_feature_is_a_gradient_and_no_backward_pass_runs(
    trust: TrustModel, data: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trust.judge is not None
    sources = {feature.source for feature in trust.judge.features.axes.features}
    assert sources >= {"logits", "embedding", "activations"}
    assert "gradients" not in sources
    monkeypatch.setattr(torch.autograd.graph.Node, "__call__", lambda *_: pytest.fail("a backward pass"), raising=False)
    with torch.no_grad():
        assert trust.predict_proba(data[0][:5]).shape == (5,)
    assert trust.meter(data[0][:5]).layers == ()


def test_readings_with_gradients_give_the_same_verdict(trust: TrustModel, data: tuple[Tensor, Tensor]) -> None:
    readings = GradientMeter(trust.meter.model).for_trust_model()(data[0])
    np.testing.assert_allclose(trust.predict_proba(readings), trust.predict_proba(data[0]), rtol=1e-4)


def test_readings_without_gradients_are_refused_by_a_judge_that_needs_them(
    trust: TrustModel, data: tuple[Tensor, Tensor]
) -> None:
    with_gradients = TrustModel(GradientMeter(trust.meter.model), reads="gradients").fit(data, synthetic=[])
    with pytest.raises(InputError, match="gradients"):
        with_gradients.predict_proba(trust.meter(data[0]))


def test_it_is_saved_and_loaded(trust: TrustModel, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    trust.save(tmp_path / "trust")
    loaded = TrustModel.load(tmp_path / "trust", trust.meter.model)
    assert not loaded.meter.gradients
    torch.testing.assert_close(loaded.predict_proba(data[0]), trust.predict_proba(data[0]))


def test_a_scikit_learn_classifier_sees_the_outputs(network: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    trust = TrustModel(GradientMeter(network), "ridge", reads="forward").fit(data)
    assert trust.judge is not None
    assert {feature.source for feature in trust.judge.features.axes.features} == {"outputs"}


def test_another_word_is_refused(network: nn.Module) -> None:
    with pytest.raises(InputError, match="backward"):
        TrustModel(GradientMeter(network), reads="backward")


def test_inputs_in_another_unit_are_unknown_even_if_few_kinds_were_learned(
    trust: TrustModel, data: tuple[Tensor, Tensor]
) -> None:
    """Their logits are so large that their features of the softmax are those of very sure predictions."""
    assert trust.judge is not None
    for factor in (10, 1e3, 1e6):
        judged = trust.judge.judge(trust.meter(factor * data[0]))
        assert judged.p_known is not None
        assert judged.p_known.max() < 0.01
        assert not judged.familiar.any()
