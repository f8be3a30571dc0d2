"""The networks of the experiment; images are [N, C, H, W] in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gradmeter.errors import DataError, one_line

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Block(nn.Module):
    """Two convolutions; the shortcut takes every second pixel and pads new channels with zeros (option A)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.stride, self.padding = (1, 0) if channels == width else (2, (width - channels) // 2)
        self.conv1 = nn.Conv2d(channels, width, 3, self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps."""
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.padding:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))
        return F.relu(residual + x)


class CifarResNet(nn.Module):
    """A residual network for CIFAR-10 (He et al. 2016, section 4.2) that standardises its images itself.

    Args:
        depth: number of layers, 6 n + 2.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, depth: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(3, 1, 1), persistent=False)
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(_Block(channels, width), *(_Block(width, width) for _ in range(blocks - 1)))
            for channels, width in ((16, 16), (16, 32), (32, 64))
        )
        self.linear = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, 10]."""
        x = F.relu(self.bn1(self.conv1((images - self.mean) / self.deviation)))
        logits: Tensor = self.linear(self.layer3(self.layer2(self.layer1(x))).mean(dim=(2, 3)))
        return logits

    @classmethod
    def trained(cls, depth: int, path: Path) -> CifarResNet:
        """Return the network with the weights of a safetensors file, in eval mode.

        Raises:
            DataError: if the file cannot be read, or holds the weights of another network.
        """
        network = cls(depth)
        try:
            network.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise DataError(
                f"{path} does not hold the weights of a ResNet-{depth} for CIFAR-10 ({one_line(error)}); give the "
                "safetensors file of that network"
            ) from error
        return network.eval()


class AllConvolutional(nn.Sequential):
    """Convolutions and an average over all positions (Springenberg et al. 2015), without normalisation.

    No layer has an input that could serve as an embedding: the logits are averages of a convolution's output.

    Args:
        channels: channels of the images.
        classes: number of classes.
    """

    def __init__(self, channels: int, classes: int) -> None:
        layers: list[nn.Module] = []
        for before, width, stride in ((channels, 24, 1), (24, 24, 2), (24, 48, 1), (48, 48, 2)):
            layers += [nn.Conv2d(before, width, 3, stride, padding=1), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(48, classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        for layer in self:
            if isinstance(layer, nn.Conv2d):  # without normalisation, PyTorch's default weights are too small
                nn.init.kaiming_normal_(layer.weight)


class Perceptron(nn.Sequential):
    """Two hidden layers without normalisation.

    Args:
        pixels: number of values of an image.
        classes: number of classes.
    """

    def __init__(self, pixels: int, classes: int) -> None:
        layers = (nn.Flatten(), nn.Linear(pixels, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
        super().__init__(*layers, nn.Linear(64, classes))


class SmallCNN(nn.Sequential):
    """Three convolutions with pooling, and two dense layers; large enough to learn a small training set by heart.

    Args:
        channels: channels of the images.
        side: height and width of the images.
        classes: number of classes.
    """

    def __init__(self, channels: int, side: int, classes: int) -> None:
        layers: list[nn.Module] = []
        for before, width in ((channels, 16), (16, 32), (32, 32)):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        dense = (nn.Flatten(), nn.Linear(32 * (side // 8) ** 2, 64), nn.ReLU(), nn.Linear(64, classes))
        super().__init__(*layers, *dense)


class TextCNN(nn.Module):
    """A classifier of texts: convolutions over characters of three widths, and the maximum over positions (Kim 2014).

    Args:
        characters: number of different characters; 0 is the padding.
        classes: number of classes.
        widths: numbers of characters that the convolutions see.
    """

    def __init__(self, characters: int, classes: int, widths: Sequence[int] = (2, 3, 4)) -> None:
        super().__init__()
        self.characters = nn.Embedding(characters, 24, padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Conv1d(24, 32, width, padding=width - 1) for width in widths)
        self.dense = nn.Linear(32 * len(widths), classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits [N, classes] for characters [N, length] int64."""
        x = self.characters(tokens).transpose(1, 2)
        maxima = [F.relu(convolution(x)).amax(dim=2) for convolution in self.convolutions]
        logits: Tensor = self.dense(torch.cat(maxima, dim=1))
        return logits
