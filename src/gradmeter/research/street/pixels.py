"""Score every pixel of the test scenes with one network, and count the scores in histograms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from gradmeter.errors import DataError
from gradmeter.reading.pixels.scores import confidence_scores, gradient_scores
from gradmeter.research.street.judges import Lessons, Panel
from gradmeter.research.street.network import StreetNet
from gradmeter.research.street.reading import PixelFeatures, SceneReader, SceneReadings
from gradmeter.research.street.scenes import ALL, PART, TITLES, Lesson, Street
from gradmeter.runs.arrays import read_arrays, write_arrays
from gradmeter.trust.evaluation.binned import GroupedScores, Histograms, ScoreCounts

ERRORS, ANOMALIES, LEARNED = "errors", "anomalies", "anomalies, learned"
"""Wrong pixels; pixels of unlearned classes, by judges of wrong pixels; and by judges that learn from anomalies."""
TASKS = {ALL: (ERRORS,), PART: (ANOMALIES, LEARNED)}
"""The tasks of each network."""
BLOCK = 8
"""Consecutive test scenes that are resampled together."""
# Pixels of each validation scene that judges learn from, and that scores are chosen by.
_PIXELS = 400

Report = Callable[[float, str], None]
Scores = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class PixelScores:
    """The scores of one task and network.

    Attributes:
        test: histograms of the test pixels' scores by name, grouped by `BLOCK` scenes.
        validation: AUROC of wrong pixels in validation scenes, by name of the scores that learn nothing; those that are
            lower for wrong pixels are turned round.
        wrong: share of wrong test pixels, of the classes that the network has learned.
    """

    test: Mapping[str, Histograms]
    validation: Mapping[str, float]
    wrong: float

    def write(self, path: Path) -> None:
        """Write the scores, atomically."""
        arrays = {"names": np.array(list(self.test)), "wrong": np.array(self.wrong)}
        arrays["validation_names"] = np.array(list(self.validation))
        arrays["validation"] = np.array(list(self.validation.values()))
        for number, counts in enumerate(self.test.values()):
            arrays[f"inside{number}"], arrays[f"outside{number}"] = (
                kind.astype(np.int32) for kind in (counts.inside, counts.outside)
            )
        write_arrays(path, arrays)

    @classmethod
    def read(cls, path: Path) -> PixelScores:
        """Return the scores that `write` wrote.

        Raises:
            DataError: if the file cannot be read.
        """
        arrays = read_arrays(path)
        test = {
            str(name): Histograms(
                arrays[f"inside{number}"].astype(np.int64), arrays[f"outside{number}"].astype(np.int64)
            )
            for number, name in enumerate(arrays["names"])
        }
        names, values = arrays["validation_names"], arrays["validation"]
        validation = {str(name): float(value) for name, value in zip(names, values, strict=True)}
        return cls(test, validation, float(arrays["wrong"]))


def score_pixels(
    network: StreetNet, street: Street, lesson: Lesson, seed: int, report: Report
) -> dict[str, PixelScores]:
    """Fit the judges of each task to validation scenes, and score all test pixels.

    Args:
        network: the trained network.
        street: the scenes.
        lesson: what the network has learned.
        seed: of the pixels that judges learn from.
        report: called with the share that is done and a note.

    Raises:
        DataError: if there are no wrong or no right pixels in the validation or the test scenes.
    """
    reader, random = SceneReader(network), np.random.default_rng(seed)
    report(0, "validation scenes")
    sample = _sample(reader, street, random)
    known = ~np.isin(sample.labels, lesson.unlearned)
    wrong = sample.predictions != sample.labels
    _require_both(wrong[known], lesson, "validation")
    found = {name: float(roc_auc_score(wrong[known], scores[known])) for name, scores in sample.scores.items()}
    # A score that is lower for wrong pixels is turned round.
    signs = {name: 1 if value >= 0.5 else -1 for name, value in found.items()}
    validation = {name: max(value, 1 - value) for name, value in found.items()}
    report(0.3, "judges")
    panels = {}
    for task in TASKS[lesson.name]:
        rows = np.flatnonzero(known) if task != LEARNED else np.arange(len(known))
        target = wrong if task != LEARNED else ~known
        panels[task] = Panel(Lessons(sample.features.rows(rows), target[rows]), seed)
    counted: dict[str, dict[str, GroupedScores]] = {task: {} for task in panels}
    errors = pixels = done = 0
    for images, labels in street.test.batches():
        report(0.4 + 0.6 * done / len(street.test), "test scenes")
        scenes = reader(images)
        everything = {name: signs[name] * values for name, values in all_scores(scenes).items()}
        features = PixelFeatures.of(scenes)
        used = labels.ravel() != street.void
        unlearned = np.isin(labels, lesson.unlearned).ravel()
        wrong = scenes.pixels.predictions.numpy().ravel() != labels.ravel()
        errors += int(np.count_nonzero(wrong & used & ~unlearned))
        pixels += int(np.count_nonzero(used & ~unlearned))
        groups = np.repeat((done + np.arange(len(labels))) // BLOCK, labels[0].size)
        for task, panel in panels.items():
            outside = wrong if task == ERRORS else unlearned
            # The scores that learn nothing are those of the other task, too.
            of_judges = panel(features)
            for name, scores in (of_judges if task == LEARNED else everything | of_judges).items():
                counts = counted[task].setdefault(name, GroupedScores())
                for group in np.unique(groups):
                    rows = used & (groups == group)
                    if rows.any():
                        counts.add(int(group), ScoreCounts.of(scores[rows], outside[rows]))
        done += len(labels)
    scored = {
        task: PixelScores({name: counts.histograms() for name, counts in of_task.items()}, validation, errors / pixels)
        for task, of_task in counted.items()
    }
    for task, of_task in scored.items():
        first = next(iter(of_task.test.values()))
        if not first.inside.any() or not first.outside.any():
            raise DataError(f"the test scenes hold no two kinds of pixels for the task {task}; give more scenes")
    return scored


def all_scores(scenes: SceneReadings) -> dict[str, NDArray[np.float64]]:
    """Return the scores [n] of all pixels that learn nothing, by name."""
    maps = confidence_scores(scenes.pixels.logits) | gradient_scores(scenes.pixels)
    return {name: values.flatten().numpy() for name, values in maps.items()}


@dataclass(frozen=True, eq=False)
class _Sample:
    """Pixels of the validation scenes that have a class: features, scores, labels [n] and predictions [n]."""

    features: PixelFeatures
    scores: Scores
    labels: NDArray[np.uint8]
    predictions: NDArray[np.int64]


def _sample(reader: SceneReader, street: Street, random: np.random.Generator) -> _Sample:
    features, scores, labels, predictions = [], [], [], []
    for images, of_images in street.val.batches():
        scenes = reader(images)
        rows = _drawn(of_images, street.void, random)
        features.append(PixelFeatures.of(scenes).rows(rows))
        scores.append({name: values[rows] for name, values in all_scores(scenes).items()})
        labels.append(of_images.ravel()[rows])
        predictions.append(scenes.pixels.predictions.numpy().ravel()[rows])
    joined = {name: np.concatenate([part[name] for part in scores]) for name in scores[0]}
    return _Sample(PixelFeatures.concatenate(features), joined, np.concatenate(labels), np.concatenate(predictions))


def _drawn(labels: NDArray[np.uint8], void: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Return random pixels of every scene that have a class, as rows of all pixels of the labels [n, H, W]."""
    rows = []
    for number, scene in enumerate(labels):
        candidates = np.flatnonzero(scene != void)
        rows.append(number * scene.size + random.permutation(candidates)[:_PIXELS])
    return np.concatenate(rows)


def _require_both(wrong: NDArray[np.bool_], lesson: Lesson, split: str) -> None:
    if not 0 < np.count_nonzero(wrong) < len(wrong):
        raise DataError(
            f"the network of {TITLES[lesson.name]} predicts {np.count_nonzero(wrong)} of {len(wrong)} {split} pixels "
            "wrong; expected some right and some wrong ones: give more scenes"
        )
