"""A collection: what a data source offers to a study, and the draw of one run from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from gradmeter.errors import DataError, InputError
from gradmeter.research.study.data import noise
from gradmeter.research.study.data.concept import Concept

# A role's number in the seed: fixed for ever, so that a new role leaves the draws of the others as they were.
ROLE_KEYS = {"digits": 0, "letters": 1, "cifar10": 2, "omniglot": 3, "notmnist": 4, "uniform": 5, "normal": 6}
NOISE_ROLES = ("uniform", "normal")
KNOWN_UNKNOWN_ROLES = ("cifar10", "omniglot", "uniform", "normal")

PAPER_NAMES = {
    "digits": "EMNIST digits",
    "letters": "EMNIST letters",
    "cifar10": "CIFAR-10",
    "omniglot": "Omniglot",
    "notmnist": "notMNIST",
    "uniform": "uniform noise",
    "normal": "normal noise",
}


@dataclass(frozen=True)
class Sizes:
    """How many images of each kind one run uses.

    Attributes:
        train: Digits the network learns from.
        validation: Digits for the learning rate and the meta classifiers.
        test: Digits that the tables compare.
        unknowns: Role to the largest number of test images; a role not named uses all images that are not
            known unknowns. The noise roles must be named.
        known_unknowns: Images of each known-unknown role that meta classifiers may learn from.
    """

    train: int
    validation: int
    test: int
    unknowns: Mapping[str, int]
    known_unknowns: int

    @property
    def digits(self) -> int:
        """All digits of a run together."""
        return self.train + self.validation + self.test


@dataclass(frozen=True, eq=False)
class Draw:
    """The images of one run.

    Attributes:
        train: Digits, disjoint from `validation` and `test`.
        validation: Digits.
        test: Digits.
        unknowns: Role to test images, noise included.
        known_unknowns: Role to training images for meta classifiers, disjoint from `unknowns` (A12).
    """

    train: Concept
    validation: Concept
    test: Concept
    unknowns: dict[str, Concept]
    known_unknowns: dict[str, Concept]


@dataclass(frozen=True, eq=False)
class Collection:
    """What a data source offers: digits, pools of unknown images, and how much of each a run takes.

    Attributes:
        digits: The known concept, with labels 0..9.
        unknowns: Role to fixed pool of images, those present; noise is not among them, it is made per run.
        names: Role to display name, noise included.
        sources: Role to one line that says what the images really are.
        absent: Role to the reason why this source has no counterpart.
        sizes: The sizes of a run.
        noise_form: How noise reaches a network, one of `noise.FORMS`.

    Raises:
        DataError: A pool holds fewer images than a run needs.
    """

    digits: Concept
    unknowns: dict[str, Concept]
    names: dict[str, str]
    sources: dict[str, str]
    absent: dict[str, str]
    sizes: Sizes
    noise_form: str = field(default=noise.CLIPPED, kw_only=True)

    def __post_init__(self) -> None:
        """Check that every pool is large enough."""
        sizes = self.sizes
        if len(self.digits) < sizes.digits:
            raise DataError(
                f"digits: have {len(self.digits):,} images, need {sizes.digits:,} "
                f"({sizes.train:,} train + {sizes.validation:,} validation + {sizes.test:,} test); give more images"
            )
        for role, pool in self.unknowns.items():
            # As many to test as to learn from: fewer would measure nothing.
            need = 2 * sizes.known_unknowns if role in KNOWN_UNKNOWN_ROLES else 1
            if len(pool) < need:
                raise DataError(
                    f"{role}: have {len(pool):,} images, need at least {need:,}"
                    f"{f' ({sizes.known_unknowns:,} known unknowns and as many to test)' if need > 1 else ''}; "
                    f"give more images or leave the set out"
                )

    def hashes(self) -> dict[str, str]:
        """Role to SHA-256 of the pool's images and labels, as hexadecimal digits; noise has no pool."""
        return {role: _digest(pool) for role, pool in {"digits": self.digits, **self.unknowns}.items()}

    def draw(self, run: int, seed: int) -> Draw:
        """The images of run `run`: every role depends on (seed, run, role) only.

        Args:
            run: Number of the run, from 0.
            seed: The study's seed, 0 or more.

        Raises:
            InputError: `run` or `seed` is negative.
        """
        if run < 0 or seed < 0:
            raise InputError(f"run={run}, seed={seed}: both must be 0 or more")
        sizes = self.sizes
        order = _generator("digits", run, seed).permutation(len(self.digits))
        train, validation, test = np.split(order[: sizes.digits], [sizes.train, sizes.train + sizes.validation])
        unknowns, known_unknowns = {}, {}
        for role in (*self.unknowns, *NOISE_ROLES):
            known, unknowns[role] = self._unknown(role, _generator(role, run, seed))
            if role in KNOWN_UNKNOWN_ROLES:
                known_unknowns[role] = known
        return Draw(
            self.digits.take(train), self.digits.take(validation), self.digits.take(test), unknowns, known_unknowns
        )

    def _unknown(self, role: str, generator: np.random.Generator) -> tuple[Concept, Concept]:
        """Known unknowns and test images of a role."""
        known = self.sizes.known_unknowns if role in KNOWN_UNKNOWN_ROLES else 0
        if role in NOISE_ROLES:
            count = known + self.sizes.unknowns[role]
            make = noise.uniform if role == "uniform" else noise.normal
            pool = make(count, generator, self.noise_form)
            return pool.take(slice(known)), pool.take(slice(known, None))
        pool = self.unknowns[role]
        order = generator.permutation(len(pool))
        last = known + self.sizes.unknowns.get(role, len(pool))
        return pool.take(order[:known]), pool.take(order[known:last])


def _generator(role: str, run: int, seed: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(run, ROLE_KEYS[role])))


def _digest(pool: Concept) -> str:
    digest = hashlib.sha256(f"{pool.images.dtype} {pool.images.shape}".encode())
    digest.update(np.ascontiguousarray(pool.images).data)
    if pool.labels is not None:
        digest.update(np.ascontiguousarray(pool.labels).data)
    return digest.hexdigest()
