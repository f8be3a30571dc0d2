"""A short run on the real EMNIST digits and the paper's unknown inputs; skipped without these data."""

import csv
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.paper import paper_table
from gradmeter.research.study.reproduce import Study, reproduce
from gradmeter.research.study.run import DataSource
from gradmeter.runs.engines import ENGINES
from research.in_process import run_in_process
from trust.quick import fit_quickly

DATA = Path(__file__).resolve().parents[2] / "../shared/data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (DATA / "emnist_digits.npz").is_file(), reason="the real images are not beside the repository"
    ),
]


# Enough images to train and to compare in less than a minute.
SIZES = {"emnist_digits": 9_000, "emnist_letters": 500, "cifar10_test": 500, "omniglot": 400, "notmnist": 500}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one network, trained for a few epochs on a subset of the images."""
    data, folder = tmp_path_factory.mktemp("part"), tmp_path_factory.mktemp("real") / "study"
    for stem, count in SIZES.items():
        with np.load(DATA / f"{stem}.npz", allow_pickle=False) as archive:
            chosen = np.random.default_rng(0).permutation(len(archive["images"]))[:count]
            np.savez(data / f"{stem}.npz", images=archive["images"][chosen], labels=archive["labels"][chosen])
    options = StudyOptions(runs=1, max_epochs=5, initialisations=1)
    study = Study("real", "pytest", DataSource(str(data), None, False, "raw"), options, folder)
    with pytest.MonkeyPatch.context() as patch:
        fit_quickly(patch)
        patch.setitem(ENGINES, "local", run_in_process)
        patch.setattr("gradmeter.research.study.reproduce.illustrate", lambda *arguments, **options: None)
        assert reproduce(study, workers=1, console=Console(quiet=True))
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_network_learns_digits(folder: Path) -> None:
    (network,) = rows(folder / "tables/networks.csv")
    assert 0 < float(network["test_error"]) < 5


def test_softmax_finds_its_mistakes(folder: Path) -> None:
    (cell,) = [
        row
        for row in rows(folder / "tables/table1.csv")
        if (row["measure"], row["row"], row["column"]) == ("auroc", "softmax", "wrong")
    ]
    assert 90 < float(cell["mean"]) < 100
    assert cell["n"] == "3707"


@pytest.mark.parametrize("table", [1, 2, 3])
def test_every_cell_of_the_paper_has_a_counterpart(table: int, folder: Path) -> None:
    ours = {(row["measure"], row["row"], row["column"]): row for row in rows(folder / f"tables/table{table}.csv")}
    for cell in paper_table(table):
        row = ours[cell.measure, cell.row, cell.column]
        assert 0 <= float(row["mean"]) <= 100
        assert float(row["paper"]) == cell.value
