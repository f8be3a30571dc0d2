"""Describe the preprocessing of a classifier as steps that need no PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from gradmeter.apps.onnx.preprocessing import CROP, FIT, RESIZE, ImageSteps
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.preprocessing import ResizeAndNormalise, Stacked

_TOLERANCE = 1e-5


def image_steps(classifier: Classifier) -> ImageSteps | None:
    """Return the preprocessing of a classifier; None if it is not one that `ImageSteps` can describe.

    The steps are tried on images of several sizes, and must give the same pixels.
    """
    image, batch = classifier.image, classifier.batch
    if image is None or not isinstance(batch, Stacked):
        return None
    described = _described(batch.transform)
    if described is None:
        return None
    steps, interpolation, mean, std = described
    whole = ImageSteps(image.mode, image.side, tuple(steps), interpolation, tuple(mean), tuple(std))
    random, side = np.random.default_rng(0), image.side
    for height, width in ((side, side), (side + 7, side), (side, 2 * side + 5), (3 * side, 2 * side)):
        shape = (height, width) if image.mode == "L" else (height, width, 3)
        sample = Image.fromarray(random.integers(0, 256, shape, np.uint8))
        expected = batch([sample])[0].numpy()
        given = whole(sample)
        if given.shape != expected.shape or np.abs(given - expected).max() > _TOLERANCE:
            return None
    return whole


_Described = tuple[list[tuple[str, int, int]], str, list[float], list[float]]


def _described(transform: Any) -> _Described | None:
    """Return the steps of a transform of gradmeter, timm or torchvision."""
    if isinstance(transform, ResizeAndNormalise):
        fit = (FIT, transform.size, transform.size)
        return [fit], "bicubic", list(transform.mean), list(transform.std)
    if type(transform).__name__ == "ImageClassification":  # torchvision's presets
        crop = transform.crop_size[0]
        steps = [(RESIZE, transform.resize_size[0], 0), (CROP, crop, crop)]
        return steps, transform.interpolation.value, list(transform.mean), list(transform.std)
    if type(transform).__name__ != "Compose":  # timm's
        return None
    described = list[tuple[str, int, int]]()
    interpolation, mean, std = "bicubic", [0.0], [1.0]
    for step in transform.transforms:
        name = type(step).__name__
        if name == "Resize":
            height, width = (step.size, 0) if isinstance(step.size, int) else (*step.size, 0)[:2]
            described.append((RESIZE, height, width))
            interpolation = step.interpolation.value
        elif name == "CenterCrop":
            described.append((CROP, *step.size))
        elif name == "Normalize":
            mean, std = (list(map(float, values)) for values in (step.mean, step.std))
        elif name not in ("MaybeToTensor", "ToTensor"):
            return None
    return described, interpolation, mean, std
