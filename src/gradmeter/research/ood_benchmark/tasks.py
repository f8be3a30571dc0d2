"""The tasks of the benchmark: networks, known images and unknown images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gradmeter.errors import DataError
from gradmeter.research.ood_benchmark.networks import ResNet8, resnet18
from gradmeter.research.ood_benchmark.training import TrainingRecipe, load_weights, train
from gradmeter.research.study.data import Concept, Draw, load
from gradmeter.research.study.data.archives import ARCHIVES, require_labels
from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.training import Digits, seed_of
from gradmeter.research.study.training import load_network as load_paper_network
from gradmeter.research.study.training import train as train_paper_network
from gradmeter.sources.samples.npz import read_arrays

_DIGITS_RECIPE = TrainingRecipe(epochs=2, peak=0.05, mirrored=False)
_COLOUR_RECIPE = TrainingRecipe(epochs=15, peak=0.1, mirrored=True)
_COLOUR_VALIDATION = 2000
_COLOUR_SIDE = 32
# Classes that are unknown in each split of the colour task; each class is unknown in one split.
_UNKNOWN_CLASSES = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
_PAPER_LAYERS = ("conv1", "conv2", "conv3", "dense")
_SEED = 0
CIFAR10_CLASSES = 10
LETTERS = "letters"
FILES = (*(archive.file for archive in ARCHIVES.values()), "cifar10_train20k.npz")
"""The files that the tasks read."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images [n, C, H, W] float32 and their classes [n] int64; -1 for no class."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Data:
    """The images of one network.

    Attributes:
        train: images that the network is trained on.
        validation: known images for the default judge and some detectors to learn from.
        test: known images to score.
        unknowns: images of no class to score, by concept.
        known_unknowns: 200 other images of some concepts, for controls to learn from.
        letters: [n] the letter that each image of the concept "letters" shows, 0 to 51 for A-Z a-z; None if unknown.
    """

    train: Images
    validation: Images
    test: Images
    unknowns: dict[str, Images]
    known_unknowns: dict[str, Images]
    letters: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class TaskTitle:
    """What the results of a task are called.

    Attributes:
        name: short name for folders and options.
        title: name on the page.
        near: concepts that resemble the known images, reported apart from "all".
    """

    name: str
    title: str
    near: tuple[str, ...]


@dataclass(frozen=True)
class BenchmarkTask(TaskTitle):
    """Networks of one architecture for one kind of images, trained by the benchmark.

    Attributes:
        runs: number of networks; each has its own draw of images.
        layers: layers that controls read alone.
        data: returns the images of a run.
        network: trains the network of a run, or reads it from the given file if that exists.
    """

    runs: int
    layers: tuple[str, ...]
    data: Callable[[Path, int], Data]
    network: Callable[[Data, int, Path, Callable[[int], None]], nn.Module]


def _known(digits: Concept) -> Images:
    assert digits.labels is not None
    return Images(digits.to_tensor(), torch.from_numpy(digits.labels))


def _digits(folder: Path, run: int) -> Data:
    draw: Draw = load(str(folder)).draw(run, _SEED)

    def without_labels(concepts: Mapping[str, Concept]) -> dict[str, Images]:
        return {name: Images(concept.to_tensor(), _no_labels(len(concept))) for name, concept in concepts.items()}

    return Data(
        _known(draw.train),
        _known(draw.validation),
        _known(draw.test),
        without_labels(draw.unknowns),
        without_labels(draw.known_unknowns),
        draw.unknowns[LETTERS].labels,
    )


def _no_labels(count: int) -> Tensor:
    return torch.full((count,), -1)


def _paper_network(data: Data, run: int, path: Path, on_epoch: Callable[[int], None]) -> nn.Module:
    options = StudyOptions(seed=_SEED)
    if not path.exists():
        train_paper_network(
            Digits(data.train.images, data.train.labels),
            Digits(data.validation.images, data.validation.labels),
            path,
            options,
            seed=seed_of(run, options),
            on_epoch=lambda epoch, accuracy: on_epoch(epoch),
        )
    return load_paper_network(path)[0]


def _trained(make: Callable[[], nn.Module], recipe: TrainingRecipe) -> Callable[..., nn.Module]:
    def network(data: Data, run: int, path: Path, on_epoch: Callable[[int], None]) -> nn.Module:
        torch.manual_seed(run)
        initialised = make()
        if not path.exists():
            train(initialised, data.train.images, data.train.labels, path, recipe, seed=run, on_epoch=on_epoch)
        return load_weights(initialised, path)

    return network


