"""Digits on disk, and a small network that was trained on other digits."""

from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from gradmeter.sources.models import ImageOptions, Recipe
from trust.trained import digits, trained

CLASSES = tuple("0123456789")
# The network of trust.trained as a function of the user.
MODULE = """
from torch import nn

def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 24), nn.ReLU(), nn.Linear(24, 10)
    )
"""


def recipe(folder: Path) -> Recipe:
    """Return the recipe of the network; it can be opened if `folder` is the current folder."""
    return Recipe("digits_network:network", folder / "weights.safetensors", CLASSES, ImageOptions(size=8, grey=True))


def make(folder: Path) -> None:
    """Write validation/ and test/ with a folder per class, torn/ with two other classes, the weights and their code."""
    images, labels = digits()
    _save_all(folder / "validation", images[300:900], [str(label) for label in labels[300:900].tolist()])
    _save_all(folder / "test", images[900:], [str(label) for label in labels[900:].tolist()])
    torn = images[300:500].transpose(2, 3).roll(4, 3)
    _save_all(folder / "torn", torn, ["left" if number % 2 else "right" for number in range(200)])
    save_file(trained().state_dict(), folder / "weights.safetensors")
    (folder / "digits_network.py").write_text(MODULE)


def _save_all(folder: Path, images: Tensor, classes: list[str]) -> None:
    for number, (image, name) in enumerate(zip(images[:, 0].numpy(), classes, strict=True)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(folder / name / f"{number:04}.png")
