"""Preprocessing of images that needs no PyTorch: steps that are stored in an ONNX file as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from gradmeter.errors import DataError, one_line

FIT, RESIZE, CROP = "fit", "resize", "crop"
# The largest height or width in pixels that a step may give; a forged file may ask for any.
_LARGEST = 2**13
_INTERPOLATIONS = {member.name.lower(): member for member in Image.Resampling}


@dataclass(frozen=True)
class ImageSteps:
    """Resizes and crops an image, scales its pixels to [0, 1] and normalises them.

    Attributes:
        mode: "RGB" or "L", Pillow's mode of the image.
        side: height and width in pixels at which nothing is resized.
        steps: (name, height, width) of each step: "fit" resizes and crops to a size, "resize" resizes to one (a width
            of 0: the shorter side to `height`), "crop" cuts out the centre.
        interpolation: Pillow's name of the interpolation, such as "bicubic".
        mean: the mean of each channel.
        std: the standard deviation of each channel.
    """

    mode: str
    side: int
    steps: tuple[tuple[str, int, int], ...]
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """Transform a decoded image to [channels, height, width]."""
        for name, height, width in self.steps:
            image = _STEPS[name](image, height, width, _INTERPOLATIONS[self.interpolation])
        levels = np.asarray(image, np.float32) / np.float32(255)
        levels = levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (self.mean, self.std))
        return (levels - mean) / std

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of all transformed images; None if they depend on the image."""
        return self.steps[-1][1:] if self.steps and self.steps[-1][2] else None

    def to_json(self) -> dict[str, Any]:
        """The attributes as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ImageSteps:
        """Invert `to_json`.

        Raises:
            DataError: if the values are not from `to_json`.
        """
        try:
            steps = tuple((str(name), int(height), int(width)) for name, height, width in values["steps"])
            mean, std = (tuple(map(float, values[name])) for name in ("mean", "std"))
            loaded = cls(values["mode"], int(values["side"]), steps, values["interpolation"], mean, std)
            channels = {"L": 1, "RGB": 3}[loaded.mode]
            if len(mean) != channels or len(std) != channels or not all(name in _STEPS for name, _, _ in steps):
                raise ValueError("unknown steps or a wrong number of channels")
            if not all(1 <= height <= _LARGEST and 0 <= width <= _LARGEST for _, height, width in steps):
                raise ValueError(f"sizes of images that are not 1 to {_LARGEST:,} pixels")
            _INTERPOLATIONS[loaded.interpolation]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(f"the description of the preprocessing is damaged ({one_line(error)}); export again") from (
                error
            )
        return loaded


def _fit(image: Image.Image, height: int, width: int, interpolation: Image.Resampling) -> Image.Image:
    return image if image.size == (width, height) else ImageOps.fit(image, (width, height), interpolation)


def _resize(image: Image.Image, height: int, width: int, interpolation: Image.Resampling) -> Image.Image:
    if not width:  # the shorter side, rounded as by torchvision
        short, long = sorted(image.size)
        other = int(height * long / short)
        height, width = (height, other) if image.width > image.height else (other, height)
    return image if image.size == (width, height) else image.resize((width, height), interpolation)


def _crop(image: Image.Image, height: int, width: int, interpolation: Image.Resampling) -> Image.Image:
    # As by torchvision, which pads smaller images with black.
    if image.width < width or image.height < height:
        left, top = max(0, (width - image.width) // 2), max(0, (height - image.height) // 2)
        right, bottom = max(0, (width - image.width + 1) // 2), max(0, (height - image.height + 1) // 2)
        image = ImageOps.expand(image, (left, top, right, bottom))
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


_STEPS = {FIT: _fit, RESIZE: _resize, CROP: _crop}
