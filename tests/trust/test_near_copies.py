import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gradmeter import GradientMeter
from gradmeter.trust.doubts import doubts
from gradmeter.trust.near_copies import similar_errors
from trust.trained import digits, train, untrained

Samples = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def patients(count: int, images: int, *, error: float = 0.1, seed: int = 0) -> Samples:
    """Predictions, labels and outputs of several images of each patient, whose predictions are mostly the same."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    predictions = np.where(rng.random(count) < error, (labels + rng.integers(1, 4, count)) % 4, labels)
    outputs = rng.normal(size=(count, 30)) + labels[:, None]
    of_image = np.repeat(np.arange(count), images)
    changed = rng.random(count * images) < 0.02
    predicted = np.where(changed, labels[of_image], predictions[of_image])
    return predicted, labels[of_image], outputs[of_image] + 0.3 * rng.normal(size=(count * images, 30))


@pytest.mark.parametrize(("count", "images"), [(400, 2), (200, 3), (100, 10), (20, 50)])
def test_several_images_of_a_patient(count: int, images: int) -> None:
    samples = patients(count, images)
    share = similar_errors(*samples)
    assert share is not None
    assert share > 0.8
    (note,) = doubts(*samples)
    assert f"for {100 * share:.0f} % of the wrong predictions" in note
    assert "--one-per" in note


@pytest.mark.parametrize("error", [0.05, 0.2, 0.5, 0.9])
def test_one_image_of_each_is_no_sign(error: float) -> None:
    for seed in range(20):
        samples = patients(400, 1, error=error, seed=seed)
        assert similar_errors(*samples) is None
        assert not any("--one-per" in note for note in doubts(*samples))


def test_errors_of_a_class_that_is_always_predicted_as_another_are_no_sign() -> None:
    _, labels, outputs = patients(400, 1)
    # All labels 1 are predicted as 2: their neighbours have label 1, too.
    outputs[:, :10] += 10 * labels[:, None]
    assert similar_errors(np.where(labels == 1, 2, labels), labels, outputs) is None


@pytest.mark.parametrize("seed", [0, 2])
def test_errors_of_a_weak_network_that_lie_together_are_no_sign(seed: int) -> None:
    torch.manual_seed(seed)
    network = untrained()
    train(network, samples=50, steps=30)
    images, labels = (part[300:].clone() for part in digits())
    readings = GradientMeter(network.eval()).for_trust_model(gradients=False)(images)
    assert readings.activations is not None
    outputs = readings.activations.values.flatten(1).numpy()
    assert similar_errors(readings.predictions.numpy(), labels.numpy(), outputs) is None


def test_a_few_wrong_predictions_are_no_sign() -> None:
    predictions, labels, outputs = patients(400, 2)
    wrong = np.flatnonzero(predictions != labels)
    predictions[wrong[8:]] = labels[wrong[8:]]
    assert similar_errors(predictions, labels, outputs) is None


def test_outputs_that_show_nothing_are_left_out() -> None:
    predictions, labels, outputs = patients(400, 2)
    nothing = np.stack([np.ones(800), np.full(800, np.nan), np.r_[np.inf, np.ones(799)]], axis=1)
    share = similar_errors(predictions, labels, outputs)
    assert similar_errors(predictions, labels, np.concatenate([outputs, nothing], axis=1)) == pytest.approx(
        share, abs=0.05
    )
    assert similar_errors(predictions, labels, nothing) is None


@pytest.mark.parametrize("factor", [1e-42, 1e-30, 1e30, 1e38])
def test_units_that_are_nearly_dead_or_huge(factor: float) -> None:
    """The squares of such outputs are 0 or infinite in float32."""
    predictions, labels, outputs = patients(200, 3)
    scales = np.where(np.arange(30) % 2, factor, 1)
    share = similar_errors(predictions, labels, (outputs / np.abs(outputs).max() * scales).astype(np.float32))
    assert share is not None
    assert share > 0.8
    outputs[::2, 3] *= np.inf
    assert similar_errors(predictions, labels, outputs) is not None
