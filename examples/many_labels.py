"""Many small images with wrong labels, and a small network: to see what a check of a million labels costs.

    python examples/many_labels.py --images 1000000 --out many

writes many/digits.npz with noisy copies of scikit-learn's digits, 8 x 8 in grey, of which one in twenty has a wrong
label, and many/network.py and many/network.safetensors with a network that learned from other digits. In that folder:

    gradmeter labels network:make digits.npz --weights network.safetensors --image-size 8 --grey --mean 0 --std 1 \
        --classes 0,1,2,3,4,5,6,7,8,9
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

LEARNED, TRAINED, TILE, WRONG = 1000, 60_000, 50_000, 0.05
NETWORK = '''"""A small convolutional network."""

from torch import nn


def make():
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(192, 48), nn.ReLU(), nn.Linear(48, 10),
    )
'''


def drawn(rows: np.ndarray, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Noisy copies [count, 8, 8] of some of the digits, and their classes."""
    digits = load_digits()
    chosen = random.choice(rows, count)
    images = (digits.images * 15.9).clip(0, 255)[chosen] * random.uniform(0.7, 1.1, (count, 1, 1))
    return (images + random.normal(0, 40, images.shape)).clip(0, 255).astype(np.uint8), digits.target[chosen]


def train(network: nn.Module) -> None:
    """Train the network on copies of the first digits."""
    images, classes = drawn(np.arange(LEARNED), TRAINED, np.random.default_rng(0))
    inputs, targets = torch.from_numpy(images)[:, None].float() / 255, torch.from_numpy(classes)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(6):
        for rows in torch.randperm(len(inputs)).split(128):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(inputs[rows]), targets[rows]).backward()
            optimiser.step()


def main() -> None:
    """Read the arguments and write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path("many"))
    arguments = parser.parse_args()
    if arguments.images < 1:
        parser.error(f"--images {arguments.images}; expected at least 1")
    if arguments.out.exists():
        parser.error(f"{arguments.out} is there; choose another name for --out")
    arguments.out.mkdir(parents=True)
    (arguments.out / "network.py").write_text(NETWORK)
    spec = importlib.util.spec_from_file_location("network", arguments.out / "network.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    network = module.make()
    train(network)
    save_file(network.state_dict(), arguments.out / "network.safetensors")
    random, others = np.random.default_rng(1), np.arange(LEARNED, len(load_digits().target))
    images = np.empty((arguments.images, 8, 8), np.uint8)
    labels = np.empty(arguments.images, np.int64)
    for start in range(0, arguments.images, TILE):
        rows = slice(start, min(start + TILE, arguments.images))
        images[rows], labels[rows] = drawn(others, rows.stop - start, random)
    wrong = random.random(len(labels)) < WRONG
    labels[wrong] = (labels[wrong] + random.integers(1, 10, wrong.sum())) % 10
    np.savez(arguments.out / "digits.npz", images=images, labels=labels)


if __name__ == "__main__":
    main()
