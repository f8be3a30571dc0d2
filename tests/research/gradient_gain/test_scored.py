from pathlib import Path

import numpy as np
import pytest

from gradmeter import DataError
from gradmeter.research.gradient_gain.reading import read_price
from gradmeter.research.gradient_gain.scored import (
    Predicted,
    Scored,
    read_cases,
    read_predictions,
    write_cases,
    write_predictions,
)


def test_cases_come_back_in_order(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    cases = {
        name: Scored(
            random.random(size) < 0.5, {"softmax": random.normal(size=size), "other": random.normal(size=size)}
        )
        for name, size in (("wrong", 5), ("letters", 3))
    }
    write_cases(tmp_path / "cases.parquet", cases)
    again = read_cases(tmp_path / "cases.parquet")
    assert list(again) == ["wrong", "letters"]
    for name, case in cases.items():
        np.testing.assert_array_equal(again[name].outside, case.outside)
        assert list(again[name].scores) == ["softmax", "other"]
        for method, scores in case.scores.items():
            np.testing.assert_array_equal(again[name].scores[method], scores)


def test_predictions_come_back(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.parquet", Predicted(np.arange(3.0), {"ridge": np.ones(3)}))
    again = read_predictions(tmp_path / "p.parquet")
    assert again.loss.tolist() == [0, 1, 2]
    assert again.predictions["ridge"].tolist() == [1, 1, 1]


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "cases.parquet").write_text("x")
    with pytest.raises(DataError, match=r"cases\.parquet"):
        read_cases(tmp_path / "cases.parquet")


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "cases.parquet"
    write_predictions(path, Predicted(np.ones(3), {}))
    with pytest.raises(DataError, match=r"cases\.parquet.*no column"):
        read_cases(path)


@pytest.mark.parametrize("content", ["{", "[1]", '{"plain": 1}', '{"gradmeter": 1}'])
def test_a_damaged_price(content: str, tmp_path: Path) -> None:
    (tmp_path / "price.json").write_text(content)
    with pytest.raises(DataError, match=r"price\.json"):
        read_price(tmp_path)
