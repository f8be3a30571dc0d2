"""A random sample of a stream of images, from which synthetic unknowns are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradmeter.trust.synthetic.registry import KINDS
from gradmeter.trust.synthetic.unknowns import each_kind

SAMPLED = 500
"""Largest number of images in a sample."""
# Smallest number of unknowns of a kind. More are not needed: in training, each kind has the total weight of the known
# inputs.
_LEAST = 50

# Largest memory of the sampled images. The unknowns need as much again, one kind at a time.
_BYTES = 2**28
_BATCH = 64


def per_kind(known: int) -> int:
    """Return how many unknowns of each kind are made for `known` known images.

    All kinds together are about as many as the known images, so that reading them takes about as long. There are at
    least 50 of each kind, or as many as known images, and at most 500.
    """
    return min(known, max(_LEAST, known // len(KINDS)), SAMPLED)


class ImageSample:
    """A uniform random sample of the images passed to `add` (Vitter 1985, algorithm R)."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._seen = 0
        self._kept: list[tuple[Tensor, int]] = []
        self._name: str | None = None

    def add(self, inputs: Any, labels: Tensor) -> None:
        """Add a batch of images [N, C, H, W], as a tensor or the only value of a dict; ignore other inputs.

        Args:
            inputs: the batch.
            labels: [N] classes.
        """
        if isinstance(inputs, Mapping) and len(inputs) == 1:  # the output of image processors of transformers
            ((self._name, inputs),) = inputs.items()
        if not isinstance(inputs, Tensor) or inputs.dim() != 4 or not inputs.is_floating_point():
            return
        for image, label in zip(inputs.detach().cpu(), labels.tolist(), strict=True):
            capacity = max(1, min(SAMPLED, _BYTES // max(1, image.numel() * image.element_size())))
            self._seen += 1
            if len(self._kept) < capacity:
                self._kept.append((image.clone(), label))
            elif (index := int(self._random.integers(self._seen))) < capacity:
                self._kept[index] = image.clone(), label

    def images(self) -> tuple[Tensor | None, Tensor]:
        """Return the sampled images [N, C, H, W] and their labels; None for no images or images of several sizes."""
        labels = torch.tensor([label for _, label in self._kept], device="cpu")
        if len({image.shape for image, _ in self._kept}) != 1:
            return None, labels
        return torch.stack([image for image, _ in self._kept]), labels

    def chosen(self) -> tuple[Tensor | None, Tensor]:
        """Return the `per_kind` images, and their labels, from which unknowns are made."""
        images, labels = self.images()
        order = np.random.default_rng(0).permutation(len(labels))
        rows = torch.from_numpy(np.sort(order[: per_kind(self._seen)]))
        return None if images is None else images[rows], labels[rows]

    def as_inputs(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Return images in the form of the batches passed to `add`."""
        return images if self._name is None else {self._name: images}

    def unknowns(self, device: torch.device | None = None) -> Iterator[Iterator[Tensor | dict[str, Tensor]]]:
        """Iterate over the kinds of synthetic unknowns, each in batches of inputs; empty if there are no images."""
        images, labels = self.chosen()
        if images is not None:
            for _, unknowns in each_kind(images, labels):
                yield (self.as_inputs(batch.to(device)) for batch in unknowns.split(_BATCH))
