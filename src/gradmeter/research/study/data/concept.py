"""A concept: a named set of images, known to the network (digits) or unknown (all others)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gradmeter.errors import DataError

SIDE = 28


@dataclass(frozen=True, eq=False)
class Concept:
    """A named set of grey images, white strokes on black.

    Attributes:
        name: role in the study, such as "digits" or "letters".
        images: [n, 28, 28] uint8 in 0..255, or float32 in the network's scale (noise).
        labels: [n] int64, or None for unlabelled images.

    Raises:
        DataError: an array has another shape or type.
    """

    name: str
    images: npt.NDArray[Any]
    labels: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Check shapes and types."""
        if self.images.ndim != 3 or self.images.shape[1:] != (SIDE, SIDE):
            raise DataError(f"{self.name}: images have shape {self.images.shape}, expected [n, {SIDE}, {SIDE}]")
        if self.images.dtype not in (np.uint8, np.float32):
            raise DataError(f"{self.name}: images are {self.images.dtype}, expected uint8 (0..255) or float32")
        if self.labels is None:
            return
        if self.labels.shape != (len(self.images),) or self.labels.dtype != np.int64:
            raise DataError(
                f"{self.name}: labels are {self.labels.dtype} of shape {self.labels.shape}, "
                f"expected int64 of shape ({len(self.images)},), one label per image"
            )

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    def take(self, index: Sequence[int] | npt.NDArray[Any] | slice) -> Concept:
        """Return the images and labels at `index` (positions, a mask or a slice) as a concept."""
        return Concept(self.name, self.images[index], None if self.labels is None else self.labels[index])

    def to_tensor(self) -> torch.Tensor:
        """Copy the images into a tensor [n, 1, 28, 28] float32; uint8 images are divided by 255."""
        images = torch.tensor(self.images).unsqueeze(1)
        return images.float().div_(255) if images.dtype == torch.uint8 else images
