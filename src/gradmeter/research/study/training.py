"""Training the paper's network (R14 to R16), epoch by epoch, so that a killed training goes on where it stood."""

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
# Keras 2.1 keeps each probability this far from 0 and 1, so beyond it the loss has no gradient (A21).
_CLIPPED = 1e-7
_EVALUATION_BATCH = 1000
# In fewer steps, of some epochs where there are few digits, a network need not have learned a second answer.
_FIRST_STEPS = 200
_ATTEMPTS = 5
# Between two states that are kept: writing one takes a tenth of a short epoch.
_SECONDS_KEPT = 1.0


@dataclass(frozen=True)
class Digits:
    """Images [n, 1, 28, 28] float32 and labels [n] int64."""

    images: Tensor
    labels: Tensor


@dataclass
class _State:
    """All that the next epoch depends on."""

    network: PaperCNN
    best: dict[str, Tensor]
    optimizer: torch.optim.SGD
    plateau: Plateau
    attempt: int
    accuracies: list[float]

    @classmethod
    def start(cls, about: dict[str, Any], options: StudyOptions, seed: int, attempt: int) -> _State:
        torch.manual_seed(_derived(seed, attempt))
        network = PaperCNN(**about).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        decayed: list[nn.Parameter] = []
        free: list[nn.Parameter] = []
        for name, parameter in network.named_parameters():
            (decayed if _decays(name, options.decayed) else free).append(parameter)
        groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": free}]
        optimizer = torch.optim.SGD(groups, lr=INITIAL_RATE, momentum=_MOMENTUM)
        return cls(network, {}, optimizer, Plateau.start(1, options.patience), attempt, [])

    def note(self, accuracy: float) -> None:
        """Take note of how good the network is after an epoch."""
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
        tensors, about = read_tensors(path)
        self.attempt, self.accuracies = about["attempt"], about["accuracies"]
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
    """Train one network and leave it at `path` as safetensors, with its validation accuracies as metadata.

    The weights of the epoch with the best validation accuracy lie beside it, at `best_of(path)`.

    The state after an epoch is kept beside it until training ends, one in a second where epochs are shorter; with one
    there, training goes on from it. The random numbers of an epoch follow from (seed, attempt, epoch), so a resumed
    training ends with the very same weights.

    The paper's rate of 0.1 now and then throws a network out of the region where it learns, for good: then it answers
    every digit with the same class, after better epochs or after enough steps. Such a training begins anew with other
    initial weights, and the count is kept.

    Raises:
        DataError: if that happens too often.
    """
    checkpoint = path.with_suffix(".training")
    pixels = digits.images
    about = {
        "padding": options.padding,
        "first_dropout": options.first_dropout,
        "standard": (pixels.mean().item(), pixels.std().item()) if options.inputs == "standard" else None,
    }
    state = _State.start(about, options, seed, attempt=0)
    if checkpoint.exists():
        state.load(checkpoint)
    kept = -math.inf
    while not _is_over(state, options):
        epoch = len(state.accuracies)
        _train_epoch(state, digits, options.loss, _derived(seed, state.attempt, epoch))
        predictions = predict(state.network, validation.images)
        accuracy = float((predictions == validation.labels).double().mean())
        was_better = accuracy < max(state.accuracies, default=0) / 2
        state.note(accuracy)
        steps = len(state.accuracies) * -(-len(digits.images) // _BATCH)
        if len(predictions.unique()) == 1 and (was_better or steps >= _FIRST_STEPS or _is_over(state, options)):
            if state.attempt + 1 == _ATTEMPTS:
                raise DataError(
                    f"the network learned nothing in {_ATTEMPTS} attempts; check the images, or use another seed"
                )
            state = _State.start(about, options, seed, state.attempt + 1)
            continue
        if time.monotonic() - kept >= _SECONDS_KEPT:
            state.save(checkpoint)
            kept = time.monotonic()
        on_epoch(epoch + 1, accuracy)
    how = {"network": about, "restarts": state.attempt, "accuracies": state.accuracies}
    write_tensors(best_of(path), state.best, how)
    write_tensors(path, state.network.state_dict(), how)
    checkpoint.unlink(missing_ok=True)


def _is_over(state: _State, options: StudyOptions) -> bool:
    return state.plateau.finished or len(state.accuracies) >= options.max_epochs


def seed_of(run: int, options: StudyOptions) -> int:
    """The seed of a run's training."""
    return int(np.random.SeedSequence((options.seed, run)).generate_state(1)[0])


def best_of(path: Path) -> Path:
    """Where the weights of a network's best epoch lie."""
    return path.with_name(f"{path.stem}-best{path.suffix}")


def _decays(name: str, decayed: str) -> bool:
    """Whether a parameter decays: kernels only, as in Keras, of the layers that are asked for."""
    layer, _, kind = name.partition(".")
    return kind == "weight" and (decayed == "all" or (layer == "dense") == (decayed == "dense"))


def _derived(seed: int, *key: int) -> int:
    """A seed of its own for every attempt and epoch."""
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
    """The predicted classes, [n] int64."""
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(batch).argmax(1) for batch in images.split(_EVALUATION_BATCH)])


@dataclass(frozen=True)
class Training:
    """How a network was trained.

    Attributes:
        accuracies: validation accuracy after each epoch.
        restarts: how often training began anew.
        dead_filters: of the network that came of it.
        damaged: whether one of its layers has lost an eighth of its filters.
    """

    accuracies: list[float]
    restarts: int
    dead_filters: int
    damaged: bool


def load_network(path: Path) -> tuple[PaperCNN, Training]:
    """A trained network in eval mode, and how it was trained."""
    weights, about = read_tensors(path)
    network = PaperCNN(**about["network"])
    network.load_state_dict(weights)
    how = Training(about["accuracies"], about["restarts"], sum(network.dead_filters()), network.damaged)
    return network.eval(), how
