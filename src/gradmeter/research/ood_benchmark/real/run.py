"""One trained network of the task: score its images with every method in every draw, and store the scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradmeter.errors import DataError
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.readings import Readings
from gradmeter.research.cifar_resnets import DEPTHS, load_cifar_resnet
from gradmeter.research.ood_benchmark.detectors import DETECTORS, make_detector
from gradmeter.research.ood_benchmark.fitting import BATCH, FittingData, batches, fitted
from gradmeter.research.ood_benchmark.parts import IMAGES
from gradmeter.research.ood_benchmark.real.images import ADVERSARIAL, CORRUPTED, DRAWS, NEAR, RealImages, load_images
from gradmeter.research.ood_benchmark.real.passes import Passes, attack
from gradmeter.research.ood_benchmark.real.reference import REFERENCE, supervised_reference
from gradmeter.research.ood_benchmark.run import OURS, WRONG, few
from gradmeter.research.ood_benchmark.scores import KNOWN, Scores, score_path
from gradmeter.research.ood_benchmark.tasks import TaskTitle
from gradmeter.research.study.tensors import read_tensors, write_tensors
from gradmeter.runs.progress import Step
from gradmeter.trust.meta_classifier import P_CORRECT, P_CORRECT_IF_KNOWN, P_KNOWN
from gradmeter.trust.model import TrustModel
from gradmeter.trust.reads import FORWARD, GRADIENTS

TASK = TaskTitle("cifar10", "CIFAR-10, residual networks of others", NEAR)
"""What the results of the task are called."""

FEW = (200, 1000)
"""Further numbers of validation images that the default judge is fitted to."""

# Images to fit candidates to, for detectors that pass them through the network for every candidate.
_SEARCHED = 500
# Images on which the time of a verdict is measured.
_TIMED = 400
CONTROLLED_READS = (FORWARD, GRADIENTS)
"""What the controls read."""
# A judge, which is fitted, timed and reads images, takes about as long as this many detectors.
_DETECTORS_PER_JUDGE = 8

Report = Callable[[float, str], None]
Values = Mapping[str, NDArray[np.float64]]


def statement(judge: str, probability: str) -> str:
    """Return the name of a probability of a judge as a method; P(correct) has the name of the judge."""
    return judge + {P_CORRECT: "", P_CORRECT_IF_KNOWN: ", P(correct | known)", P_KNOWN: ", P(known)"}[probability]


def reading(reads: str) -> str:
    """Return the name of the control that reads one of `CONTROLLED_READS`."""
    return f"{OURS}, reads {reads}"


@dataclass(frozen=True)
class RealJob:
    """The work on one network.

    Attributes:
        depth: number of layers of the network.
        networks: folder of the networks.
        data: folder of the images.
        folder: output folder.
        share: share of the test images to score.
        detectors: names in `DETECTORS`.
        controlled: whether to run the controls.
    """

    depth: int
    networks: Path
    data: Path
    folder: Path
    share: float
    detectors: tuple[str, ...]
    controlled: bool

    def path(self, draw: int, method: str) -> Path:
        """Return the path of a method's scores in a draw."""
        return score_path(self.folder, TASK.name, runs_of(self.depth)[draw], method)

    def missing(self, methods: Sequence[str]) -> list[int]:
        """Return the draws in which scores of some of the methods are missing."""
        return [draw for draw in range(DRAWS) if not all(self.path(draw, name).exists() for name in methods)]


def runs_of(depth: int) -> range:
    """Return the numbers of a network's runs, one for each draw."""
    first = DRAWS * DEPTHS.index(depth)
    return range(first, first + DRAWS)


def perform(job: RealJob, emit: Callable[[Step], None]) -> None:
    """Compute the missing scores of one network.

    Raises:
        DataError: if the images or the network cannot be read, or all predictions on test images are right, or wrong.
    """

    def report(progress: float, note: str) -> None:
        emit(Step(f"ResNet-{job.depth}", progress, note))

    report(0, "images")
    network = load_cifar_resnet(job.networks, job.depth)
    images = load_images(job.data, job.share)
    passes = Passes(network, images, _attacked(job, network, images) / 255)
    report(0.05, "passes")
    _write_wrong(job, passes)
    judgings = _judgings(job, images)
    # The reference comes last.
    detected = 0.05 + 0.93 * len(job.detectors) / (len(job.detectors) + _DETECTORS_PER_JUDGE * len(judgings))
    _score_detectors(job, passes, _within(0.05, detected, report))
    _score_judges(job, judgings, network, passes, _within(detected, 0.98, report))
    _score_reference(job, network, images, report)
    report(1, "done")


