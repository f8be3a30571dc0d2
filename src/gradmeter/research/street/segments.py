"""Judge the segments of the test scenes: do they hit anything, and how well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gradmeter.errors import DataError, InputError
from gradmeter.research.street.network import StreetNet
from gradmeter.research.street.pixels import BLOCK, Report
from gradmeter.research.street.reading import SceneReader
from gradmeter.research.street.scenes import Lesson, Scenes, Street
from gradmeter.runs.arrays import read_arrays, write_arrays
from gradmeter.trust.evaluation.binned import GroupedScores, Histograms, ScoreCounts
from gradmeter.trust.segments import SegmentFeatures, SegmentTrust, segments
from gradmeter.trust.segments.features import GRADIENTS as GRADIENT_SOURCE

ENTROPY, METASEG, WITH_GRADIENTS, WITH_NOISE = "entropy", "forward", "with gradients", "with noise"
"""What a judge reads: the mean entropy only; MetaSeg's features and what else the forward pass shows; also gradients;
also gradients of other segments, drawn at random."""
METHODS = (ENTROPY, METASEG, WITH_GRADIENTS, WITH_NOISE)
R2 = "r2"
_MEAN_ENTROPY = "softmax/entropy/mean_all"
# Probabilities nearer to 0 or 1 are clipped before their logit is taken.
_NEAREST = 1e-9

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Regressed:
    """Sums over groups of segments, from which R^2 follows for every weighting of the groups.

    Attributes:
        sums: [groups, 4] number of segments, sums of the target and of its square, and of squared errors.
    """

    sums: Values

    @classmethod
    def of(cls, target: Values, predicted: Values, group: NDArray[np.int64]) -> Regressed:
        """Sum over the groups of S segments; `target` and `predicted` are [S]."""
        columns = (np.ones(len(target)), target, target**2, (target - predicted) ** 2)
        return cls(np.stack([np.bincount(group, column) for column in columns], axis=1))

    def measures(self, weights: Values | None = None) -> dict[str, Values]:
        """Return R^2 [R]: 1 - squared error / variance of the target.

        Args:
            weights: [R, groups] how often each group counts; by default, each counts once, and R is 1. Measures of a
                row without a segment are NaN.
        """
        of_groups = np.ones((1, len(self.sums))) if weights is None else weights
        count, total, squares, errors = (of_groups @ self.sums).T
        with np.errstate(invalid="ignore", divide="ignore"):
            return {R2: 1 - errors / (squares - total**2 / count)}


@dataclass(frozen=True, eq=False)
class SegmentScores:
    """What the judges say of the test segments of one network.

    Attributes:
        group: [S] number of the block of scenes.
        wrong: [S] whether a segment hits nothing.
        iou: [S] the adjusted IoU.
        doubt: log odds against a hit, [S] by method.
        predicted: the expected IoU, [S] by method.
        estimators: for each method the chosen meta classifier and meta regression.
    """

    group: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    iou: Values
    doubt: Mapping[str, Values]
    predicted: Mapping[str, Values]
    estimators: Mapping[str, tuple[str, str]]

    def classified(self, method: str) -> Histograms:
        """Return the histograms of a method's doubt."""
        counts = GroupedScores()
        for group in np.unique(self.group):
            rows = self.group == group
            counts.add(int(group), ScoreCounts.of(self.doubt[method][rows], self.wrong[rows]))
        return counts.histograms()

    def regressed(self, method: str) -> Regressed:
        """Return the sums of a method's predictions."""
        return Regressed.of(self.iou, self.predicted[method], self.group)

    def write(self, path: Path) -> None:
        """Write the scores, atomically."""
        arrays = {"group": self.group, "wrong": self.wrong, "iou": self.iou}
        for method in METHODS:
            arrays |= {f"doubt {method}": self.doubt[method], f"predicted {method}": self.predicted[method]}
            arrays[f"estimators {method}"] = np.array(self.estimators[method])
        write_arrays(path, arrays)

    @classmethod
    def read(cls, path: Path) -> SegmentScores:
        """Return the scores that `write` wrote.

        Raises:
            DataError: if the file cannot be read.
        """
        arrays = read_arrays(path)
        doubt = {method: arrays[f"doubt {method}"] for method in METHODS}
        predicted = {method: arrays[f"predicted {method}"] for method in METHODS}
        chosen = {method: arrays[f"estimators {method}"].tolist() for method in METHODS}
        estimators = {method: (str(hit), str(iou)) for method, (hit, iou) in chosen.items()}
        return cls(arrays["group"], arrays["wrong"], arrays["iou"], doubt, predicted, estimators)


def score_segments(network: StreetNet, street: Street, lesson: Lesson, seed: int, report: Report) -> SegmentScores:
    """Fit the judges to the segments of validation scenes, and judge those of the test scenes.

    Args:
        network: the trained network.
        street: the scenes.
        lesson: what the network has learned; in validation scenes the other classes are void.
        seed: of the random donors of gradients.
        report: called with the share that is done and a note.

    Raises:
        DataError: if too few segments of the validation scenes hit or miss.
    """
    reader, random = SceneReader(network), np.random.default_rng(seed)
    report(0, "segments of validation scenes")
    known = Scenes(street.val.images, lesson.without_unlearned(street.val.labels, street.void))
    learned = _features(reader, known, street.void)
    report(0.15, "segments of test scenes")
    test = _features(reader, street.test, street.void)
    assert test.adjusted_iou is not None
    assert test.wrong is not None
    doubt, predicted, estimators = {}, {}, {}
    for number, (method, view) in enumerate(_views(learned, random).items()):
        report(0.4 + 0.15 * number, f"segments, {method}")
        try:
            trust = SegmentTrust().fit(view(learned))
        except InputError as error:
            raise DataError(f"the validation scenes are not enough: {error}") from error
        verdicts = trust.predict(view(test))
        assert trust.fitted is not None
        likely = verdicts.p_hit.clip(_NEAREST, 1 - _NEAREST)
        doubt[method], predicted[method] = np.log1p(-likely) - np.log(likely), verdicts.iou
        estimators[method] = trust.fitted.hit.name, trust.fitted.iou.name
    return SegmentScores(test.image // BLOCK, test.wrong, test.adjusted_iou, doubt, predicted, estimators)


def _features(reader: SceneReader, scenes: Scenes, void: int) -> SegmentFeatures:
    parts = []
    for images, labels in scenes.batches():
        found = segments(reader(images).pixels, torch.from_numpy(labels).long(), void)
        # The maps of segments are not needed, and large.
        parts.append(replace(found, mask=None))
    return SegmentFeatures.concatenate(parts)


def _views(
    donors: SegmentFeatures, random: np.random.Generator
) -> dict[str, Callable[[SegmentFeatures], SegmentFeatures]]:
    """Return for each method the function that selects or replaces features."""
    gradients = np.array([axis.source == GRADIENT_SOURCE for axis in donors.axes])

    def with_noise(features: SegmentFeatures) -> SegmentFeatures:
        values = features.values.copy()
        values[:, gradients] = donors.values[random.integers(len(donors), size=len(features))][:, gradients]
        return replace(features, values=values)

    return {
        ENTROPY: lambda features: features.select(lambda name: name == _MEAN_ENTROPY),
        METASEG: lambda features: features.without_gradients(),
        WITH_GRADIENTS: lambda features: features,
        WITH_NOISE: with_noise,
    }
