"""The subjects of the study: networks with the samples whose labels are checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gradmeter.research.cifar_resnets import DEPTHS
from gradmeter.research.gradient_gain.subjects import CIFAR10, DIGITS
from gradmeter.research.label_study.learned import CHECKED, CONVERGED, EARLY, VALIDATED
from gradmeter.research.label_study.place import Place
from gradmeter.research.label_study.pools import Pool, Report, cifar, digits, texts

_A_NETWORK_EACH = ((0,), (1,), (2,))
# The seeds of the draws on two ResNets, the deeper one first.
_OF_TWO = {56: (0, 2), 44: (1,), 32: (1,), 20: (0, 2)}


@dataclass(frozen=True)
class Subject:
    """A network, or several of the same kind, with samples.

    Attributes:
        name: short name for folders.
        group: subjects of a group are averaged.
        seeds: for each network the seeds of its draws of errors.
        files: the archives that it needs.
        pool: makes the samples and the network of one number.
        trains: subjects that train the same networks have the same name here.
        weights: file of a network that others have trained; None if it is trained here.
        learned: how long a network learned the corrupted labels; None if it did not learn these labels at all.
    """

    name: str
    group: str
    seeds: tuple[tuple[int, ...], ...]
    files: tuple[str, ...]
    pool: Callable[[Place, int, Report], Pool]
    trains: str
    weights: str | None = None
    learned: str | None = None


@dataclass(frozen=True)
class Group:
    """Subjects whose results are averaged.

    Attributes:
        title: name in tables.
        about: a sentence that says what the network and its samples are.
        reported: whether the results count; the others served to choose settings.
        wrong_before: share of labels that were wrong before errors were planted, as far as it is known.
        precision: lowest precision among the first at 5 % that was aimed at, in percent; None for no such aim.
    """

    title: str
    about: str
    reported: bool
    wrong_before: float = 0.0
    precision: float | None = None


# Labels of CIFAR-10's test images that people found wrong (Northcutt, Athalye and Mueller 2021, table 1).
_CIFAR_WRONG = 54 / 10_000

GROUPS = {
    "resnet-44-56": Group(
        "CIFAR-10, ResNet-44 and 56",
        "5,000 test images of CIFAR-10, lossless, and networks that others have trained on its training images.",
        True,
        _CIFAR_WRONG,
        85,
    ),
    "digits": Group(
        "EMNIST digits, the paper's CNN",
        "5,000 EMNIST digits for each of three networks, trained on 20,000 others.",
        True,
        0.0,
        95,
    ),
    "texts": Group(
        "names in ten languages",
        "3,568 names of places, languages and currencies (Babel's CLDR) for each of three CNNs over characters, "
        "trained on the other two thirds.",
        True,
    ),
    "learned-early": Group(
        "digits, learned and stopped early",
        "3,000 EMNIST digits; the paper's CNN learned their corrupted labels, and the epoch counts that was best on "
        "600 digits with the same share of wrong labels.",
        True,
    ),
    "learned-converged": Group(
        "digits, learned to convergence",
        "The same networks after their last epoch.",
        True,
    ),
    "resnet-20-32": Group(
        "CIFAR-10, ResNet-20 and 32", "The other 5,000 images and smaller networks.", False, _CIFAR_WRONG
    ),
    "digits-choosing": Group("EMNIST digits, others", "Other digits of the same networks.", False),
}
"""The groups by name, in the order of the page."""

SUBJECTS = {
    subject.name: subject
    for subject in (
        *(
            Subject(
                f"resnet{depth}",
                "resnet-44-56" if depth > 40 else "resnet-20-32",
                (_OF_TWO[depth],),
                (CIFAR10,),
                cifar(depth, 0 if depth > 40 else 1),
                "cifar-0" if depth > 40 else "cifar-1",
                f"cifar10_resnet{depth}.safetensors",
            )
            for depth in reversed(DEPTHS)
        ),
        Subject("digits", "digits", _A_NETWORK_EACH, (DIGITS,), digits(0), "digits"),
        Subject("digits-choosing", "digits-choosing", _A_NETWORK_EACH, (DIGITS,), digits(1), "digits"),
        Subject("texts", "texts", _A_NETWORK_EACH, (), texts, "texts"),
        *(
            Subject(name, name, _A_NETWORK_EACH, (DIGITS,), digits(2, CHECKED + VALIDATED), "digits", learned=regime)
            for name, regime in (("learned-early", EARLY), ("learned-converged", CONVERGED))
        ),
    )
}
"""The subjects by name, the slowest first."""
