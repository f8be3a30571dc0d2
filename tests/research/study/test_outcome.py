import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradmeter import DataError
from gradmeter.research.study.data import Draw
from gradmeter.research.study.outcome import Outcome


def test_right_and_wrong_follow_from_the_labels(outcome: Outcome, draw: Draw) -> None:
    for readings, wrong, concept in (
        (outcome.validation, outcome.validation_wrong, draw.validation),
        (outcome.test, outcome.test_wrong, draw.test),
    ):
        np.testing.assert_array_equal(wrong, readings.predictions.numpy() != concept.labels)
        assert 0.2 < wrong.mean() < 0.5
    assert {role: len(readings) for role, readings in outcome.unknowns.items()} == dict.fromkeys(
        ("letters", "cifar10", "uniform"), 40
    )
    assert {role: len(readings) for role, readings in outcome.known_unknowns.items()} == {"cifar10": 20, "uniform": 20}


def test_columns_and_what_all_pools(outcome: Outcome) -> None:
    assert outcome.columns[0] == "wrong"
    assert outcome.columns[-1] == "all"
    assert set(outcome.columns[1:-1]) == {"letters", "cifar10", "uniform"}
    assert outcome.pooled == ("cifar10", "uniform"), "the paper's row All does not include letters"


def test_scores_are_sorted_into_their_columns(outcome: Outcome) -> None:
    def score(readings: object) -> np.ndarray:
        return np.asarray(readings["all", "l2"].numpy())  # type: ignore[index]

    correct, outside = outcome.scored(score)
    digits = outcome.test["all", "l2"].numpy()
    np.testing.assert_array_equal(correct, digits[~outcome.test_wrong])
    np.testing.assert_array_equal(outside["wrong"], digits[outcome.test_wrong])
    np.testing.assert_array_equal(outside["letters"], outcome.unknowns["letters"]["all", "l2"].numpy())
    np.testing.assert_array_equal(outside["all"], np.concatenate([outside["cifar10"], outside["uniform"]]))


def test_counts_and_base_rates(outcome: Outcome) -> None:
    wrong = int(outcome.test_wrong.sum())
    correct = 150 - wrong
    assert dict(outcome.counts()) == {
        "wrong": (150, wrong / 150),
        "letters": (correct + 40, 40 / (correct + 40)),
        "cifar10": (correct + 40, 40 / (correct + 40)),
        "uniform": (correct + 40, 40 / (correct + 40)),
        "all": (correct + 80, 80 / (correct + 80)),
    }


@pytest.mark.parametrize("name", ["validation", "test"])
@pytest.mark.parametrize(("shift", "how_many"), [(0, "all"), (1, "none")])
def test_a_network_that_is_always_right_or_always_wrong_is_refused(
    name: str, shift: int, how_many: str, readings_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(readings_folder, tmp_path / "00")
    table = pq.read_table(folder / f"{name}.parquet")
    labels = (table["prediction"].to_numpy() + shift) % 10
    index = table.column_names.index("label")
    pq.write_table(table.set_column(index, "label", pa.array(labels)), folder / f"{name}.parquet")
    with pytest.raises(DataError, match=f"{how_many} of 1[25]0 {name} digits"):
        Outcome.load(folder)


def test_digits_without_labels_are_refused(readings_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(readings_folder, tmp_path / "00")
    pq.write_table(pq.read_table(folder / "test.parquet").drop_columns("label"), folder / "test.parquet")
    with pytest.raises(DataError, match=r"test\.parquet"):
        Outcome.load(folder)
