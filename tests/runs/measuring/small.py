"""A small classifier of grey images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import ImageKind

KIND = ImageKind("L", 8)


@dataclass(frozen=True)
class Prepare:
    """Turn images into a tensor."""

    def __call__(self, images: Sequence[Any]) -> Tensor:
        return torch.stack([torch.from_numpy(np.asarray(image, np.float32) / 255).unsqueeze(0) for image in images])


def classifier(classes: tuple[str, ...] | None = ("bird", "cat", "dog")) -> Classifier:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    return Classifier("small", network.eval(), classes, KIND, Prepare())
