"""A network trained on scikit-learn's digits, with both right and wrong predictions."""

from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Return 1,797 images [N, 1, 8, 8] in [0, 1], in random order, and their labels."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    return torch.tensor(data.images, dtype=torch.float32).unsqueeze(1)[order] / 16, torch.tensor(data.target)[order]


def noise(count: int) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@cache
def _weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    network = untrained()
    train(network)
    return network.state_dict()


def train(network: nn.Module, samples: int = 300, steps: int = 60) -> None:
    """Train a network on the first digits."""
    images, labels = (part[:samples] for part in digits())
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()


def untrained() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 24), nn.ReLU(), nn.Linear(24, 10)
    )


def trained() -> nn.Module:
    """Return a new copy of a network that was trained on the first 300 digits."""
    network = untrained()
    network.load_state_dict(_weights())
    return network.eval()


def loader(first: int, last: int) -> "DataLoader[tuple[Tensor, ...]]":
    """Return a loader of digits with labels, in batches of 100."""
    images, labels = digits()
    return DataLoader(TensorDataset(images[first:last], labels[first:last]), batch_size=100)
