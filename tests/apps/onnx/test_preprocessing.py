"""Preprocessing without PyTorch gives the pixels of the classifier's own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms._presets import ImageClassification

from gradmeter import DataError
from gradmeter.apps.onnx.describing import image_steps
from gradmeter.apps.onnx.preprocessing import ImageSteps
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.preprocessing import ResizeAndNormalise, Stacked
from gradmeter.sources.samples import ImageKind

GREY = Stacked(ResizeAndNormalise(28, (0.13,), (0.31,)))


def timm_transform(**options: Any) -> Callable[..., Any]:
    return timm.data.create_transform(**{"input_size": (3, 32, 32), "crop_pct": 0.9, **options}, is_training=False)


def classifier(batch: Any, mode: str = "RGB", side: int = 36) -> Classifier:
    return Classifier("a network", nn.Identity(), None, ImageKind(mode, side), batch)


@pytest.mark.parametrize(
    ("batch", "mode"),
    [
        (GREY, "L"),
        (Stacked(ResizeAndNormalise(31, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))), "RGB"),
        (Stacked(timm_transform(interpolation="bicubic")), "RGB"),
        (Stacked(timm_transform(interpolation="bilinear", crop_mode="squash")), "RGB"),
        (Stacked(timm_transform(mean=(0.5,), std=(0.25,), input_size=(1, 28, 28))), "L"),
        (Stacked(ImageClassification(crop_size=32, resize_size=40)), "RGB"),
    ],
)
def test_the_same_pixels(batch: Stacked, mode: str) -> None:
    steps = image_steps(classifier(batch, mode))
    assert steps is not None
    steps = ImageSteps.from_json(steps.to_json())
    random = np.random.default_rng(1)
    for height, width in ((36, 36), (20, 61), (300, 41), (37, 36), (5, 9)):
        shape = (height, width) if mode == "L" else (height, width, 3)
        image = Image.fromarray(random.integers(0, 256, shape, np.uint8))
        np.testing.assert_allclose(steps(image), batch([image])[0], atol=1e-5)


def test_transforms_that_cannot_be_described() -> None:
    def reverse(image: Image.Image) -> torch.Tensor:
        return torch.zeros(3, 8, 8)

    flipping = timm_transform()
    flipping.transforms.insert(0, v2.RandomHorizontalFlip(1.0))  # type: ignore[attr-defined]
    padded = timm_transform(crop_mode="border")
    for batch in (Stacked(reverse), Stacked(flipping), Stacked(padded), reverse):
        assert image_steps(classifier(batch)) is None
    assert image_steps(Classifier("texts", nn.Identity(), None, None, GREY)) is None


@pytest.mark.parametrize(
    "change",
    [{"mode": "CMYK"}, {"steps": [["melt", 1, 1]]}, {"mean": [0.1, 0.2]}, {"interpolation": "magic"}, {"std": 1}],
)
def test_damaged_descriptions(change: dict[str, Any]) -> None:
    steps = image_steps(classifier(GREY, "L"))
    assert steps is not None
    with pytest.raises(DataError, match="export again"):
        ImageSteps.from_json({**steps.to_json(), **change})
