"""Resumable training of the paper's network."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradmeter.errors import DataError
from gradmeter.research.study.network import PaperCNN
from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.tensors import read_tensors, write_tensors
from gradmeter.trust.plateau import INITIAL_RATE, Plateau

_BATCH = 256
_MOMENTUM = 0.9
# Keras 2.1 clips probabilities to this distance from 0 and 1; clipped probabilities have no gradient.
_CLIPPED = 1e-7
_EVALUATION_BATCH = 1000
# Before this many steps, a network that predicts a single class may still recover.
_FIRST_STEPS = 200
_ATTEMPTS = 5
# Minimum time between checkpoints: writing one takes a tenth of a short epoch.
_CHECKPOINT_SECONDS = 1.0


@dataclass(frozen=True)
class Digits:
    """Images [n, 1, 28, 28] float32 and labels [n] int64."""

    images: Tensor
    labels: Tensor


@dataclass
class _State:
    """The state of a training between two epochs."""

    network: PaperCNN
    best: dict[str, Tensor]
    optimizer: torch.optim.SGD
    plateau: Plateau
    attempt: int
    accuracies: list[float]

    @classmethod
    def start(cls, architecture: dict[str, Any], options: StudyOptions, seed: int, attempt: int) -> _State:
        torch.manual_seed(_derived(seed, attempt))
        network = PaperCNN(**architecture).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        decayed: list[nn.Parameter] = []
        free: list[nn.Parameter] = []
        for name, parameter in network.named_parameters():
            (decayed if _decays(name, options.decayed) else free).append(parameter)
        groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": free}]
        optimizer = torch.optim.SGD(groups, lr=INITIAL_RATE, momentum=_MOMENTUM)
        return cls(network, {}, optimizer, Plateau.start(1, options.patience), attempt, [])

    def record(self, accuracy: float) -> None:
        """Record the validation accuracy of an epoch, and the weights if they are the best so far."""
        if not self.accuracies or accuracy > max(self.accuracies):
            self.best = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.accuracies.append(accuracy)
        self.plateau.step(torch.tensor([accuracy], dtype=torch.float64))

    def save(self, path: Path) -> None:
        tensors = {f"weights/{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        for name, parameter in self.network.named_parameters():
            tensors[f"momentum/{name}"] = self.optimizer.state[parameter]["momentum_buffer"]
        tensors |= {"best": self.plateau.best, "waited": self.plateau.waited, "rate": self.plateau.rate}
        write_tensors(path, tensors, {"attempt": self.attempt, "accuracies": self.accuracies})

    def load(self, path: Path) -> None:
        tensors, metadata = read_tensors(path)
        self.attempt, self.accuracies = metadata["attempt"], metadata["accuracies"]
        self.network.load_state_dict({name: tensors[f"weights/{name}"] for name in self.network.state_dict()})
        self.best = {name: tensors[f"best/{name}"] for name in self.network.state_dict()}
        for name, parameter in self.network.named_parameters():
            momentum = torch.empty_like(parameter).copy_(tensors[f"momentum/{name}"])
            self.optimizer.state[parameter]["momentum_buffer"] = momentum
        self.plateau = Plateau(self.plateau.patience, tensors["best"], tensors["waited"], tensors["rate"])


def train(
    digits: Digits,
    validation: Digits,
    path: Path,
    options: StudyOptions,
    *,
    seed: int,
    on_epoch: Callable[[int, float], None],
) -> None:
    """Train a network and write it to `path`, and its best epoch by validation accuracy to `best_of(path)`.

    Both files are safetensors with the validation accuracies as metadata. A checkpoint lies beside them until training
    ends, written at most once a second; training resumes from it if it exists. The random numbers of an epoch depend
    on (seed, attempt, epoch) only, so a resumed training ends with the same weights.

    At the paper's learning rate of 0.1 a network sometimes diverges for good and then predicts the same class for
    every digit. Training then restarts with other initial weights; the number of restarts is recorded.

    Args:
        digits: training digits.
        validation: validation digits.
        path: output file.
        options: options of the study.
        seed: seed of the training.
        on_epoch: called after each epoch with its number, from 1, and the validation accuracy.

    Raises:
        DataError: every attempt diverged.
    """
    checkpoint = path.with_suffix(".training")
    pixels = digits.images
    architecture = {
        "padding": options.padding,
        "first_dropout": options.first_dropout,
        "standard": (pixels.mean().item(), pixels.std().item()) if options.inputs == "standard" else None,
    }
    state = _State.start(architecture, options, seed, attempt=0)
    if checkpoint.exists():
        state.load(checkpoint)
    saved_at = -math.inf
    while not _is_over(state, options):
        epoch = len(state.accuracies)
        _train_epoch(state, digits, options.loss, _derived(seed, state.attempt, epoch))
        predictions = predict(state.network, validation.images)
        accuracy = float((predictions == validation.labels).double().mean())
        collapsed = accuracy < max(state.accuracies, default=0) / 2
        state.record(accuracy)
        steps = len(state.accuracies) * -(-len(digits.images) // _BATCH)
        if len(predictions.unique()) == 1 and (collapsed or steps >= _FIRST_STEPS or _is_over(state, options)):
            if state.attempt + 1 == _ATTEMPTS:
                raise DataError(
                    f"the network did not learn from {len(digits.images):,} images in {_ATTEMPTS} attempts; check "
                    "them, learn from more (a larger --share), or use another seed"
                )
            state = _State.start(architecture, options, seed, state.attempt + 1)
            continue
        if time.monotonic() - saved_at >= _CHECKPOINT_SECONDS:
            state.save(checkpoint)
            saved_at = time.monotonic()
        on_epoch(epoch + 1, accuracy)
    metadata = {"network": architecture, "restarts": state.attempt, "accuracies": state.accuracies}
    write_tensors(best_of(path), state.best, metadata)
    write_tensors(path, state.network.state_dict(), metadata)
    checkpoint.unlink(missing_ok=True)


def _is_over(state: _State, options: StudyOptions) -> bool:
    return state.plateau.finished or len(state.accuracies) >= options.max_epochs


def seed_of(run: int, options: StudyOptions) -> int:
    """Return the seed of the training of a run."""
    return int(np.random.SeedSequence((options.seed, run)).generate_state(1)[0])


def best_of(path: Path) -> Path:
    """Return the path of the best epoch's weights for a network at `path`."""
    return path.with_name(f"{path.stem}-best{path.suffix}")


