"""Fixtures that run `gradmeter reproduce` in processes of its own, and a tiny study of the embedded digits."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import forked
from apps.cli.commands import forking_main, patient_main, unpainted_study_main
from gradmeter.research.study.data.embedded import load_embedded

# Two runs, trained just enough to have correct and wrong predictions.
OPTIONS = ("--runs", "2", "--max-epochs", "6", "--patience", "1")
# Width and colours must not depend on the environment of the tests.
ENVIRONMENT = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Answer:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def run(*arguments: object, cwd: Path | None = None, main: Callable[[], None] = forking_main) -> Answer:
    process = forked.run(main, ["reproduce", *map(str, arguments)], cwd=cwd, env=ENVIRONMENT)
    return Answer(process.returncode, process.stdout, process.stderr)


def start(*arguments: object, own_group: bool = False) -> forked.Forked:
    """Start the command; in a process group of its own, as a terminal starts it, it starts its workers itself."""
    words = ["reproduce", *map(str, arguments)]
    main = patient_main if own_group else forking_main
    return forked.Forked(main, words, cwd=None, env=ENVIRONMENT, own_group=own_group)


@pytest.fixture(scope="session")
def reproduce() -> Callable[..., Answer]:
    return run


@pytest.fixture(scope="session")
def begin() -> Callable[..., forked.Forked]:
    return start


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 2,000 digits, letters and coloured mosaics, but no Omniglot and no notMNIST."""
    folder = tmp_path_factory.mktemp("archives")
    collection = load_embedded()
    random = np.random.default_rng(0)
    digits = collection.digits.take(random.permutation(len(collection.digits))[:2000])
    np.savez(folder / "emnist_digits.npz", images=digits.images, labels=digits.labels)
    np.savez(folder / "emnist_letters.npz", images=collection.unknowns["letters"].images[:200])
    mosaics = random.integers(0, 256, (300, 8, 8, 3), np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    np.savez(folder / "cifar10_test.npz", images=mosaics, labels=random.integers(0, 10, 300))
    return folder


@pytest.fixture(scope="session")
def finished(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """The folder of a study by two workers that was never interrupted, and the output of the command; read-only.

    Its figures are blank; tests/research/study/test_illustrations.py paints them.
    """
    folder = tmp_path_factory.mktemp("finished") / "tiny"
    command = ("--data", archives, "--out", folder, *OPTIONS, "--workers", 2)
    return folder, run(*command, cwd=folder.parent, main=unpainted_study_main)


@pytest.fixture(scope="session")
def options() -> tuple[str, ...]:
    """Options of the finished study."""
    return OPTIONS
