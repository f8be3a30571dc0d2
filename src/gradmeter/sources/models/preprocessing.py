"""From decoded images to a batch, where a network does not bring its own preprocessing, and what users may change."""

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


# As many pixels as an image that is decoded may have.
_LARGEST_SIDE = math.isqrt(LARGEST)


@dataclass(frozen=True)
class ImageOptions:
    """What a user says about a network's images; None stands for what the network itself says.

    Attributes:
        size: height and width in pixels of the network's input.
        mean: of each channel, for pixels in [0, 1].
        std: likewise.
        grey: one channel in place of three.

    Raises:
        InputError: for numbers that cannot be.
    """

    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    grey: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.size is not None and not 1 <= self.size <= _LARGEST_SIDE:
            raise InputError(f"image size {self.size}; expected a number of pixels from 1 to {_LARGEST_SIDE:,}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) not in (1, self.channels):
                each = "" if self.grey else f", or one for each of {self.channels} channels"
                raise InputError(f"{name} has {len(values)} numbers; expected one{each}")
            if values is not None and not all(map(math.isfinite, values)):
                raise InputError(f"{name} {_listed(values)}; expected finite numbers")
        if self.std is not None and min(self.std) <= 0:
            raise InputError(f"std {_listed(self.std)}; expected numbers above 0")

    @property
    def channels(self) -> int:
        """Of the network's input."""
        return 1 if self.grey else 3

    @property
    def mode(self) -> str:
        """Pillow's name for images of so many channels."""
        return "L" if self.grey else "RGB"

    def changed(self) -> dict[str, Any]:
        """The values that are given, mean and std with one number for each channel."""
        given: dict[str, Any] = {} if self.size is None else {"size": self.size}
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None:
                given[name] = values if len(values) == self.channels else values * self.channels
        return given


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)


@dataclass(frozen=True)
class ResizeAndNormalise:
    """Resize the shorter side, crop the middle, normalise.

    Attributes:
        size: height and width in pixels of the result.
        mean: of each channel, for pixels in [0, 1].
        std: likewise.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, image: Image.Image) -> Tensor:
        """From a decoded image to [channels, size, size] float32."""
        from PIL import Image, ImageOps

        if image.size != (self.size, self.size):
            image = ImageOps.fit(image, (self.size, self.size), Image.Resampling.BICUBIC)
        levels = torch.from_numpy(np.array(image, np.float32)) / 255
        levels = levels.unsqueeze(0) if levels.dim() == 2 else levels.permute(2, 0, 1)
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (levels - mean) / std


@dataclass(frozen=True)
class Stacked:
    """A batch from images that are transformed one by one."""

    transform: Callable[[Any], Tensor]

    def __call__(self, images: Sequence[Any]) -> Tensor:
        """[N, channels, height, width]."""
        return torch.stack([self.transform(image) for image in images])
