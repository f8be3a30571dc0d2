"""Training the paper's network (R14 to R16), epoch by epoch, so that a killed training goes on where it stood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradmeter.errors import DataError
from gradmeter.meta.plateau import INITIAL_RATE, Plateau
from gradmeter.study.network import PaperCNN
from gradmeter.study.tensors import read_tensors, write_tensors

_BATCH = 256
_MOMENTUM = 0.9
# Keras' l2(1e-3) adds 1e-3 * sum(w^2) on kernels only; its derivative is a weight decay of 2e-3 (A14).
_WEIGHT_DECAY = 2e-3
_EVALUATION_BATCH = 1000
_ATTEMPTS = 5


@dataclass(frozen=True)
class Digits:
    """Images [n, 1, 28, 28] float32 and labels [n] int64."""

    images: Tensor
    labels: Tensor


@dataclass
class _State:
    """All that the next epoch depends on."""

    network: PaperCNN
    optimizer: torch.optim.SGD
    plateau: Plateau
    attempt: int
    accuracies: list[float]

    @classmethod
    def start(cls, padding: str, patience: int, seed: int, attempt: int) -> _State:
        torch.manual_seed(_derived(seed, attempt))
        network = PaperCNN(padding=padding).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        weights = [p for name, p in network.named_parameters() if name.endswith("weight")]
        biases = [p for name, p in network.named_parameters() if name.endswith("bias")]
        groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": _WEIGHT_DECAY}, {"params": biases}]
        optimizer = torch.optim.SGD(groups, lr=INITIAL_RATE, momentum=_MOMENTUM)
        return cls(network, optimizer, Plateau.start(1, patience), attempt, [])

    def save(self, path: Path) -> None:
        tensors = {f"weights/{name}": value for name, value in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            tensors[f"momentum/{name}"] = self.optimizer.state[parameter]["momentum_buffer"]
        tensors |= {"best": self.plateau.best, "waited": self.plateau.waited, "rate": self.plateau.rate}
        write_tensors(path, tensors, {"attempt": self.attempt, "accuracies": self.accuracies})

    def load(self, path: Path) -> None:
        tensors, about = read_tensors(path)
        self.attempt, self.accuracies = about["attempt"], about["accuracies"]
        self.network.load_state_dict({name: tensors[f"weights/{name}"] for name in self.network.state_dict()})
        for name, parameter in self.network.named_parameters():
            momentum = torch.empty_like(parameter).copy_(tensors[f"momentum/{name}"])
            self.optimizer.state[parameter]["momentum_buffer"] = momentum
        self.plateau = Plateau(self.plateau.patience, tensors["best"], tensors["waited"], tensors["rate"])


def train(
    digits: Digits,
    validation: Digits,
    path: Path,
    *,
    padding: str,
    patience: int,
    max_epochs: int,
    seed: int,
    on_epoch: Callable[[int, float], None],
) -> None:
    """Train one network and leave it at `path` as safetensors, with its validation accuracies as metadata.

    Every epoch's state is kept beside it until training ends; with one there, training goes on from it. The random
    numbers of an epoch follow from (seed, attempt, epoch), so a resumed training ends with the very same weights.

    The paper's rate of 0.1 now and then throws a network out of the region where it learns, for good: then it answers
    every digit with the same class. Such a training begins anew with other initial weights, and the count is kept.

    Raises:
        DataError: if that happens too often.
    """
    checkpoint = path.with_suffix(".training")
    state = _State.start(padding, patience, seed, attempt=0)
    if checkpoint.exists():
        state.load(checkpoint)
    while not state.plateau.finished and len(state.accuracies) < max_epochs:
        epoch = len(state.accuracies)
        _train_epoch(state, digits, _derived(seed, state.attempt, epoch))
        predictions = predict(state.network, validation.images)
        if len(predictions.unique()) == 1:
            if state.attempt + 1 == _ATTEMPTS:
                raise DataError(
                    f"the network learned nothing in {_ATTEMPTS} attempts; check the images, or use another seed"
                )
            state = _State.start(padding, patience, seed, state.attempt + 1)
            continue
        state.accuracies.append(float((predictions == validation.labels).double().mean()))
        state.plateau.step(torch.tensor(state.accuracies[-1:], dtype=torch.float64))
        state.save(checkpoint)
        on_epoch(epoch + 1, state.accuracies[-1])
    about = {"padding": padding, "restarts": state.attempt, "accuracies": state.accuracies}
    write_tensors(path, state.network.state_dict(), about)
    checkpoint.unlink(missing_ok=True)


def _derived(seed: int, *key: int) -> int:
    """A seed of its own for every attempt and epoch."""
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0])


def _train_epoch(state: _State, digits: Digits, seed: int) -> None:
    torch.manual_seed(seed)
    for group in state.optimizer.param_groups:
        group["lr"] = state.plateau.rate.item()
    state.network.train()
    for index in torch.randperm(len(digits.images)).split(_BATCH):
        state.optimizer.zero_grad()
        F.cross_entropy(state.network(digits.images[index]), digits.labels[index]).backward()
        state.optimizer.step()


def predict(network: nn.Module, images: Tensor) -> Tensor:
    """The predicted classes, [n] int64."""
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(batch).argmax(1) for batch in images.split(_EVALUATION_BATCH)])


@dataclass(frozen=True)
class Training:
    """How a network was trained: validation accuracy after each epoch, and how often training began anew."""

    accuracies: list[float]
    restarts: int


def load_network(path: Path) -> tuple[PaperCNN, Training]:
    """A trained network in eval mode, and how it was trained."""
    weights, about = read_tensors(path)
    network = PaperCNN(padding=about["padding"])
    network.load_state_dict(weights)
    return network.eval(), Training(about["accuracies"], about["restarts"])
