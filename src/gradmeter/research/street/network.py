"""A small segmentation network: an encoder, and a decoder that adds its stages, as feature pyramids do."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

LAST, BEFORE = "head", "last.0"
"""The last layer, a 1 x 1 convolution, and the 3 x 3 convolution before it, behind which are a norm and a ReLU."""
_STEM, _STAGES, _WIDTH, _LAST = 16, (32, 64, 96), 48, 24
# Mean and standard deviation of pixels in [0, 1], roughly.
_MEAN, _DEVIATION = 0.4, 0.3


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class StreetNet(nn.Module):
    """Logits at half the height and width of the images.

    Args:
        classes: number of classes.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = (_STEM, *_STAGES)
        self.stem = _block(3, _STEM, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(_block(before, after, 2), _block(after, after))
            for before, after in zip(widths, _STAGES, strict=False)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, _WIDTH, 1) for width in _STAGES)
        self.smooth = nn.ModuleList(_block(_WIDTH, _WIDTH) for _ in _STAGES)
        self.narrow = nn.Conv2d(_WIDTH, _LAST, 1)
        self.fine = nn.Conv2d(_STEM, _LAST, 1)
        self.last = _block(_LAST, _LAST)
        self.head = nn.Conv2d(_LAST, classes, 1)

    def features(self, images: Tensor) -> Tensor:
        """Return the input of the last layer, [N, channels, H / 2, W / 2], of images [N, 3, H, W] in [0, 1]."""
        fine = self.stem((images - _MEAN) / _DEVIATION)
        maps = [fine]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        decoded = self.smooth[-1](self.lateral[-1](maps[-1]))
        for lateral, smooth, encoded in reversed(list(zip(self.lateral, self.smooth, maps[1:], strict=True))[:-1]):
            decoded = smooth(lateral(encoded) + upsampled(decoded, encoded))
        decoded = self.fine(fine) + upsampled(self.narrow(decoded), fine)
        features: Tensor = self.last(decoded)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, classes, H / 2, W / 2] of images [N, 3, H, W] in [0, 1]."""
        logits: Tensor = self.head(self.features(images))
        return logits


def upsampled(maps: Tensor, like: Tensor) -> Tensor:
    """Return maps [N, C, h, w] at the height and width of other maps or images [N, K, H, W]."""
    return F.interpolate(maps, size=like.shape[2:], mode="bilinear", align_corners=False)
