"""The residual networks for CIFAR-10 of He et al. 2016 (section 4.2), whose shortcuts have no parameters (option A)."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gradmeter.errors import DataError, one_line
from gradmeter.files import plainly_named

DEPTHS = (20, 32, 44, 56)
"""Numbers of layers of the networks."""

_CLASSES = 10
_WIDTHS = (16, 32, 64)
# Mean and standard deviation of each channel that the weights were trained with.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


class Standardise(nn.Module):
    """Subtract a mean from each channel of images in [0, 1], and divide by a standard deviation."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Not part of the files of weights.
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return images [N, 3, H, W] that the first layer takes."""
        return (images - self.mean) / self.deviation


class _Block(nn.Module):
    """Two convolutions and a shortcut that takes every second pixel and adds channels of zeros."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self._stride = width // channels
        self._added = (width - channels) // 2
        self.conv1 = nn.Conv2d(channels, width, 3, self._stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps."""
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = x
        if self._added:
            shortcut = F.pad(x[:, :, :: self._stride, :: self._stride], (0, 0, 0, 0, self._added, self._added))
        return F.relu(residual + shortcut)


def _layer(channels: int, width: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(_Block(channels, width), *(_Block(width, width) for _ in range(blocks - 1)))


class CifarResNet(nn.Module):
    """A residual network with 6 n + 2 layers for images of 32 x 32 pixels.

    Args:
        depth: number of layers, 6 n + 2.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.inputs: nn.Module = Standardise()
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.layer1 = _layer(_WIDTHS[0], _WIDTHS[0], blocks)
        self.layer2 = _layer(_WIDTHS[0], _WIDTHS[1], blocks)
        self.layer3 = _layer(_WIDTHS[1], _WIDTHS[2], blocks)
        self.linear = nn.Linear(_WIDTHS[2], _CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, 10] for images [N, 3, H, W] in [0, 1]."""
        x = F.relu(self.bn1(self.conv1(self.inputs(images))))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits


def weights_path(folder: Path, depth: int) -> Path:
    """Return the path of a network's weights."""
    return folder / f"cifar10_resnet{depth}.safetensors"


def load_cifar_resnet(folder: Path, depth: int) -> CifarResNet:
    """Return a trained network in eval mode.

    Args:
        folder: folder of the weights.
        depth: number of layers.

    Raises:
        DataError: if the file cannot be read, or holds other weights.
    """
    path, network = weights_path(folder, depth), CifarResNet(depth)
    try:
        with plainly_named(path) as plain:
            weights = load_file(plain)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read ({one_line(error)}); copy it again") from error
    # Files of old versions of PyTorch lack the numbers of batches, which eval mode does not use.
    expected = {name: tuple(values.shape) for name, values in network.state_dict().items() if values.dim()}
    given = {name: tuple(values.shape) for name, values in weights.items() if values.dim()}
    if given != expected:
        different = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
        raise DataError(
            f"{path} does not hold the weights of a ResNet-{depth}: {different[0]} is "
            f"{given.get(different[0], 'missing')}, expected {expected.get(different[0], 'no such tensor')}"
        )
    network.load_state_dict(weights, strict=False)
    return network.eval()
