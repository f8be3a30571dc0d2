"""The networks of the experiment; images are [N, C, H, W] in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
