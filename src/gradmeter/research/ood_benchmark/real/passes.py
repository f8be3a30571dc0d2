"""The pass of all images through a network, made once for all detectors that start from feature maps or embeddings."""

from __future__ import annotations

import time
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gradmeter.research.ood_benchmark.fitting import BATCH, Batches, known_and_synthetic
from gradmeter.research.ood_benchmark.parts import EMBEDDING, FEATURE_MAPS, IMAGES, Parts, parts_of
from gradmeter.research.ood_benchmark.real.attacks import adversarial
from gradmeter.research.ood_benchmark.real.images import ADVERSARIAL, CORRUPTED, RealImages
from gradmeter.research.ood_benchmark.scores import KNOWN
from gradmeter.research.ood_benchmark.tasks import Images

# Images that each kind of synthetic unknowns is made from for the search of settings: ODIN passes them eight times.
_SYNTHETIC_FROM = 40


class Passes:
    """What a network makes of the images of the task, at every start of a detector.

    Args:
        network: the network in eval mode.
        images: the images.
        attacked: adversarial images [n, 3, 32, 32] in [0, 1] for this network.

    Attributes:
        images: the images.
        sets: all images to score by name; `KNOWN` are those of all draws.
    """

    def __init__(self, network: nn.Module, images: RealImages, attacked: Tensor) -> None:
        self._whole = parts_of(network)
        self.images = images
        self.sets = {
            KNOWN: images.known.images,
            **images.unknowns,
            CORRUPTED: images.corrupted.images,
            ADVERSARIAL: attacked,
        }

    def parts(self, start: str) -> Parts:
        """Return the network from a start on."""
        return self._whole.after(start)

    def inputs(self, start: str) -> dict[str, Tensor]:
        """Return the inputs of a detector with a start, by name of the set."""
        if start == IMAGES:
            return self.sets
        if start == FEATURE_MAPS:
            return self._maps
        return self._embeddings if start == EMBEDDING else self._logits

    def known(self, start: str, rows: NDArray[np.int64]) -> Images:
        """Return the inputs for some known images, with their labels."""
        return Images(self.inputs(start)[KNOWN][rows], self.images.known.labels[rows])

    def milliseconds(self, start: str) -> float:
        """Return the time per image of the pass up to a start, on one thread."""
        if start == IMAGES:
            return 0.0
        count = sum(map(len, self.sets.values()))
        return 1e3 * self._pass[1] / count

    def tuning(self, start: str) -> Batches:
        """Return inputs on which detectors compare settings: known ones, and synthetic unknowns with the label -1."""
        return [(self._up_to(start, images), labels) for images, labels in self._tuning_images]

    @cached_property
    def predictions(self) -> dict[str, Tensor]:
        """The predicted classes by name of the set."""
        return {name: logits.argmax(1) for name, logits in self._logits.items()}

    @cached_property
    def _tuning_images(self) -> Batches:
        return known_and_synthetic(self.images.rows(self.images.tuning), _SYNTHETIC_FROM)

    @property
    def _maps(self) -> dict[str, Tensor]:
        return self._pass[0]

    @cached_property
    def _pass(self) -> tuple[dict[str, Tensor], float]:
        """The feature maps of every set, and the seconds that they took."""
        started = time.perf_counter()
        maps = {name: self._up_to(FEATURE_MAPS, images) for name, images in self.sets.items()}
        return maps, time.perf_counter() - started

    @cached_property
    def _embeddings(self) -> dict[str, Tensor]:
        return {name: self._whole.pool(maps) for name, maps in self._maps.items()}

    @cached_property
    def _logits(self) -> dict[str, Tensor]:
        return {name: self._to_logits(embeddings) for name, embeddings in self._embeddings.items()}

    @torch.no_grad()
    def _up_to(self, start: str, images: Tensor) -> Tensor:
        if start == IMAGES:
            return images
        maps = torch.cat([self._whole.backbone(batch) for batch in images.split(BATCH)])
        if start == FEATURE_MAPS:
            return maps
        embeddings: Tensor = self._whole.pool(maps)
        return embeddings if start == EMBEDDING else self._to_logits(embeddings)

    @torch.no_grad()
    def _to_logits(self, embeddings: Tensor) -> Tensor:
        """Return logits in float64: in float32, many maximum softmax probabilities would be exactly 1."""
        last = self._whole.last
        return F.linear(embeddings.double(), last.weight.double(), last.bias.double())


def attack(network: nn.Module, images: RealImages) -> Tensor:
    """Return adversarial images [n, 3, 32, 32] uint8, made from test images of every draw."""
    known = images.rows(images.attacked)
    return adversarial(network, known.images, known.labels)