def _colour(folder: Path, run: int) -> Data:
    """Return CIFAR-10 with eight known classes; the other two classes and all images of other data sets are unknown."""
    images, labels = photographs_of(folder, "cifar10_train20k", CIFAR10_CLASSES)
    test_images, test_labels = photographs_of(folder, "cifar10_test", CIFAR10_CLASSES)
    # The archive is sorted by class, and a share takes the first images.
    shuffled = np.random.default_rng((_SEED, run, 1)).permutation(len(test_images))
    test_images, test_labels = test_images[shuffled], test_labels[shuffled]
    test_unknown = np.isin(test_labels, _UNKNOWN_CLASSES[run])
    known = np.flatnonzero(~np.isin(labels, _UNKNOWN_CLASSES[run]))
    order = np.random.default_rng((_SEED, run)).permutation(known)
    validation, training = order[:_COLOUR_VALIDATION], order[_COLOUR_VALIDATION:]
    new_labels = np.cumsum(~np.isin(np.arange(CIFAR10_CLASSES), _UNKNOWN_CLASSES[run])) - 1
    draw: Draw = load(str(folder)).draw(run, _SEED)

    def photographs(pixels: NDArray[np.uint8], classes: NDArray[np.int64]) -> Images:
        return Images(as_images(pixels), torch.from_numpy(new_labels[classes]))

    def drawings(concept: Concept) -> Images:
        count = min(len(concept), len(test_images))
        return Images(coloured(concept.take(slice(count)).to_tensor()), _no_labels(count))

    random = torch.Generator().manual_seed(run)
    shape = (len(test_images), 3, _COLOUR_SIDE, _COLOUR_SIDE)
    others = photographs(test_images[test_unknown], test_labels[test_unknown])
    return Data(
        photographs(images[training], labels[training]),
        photographs(images[validation], labels[validation]),
        photographs(test_images[~test_unknown], test_labels[~test_unknown]),
        {
            "other classes": Images(others.images, _no_labels(len(others))),
            "digits": drawings(draw.test),
            LETTERS: drawings(draw.unknowns[LETTERS]),
            "notmnist": drawings(draw.unknowns["notmnist"]),
            "uniform": Images(torch.rand(shape, generator=random), _no_labels(shape[0])),
            "normal": Images(torch.randn(shape, generator=random), _no_labels(shape[0])),
        },
        {},
    )


def as_images(photographs: NDArray[np.uint8]) -> Tensor:
    """Return photographs [n, H, W, 3] as images [n, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(photographs.transpose(0, 3, 1, 2))).float().div_(255)


def coloured(drawings: Tensor) -> Tensor:
    """Return grey drawings [n, 1, H, W] as images [n, 3, 32, 32], with a margin of black pixels."""
    padded = F.pad(drawings, [(_COLOUR_SIDE - drawings.shape[-1]) // 2] * 4)
    return padded.expand(-1, 3, -1, -1).contiguous()


def photographs_of(folder: Path, name: str, classes: int | None = None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the photographs [n, 32, 32, 3] of an archive and their classes [n].

    Args:
        folder: folder of the archive.
        name: of the archive.
        classes: number of classes; None allows any class from 0.

    Raises:
        DataError: if the archive cannot be read, or holds other images.
    """
    arrays = read_arrays(folder / f"{name}.npz", ("images", "labels"))
    if missing := [key for key in ("images", "labels") if key not in arrays]:
        raise DataError(f"{folder / name}.npz has no {missing[0]}; expected images and labels")
    images, labels = arrays["images"], arrays["labels"]
    if images.dtype != np.uint8 or images.shape[1:] != (_COLOUR_SIDE, _COLOUR_SIDE, 3):
        raise DataError(f"{folder / name}.npz: images are {images.dtype} {images.shape}; expected uint8 [n, 32, 32, 3]")
    require_labels(folder / f"{name}.npz", labels, len(images), classes)
    return images, labels.astype(np.int64)


TASKS = {
    task.name: task
    for task in (
        BenchmarkTask("digits", "Digits, the paper's network", (LETTERS,), 5, _PAPER_LAYERS, _digits, _paper_network),
        BenchmarkTask(
            "resnet18",
            "Digits, ResNet-18",
            (LETTERS,),
            1,
            (),
            _digits,
            _trained(lambda: resnet18(10), _DIGITS_RECIPE),
        ),
        BenchmarkTask(
            "colour",
            "Eight classes of CIFAR-10, ResNet-8",
            ("other classes",),
            len(_UNKNOWN_CLASSES),
            (),
            _colour,
            _trained(lambda: ResNet8(8), _COLOUR_RECIPE),
        ),
    )
}
"""The tasks by name."""
