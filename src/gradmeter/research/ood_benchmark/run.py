"""One network of the benchmark: train it, score its test images with every method, and store the scores."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor, nn

from gradmeter.errors import DataError
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.readings import Readings
from gradmeter.research.ood_benchmark.ceiling import CEILING, supervised_ceiling
from gradmeter.research.ood_benchmark.controls import (
    ALL_LABELS,
    PIXELS,
    Control,
    controls,
    pixel_judge,
    pixel_statistics,
)
from gradmeter.research.ood_benchmark.detectors import DETECTORS
from gradmeter.research.ood_benchmark.fitting import BATCH, FittingData, fitted, known_and_synthetic
from gradmeter.research.ood_benchmark.parts import Parts, parts_of
from gradmeter.research.ood_benchmark.scores import KNOWN, Scores, score_path
from gradmeter.research.ood_benchmark.tasks import LETTERS, TASKS, BenchmarkTask, Data, Images
from gradmeter.research.study.training import predict
from gradmeter.runs.progress import Step
from gradmeter.trust.features import FeatureBlock
from gradmeter.trust.log_features import LogFeatures
from gradmeter.trust.meta_classifier import CORRECT, UNKNOWN
from gradmeter.trust.model import TrustModel
from gradmeter.trust.synthetic import KINDS, ImageSample, synthetic_unknowns
from gradmeter.trust.two_heads import TwoHeads

OURS = "gradmeter"
WRONG = "wrong"
WHICH_LETTER = "which letter"
_EXTRA_LABELS = ("all-ones", "counterfactual", "expected")
FEW = (200, 2000)
"""Further numbers of validation images that the default judge is fitted to."""
LABELS = ("predicted", "uniform", *_EXTRA_LABELS)
"""Pseudo-labels that the controls read; the default judge reads the first two."""


def few(size: int) -> str:
    """Return the name of the default judge that is fitted to the first `size` validation images."""
    return f"{OURS}, {size} validation images"


@dataclass(frozen=True)
class Job:
    """The work on one network.

    Attributes:
        task: a name in `TASKS`.
        run: number of the network.
        data: folder of the images.
        folder: output folder for networks and scores.
        share: share of the test images to score.
        detectors: names in `DETECTORS`.
        controlled: whether to run the controls.
    """

    task: str
    run: int
    data: Path
    folder: Path
    share: float
    detectors: tuple[str, ...]
    controlled: bool

    def path(self, method: str) -> Path:
        """Return the path of a method's scores."""
        return score_path(self.folder, self.task, self.run, method)


def perform(job: Job, emit: Callable[[Step], None]) -> None:
    """Train one network if it does not exist, and compute the missing scores.

    Raises:
        DataError: if all predictions on test images are right, or all are wrong.
    """
    task = TASKS[job.task]
    all_data = task.data(job.data, job.run)
    data = _take_share(all_data, job.share)
    path = job.folder / "networks" / f"{job.task}-{job.run}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)

    def report(progress: float, note: str) -> None:
        emit(Step(f"{job.task} {job.run}", progress, note))

    network = task.network(data, job.run, path, lambda epoch: report(0, f"epoch {epoch}"))
    wrong = predict(network, data.test.images) != data.test.labels
    if not 0 < wrong.sum() < len(wrong):
        raise DataError(
            f"network {job.run} of {job.task} predicts {len(wrong) - wrong.sum()} of {len(wrong)} test images right; "
            "expected some right and some wrong predictions; give more images, or a larger --share"
        )
    Scores({WRONG: wrong.double().numpy()}, 0.0, 0.0).write(job.path(WRONG))
    if all_data.letters is not None:
        Scores({LETTERS: all_data.letters.astype(np.float64)}, 0.0, 0.0).write(job.path(WHICH_LETTER))
    _score_judge(job, network, data, report)
    parts = parts_of(network)
    for number, name in enumerate(job.detectors):
        if DETECTORS[name].applies(network) and not job.path(name).exists():
            report(0.3 + 0.3 * number / len(job.detectors), name)
            _score_detector(name, parts, data).write(job.path(name))
    if job.controlled:
        _score_ceiling(job, replace(data, unknowns=all_data.unknowns), task, report)
        _score_controls(job, network, data, report)
    report(1, "done")


def _take_share(data: Data, share: float) -> Data:
    def take(images: Images) -> Images:
        return _first(images, math.ceil(share * len(images)))

    unknowns = {concept: take(images) for concept, images in data.unknowns.items()}
    return replace(data, test=take(data.test), unknowns=unknowns)


def _first(images: Images, count: int) -> Images:
    return Images(images.images[:count], images.labels[:count])


def _test_sets(data: Data) -> dict[str, Tensor]:
    return {KNOWN: data.test.images, **{concept: unknown.images for concept, unknown in data.unknowns.items()}}


def _score(method: Callable[[Tensor], Any], data: Data, fit_seconds: float) -> Scores:
    """Score all test images with a method, and measure the time."""
    started = time.perf_counter()
    values = {
        name: np.concatenate([np.asarray(method(batch), dtype=np.float64) for batch in images.split(BATCH)])
        for name, images in _test_sets(data).items()
    }
    seconds = time.perf_counter() - started
    return Scores(values, fit_seconds, 1e3 * seconds / sum(map(len, values.values())))


def _score_detector(name: str, parts: Parts, data: Data) -> Scores:
    """Fit a detector and score all images; its search compares settings on validation images and synthetic unknowns."""
    started = time.perf_counter()
    source = data.validation if DETECTORS[name].on_validation else data.train
    detector = fitted(name, parts, FittingData(source, source, lambda: known_and_synthetic(data.validation)))
    fit_seconds = time.perf_counter() - started
    return _score(lambda batch: detector.predict(batch).detach().cpu(), data, fit_seconds)


