"""A random sample of a stream of images, to make unknowns of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradmeter.trust.synthetic.registry import KINDS
from gradmeter.trust.synthetic.unknowns import each_kind

SAMPLED = 500
"""Images that are kept, at most."""
# Each kind weighs as much as the known inputs, however many it has: more than these bring nothing but time.
_LEAST = 50

# The memory that they may take; unknowns made of them take as much again, one kind at a time.
_BYTES = 2**28
_BATCH = 64


def per_kind(known: int) -> int:
    """How many unknowns of each kind are made where there are so many known images.

    All kinds together are about as many as the known images, and cost as much time, but for fewer than 50 of each: then
    50, or as many as there are known images; and at most 500.
    """
    return min(known, max(_LEAST, known // len(KINDS)), SAMPLED)


class ImageSample:
    """Keeps some of the images that it is shown, each with equal probability (Vitter 1985, algorithm R)."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._seen = 0
        self._kept: list[tuple[Tensor, int]] = []
        self._name: str | None = None

    def add(self, inputs: Any, labels: Tensor) -> None:
        """Look at a batch; one that holds no images [N, C, H, W], alone or as its only entry, is passed over."""
        if isinstance(inputs, Mapping) and len(inputs) == 1:  # as processors of transformers make them
            ((self._name, inputs),) = inputs.items()
        if not isinstance(inputs, Tensor) or inputs.dim() != 4 or not inputs.is_floating_point():
            return
        for image, label in zip(inputs.detach().cpu(), labels.tolist(), strict=True):
            limit = max(1, min(SAMPLED, _BYTES // max(1, image.numel() * image.element_size())))
            self._seen += 1
            if len(self._kept) < limit:
                self._kept.append((image.clone(), label))
            elif (place := int(self._random.integers(self._seen))) < limit:
                self._kept[place] = image.clone(), label

    def images(self) -> tuple[Tensor | None, Tensor]:
        """The images that were kept, [N, C, H, W], and their labels; None if there are none, or of several sizes."""
        labels = torch.tensor([label for _, label in self._kept])
        if len({image.shape for image, _ in self._kept}) != 1:
            return None, labels
        return torch.stack([image for image, _ in self._kept]), labels

    def chosen(self) -> tuple[Tensor | None, Tensor]:
        """Of these, `per_kind` for as many known images as were looked at: what unknowns are made of."""
        images, labels = self.images()
        order = np.random.default_rng(0).permutation(len(labels))
        taken = torch.from_numpy(np.sort(order[: per_kind(self._seen)]))
        return None if images is None else images[taken], labels[taken]

    def as_inputs(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Images in the form of the batches that were looked at."""
        return images if self._name is None else {self._name: images}

    def unknowns(self, device: torch.device | None = None) -> Iterator[Iterator[Tensor | dict[str, Tensor]]]:
        """Synthetic unknowns of one kind after the other, in batches of inputs; none where there were no images."""
        images, labels = self.chosen()
        if images is not None:
            for _, made in each_kind(images, labels):
                yield (self.as_inputs(batch.to(device)) for batch in made.split(_BATCH))
