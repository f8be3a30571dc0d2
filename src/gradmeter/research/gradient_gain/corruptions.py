"""Corruptions of images at five strengths, after CIFAR-10-C (Hendrycks and Dietterich 2019)."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

STRENGTHS = 5
"""Strengths are numbered from 0 to `STRENGTHS` - 1."""

_BRIGHTER = (0.05, 0.1, 0.2, 0.3, 0.4)
_CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
_DEVIATION = (0.02, 0.04, 0.06, 0.08, 0.1)
_BLUR = (0.4, 0.6, 0.8, 1.0, 1.3)
_QUALITY = (80, 65, 50, 35, 20)


def _brightness(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    return images + _BRIGHTER[strength]


def _contrast(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + _CONTRAST[strength] * (images - mean)


def _noise(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    return images + _DEVIATION[strength] * torch.randn(images.shape, generator=generator)


def _blur(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    deviation, channels = _BLUR[strength], images.shape[1]
    radius = int(3 * deviation + 0.5)
    weights = torch.exp(-(torch.arange(-radius, radius + 1.0) ** 2) / (2 * deviation**2))
    weights = (weights / weights.sum()).expand(channels, 1, 1, -1)
    padded = F.pad(images, [radius] * 4, mode="reflect")
    rows = F.conv2d(padded, weights, groups=channels)
    return F.conv2d(rows, weights.transpose(2, 3), groups=channels)


def _jpeg(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return torch.from_numpy(np.stack([_compressed(image, _QUALITY[strength]) for image in pixels])).permute(0, 3, 1, 2)


def _compressed(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Return a colour image [H, W, 3] uint8 after JPEG compression, as float32 in [0, 1]."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), dtype=np.float32) / 255


CORRUPTIONS: dict[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "brightness": _brightness,
    "blur": _blur,
    "noise": _noise,
    "JPEG": _jpeg,
    "contrast": _contrast,
}
"""The corruptions by name; their results may leave [0, 1]."""


def corrupt(images: Tensor, name: str, strength: int, generator: torch.Generator) -> Tensor:
    """Return corrupted images in [0, 1].

    Args:
        images: [N, 3, H, W] in [0, 1].
        name: a name in `CORRUPTIONS`.
        strength: from 0 to `STRENGTHS` - 1.
        generator: of random noise.
    """
    return CORRUPTIONS[name](images, strength, generator).clamp(0, 1).contiguous()