def _within(low: float, high: float, report: Report) -> Report:
    """Report the progress of a part of the work."""
    return lambda progress, note: report(low + (high - low) * progress, note)


def _attacked(job: RealJob, network: nn.Module, images: RealImages) -> Tensor:
    """Return the adversarial images, [n, 3, 32, 32] uint8; a continued comparison uses the same ones."""
    path = job.folder / "images" / f"{TASK.name}-{job.depth}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, {ADVERSARIAL: attack(network, images)}, {})
    return read_tensors(path)[0][ADVERSARIAL]


def _write_wrong(job: RealJob, passes: Passes) -> None:
    """Write which predictions on known and on corrupted images are wrong."""
    labels = {KNOWN: passes.images.known.labels, CORRUPTED: passes.images.corrupted.labels}
    wrong = {name: (passes.predictions[name] != known).double().numpy() for name, known in labels.items()}
    for number, draw in enumerate(passes.images.draws):
        of_draw = {WRONG: wrong[KNOWN][draw.test], CORRUPTED: wrong[CORRUPTED]}
        for name, flags in of_draw.items():
            if not 0 < flags.sum() < len(flags):
                raise DataError(
                    f"ResNet-{job.depth} predicts {int(len(flags) - flags.sum())} of {len(flags)} "
                    f"{'corrupted' if name == CORRUPTED else 'test'} images right; expected some right and some wrong "
                    "predictions; give more images, or a larger --share"
                )
        Scores(of_draw, 0.0, 0.0).write(job.path(number, WRONG))


def _of_draw(values: Values, images: RealImages, draw: int) -> dict[str, NDArray[np.float64]]:
    """Return the scores of all sets with those of a draw's test images out of all tested ones."""
    rows = np.searchsorted(images.tested, images.draws[draw].test)
    return {name: scores[rows] if name == KNOWN else scores for name, scores in values.items()}


def _score_detectors(job: RealJob, passes: Passes, report: Report) -> None:
    for number, name in enumerate(job.detectors):
        missing = job.missing([name])
        if not missing or not DETECTORS[name].applies(passes.parts(IMAGES).network):
            continue
        report(number / len(job.detectors), name)
        for draws, fit_to in _fits(name, passes, missing):
            values, fit_seconds, milliseconds = _detect(name, passes, fit_to)
            for draw in draws:
                of_draw = _of_draw(values, passes.images, draw)
                Scores(of_draw, fit_seconds, milliseconds).write(job.path(draw, name))


def _fits(name: str, passes: Passes, missing: Sequence[int]) -> Iterator[tuple[Sequence[int], NDArray[np.int64]]]:
    """Yield groups of draws with the rows of the known images that a detector is fitted to.

    Detectors that need the images, whose scores take many passes through the network, are fitted to the validation
    images that all draws have in common, and those without fit do not depend on the draw: both are scored once.
    """
    entry, images = DETECTORS[name], passes.images
    needs_fit = getattr(make_detector(name, passes.parts(entry.start)), "requires_fit", False)
    if entry.start == IMAGES or not needs_fit:
        yield missing, images.always_validation
        return
    for draw in missing:
        yield [draw], images.draws[draw].validation


def _detect(name: str, passes: Passes, rows: NDArray[np.int64]) -> tuple[Values, float, float]:
    """Fit a detector to some known images; return the scores of all sets and its times."""
    start = DETECTORS[name].start
    search = rows[~np.isin(rows, passes.images.tuning)]
    data = FittingData(
        passes.known(start, rows),
        passes.known(start, search[:_SEARCHED] if start == IMAGES else search),
        lambda: passes.tuning(start),
    )
    started = time.perf_counter()
    detector = fitted(name, passes.parts(start), data)
    fit_seconds = time.perf_counter() - started + 1e-3 * passes.milliseconds(start) * len(rows)
    started = time.perf_counter()
    inputs = passes.inputs(start)
    values = {
        name: _predict(detector, inputs[name][passes.images.tested] if name == KNOWN else inputs[name])
        for name in inputs
    }
    seconds = time.perf_counter() - started
    return values, fit_seconds, passes.milliseconds(start) + 1e3 * seconds / sum(map(len, values.values()))


def _predict(detector: Any, inputs: Tensor) -> NDArray[np.float64]:
    scores = [detector.predict(batch).detach().cpu() for batch in inputs.split(BATCH)]
    return np.asarray(torch.cat(scores), dtype=np.float64)


