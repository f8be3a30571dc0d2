"""The networks of the experiment and the inputs of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gradmeter.research.cifar_resnets import load_cifar_resnet
from gradmeter.research.gradient_gain.attacks import ATTACKS
from gradmeter.research.gradient_gain.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from gradmeter.research.gradient_gain.exam import Exam
from gradmeter.research.gradient_gain.networks import AllConvolutional, Perceptron, SmallCNN, TextCNN
from gradmeter.research.gradient_gain.samples import Archive, Samples, third, without
from gradmeter.research.gradient_gain.texts import LANGUAGES, UNKNOWN, Alphabet, known_texts, unknown_texts
from gradmeter.research.gradient_gain.training import Recipe, trained
from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.training import Digits, load_network, seed_of
from gradmeter.research.study.training import train as train_paper_network
from gradmeter.trust.synthetic import ImageSample, synthetic_unknowns

Report = Callable[[str], None]
RUNS = 3
"""Networks of each architecture that is trained here, and judges of each network that is not."""

CIFAR10, COLOUR, DIGITS, LETTERS = "cifar10_test", "cifar10_train20k", "emnist_digits", "emnist_letters"
CIFAR100, TINY, NOTMNIST = "cifar100_test3k", "tiny_imagenet_32_3k", "notmnist"

_CLASSES = 10
_CHANGES = (1, 2, 4)  # of adversarial images, in 255ths
_BATCH = 200


@dataclass(frozen=True)
class Place:
    """Where an exam finds and keeps its files.

    Attributes:
        data: folder of the archives.
        networks: folder of trained networks; None if it is not needed.
        weights: the file for the weights of a network that is trained here.
        share: share of the validation and test inputs to use.
    """

    data: Path
    networks: Path | None
    weights: Path
    share: float

    def count(self, samples: int) -> int:
        """Return the share of a number of samples, a multiple of `RUNS`."""
        return RUNS * math.ceil(self.share * samples / RUNS)


@dataclass(frozen=True)
class Subject:
    """A kind of network.

    Attributes:
        name: short name for options and folders.
        title: name in tables.
        group: the section of the page.
        about: a sentence that says what the network and its inputs are.
        runs: number of networks.
        folds: number of judges of each network.
        files: the archives that it needs.
        few: numbers of validation inputs to fit further judges to.
        exam: makes the exam of one network.
        weights: file of the trained network; None if it is trained here.
    """

    name: str
    title: str
    group: str
    about: str
    runs: int
    folds: int
    files: tuple[str, ...]
    few: tuple[int, ...]
    exam: Callable[[Place, int, Report], Exam]
    weights: str | None = None


def _resnet(depth: int) -> Callable[[Place, int, Report], Exam]:
    def exam(place: Place, run: int, report: Report) -> Exam:
        assert place.networks is not None
        network = load_cifar_resnet(place.networks, depth)
        archive = Archive.read(place.data, CIFAR10)
        known = archive.take(np.arange(min(place.count(6000), 3 * len(archive) // 4)))
        originals = archive.take(np.arange(len(archive))[-place.count(150) :])
        unknown = {name: _first(Archive.read(place.data, file), place.count(1200)) for name, file in _NEAR.items()}
        letters = Archive.read(place.data, NOTMNIST)
        return Exam(
            network,
            known,
            None,
            RUNS,
            synthetic_unknowns(originals.inputs, originals.labels),
            unknown | {"notMNIST": letters.colour(np.arange(len(letters))[: place.count(600)])},
            _adversarial(network, known.rows(slice(place.count(360)))),
            _corrupted(known, place.count(120)),
        )

    return exam


def _first(archive: Archive, most: int) -> Tensor:
    return archive.take(np.arange(len(archive))[:most]).inputs


_NEAR = {"CIFAR-100": CIFAR100, "Tiny-ImageNet": TINY}


def _adversarial(network: nn.Module, known: Samples) -> dict[str, Callable[[], Tensor]]:
    """Return functions that make changed images, by attack and size, as "FGSM 1/255"."""
    return {
        f"{attack} {change}/255": partial(_attacked, network, known, attack, change)
        for attack in ATTACKS
        for change in _CHANGES
    }


def _attacked(network: nn.Module, known: Samples, attack: str, change: int) -> Tensor:
    generator = torch.Generator().manual_seed(change)
    batches = zip(known.inputs.split(_BATCH), known.labels.split(_BATCH), strict=True)
    return torch.cat([ATTACKS[attack](network, *batch, change / 255, generator) for batch in batches])


def _corrupted(known: Samples, count: int) -> dict[str, Samples]:
    """Return images by corruption, `count` of each strength; each strength has other originals, if there are enough."""
    usable = len(known) - len(known) % RUNS
    pools = {}
    for name in CORRUPTIONS:
        generator = torch.Generator().manual_seed(0)
        rows = [(strength * count + np.arange(count)) % usable for strength in range(STRENGTHS)]
        originals = [known.rows(part) for part in rows]
        images = [corrupt(part.inputs, name, strength, generator) for strength, part in enumerate(originals)]
        pools[name] = Samples(torch.cat(images), torch.cat([part.labels for part in originals]))
    return pools


def _paper(place: Place, run: int, report: Report) -> Exam:
    archive = Archive.read(place.data, DIGITS)
    test = third(len(archive), run, place.count(10_000))
    train, validation = _divided(archive, without(len(archive), test, run), 20_000, place.count(5000))
    if not place.weights.exists():
        options = StudyOptions(max_epochs=15)
        train_paper_network(
            Digits(train.inputs, train.labels),
            Digits(validation.inputs, validation.labels),
            place.weights,
            options,
            seed=seed_of(run, options),
            on_epoch=lambda epoch, accuracy: report(f"training, epoch {epoch}"),
        )
    network = load_network(place.weights)[0]
    return _of_images(network, archive.take(test), validation, _grey_unknown(place, run))


def _own(make: Callable[[], nn.Module], recipe: Recipe, most: int) -> Callable[[Place, int, Report], Exam]:
    """Return a maker of exams with digits, for networks that are trained on `most` of them."""

    def exam(place: Place, run: int, report: Report) -> Exam:
        archive = Archive.read(place.data, DIGITS)
        test = third(len(archive), run, place.count(6000))
        train, validation = _divided(archive, without(len(archive), test, run), most, place.count(3000))
        network = trained(make, train, place.weights, recipe, seed=run, on_epoch=_epochs(report))
        return _of_images(network, archive.take(test), validation, _grey_unknown(place, run))

    return exam


def _own_colour(make: Callable[[], nn.Module], recipe: Recipe, most: int) -> Callable[[Place, int, Report], Exam]:
    """Return a maker of exams with eight classes of CIFAR-10, for networks that are trained on `most` of the images."""

    def exam(place: Place, run: int, report: Report) -> Exam:
        archive = Archive.read(place.data, COLOUR)
        new = 2 * run, 2 * run + 1
        archive = replace(archive, labels=_renumbered(archive.labels, new))
        part = third(len(archive), run)
        others, test = part[archive.labels[part] < 0], part[archive.labels[part] >= 0]
        rest = without(len(archive), part, run)
        train, validation = _divided(archive, rest[archive.labels[rest] >= 0], most, place.count(3000))
        network = trained(make, train, place.weights, recipe, seed=run, on_epoch=_epochs(report))
        letters = Archive.read(place.data, NOTMNIST)
        unknown = {
            "two other classes": archive.take(others[: place.count(1200)]).inputs,
            "notMNIST": letters.colour(third(len(letters), run, place.count(600))),
        }
        return _of_images(network, archive.take(test[: place.count(4000)]), validation, unknown)

    return exam


def _texts(place: Place, run: int, report: Report) -> Exam:
    rows = known_texts()
    texts, labels = [text for text, _ in rows], torch.tensor([label for _, label in rows])
    test = third(len(texts), run)
    rest = without(len(texts), test, run)
    train, validation = rest[: 2 * len(rest) // 3], rest[2 * len(rest) // 3 :]
    alphabet = Alphabet(texts[index] for index in train)

    def samples(indices: np.ndarray) -> Samples:
        return Samples(alphabet.tokens([texts[index] for index in indices]), labels[torch.from_numpy(indices)])

    network = trained(
        lambda: TextCNN(len(alphabet), len(LANGUAGES)),
        samples(train),
        place.weights,
        Recipe(epochs=8, rate=4e-3),
        seed=run,
        on_epoch=_epochs(report),
    )
    unknown = {}
    for name, language in UNKNOWN.items():
        others = unknown_texts(language)
        unknown[name] = alphabet.tokens([others[index] for index in third(len(others), run, place.count(900))])
    known = samples(test[: place.count(len(test))])
    return Exam(network, known, samples(validation[: place.count(len(validation))]), 1, {}, unknown)


def _divided(archive: Archive, rows: np.ndarray, train: int, validation: int) -> tuple[Samples, Samples]:
    """Return training and validation data, at most the given numbers; of a small archive, half of the rows each."""
    validation = min(validation, len(rows) // 2)
    return archive.take(rows[validation:][:train]), archive.take(rows[:validation])


def _grey_unknown(place: Place, run: int) -> dict[str, Tensor]:
    unknown = {}
    for name, file in (("letters", LETTERS), ("notMNIST", NOTMNIST)):
        archive = Archive.read(place.data, file)
        unknown[name] = archive.take(third(len(archive), run, place.count(1500))).inputs
    return unknown


def _of_images(network: nn.Module, known: Samples, validation: Samples, unknown: dict[str, Tensor]) -> Exam:
    """Return an exam whose synthetic unknowns are made from the validation images, as `TrustModel.fit` makes them."""
    sample = ImageSample()
    sample.add(validation.inputs, validation.labels)
    originals, labels = sample.chosen()
    assert originals is not None
    return Exam(network, known, validation, 1, synthetic_unknowns(originals, labels), unknown)


def _renumbered(labels: np.ndarray, left_out: tuple[int, ...]) -> np.ndarray:
    """Return the labels without some classes, whose label becomes -1."""
    is_left = ~np.isin(np.arange(_CLASSES), left_out)
    return np.asarray(np.where(is_left, np.cumsum(is_left) - 1, -1)[labels])


def _epochs(report: Report) -> Callable[[int], None]:
    return lambda epoch: report(f"training, epoch {epoch}")


REAL = "Trained networks that people have"
PAPER = "The paper's network"
PLAIN = "Networks without an embedding or normalisation"
OVERFITTED = "Overfitted networks"
TEXTS = "Texts"

_RESNET_FILES = (CIFAR10, CIFAR100, TINY, NOTMNIST)
_DIGIT_FILES = (DIGITS, LETTERS, NOTMNIST)
_COLOUR_FILES = (COLOUR, NOTMNIST)

SUBJECTS = {
    subject.name: subject
    for subject in (
        *(
            Subject(
                f"resnet{depth}",
                f"ResNet-{depth}",
                REAL,
                f"ResNet-{depth} for CIFAR-10, trained by others; lossless test images.",
                1,
                RUNS,
                _RESNET_FILES,
                (200, 1000),
                _resnet(depth),
                f"cifar10_resnet{depth}.safetensors",
            )
            for depth in (56, 20)
        ),
        Subject(
            "paper",
            "paper's CNN",
            PAPER,
            "The paper's CNN, trained on 20,000 EMNIST digits.",
            RUNS,
            1,
            _DIGIT_FILES,
            (200, 1000),
            _paper,
        ),
        Subject(
            "convolutions",
            "all-convolutional",
            PLAIN,
            "Convolutions and an average, without normalisation and without an embedding, trained on 7,000 images of "
            "eight classes of CIFAR-10.",
            RUNS,
            1,
            _COLOUR_FILES,
            (),
            _own_colour(lambda: AllConvolutional(3, _CLASSES - 2), Recipe(epochs=12, rate=3e-3), 7000),
        ),
        Subject(
            "perceptron",
            "perceptron",
            PLAIN,
            "Three dense layers without normalisation, trained on 5,000 EMNIST digits.",
            RUNS,
            1,
            _DIGIT_FILES,
            (),
            _own(lambda: Perceptron(28 * 28, _CLASSES), Recipe(epochs=10), 5000),
        ),
        Subject(
            "overfitted-digits",
            "overfitted, digits",
            OVERFITTED,
            "A CNN trained on 500 EMNIST digits until all of them are right, without regularisation.",
            RUNS,
            1,
            _DIGIT_FILES,
            (),
            _own(lambda: SmallCNN(1, 28, _CLASSES), Recipe(epochs=100, until_fitted=True), 500),
        ),
        Subject(
            "overfitted-colour",
            "overfitted, CIFAR-10",
            OVERFITTED,
            "A CNN trained on 2,000 images of eight classes of CIFAR-10 until all of them are right, without "
            "regularisation.",
            RUNS,
            1,
            _COLOUR_FILES,
            (),
            _own_colour(lambda: SmallCNN(3, 32, _CLASSES - 2), Recipe(epochs=100, until_fitted=True), 2000),
        ),
        Subject(
            "texts",
            "names in ten languages",
            TEXTS,
            "A CNN over characters that says in which of ten languages a name of a place, language or currency is "
            "(Babel's CLDR).",
            RUNS,
            1,
            (),
            (),
            _texts,
        ),
    )
}
"""The networks by name, the slowest first."""
