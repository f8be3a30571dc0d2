"""Conversion of published images to 28x28 grey images, white strokes on black."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gradmeter.research.study.data.concept import SIDE

Images = npt.NDArray[Any]

# ITU-R BT.601 luma of red, green and blue.
_LUMA = torch.tensor([0.299, 0.587, 0.114])
# Number of images resized at once; limits the float32 copy to about 50 MB.
_CHUNK = 1024


def cifar_to_grey(images: Images) -> npt.NDArray[np.uint8]:
    """Convert colour images to grey images: luma by ITU-R BT.601, then bilinear resizing with antialiasing.

    Args:
        images: [n, h, w, 3], uint8 (0..255) or float (0..1).

    Returns:
        [n, 28, 28] uint8.
    """
    return _in_chunks(images, lambda levels: levels @ _LUMA)


def omniglot_to_strokes(images: Images) -> npt.NDArray[np.uint8]:
    """Invert black ink on white paper, then resize bilinearly with antialiasing.

    Args:
        images: [n, h, w], bool (True = paper), uint8 (255 = paper) or float (1 = paper).

    Returns:
        [n, 28, 28] uint8.
    """
    return _in_chunks(images, lambda levels: 255 - levels)


def _in_chunks(images: Images, to_grey: Callable[[torch.Tensor], torch.Tensor]) -> npt.NDArray[np.uint8]:
    result = np.empty((len(images), SIDE, SIDE), np.uint8)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        scale = 1 if chunk.dtype == np.uint8 else 255
        result[start : start + _CHUNK] = _resize(to_grey(torch.from_numpy(chunk.astype(np.float32)) * scale))
    return result


def _resize(levels: torch.Tensor) -> npt.NDArray[np.uint8]:
    resized = torch.nn.functional.interpolate(levels.unsqueeze(1), (SIDE, SIDE), mode="bilinear", antialias=True)
    return resized.squeeze(1).round_().clamp_(0, 255).byte().numpy()
