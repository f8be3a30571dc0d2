"""Pixels of the validation scenes, which judges learn from and by which scores are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from gradmeter.errors import DataError
from gradmeter.reading.pixels.scores import confidence_scores, gradient_scores
from gradmeter.research.street.reading import PixelFeatures, SceneReader, SceneReadings, Values
from gradmeter.research.street.scenes import TITLES, Lesson, Street

PIXELS = 400
"""Pixels that are drawn from each validation scene."""


def all_scores(scenes: SceneReadings) -> dict[str, Values]:
    """Return the scores [n] of all pixels that learn nothing, by name."""
    maps = confidence_scores(scenes.pixels.logits) | gradient_scores(scenes.pixels)
    return {name: values.flatten().numpy() for name, values in maps.items()}


@dataclass(frozen=True, eq=False)
class ValidationSample:
    """Random pixels of the validation scenes that have a class, in the order of the scenes.

    Attributes:
        features: of n pixels.
        scores: those of `all_scores`.
        known: [n] whether the network has learned the pixel's class.
        wrong: [n] whether the network predicts another class.
    """

    features: PixelFeatures
    scores: Mapping[str, Values]
    known: NDArray[np.bool_]
    wrong: NDArray[np.bool_]

    @classmethod
    def draw(cls, reader: SceneReader, street: Street, lesson: Lesson, seed: int) -> Self:
        """Draw the pixels of all scenes.

        Raises:
            DataError: if no pixel is right, or none is wrong, of the classes that the network has learned.
        """
        random, features, scores, labels, wrong = np.random.default_rng(seed), [], [], [], []
        for images, of_images in street.val.batches():
            scenes = reader(images)
            rows = _drawn(of_images, street.void, random)
            features.append(PixelFeatures.of(scenes).rows(rows))
            scores.append({name: values[rows] for name, values in all_scores(scenes).items()})
            labels.append(of_images.ravel()[rows])
            wrong.append(scenes.pixels.predictions.numpy().ravel()[rows] != labels[-1])
        joined = {name: np.concatenate([part[name] for part in scores]) for name in scores[0]}
        known = ~np.isin(np.concatenate(labels), lesson.unlearned)
        sample = cls(PixelFeatures.concatenate(features), joined, known, np.concatenate(wrong))
        count, errors = np.count_nonzero(known), np.count_nonzero(sample.wrong[known])
        if not 0 < errors < count:
            raise DataError(
                f"the network of {TITLES[lesson.name]} predicts {errors} of {count} validation pixels wrong; expected "
                "some right and some wrong ones: give more scenes"
            )
        return sample

    @cached_property
    def _auroc(self) -> dict[str, float]:
        wrong = self.wrong[self.known]
        return {name: float(roc_auc_score(wrong, values[self.known])) for name, values in self.scores.items()}

    def signs(self) -> dict[str, int]:
        """Return -1 for each score that is lower for wrong pixels, and 1 for the others."""
        return {name: 1 if value >= 0.5 else -1 for name, value in self._auroc.items()}

    def quality(self) -> dict[str, float]:
        """Return the AUROC of wrong pixels by each score, turned round if it is lower for them."""
        return {name: max(value, 1 - value) for name, value in self._auroc.items()}


def _drawn(labels: NDArray[np.uint8], void: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Return random pixels of every scene that have a class, as rows of all pixels of the labels [n, H, W]."""
    rows = []
    for number, scene in enumerate(labels):
        candidates = np.flatnonzero(scene != void)
        rows.append(number * scene.size + random.permutation(candidates)[:PIXELS])
    return np.concatenate(rows)
