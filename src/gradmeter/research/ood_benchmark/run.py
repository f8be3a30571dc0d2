"""One network of the benchmark: train it, let every method judge its test images, keep the scores."""

from __future__ import annotations

import math
import time
import warnings
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
from gradmeter.research.ood_benchmark.detectors import ON_VALIDATION, applies, made, search_space
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
_BATCH = 200
_TRAINING_IMAGES = 20_000
_SEARCH_IMAGES = 5000
_TUNING_IMAGES = 200
_EXTRA_LABELS = ("all-ones", "counterfactual", "expected")
FEW = (200, 2000)
"""Numbers of validation images that the default judge is fitted to as well."""
LABELS = ("predicted", "uniform", *_EXTRA_LABELS)
"""Pseudo-labels that controls read; the default judge reads the first two."""


def few(size: int) -> str:
    """Name of the default judge that was fitted to the first `size` validation images."""
    return f"{OURS}, {size} validation images"


@dataclass(frozen=True)
class Job:
    """What is asked of one network.

    Attributes:
        task: a name of `TASKS`.
        run: number of the network.
        data: folder of the images.
        folder: where networks and scores go.
        share: of the test images that are judged.
        detectors: names of `DETECTORS`.
        controlled: whether the controls run too.
    """

    task: str
    run: int
    data: Path
    folder: Path
    share: float
    detectors: tuple[str, ...]
    controlled: bool

    def path(self, method: str) -> Path:
        """Of a method's scores."""
        return score_path(self.folder, self.task, self.run, method)


def perform(job: Job, emit: Callable[[Step], None]) -> None:
    """Do what is left to do for one network.

    Raises:
        DataError: if it answers all test images right, or all wrong.
    """
    task = TASKS[job.task]
    whole = task.data(job.data, job.run)
    data = _part(whole, job.share)
    path = job.folder / "networks" / f"{job.task}-{job.run}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)

    def tell(share: float, note: str) -> None:
        emit(Step(f"{job.task} {job.run}", share, note))

    network = task.network(data, job.run, path, lambda epoch: tell(0, f"epoch {epoch}"))
    wrong = predict(network, data.test.images) != data.test.labels
    if not 0 < wrong.sum() < len(wrong):
        raise DataError(
            f"network {job.run} of {job.task} answers {len(wrong) - wrong.sum()} of {len(wrong)} test images right; "
            "expected some right and some wrong answers to compare: give more images, or a larger --share"
        )
    Scores({WRONG: wrong.double().numpy()}, 0.0, 0.0).write(job.path(WRONG))
    if whole.letters is not None:
        Scores({LETTERS: whole.letters.astype(np.float64)}, 0.0, 0.0).write(job.path(WHICH_LETTER))
    _judge(job, network, data, tell)
    parts = parts_of(network)
    for number, name in enumerate(job.detectors):
        if applies(name, parts) and not job.path(name).exists():
            tell(0.3 + 0.3 * number / len(job.detectors), name)
            _detect(name, parts, data).write(job.path(name))
    if job.controlled:
        _ceiling(job, replace(data, unknowns=whole.unknowns), task, tell)
        _control(job, network, data, tell)
    tell(1, "done")


def _part(data: Data, share: float) -> Data:
    def part(images: Images) -> Images:
        return _first(images, math.ceil(share * len(images)))

    return replace(data, test=part(data.test), unknowns={name: part(one) for name, one in data.unknowns.items()})


def _first(images: Images, count: int) -> Images:
    return Images(images.images[:count], images.labels[:count])


def _sets(data: Data) -> dict[str, Tensor]:
    return {KNOWN: data.test.images, **{name: one.images for name, one in data.unknowns.items()}}


def _scored(score: Callable[[Tensor], Any], data: Data, fit_seconds: float) -> Scores:
    """Apply a method, and time it."""
    started = time.perf_counter()
    values = {
        name: np.concatenate([np.asarray(score(batch), dtype=np.float64) for batch in images.split(_BATCH)])
        for name, images in _sets(data).items()
    }
    seconds = time.perf_counter() - started
    return Scores(values, fit_seconds, 1e3 * seconds / sum(map(len, values.values())))


def _detect(name: str, parts: Parts, data: Data) -> Scores:
    """A detector; what its paper chooses on validation data is chosen on validation images and synthetic unknowns."""
    from pytorch_ood.utils import GridSearch

    torch.manual_seed(0)
    started = time.perf_counter()
    detector = made(name, parts)
    source = data.validation if name in ON_VALIDATION else data.train
    if space := search_space(name, detector, parts, min(len(source), _SEARCH_IMAGES)):
        search = GridSearch(detector, _batches(source, _SEARCH_IMAGES), _known_and_made(data.validation), space)
        with warnings.catch_warnings():
            # Of constant scores, of which another measure than AUROC is undefined.
            warnings.filterwarnings("ignore", message="AUTC is undefined", category=UserWarning)
            search.run()
    if getattr(detector, "requires_fit", False):
        detector.fit(_batches(source, _TRAINING_IMAGES))
    fitted = time.perf_counter() - started
    return _scored(lambda batch: detector.predict(batch).detach().cpu(), data, fitted)


def _batches(images: Images, count: int) -> list[tuple[Tensor, Tensor]]:
    return list(_loader(_first(images, count)))


def _known_and_made(validation: Images) -> list[tuple[Tensor, Tensor]]:
    """Validation images and synthetic unknowns of them; these have the label -1."""
    known = _first(validation, _TUNING_IMAGES)
    made_of_them = torch.cat([*synthetic_unknowns(known.images, known.labels).values()])
    return [
        *_batches(known, _TUNING_IMAGES),
        *_loader(Images(made_of_them, torch.full((len(made_of_them),), -1))),
    ]


