"""Data sets as they are: what ranks first without planted errors, and what people see there."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from torch import nn

from gradmeter.report.markdown import markdown_table
from gradmeter.research.gradient_gain.samples import Archive, Samples, third
from gradmeter.research.gradient_gain.subjects import CIFAR10, DIGITS
from gradmeter.research.label_study.names import COMBINED
from gradmeter.research.label_study.pairs import PairReader
from gradmeter.research.label_study.place import Place
from gradmeter.research.label_study.pools import resnet
from gradmeter.research.label_study.run import Job
from gradmeter.research.label_study.scoring import scored
from gradmeter.research.label_study.sheet import Sheet
from gradmeter.research.study.training import load_network
from gradmeter.runs.progress import Step

AS_THEY_ARE = "as-they-are"
"""Name of the scores of labels without planted errors."""

FIRST = 50
"""How many labels are looked at."""

WRONG, AMBIGUOUS, RIGHT = "wrong", "ambiguous", "right"
VERDICTS = (WRONG, AMBIGUOUS, RIGHT)

_DIGITS = 10_000
_CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Data:
    """A data set as it is.

    Attributes:
        title: name of the data set, and of the network.
        group: the group whose networks read it.
        pool: returns the network, the samples and their numbers in the archive.
        classes: names of the classes.
    """

    title: str
    group: str
    pool: Callable[[Place], tuple[nn.Module, Samples, NDArray[np.int64]]]
    classes: tuple[str, ...]


def _cifar(place: Place) -> tuple[nn.Module, Samples, NDArray[np.int64]]:
    archive = Archive.read(place.data, CIFAR10)
    rows = np.arange(place.count(len(archive)))
    return resnet(place, 56), archive.take(rows), archive.rows[rows]


def _digits(place: Place) -> tuple[nn.Module, Samples, NDArray[np.int64]]:
    archive = Archive.read(place.data, DIGITS)
    rows = third(len(archive), 0)[-place.count(_DIGITS) :]
    return load_network(place.weights("digits-0"))[0], archive.take(rows), archive.rows[rows]


DATA = {
    CIFAR10: Data("CIFAR-10's test images, by ResNet-56", "resnet-44-56", _cifar, _CIFAR_CLASSES),
    DIGITS: Data("EMNIST digits, by the paper's CNN", "digits", _digits, tuple(map(str, range(10)))),
}
"""The data sets that are shown as they are, by archive."""


def score_as_it_is(job: Job, emit: Callable[[Step], None]) -> None:
    """Score the labels of a data set as they are, if the scores do not exist."""
    path = job.place.scores(job.name, 0, AS_THEY_ARE)
    if not path.exists():
        emit(Step(job.title, 0, "reading"))
        network, samples, ids = DATA[job.name].pool(job.place)
        folder = job.place.readings(job.name, 0)
        folder.mkdir(parents=True, exist_ok=True)
        reader = PairReader([network], samples.inputs, folder)
        labels = samples.labels.numpy()
        readings = reader.labelled(labels)
        reader.keep()
        emit(Step(job.title, 0.5, "checking labels"))
        scored(readings, ids, labels, reader.probabilities.argmax(axis=1)).write(path)
        reader.keep()
    emit(Step(job.title, 1, "done"))


@dataclass(frozen=True)
class Doubted:
    """The labels of a data set that rank first.

    Attributes:
        archive: the data set, a key of `DATA`.
        samples: number of samples.
        ids: their numbers in the archive, the most doubtful first.
        given: names of the labels.
        suggested: names of the likelier labels.
        p_label: P(label is right).
        rate: estimated share of wrong labels, with its interval.
    """

    archive: str
    samples: int
    ids: Sequence[int]
    given: Sequence[str]
    suggested: Sequence[str]
    p_label: Sequence[float]
    rate: tuple[float, float, float]

    @property
    def verdicts(self) -> list[str]:
        """What a person sees in each image; empty if nobody has looked."""
        known = _verdicts()
        return [known.get((self.archive, number), "") for number in self.ids]


def as_they_are(place: Place, groups: Sequence[str]) -> list[Doubted]:
    """Return what ranks first in each data set of some groups."""
    return [
        doubted(name, Sheet.read(place.scores(name, 0, AS_THEY_ARE)))
        for name, data in DATA.items()
        if data.group in groups
    ]


def doubted(archive: str, sheet: Sheet) -> Doubted:
    """Return what ranks first in the sheet of an archive."""
    data = DATA[archive]
    first = np.argsort(-sheet.scores[COMBINED], kind="stable")[:FIRST]
    rate = sheet.rates[COMBINED]
    return Doubted(
        archive,
        len(sheet.ids),
        sheet.ids[first].tolist(),
        [data.classes[label] for label in sheet.given[first]],
        [data.classes[label] for label in sheet.suggestion[first]],
        expit(-sheet.scores[COMBINED][first]).tolist(),
        (rate.value, rate.low, rate.high),
    )


@cache
def _verdicts() -> dict[tuple[str, int], str]:
    """Return own verdicts on images by archive and number."""
    text = files("gradmeter.research.label_study").joinpath("verdicts.csv").read_text(encoding="utf-8")
    return {(row["archive"], int(row["id"])): row["verdict"] for row in csv.DictReader(text.splitlines())}


def natural_section(found: Sequence[Doubted]) -> Iterator[str]:
    """The lines that show what ranks first."""
    for one in found:
        counts, (rate, low, high) = Counter(one.verdicts), (100 * share for share in one.rate)
        yield from (
            f"### {DATA[one.archive].title}",
            "",
            f"Among the first {len(one.ids)} of {one.samples:,} labels, by own verdict: {counts[WRONG]} wrong, "
            f"{counts[AMBIGUOUS]} ambiguous (a person may see either class, or cannot tell), {counts[RIGHT]} right"
            + (f", {counts['']} not looked at" if counts[""] else "")
            + f". Estimated share of wrong labels: {rate:.2f} % [{low:.2f}, {high:.2f}].",
            "",
        )
        rows = [
            [f"{rank}", f"{number}", given, suggested, f"{100 * p:.2f}", verdict]
            for rank, (number, given, suggested, p, verdict) in enumerate(
                zip(one.ids, one.given, one.suggested, one.p_label, one.verdicts, strict=True), start=1
            )
        ]
        yield from markdown_table(
            ["rank", "number in the archive", "label", "suggestion", "P(label is right), %", "own verdict"], rows
        )
        yield ""
