import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from gradmeter import DataError
from gradmeter.research.street.judges import (
    ALONE,
    BOOSTING,
    BOTH,
    FORWARD,
    GRADIENTS,
    INPUTS,
    LOGISTIC,
    NOISE,
    VARIANTS,
    Lessons,
    Panel,
    judge_name,
)
from gradmeter.research.street.network import BEFORE, LAST, StreetNet
from gradmeter.research.street.reading import PixelFeatures, SceneReader


def pixels(seed: int) -> tuple[PixelFeatures, np.ndarray]:
    """Pixels whose gradients say much, and whose inputs say little, beyond the forward pass."""
    random = np.random.default_rng(seed)
    outside = random.random(3000) < 0.3

    def block(shift: float, width: int) -> np.ndarray:
        return shift * outside[:, None] + random.normal(size=(3000, width))

    return PixelFeatures(block(0.3, 4), block(0.1, 3), block(0.6, 5)), outside


def test_gradients_add_and_noise_does_not() -> None:
    panel = Panel(Lessons(*pixels(0)), seed=0)
    features, outside = pixels(1)
    scores = panel(features)
    assert [*scores] == [judge_name(classifier, variant) for classifier in VARIANTS for variant in VARIANTS[classifier]]
    auroc = {name: roc_auc_score(outside, values) for name, values in scores.items()}
    for classifier in (LOGISTIC, BOOSTING):
        of_variant = {variant: auroc[judge_name(classifier, variant)] for variant in VARIANTS[classifier]}
        assert of_variant[GRADIENTS] > of_variant[FORWARD] + 0.05
        assert of_variant[BOTH] > of_variant[INPUTS] + 0.05
        assert abs(of_variant[NOISE] - of_variant[FORWARD]) < 0.02
    assert auroc[judge_name(LOGISTIC, ALONE)] > auroc[judge_name(LOGISTIC, FORWARD)]


def test_the_features_of_pixels() -> None:
    torch.manual_seed(0)
    network = StreetNet(3)
    images = torch.rand(2, 3, 12, 16)
    scenes = SceneReader(network)(images)
    features = PixelFeatures.of(scenes)
    assert len(features) == 2 * 12 * 16
    assert scenes.pixels.layers == (LAST, BEFORE)
    probabilities = scenes.pixels.logits.double().softmax(dim=1)
    top = probabilities.topk(2, dim=1).values
    np.testing.assert_allclose(features.forward[:, 0], (1 - top[:, 0]).log().flatten().numpy(), rtol=1e-6)
    np.testing.assert_allclose(features.forward[:, 4], (top[:, 0] - top[:, 1]).flatten().numpy(), rtol=1e-6)
    np.testing.assert_allclose(features.forward[:, -3], scenes.pixels.logits[:, 0].flatten().numpy(), rtol=1e-6)
    # The size of the last layer's gradient is that of p - e times that of the input and the bias's 1, and its features
    # are relative to 1 - p.
    norms = (scenes.inputs.double() ** 2).sum(dim=1).add(1).sqrt().flatten().numpy()
    np.testing.assert_allclose(features.inputs[:, 1] ** 2, np.log(np.sqrt(norms**2 - 1) + 1e-12) ** 2, rtol=1e-6)
    p = probabilities.permute(0, 2, 3, 1).reshape(-1, 3).numpy()
    e = np.eye(3)[p.argmax(axis=1)]
    size = np.linalg.norm(p - e, axis=1) / (1 - p.max(axis=1))
    np.testing.assert_allclose(features.gradients[:, 1], np.log(size * norms), rtol=1e-4, atol=1e-4)
    # Seven statistics, of two layers and two pseudo-labels.
    assert features.gradients.shape[1] == 7 * 2 * 2
    assert all(np.isfinite(block).all() for block in (features.forward, features.inputs, features.gradients))
    rows = np.array([5, 3])
    np.testing.assert_array_equal(features.rows(rows).inputs, features.inputs[rows])
    joined = PixelFeatures.concatenate([features, features])
    np.testing.assert_array_equal(joined.gradients[len(features) :], features.gradients)


def test_too_few_kinds_of_pixels_fail_clearly() -> None:
    features, _ = pixels(0)
    for outside in (np.zeros(3000, np.bool_), np.ones(3000, np.bool_), np.arange(3000) >= 2400):
        with pytest.raises(DataError, match=r"2,400 pixels .* two kinds"):
            Panel(Lessons(features, outside), seed=0)
