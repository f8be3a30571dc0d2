"""Training of the experiment's own networks, which takes less than a minute each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from gradmeter.research.gradient_gain.samples import Samples
from gradmeter.research.ood_benchmark.training import load_weights
from gradmeter.research.study.tensors import write_tensors
from gradmeter.research.study.training import predict

_BATCH = 64


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, with Adam and without regularisation.

    Attributes:
        epochs: largest number of passes over the training data.
        rate: learning rate; the highest one if it changes.
        until_fitted: keep the learning rate, and stop when all training predictions are right; otherwise the learning
            rate rises and falls over the epochs (Smith and Topin 2018).
    """

    epochs: int
    rate: float = 2e-3
    until_fitted: bool = False


def trained(
    make: Callable[[], nn.Module],
    train: Samples,
    path: Path,
    recipe: Recipe,
    *,
    seed: int,
    on_epoch: Callable[[int], None],
) -> nn.Module:
    """Return a network in eval mode; train it and write its weights if `path` does not exist.

    Args:
        make: makes the network with random weights.
        train: the training data.
        path: safetensors file of the weights.
        recipe: how to train.
        seed: of the initial weights and of the order of the data.
        on_epoch: called with the number of finished epochs.
    """
    torch.manual_seed(seed)
    network = make()
    if path.exists():
        return load_weights(network, path)
    optimizer = torch.optim.Adam(network.parameters(), recipe.rate)
    steps = recipe.epochs * -(-len(train) // _BATCH)
    schedule = None if recipe.until_fitted else torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, steps)
    for epoch in range(recipe.epochs):
        network.train()
        for rows in torch.randperm(len(train)).split(_BATCH):
            optimizer.zero_grad()
            F.cross_entropy(network(train.inputs[rows]), train.labels[rows]).backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
        on_epoch(epoch + 1)
        if recipe.until_fitted and bool((predict(network, train.inputs) == train.labels).all()):
            break
    write_tensors(path, network.state_dict(), {"epochs": epoch + 1})
    return network.eval()
