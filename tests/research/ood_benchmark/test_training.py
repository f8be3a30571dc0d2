from pathlib import Path

import pytest
import torch
from torch import nn

from gradmeter.research.ood_benchmark.training import TrainingRecipe, _augment, load_weights, train

LABELS = torch.arange(300) % 2
IMAGES = torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.3 * LABELS[:, None, None, None]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))


class Killed(Exception):
    """Stands for a kill signal."""


def killed_after(epochs: int) -> object:
    def on_epoch(done: int) -> None:
        if done == epochs:
            raise Killed

    return on_epoch


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_resumed_training_ends_with_the_same_weights(tmp_path: Path, mirrored: bool) -> None:
    recipe = TrainingRecipe(4, 0.1, mirrored)
    train(network(), IMAGES, LABELS, tmp_path / "whole.safetensors", recipe, seed=1, on_epoch=lambda done: None)
    with pytest.raises(Killed):
        train(
            network(),
            IMAGES,
            LABELS,
            tmp_path / "killed.safetensors",
            recipe,
            seed=1,
            on_epoch=killed_after(2),  # type: ignore[arg-type]
        )
    assert not (tmp_path / "killed.safetensors").exists()
    finished: list[int] = []
    train(network(), IMAGES, LABELS, tmp_path / "killed.safetensors", recipe, seed=1, on_epoch=finished.append)
    assert finished == [3, 4]
    assert (tmp_path / "killed.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".training"] == []


def test_training_reaches_a_high_accuracy(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    train(network(), IMAGES, LABELS, path, TrainingRecipe(8, 0.1, False), seed=0, on_epoch=lambda done: None)
    trained = load_weights(network(), path)
    assert not trained.training
    assert (trained(IMAGES).argmax(1) == LABELS).double().mean() > 0.85


def test_augmented_images_are_shifted_and_mirrored() -> None:
    torch.manual_seed(0)
    ramp = torch.arange(8.0).expand(64, 1, 8, 8)
    moved = _augment(ramp)
    assert moved.shape == ramp.shape
    rising = moved[:, 0, 0, 4] > moved[:, 0, 0, 3]
    assert 15 < rising.sum() < 49
    assert len({tuple(row.tolist()) for row in moved[:, 0, 0]}) == 10