@dataclass(frozen=True)
class _Judging:
    """A judge to fit in a draw.

    Attributes:
        name: its name.
        draw: the draw.
        size: number of validation images.
        options: further arguments of `TrustModel`.
    """

    name: str
    draw: int
    size: int
    options: Mapping[str, Any]

    @property
    def methods(self) -> tuple[str, ...]:
        """Its probabilities as methods."""
        return tuple(statement(self.name, probability) for probability in (P_CORRECT, P_CORRECT_IF_KNOWN, P_KNOWN))


def _judgings(job: RealJob, images: RealImages) -> list[_Judging]:
    """Return the judges to fit; the controls only in the first draw, because reading gradients takes long."""
    judgings = []
    for number, draw in enumerate(images.draws):
        judgings.append(_Judging(OURS, number, len(draw.validation), {}))
        judgings += [_Judging(few(size), number, size, {}) for size in FEW if size < len(draw.validation)]
    if job.controlled:
        validation = len(images.draws[0].validation)
        judgings += [_Judging(reading(reads), 0, validation, {"reads": reads}) for reads in CONTROLLED_READS]
    return judgings


class SharedReadings:
    """The readings of all images to score, made once for all judges of a network that read the same.

    Args:
        network: the network.
        passes: the images.
    """

    def __init__(self, network: nn.Module, passes: Passes) -> None:
        self._network, self._passes = network, passes
        self._gradients: bool | None = None
        self._readings: dict[str, Readings] = {}

    def of(self, trust: TrustModel) -> dict[str, Readings]:
        """Return readings for a fitted judge, by name of the set; of the known images, those of `RealImages.tested`.

        Every image gets a second look, and the judge itself ignores it where it would not have looked again.
        """
        if self._gradients != trust.meter.gradients:
            meter = GradientMeter(self._network).for_trust_model(trust.meter.gradients)
            self._gradients, tested = trust.meter.gradients, self._passes.images.tested
            self._readings = {
                name: Readings.concatenate(
                    [meter(batch) for batch in (images[tested] if name == KNOWN else images).split(BATCH)]
                )
                for name, images in self._passes.sets.items()
            }
        return self._readings


def _score_judges(
    job: RealJob, judgings: Sequence[_Judging], network: nn.Module, passes: Passes, report: Report
) -> None:
    """Fit the judges and score all images; the readings of the images are made once for all judges that need them."""
    readings = SharedReadings(network, passes)
    for number, judging in enumerate(judgings):
        if all(job.path(judging.draw, method).exists() for method in judging.methods):
            continue
        report(number / len(judgings), f"{judging.name}, draw {judging.draw + 1}")
        draw = passes.images.draws[judging.draw]
        validation = passes.images.rows(draw.validation[: judging.size])
        started = time.perf_counter()
        trust = TrustModel(GradientMeter(network), **judging.options).fit(batches(validation, len(validation)))
        fit_seconds = time.perf_counter() - started
        milliseconds = _milliseconds(trust, passes.images.rows(draw.test[:_TIMED]).images)
        verdicts = {name: trust.verdicts(of_set) for name, of_set in readings.of(trust).items()}
        for method, probability in zip(judging.methods, (P_CORRECT, P_CORRECT_IF_KNOWN, P_KNOWN), strict=True):
            values = {name: -table[probability].to_numpy() for name, table in verdicts.items()}
            of_draw = _of_draw(values, passes.images, judging.draw)
            Scores(of_draw, fit_seconds, milliseconds).write(job.path(judging.draw, method))


def _score_reference(job: RealJob, network: nn.Module, images: RealImages, report: Report) -> None:
    if not job.missing([REFERENCE]):
        return
    report(0.98, REFERENCE)
    for draw, values in enumerate(supervised_reference(network, images)):
        Scores(values, 0.0, 0.0).write(job.path(draw, REFERENCE))


def _milliseconds(trust: TrustModel, images: Tensor) -> float:
    """Return the time of a verdict per image."""
    trust.verdicts(images[:BATCH])
    started = time.perf_counter()
    for batch in images.split(BATCH):
        trust.verdicts(batch)
    return 1e3 * (time.perf_counter() - started) / len(images)


def networks_found(folder: Path) -> list[int]:
    """Return the depths of the networks with scores of the default judge in every draw."""
    return [
        depth
        for depth in DEPTHS
        if all(score_path(folder, TASK.name, run, name).is_file() for run in runs_of(depth) for name in (OURS, WRONG))
    ]
