from pathlib import Path

import numpy as np
import pytest
import torch

from gradmeter.research.street.network import StreetNet, upsampled
from gradmeter.research.street.quality import Quality
from gradmeter.research.street.scenes import ALL, PART, lessons, load_street
from gradmeter.research.street.training import checkpoint_of, class_weights, trained


class Killed(Exception):
    pass


def test_a_killed_training_ends_with_the_same_weights(street_data: Path, tmp_path: Path) -> None:
    street = load_street(street_data)
    lesson = lessons(street)[PART]
    whole = trained(street, lesson, 1, tmp_path / "whole.safetensors", epochs=3)

    def kill(epoch: int) -> None:
        if epoch == 2:
            raise Killed

    path = tmp_path / "resumed.safetensors"
    with pytest.raises(Killed):
        trained(street, lesson, 1, path, epochs=3, on_epoch=kill)
    assert checkpoint_of(path).exists()
    epochs: list[int] = []
    resumed = trained(street, lesson, 1, path, epochs=3, on_epoch=epochs.append)
    assert epochs == [3]
    assert not checkpoint_of(path).exists()
    assert not resumed.training
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)
    loaded = trained(street, lesson, 1, path, epochs=3, on_epoch=epochs.append)
    assert epochs == [3]
    torch.testing.assert_close(loaded.head.weight, resumed.head.weight)


def test_training_learns_and_the_quality_counts(street_data: Path, tmp_path: Path) -> None:
    street = load_street(street_data)
    lesson = lessons(street)[ALL]
    network = trained(street, lesson, 0, tmp_path / "all.safetensors", epochs=15)
    quality = Quality.of(network, street, lesson)
    assert quality.val_right > 0.7
    assert 0 < quality.test_iou < quality.test_right < 1
    with torch.inference_mode():
        inputs = torch.from_numpy(street.test.images).permute(0, 3, 1, 2) / 255
        predictions = upsampled(network(inputs), inputs).argmax(dim=1).numpy()
    labels = street.test.labels
    used = labels != street.void
    assert quality.test_right == pytest.approx((predictions == labels)[used].mean(), abs=1e-3)
    ious = []
    for label in range(street.void):
        predicted, truth = (predictions == label) & used, labels == label
        ious.append((predicted & truth).sum() / (predicted | truth).sum())
    assert quality.test_iou == pytest.approx(np.mean(ious), abs=1e-3)
    quality.write(tmp_path / "quality.json")
    assert Quality.read(tmp_path / "quality.json") == quality


def test_rare_classes_weigh_more_and_void_does_not_count() -> None:
    labels = np.repeat(np.array([0, 1, 9], np.uint8), [90, 10, 1000])
    weights = class_weights(labels, 2)
    expected = 1 / np.log(1.1 + np.array([0.9, 0.1]))
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)


def test_the_logits_have_half_the_size_and_are_those_of_the_features() -> None:
    torch.manual_seed(0)
    network = StreetNet(4).eval()
    images = torch.rand(2, 3, 25, 38)
    with torch.inference_mode():
        logits = network(images)
        assert logits.shape == (2, 4, 13, 19)
        assert upsampled(logits, images).shape == (2, 4, 25, 38)
        torch.testing.assert_close(logits, network.head(network.features(images)))
