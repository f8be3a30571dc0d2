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


class Routed(nn.Module):
    """Gives dark images to one expert, and bright ones to the other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(16, 3)
        self.experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))

    def forward(self, x: Tensor) -> Any:
        features = nn.functional.adaptive_avg_pool2d(self.conv(x).tanh(), 2).flatten(1)
        chosen = (x.mean((1, 2, 3)) > 0.5).int()
        answers = torch.zeros_like(features)
        for number, expert in enumerate(self.experts):
            if len(rows := (chosen == number).nonzero()[:, 0]):
                answers = answers.index_copy(0, rows, expert(features[rows]))
        return self.head(answers)


def routed() -> Classifier:
    """A classifier whose images are routed: the first ones of a source do not show all of its layers."""
    torch.manual_seed(0)
    return Classifier("routed", Routed().eval(), ("bird", "cat", "dog"), KIND, Prepare())