def _judge(job: Job, network: nn.Module, data: Data, tell: Callable[[float, str], None]) -> None:
    """The default judge, as anyone gets it, from all validation images and from a few."""
    sizes = {OURS: len(data.validation), **{few(size): size for size in FEW if size < len(data.validation)}}
    for name, size in sizes.items():
        if job.path(name).exists():
            continue
        tell(0.1, name)
        started = time.perf_counter()
        trust = TrustModel(GradientMeter(network)).fit(_loader(_first(data.validation, size)))
        fitted = time.perf_counter() - started
        _scored(_doubt(trust), data, fitted).write(job.path(name))


def _doubt(trust: TrustModel) -> Callable[[Tensor], Tensor]:
    return lambda batch: -trust.predict_proba(batch)


def _loader(images: Images) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(images.images.split(_BATCH), images.labels.split(_BATCH), strict=True)


class _Read:
    """Readings of everything that controls learn from and are judged on, read once."""

    def __init__(self, network: nn.Module, data: Data) -> None:
        meter = GradientMeter(network, _EXTRA_LABELS).for_trust_model()

        def read(images: Tensor) -> Readings:
            return Readings.concatenate([meter(batch) for batch in images.split(_BATCH)])

        self.known = read(data.validation.images)
        self.right = (self.known.predictions == data.validation.labels).numpy()
        sample = ImageSample()
        for batch, labels in _loader(data.validation):
            sample.add(batch, labels)
        images, labels = sample.chosen()
        assert images is not None
        self.images = synthetic_unknowns(images, labels)
        self.synthetic = {kind: read(made) for kind, made in self.images.items()}
        self.known_unknowns = {name: read(one.images) for name, one in data.known_unknowns.items()}
        self.sets = {name: read(made) for name, made in _sets(data).items()}
        features = LogFeatures.everything(Readings.concatenate([self.known, *self.synthetic.values()]))
        self.axes = features.axes
        self.blocks = {id(one): features.block(one) for one in self._all()}

    def _all(self) -> Iterator[Readings]:
        yield self.known
        for group in (self.synthetic, self.known_unknowns, self.sets):
            yield from group.values()

    def fit(self, control: Control) -> tuple[TwoHeads, NDArray[np.intp]]:
        """A judge under a control, and the columns of the features that it reads."""
        kept = self.axes.where(control.keeps)
        unknown = [one for kind, one in self.synthetic.items() if control.kinds(kind)]
        unknown += [one for concept, one in self.known_unknowns.items() if control.known_unknowns(concept)]
        block = FeatureBlock.concatenate([self.blocks[id(one)].columns(kept) for one in (self.known, *unknown)])
        kinds = [np.full(len(one), UNKNOWN + kind) for kind, one in enumerate(unknown)]
        target = np.concatenate([self.right.astype(np.int64), *kinds])
        return TwoHeads(outputs=control.outputs).fit(block, target), kept

    def scores(self, heads: TwoHeads, kept: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
        """-P(correct) of all sets, those of synthetic unknowns included."""
        everything = {**self.sets, **{f"synthetic {kind}": one for kind, one in self.synthetic.items()}}
        return {
            name: -heads.predict_proba(self.blocks[id(one)].columns(kept))[:, CORRECT]
            for name, one in everything.items()
        }


def _ceiling(job: Job, data: Data, task: BenchmarkTask, tell: Callable[[float, str], None]) -> None:
    for concept in task.near:
        path = job.path(f"{CEILING} {concept}")
        if not path.exists():
            tell(0.6, f"{CEILING}, {concept}")
            weights = job.folder / "networks" / f"{job.task}-{job.run}-{concept.replace(' ', '-')}.safetensors"
            started = time.perf_counter()
            found = supervised_ceiling(data, concept, job.run, weights)
            Scores(found, time.perf_counter() - started, 0.0).write(path)


def _control(job: Job, network: nn.Module, data: Data, tell: Callable[[float, str], None]) -> None:
    wanted = controls(TASKS[job.task].layers, LABELS, tuple(KINDS), tuple(data.known_unknowns))
    left = [name for name in (*wanted, PIXELS) if not job.path(name).exists()]
    if not left:
        return
    tell(0.6, "reading for the controls")
    read = _Read(network, data)
    for number, name in enumerate(left):
        tell(0.65 + 0.35 * number / len(left), name)
        started = time.perf_counter()
        if name == PIXELS:
            judge = pixel_judge(data.validation.images, torch.cat(list(read.images.values())))
            seconds = time.perf_counter() - started
            _scored(_by_pixels(judge), data, seconds).write(job.path(name))
            continue
        heads, kept = read.fit(_default_labels(wanted[name], name))
        seconds = time.perf_counter() - started
        Scores(read.scores(heads, kept), seconds, 0.0).write(job.path(name))


def _by_pixels(judge: HistGradientBoostingClassifier) -> Callable[[Tensor], NDArray[np.float64]]:
    return lambda batch: judge.decision_function(pixel_statistics(batch))


def _default_labels(control: Control, name: str) -> Control:
    """Pseudo-labels that the default judge does not read are left out, but where they are what is asked about."""
    if name == ALL_LABELS or name.startswith("pseudo-label "):
        return control
    return replace(control, reads=lambda feature: control.reads(feature) and feature.pseudo_label not in _EXTRA_LABELS)
