"""Preprocessing of images for networks without their own, and the options that change it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gradmeter.errors import InputError
from gradmeter.sources.samples.decoding import LARGEST

if TYPE_CHECKING:
    from PIL import Image


# The side of a square image of `LARGEST` pixels.
_LARGEST_SIDE = math.isqrt(LARGEST)


@dataclass(frozen=True)
class ImageOptions:
    """Changes to a network's preprocessing. None keeps the network's own value.

    Attributes:
        size: height and width of the network's input in pixels.
        mean: the mean of each channel, for pixels in [0, 1].
        std: the standard deviation of each channel, for pixels in [0, 1].
        grey: whether the network takes one channel instead of three.

    Raises:
        InputError: if a value is out of range, or mean or std have a wrong number of values.
    """

    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    grey: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.size is not None and not 1 <= self.size <= _LARGEST_SIDE:
            raise InputError(f"image size {self.size}; expected a number of pixels from 1 to {_LARGEST_SIDE:,}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) not in (1, self.channels):
                each = "" if self.grey else f", or one for each of {self.channels} channels"
                raise InputError(f"{name} has {len(values)} numbers; expected one number{each}")
            if values is not None and not all(map(math.isfinite, values)):
                raise InputError(f"{name} {_listed(values)}; expected finite numbers")
            if values is not None and max(values) > 1:
                raise InputError(
                    f"{name} {_listed(values)}; expected numbers up to 1, for pixels in [0, 1]: if they are for pixels "
                    "in [0, 255], divide mean and std by 255"
                )
        if self.std is not None and min(self.std) <= 0:
            raise InputError(f"std {_listed(self.std)}; expected numbers above 0")

    @property
    def channels(self) -> int:
        """The number of channels of the network's input."""
        return 1 if self.grey else 3

    @property
    def mode(self) -> str:
        """Pillow's mode for this number of channels."""
        return "L" if self.grey else "RGB"

    def given(self) -> list[str]:
        """The options on the command line that set the given values."""
        values = {"--image-size": self.size, "--mean": self.mean, "--std": self.std, "--grey": self.grey or None}
        return [option for option, value in values.items() if value is not None]

    def changed(self) -> dict[str, Any]:
        """The given values by name; mean and std with one number for each channel."""
        given: dict[str, Any] = {} if self.size is None else {"size": self.size}
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None:
                given[name] = values if len(values) == self.channels else values * self.channels
        return given


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)


@dataclass(frozen=True)
class ResizeAndNormalise:
    """Resizes the shorter side, crops the centre and normalises.

    Attributes:
        size: height and width of the result in pixels.
        mean: the mean of each channel, for pixels in [0, 1].
        std: the standard deviation of each channel, for pixels in [0, 1].
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, image: Image.Image) -> Tensor:
        """Transform a decoded image to float32 [channels, size, size]."""
        from PIL import Image, ImageOps

        if image.size != (self.size, self.size):
            image = ImageOps.fit(image, (self.size, self.size), Image.Resampling.BICUBIC)
        levels = torch.from_numpy(np.array(image, np.float32)) / 255
        levels = levels.unsqueeze(0) if levels.dim() == 2 else levels.permute(2, 0, 1)
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (levels - mean) / std


@dataclass(frozen=True)
class Stacked:
    """Transforms images one by one and stacks them to a batch.

    Attributes:
        transform: maps an image to a tensor [channels, height, width].
    """

    transform: Callable[[Any], Tensor]

    def __call__(self, images: Sequence[Any]) -> Tensor:
        """Transform N images to a batch [N, channels, height, width]."""
        return torch.stack([self.transform(image) for image in images])