def _score_judge(job: Job, network: nn.Module, data: Data, report: Callable[[float, str], None]) -> None:
    """Fit the default judge to all validation images and to few, and score the test images."""
    sizes = {OURS: len(data.validation), **{few(size): size for size in FEW if size < len(data.validation)}}
    for name, size in sizes.items():
        if job.path(name).exists():
            continue
        report(0.1, name)
        started = time.perf_counter()
        trust = TrustModel(GradientMeter(network)).fit(_loader(_first(data.validation, size)))
        fit_seconds = time.perf_counter() - started
        _score(_doubt(trust), data, fit_seconds).write(job.path(name))


def _doubt(trust: TrustModel) -> Callable[[Tensor], Tensor]:
    return lambda batch: -trust.predict_proba(batch)


def _loader(images: Images) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(images.images.split(BATCH), images.labels.split(BATCH), strict=True)


class _ControlData:
    """Readings of all images that controls learn from and score."""

    def __init__(self, network: nn.Module, data: Data) -> None:
        meter = GradientMeter(network, _EXTRA_LABELS).for_trust_model()

        def read(images: Tensor) -> Readings:
            return Readings.concatenate([meter(batch) for batch in images.split(BATCH)])

        self.known = read(data.validation.images)
        self.right = (self.known.predictions == data.validation.labels).numpy()
        sample = ImageSample()
        for batch, labels in _loader(data.validation):
            sample.add(batch, labels)
        images, labels = sample.chosen()
        assert images is not None
        self.images = synthetic_unknowns(images, labels)
        self.synthetic = {kind: read(images) for kind, images in self.images.items()}
        self.known_unknowns = {concept: read(unknown.images) for concept, unknown in data.known_unknowns.items()}
        self.sets = {name: read(images) for name, images in _test_sets(data).items()}
        features = LogFeatures.everything(Readings.concatenate([self.known, *self.synthetic.values()]))
        self.axes = features.axes
        self.blocks = {id(readings): features.block(readings) for readings in self._all()}

    def _all(self) -> Iterator[Readings]:
        yield self.known
        for group in (self.synthetic, self.known_unknowns, self.sets):
            yield from group.values()

    def fit(self, control: Control) -> tuple[TwoHeads, NDArray[np.intp]]:
        """Return a judge fitted as a control, and the indices of the features that it reads."""
        kept = self.axes.where(control.keeps)
        unknown = [readings for kind, readings in self.synthetic.items() if control.kinds(kind)]
        unknown += [readings for concept, readings in self.known_unknowns.items() if control.known_unknowns(concept)]
        block = FeatureBlock.concatenate([self._block(readings, kept) for readings in (self.known, *unknown)])
        kinds = [np.full(len(readings), UNKNOWN + kind) for kind, readings in enumerate(unknown)]
        target = np.concatenate([self.right.astype(np.int64), *kinds])
        return TwoHeads(outputs=control.outputs).fit(block, target), kept

    def scores(self, heads: TwoHeads, kept: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
        """Return -P(correct) of all sets, including those of synthetic unknowns."""
        synthetic = {f"synthetic {kind}": readings for kind, readings in self.synthetic.items()}
        return {
            name: -heads.predict_proba(self._block(readings, kept))[:, CORRECT]
            for name, readings in {**self.sets, **synthetic}.items()
        }

    def _block(self, readings: Readings, columns: NDArray[np.intp]) -> FeatureBlock:
        return self.blocks[id(readings)].columns(columns)


def _score_ceiling(job: Job, data: Data, task: BenchmarkTask, report: Callable[[float, str], None]) -> None:
    for concept in task.near:
        path = job.path(f"{CEILING} {concept}")
        if not path.exists():
            report(0.6, f"{CEILING}, {concept}")
            weights = job.folder / "networks" / f"{job.task}-{job.run}-{concept.replace(' ', '-')}.safetensors"
            started = time.perf_counter()
            scores = supervised_ceiling(data, concept, job.run, weights)
            Scores(scores, time.perf_counter() - started, 0.0).write(path)


def _score_controls(job: Job, network: nn.Module, data: Data, report: Callable[[float, str], None]) -> None:
    by_name = controls(TASKS[job.task].layers, LABELS, tuple(KINDS), tuple(data.known_unknowns))
    missing = [name for name in (*by_name, PIXELS) if not job.path(name).exists()]
    if not missing:
        return
    report(0.6, "reading for the controls")
    control_data = _ControlData(network, data)
    for number, name in enumerate(missing):
        report(0.65 + 0.35 * number / len(missing), name)
        started = time.perf_counter()
        if name == PIXELS:
            judge = pixel_judge(data.validation.images, torch.cat(list(control_data.images.values())))
            seconds = time.perf_counter() - started
            _score(_by_pixels(judge), data, seconds).write(job.path(name))
            continue
        heads, kept = control_data.fit(_default_labels(by_name[name], name))
        seconds = time.perf_counter() - started
        Scores(control_data.scores(heads, kept), seconds, 0.0).write(job.path(name))


def _by_pixels(judge: HistGradientBoostingClassifier) -> Callable[[Tensor], NDArray[np.float64]]:
    return lambda batch: judge.decision_function(pixel_statistics(batch))


def _default_labels(control: Control, name: str) -> Control:
    """Return the control without the pseudo-labels that the default judge does not read, unless it is about them."""
    if name == ALL_LABELS or name.startswith("pseudo-label "):
        return control
    return replace(control, reads=lambda feature: control.reads(feature) and feature.pseudo_label not in _EXTRA_LABELS)
