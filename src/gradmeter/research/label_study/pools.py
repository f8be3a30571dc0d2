"""Samples with labels, and networks that did not learn them: the material of the held-out part of the study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradmeter.research.cifar_resnets import load_cifar_resnet
from gradmeter.research.gradient_gain.networks import SmallCNN, TextCNN
from gradmeter.research.gradient_gain.samples import Archive, Samples, third, without
from gradmeter.research.gradient_gain.subjects import CIFAR10, DIGITS
from gradmeter.research.gradient_gain.texts import LANGUAGES, Alphabet, known_texts
from gradmeter.research.gradient_gain.training import Recipe, trained
from gradmeter.research.label_study.place import Place
from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.training import Digits, load_network, seed_of
from gradmeter.research.study.training import train as train_paper_network

Report = Callable[[str], None]
Values = NDArray[np.float64]

_CLASSES = 10
_BATCH = 500
# An early network: few samples, and one or two passes over them.
_EARLY_DIGITS, _EARLY = 2000, Recipe(epochs=2, rate=1e-3)
_DIGITS_AT_ONCE = 5000


@dataclass(frozen=True, eq=False)
class Pool:
    """Samples with their true labels, and what two networks say about them that did not learn these labels.

    Attributes:
        network: the trained network, in eval mode.
        samples: N inputs and their labels, as the data give them.
        ids: [N] numbers of the samples in their archive.
        early: [N, C] probabilities of an early network, which learned little.
    """

    network: nn.Module
    samples: Samples
    ids: NDArray[np.int64]
    early: Values


def cifar(depth: int, part: int) -> Callable[[Place, int, Report], Pool]:
    """Return the maker of a pool of CIFAR-10 test images, for a ResNet that others have trained.

    The early network learns the other half of the images.

    Args:
        depth: number of layers of the ResNet.
        part: which half of the images.
    """

    def pool(place: Place, number: int, report: Report) -> Pool:
        archive = Archive.read(place.data, CIFAR10)
        rows, others = (half[: place.count(len(half))] for half in _halves(len(archive), part))
        early = trained(
            lambda: SmallCNN(3, 32, _CLASSES),
            archive.take(others),
            place.weights(f"early-cifar-{part}"),
            _EARLY,
            seed=part,
            on_epoch=_epochs(report),
        )
        samples = archive.take(rows)
        return Pool(resnet(place, depth), samples, archive.rows[rows], probabilities(early, samples.inputs))

    return pool


def _halves(count: int, part: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of one half of `count` samples, and those of the other half."""
    halves = np.arange(count // 2), np.arange(count // 2, count)
    return halves[part], halves[1 - part]


def resnet(place: Place, depth: int) -> nn.Module:
    """Return the ResNet with a number of layers that others have trained."""
    assert place.networks is not None
    return load_cifar_resnet(place.networks, depth)


def digits(part: int, most: int = _DIGITS_AT_ONCE) -> Callable[[Place, int, Report], Pool]:
    """Return the maker of a pool of EMNIST digits, for the paper's CNN trained on 20,000 others.

    Args:
        part: number of the pool among those of the same network, which are disjoint.
        most: number of digits.
    """

    def pool(place: Place, number: int, report: Report) -> Pool:
        archive = Archive.read(place.data, DIGITS)
        held_out = third(len(archive), number)
        size = min(place.count(most), len(held_out) // 3)
        rows = held_out[part * size :][:size]
        rest = without(len(archive), held_out, number)
        validation = min(place.count(2000), len(rest) // 4)
        train = rest[validation : validation + place.count(20_000)]
        path = place.weights(f"digits-{number}")
        if not path.exists():
            options = StudyOptions(max_epochs=15)
            train_paper_network(
                _digits(archive.take(train)),
                _digits(archive.take(rest[:validation])),
                path,
                options,
                seed=seed_of(number, options),
                on_epoch=lambda epoch, accuracy: report(f"training, epoch {epoch}"),
            )
        early = trained(
            lambda: SmallCNN(1, archive.images.shape[1], _CLASSES),
            archive.take(train[:_EARLY_DIGITS]),
            place.weights(f"early-digits-{number}"),
            _EARLY,
            seed=number,
            on_epoch=_epochs(report),
        )
        samples = archive.take(rows)
        return Pool(load_network(path)[0], samples, archive.rows[rows], probabilities(early, samples.inputs))

    return pool


def texts(place: Place, number: int, report: Report) -> Pool:
    """Make a pool of names in ten languages, for a CNN over characters that learned two thirds of the others."""
    known = known_texts()
    labels = torch.tensor([label for _, label in known])
    held_out = third(len(known), number)
    train = without(len(known), held_out, number)
    alphabet = Alphabet(known[index][0] for index in train)

    def samples(rows: NDArray[np.intp]) -> Samples:
        return Samples(alphabet.tokens([known[index][0] for index in rows]), labels[torch.from_numpy(rows)])

    networks = [
        trained(
            lambda: TextCNN(len(alphabet), len(LANGUAGES)),
            samples(train[: place.count(len(train))]),
            place.weights(f"{name}-{number}"),
            Recipe(epochs=epochs, rate=rate),
            seed=number,
            on_epoch=_epochs(report),
        )
        for name, epochs, rate in (("texts", 8, 4e-3), ("early-texts", 1, 1e-3))
    ]
    rows = held_out[: place.count(len(held_out))]
    pool = samples(rows)
    return Pool(networks[0], pool, rows, probabilities(networks[1], pool.inputs))


@torch.no_grad()
def probabilities(network: nn.Module, inputs: Tensor) -> Values:
    """Return the softmax [N, C] of a network in eval mode, in float64."""
    logits = torch.cat([network(batch) for batch in inputs.split(_BATCH)])
    softmax: Values = logits.double().softmax(1).numpy()
    return softmax


def _digits(samples: Samples) -> Digits:
    return Digits(samples.inputs, samples.labels)


def _epochs(report: Report) -> Callable[[int], None]:
    return lambda epoch: report(f"training, epoch {epoch}")
