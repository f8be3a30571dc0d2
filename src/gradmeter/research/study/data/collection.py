"""A collection: the images of a data source, and the draw of each run from them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from gradmeter.errors import DataError, InputError
from gradmeter.research.study.data import noise
from gradmeter.research.study.data.concept import Concept

# The number of a role in the seeds of its draws. Never change one: that would change every study's split.
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
    """The numbers of images in a run.

    Attributes:
        train: training digits of the network.
        validation: digits for the learning-rate schedule and the meta classifiers.
        test: test digits.
        unknowns: role to the maximum number of test images; other roles use all images that are not known unknowns. The
            noise roles need an entry.
        known_unknowns: training images for meta classifiers, of each role in `KNOWN_UNKNOWN_ROLES`.
    """

    train: int
    validation: int
    test: int
    unknowns: Mapping[str, int]
    known_unknowns: int

    @property
    def digits(self) -> int:
        """Total number of digits in a run."""
        return self.train + self.validation + self.test


@dataclass(frozen=True, eq=False)
class Draw:
    """The images of one run.

    Attributes:
        train: training digits, disjoint from `validation` and `test`.
        validation: validation digits.
        test: test digits.
        unknowns: role to test images, including noise.
        known_unknowns: role to training images for meta classifiers, disjoint from `unknowns`.
    """

    train: Concept
    validation: Concept
    test: Concept
    unknowns: dict[str, Concept]
    known_unknowns: dict[str, Concept]


@dataclass(frozen=True, eq=False)
class Collection:
    """The images of a data source, and the sizes of a run.

    Attributes:
        digits: the known concept, with labels 0..9.
        unknowns: role to pool of images; noise has no pool, because each run draws its own.
        names: role to display name, including noise.
        sources: role to a one-line description of the images.
        absent: role of the paper to the reason why this source does not have it.
        sizes: the sizes of a run.
        noise_form: form of the noise images, one of `noise.FORMS`.

    Raises:
        DataError: a pool holds fewer images than a run needs.
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
                f"digits: have {len(self.digits):,} images, need at least {sizes.digits:,} "
                f"({sizes.train:,} train + {sizes.validation:,} validation + {sizes.test:,} test); give more images"
            )
        for role, pool in self.unknowns.items():
            # Require as many test images as known unknowns.
            least = 2 * sizes.known_unknowns if role in KNOWN_UNKNOWN_ROLES else 1
            if len(pool) < least:
                raise DataError(
                    f"{role}: have {len(pool):,} images, need at least {least:,}"
                    f"{f' ({sizes.known_unknowns:,} known unknowns and as many test images)' if least > 1 else ''}; "
                    "give more images or leave the set out"
                )

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of each pool's images and labels, by role, in hexadecimal."""
        return {role: _digest(pool) for role, pool in {"digits": self.digits, **self.unknowns}.items()}

    def draw(self, run: int, seed: int) -> Draw:
        """Draw the images of a run; the images of a role depend on (seed, run, role) only.

        Args:
            run: number of the run, from 0.
            seed: seed of the study, 0 or more.

        Raises:
            InputError: `run` or `seed` is negative.
        """
        if run < 0 or seed < 0:
            raise InputError(f"run={run}, seed={seed}; expected 0 or more")
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
        """Draw the known unknowns and the test images of a role."""
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
    key = ROLE_KEYS[role] if role in ROLE_KEYS else int.from_bytes(hashlib.sha256(role.encode()).digest()[:4])
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(run, key)))


def _digest(pool: Concept) -> str:
    digest = hashlib.sha256(f"{pool.images.dtype} {pool.images.shape}".encode())
    digest.update(np.ascontiguousarray(pool.images).data)
    if pool.labels is not None:
        digest.update(np.ascontiguousarray(pool.labels).data)
    return digest.hexdigest()
