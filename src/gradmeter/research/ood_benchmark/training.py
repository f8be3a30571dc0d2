"""Training of the benchmark's ResNets, with a checkpoint after each epoch so that a killed training can be resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradmeter.research.study.tensors import read_tensors, write_tensors

_BATCH = 128
_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4
# The learning rate rises over this share of the steps and falls over the rest (Smith and Topin 2018).
_WARM_UP = 0.25
_SHIFT = 2


@dataclass(frozen=True)
class TrainingRecipe:
    """How a network is trained.

    Attributes:
        epochs: number of passes over the images.
        peak: highest learning rate.
        mirrored: shift and mirror images at random.
    """

    epochs: int
    peak: float
    mirrored: bool


def train(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    path: Path,
    recipe: TrainingRecipe,
    *,
    seed: int,
    on_epoch: Callable[[int], None],
) -> None:
    """Train a network and write its weights as safetensors.

    The random numbers of an epoch depend only on the seed and the number of the epoch, so a resumed training ends with
    the same weights.

    Args:
        network: the initialised network.
        images: [n, C, H, W] float32.
        labels: [n].
        path: file of the weights; the checkpoint is stored next to it until training ends.
        recipe: how to train.
        seed: seed of the order of the images and of their augmentation.
        on_epoch: called with the number of finished epochs.
    """
    optimizer = torch.optim.SGD(
        network.parameters(), lr=recipe.peak, momentum=_MOMENTUM, nesterov=True, weight_decay=_WEIGHT_DECAY
    )
    checkpoint = path.with_suffix(".training")
    finished = _resume(network, optimizer, checkpoint) if checkpoint.exists() else 0
    steps = recipe.epochs * -(-len(images) // _BATCH)
    for epoch in range(finished, recipe.epochs):
        torch.manual_seed(int(np.random.SeedSequence(seed, spawn_key=(epoch,)).generate_state(1)[0]))
        network.train()
        batches = torch.randperm(len(images)).split(_BATCH)
        for number, rows in enumerate(batches):
            rate = _rate((epoch * len(batches) + number) / steps)
            optimizer.param_groups[0]["lr"] = recipe.peak * rate
            batch = _augment(images[rows]) if recipe.mirrored else images[rows]
            optimizer.zero_grad()
            F.cross_entropy(network(batch), labels[rows]).backward()
            optimizer.step()
        _checkpoint(network, optimizer, checkpoint, epoch + 1)
        on_epoch(epoch + 1)
    write_tensors(path, network.state_dict(), {"epochs": recipe.epochs})
    checkpoint.unlink(missing_ok=True)


def load_weights(network: nn.Module, path: Path) -> nn.Module:
    """Load the weights of a file of `train` into a network; return it in eval mode."""
    network.load_state_dict(read_tensors(path)[0])
    return network.eval()


def _rate(progress: float) -> float:
    """Return the learning rate relative to its peak."""
    return progress / _WARM_UP if progress < _WARM_UP else (1 - progress) / (1 - _WARM_UP)


def _augment(images: Tensor) -> Tensor:
    """Shift each image by up to two pixels, and mirror it with probability 1/2."""
    samples, _, height, width = images.shape
    padded = F.pad(images, [_SHIFT] * 4, mode="reflect")
    rows = torch.randint(2 * _SHIFT + 1, (samples, 1)) + torch.arange(height)
    columns = torch.randint(2 * _SHIFT + 1, (samples, 1)) + torch.arange(width)
    columns = torch.where(torch.rand(samples, 1) < 0.5, columns, columns.flip(1))
    return padded[torch.arange(samples)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _checkpoint(network: nn.Module, optimizer: torch.optim.SGD, path: Path, epochs: int) -> None:
    tensors = {f"weights/{name}": value for name, value in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        tensors[f"momentum/{name}"] = optimizer.state[parameter]["momentum_buffer"]
    write_tensors(path, tensors, {"epochs": epochs})


def _resume(network: nn.Module, optimizer: torch.optim.SGD, path: Path) -> int:
    """Load a checkpoint into the network and the optimizer; return the number of finished epochs."""
    tensors, metadata = read_tensors(path)
    network.load_state_dict({name: tensors[f"weights/{name}"] for name in network.state_dict()})
    for name, parameter in network.named_parameters():
        optimizer.state[parameter]["momentum_buffer"] = tensors[f"momentum/{name}"]
    epochs: int = metadata["epochs"]
    return epochs
