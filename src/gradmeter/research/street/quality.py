"""How well a network segments: the shares of right pixels and the intersections over unions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from gradmeter.files import read_json, write_text
from gradmeter.research.own_files import own_file
from gradmeter.research.street.network import StreetNet, upsampled
from gradmeter.research.street.scenes import Lesson, Scenes, Street


@dataclass(frozen=True)
class Quality:
    """The quality on validation and on test scenes, of the classes that the network has learned.

    Attributes:
        val_right, test_right: share of right pixels.
        val_iou, test_iou: intersection over union, mean over the classes.
    """

    val_right: float
    val_iou: float
    test_right: float
    test_iou: float

    @classmethod
    def of(cls, network: StreetNet, street: Street, lesson: Lesson) -> Self:
        """Measure a network."""
        return cls(*_measured(network, street.val, street, lesson), *_measured(network, street.test, street, lesson))

    def write(self, path: Path) -> None:
        """Write the numbers as JSON, atomically."""
        write_text(path, json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the numbers that `write` wrote.

        Raises:
            DataError: if the file cannot be read.
        """
        with own_file(path):
            return cls(**read_json(path))


def _measured(network: StreetNet, scenes: Scenes, street: Street, lesson: Lesson) -> tuple[float, float]:
    """Return the share of right pixels and the mean intersection over union."""
    confusion = np.zeros((street.void, street.void))
    for images, labels in scenes.batches():
        with torch.inference_mode():
            predicted = upsampled(network(images), images).argmax(dim=1).numpy().ravel()
        truth = lesson.without_unlearned(labels, street.void).ravel()
        used = truth != street.void
        pairs = truth[used].astype(np.int64) * street.void + predicted[used]
        confusion += np.bincount(pairs, minlength=confusion.size).reshape(confusion.shape)
    learned = confusion[: lesson.classes, : lesson.classes]
    hits = np.diag(learned)
    unions = learned.sum(axis=0) + learned.sum(axis=1) - hits
    return float(hits.sum() / learned.sum()), float(np.mean(hits / np.maximum(unions, 1)))