def _decays(name: str, decayed: str) -> bool:
    """Return whether a parameter decays: only kernels do, as in Keras, in the layers that `decayed` names."""
    layer, _, kind = name.partition(".")
    return kind == "weight" and (decayed == "all" or (layer == "dense") == (decayed == "dense"))


def _derived(seed: int, *key: int) -> int:
    """Return the seed of an attempt or an epoch."""
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0])


def _train_epoch(state: _State, digits: Digits, loss: str, seed: int) -> None:
    torch.manual_seed(seed)
    for group in state.optimizer.param_groups:
        group["lr"] = state.plateau.rate.item()
    state.network.train()
    for index in torch.randperm(len(digits.images)).split(_BATCH):
        state.optimizer.zero_grad()
        logits, labels = state.network(digits.images[index]), digits.labels[index]
        (F.cross_entropy(logits, labels) if loss == "exact" else _clipped_loss(logits, labels)).backward()
        state.optimizer.step()


def _clipped_loss(logits: Tensor, labels: Tensor) -> Tensor:
    probabilities = logits.softmax(1).gather(1, labels[:, None])
    return -probabilities.clamp(_CLIPPED, 1 - _CLIPPED).log().mean()


def predict(network: nn.Module, images: Tensor) -> Tensor:
    """Return the predicted classes, [n] int64; the network is left in eval mode."""
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(batch).argmax(1) for batch in images.split(_EVALUATION_BATCH)])


@dataclass(frozen=True)
class Training:
    """The record of a network's training.

    Attributes:
        accuracies: validation accuracy after each epoch.
        restarts: number of restarts with other initial weights.
        dead_filters: number of dead filters of the trained network.
        damaged: whether a layer has lost an eighth of its filters.
    """

    accuracies: list[float]
    restarts: int
    dead_filters: int
    damaged: bool


def load_network(path: Path) -> tuple[PaperCNN, Training]:
    """Read a trained network, in eval mode, and the record of its training."""
    weights, metadata = read_tensors(path)
    network = PaperCNN(**metadata["network"])
    network.load_state_dict(weights)
    training = Training(metadata["accuracies"], metadata["restarts"], sum(network.dead_filters()), network.damaged)
    return network.eval(), training
