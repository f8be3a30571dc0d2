"""Training of a network on street scenes; a checkpoint after each epoch lets a killed training go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gradmeter.research.ood_benchmark.training import load_weights
from gradmeter.research.street.network import StreetNet, upsampled
from gradmeter.research.street.scenes import Lesson, Street, as_inputs
from gradmeter.research.study.tensors import read_tensors, write_tensors

EPOCHS = 24
_BATCH, _PEAK, _WEIGHT_DECAY, _WARM_UP = 6, 3e-3, 1e-3, 0.1
# A class with the share q of all pixels has the weight 1 / log(c + q), after Paszke et al. (2016).
_SOFTENING = 1.1


def trained(
    street: Street,
    lesson: Lesson,
    seed: int,
    path: Path,
    *,
    epochs: int = EPOCHS,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> StreetNet:
    """Return a network in eval mode; train it and write its weights if `path` does not exist.

    The random numbers of an epoch depend only on the seed and the epoch, so a resumed training ends with the same
    weights.

    Args:
        street: the scenes.
        lesson: what the network learns.
        seed: of the initial weights, of the order of the scenes and of their mirroring.
        path: safetensors file of the weights; the checkpoint is beside it until training ends.
        epochs: number of passes over the training scenes.
        on_epoch: called with the number of finished epochs.
    """
    torch.manual_seed(seed)
    network = StreetNet(lesson.classes)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if path.exists():
        load_weights(network, path)
        return network
    labels = lesson.without_unlearned(street.train.labels, street.void)
    weights = class_weights(labels, lesson.classes)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=_WEIGHT_DECAY)
    checkpoint = checkpoint_of(path)
    finished = _resume(network, optimizer, checkpoint) if checkpoint.exists() else 0
    for epoch in range(finished, epochs):
        random = np.random.default_rng([seed, epoch])
        order = np.array_split(random.permutation(len(labels)), -(-len(labels) // _BATCH))
        network.train()
        for number, rows in enumerate(order):
            optimizer.param_groups[0]["lr"] = _PEAK * _rate((epoch + number / len(order)) / epochs)
            inputs, targets = as_inputs(street.train.images[rows]), torch.from_numpy(labels[rows]).long()
            mirrored = torch.from_numpy(random.random(len(rows)) < 0.5)
            inputs[mirrored], targets[mirrored] = inputs[mirrored].flip(3), targets[mirrored].flip(2)
            optimizer.zero_grad()
            logits = upsampled(network(inputs), inputs)
            loss = F.cross_entropy(logits, targets, weights, ignore_index=street.void)
            loss.backward()
            optimizer.step()
        _checkpoint(network, optimizer, checkpoint, epoch + 1)
        on_epoch(epoch + 1)
    write_tensors(path, network.state_dict(), {"epochs": epochs})
    checkpoint.unlink(missing_ok=True)
    return network.eval()


def checkpoint_of(path: Path) -> Path:
    """Return the path of the checkpoint of unfinished weights."""
    return path.with_suffix(".training")


def class_weights(labels: NDArray[np.uint8], classes: int) -> Tensor:
    """Return a weight for each class, larger for rare ones; void pixels do not count."""
    counts = np.bincount(labels.ravel(), minlength=classes)[:classes]
    return torch.from_numpy(1 / np.log(_SOFTENING + counts / counts.sum())).float()


def _rate(progress: float) -> float:
    """Return the learning rate relative to its peak: a linear rise, then half a cosine."""
    if progress < _WARM_UP:
        return max(progress, 0.01) / _WARM_UP
    return float(0.5 + 0.5 * np.cos(np.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))


def _checkpoint(network: nn.Module, optimizer: torch.optim.Optimizer, path: Path, epochs: int) -> None:
    tensors = {f"weights/{name}": value for name, value in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}/{name}"] = value
    write_tensors(path, tensors, {"epochs": epochs})


def _resume(network: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> int:
    """Load a checkpoint into the network and the optimizer; return the number of finished epochs."""
    tensors, metadata = read_tensors(path)
    network.load_state_dict({name: tensors[f"weights/{name}"] for name in network.state_dict()})
    for name, parameter in network.named_parameters():
        for key in ("step", "exp_avg", "exp_avg_sq"):
            optimizer.state[parameter][key] = tensors[f"{key}/{name}"]
    epochs: int = metadata["epochs"]
    return epochs
