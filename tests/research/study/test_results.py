from pathlib import Path

import pytest

from gradmeter import DataError
from gradmeter.research.study.results import AllResults, Result, read_results, write_results

RESULTS = [
    Result("softmax", "wrong", "auroc", 0.1 + 0.2),
    Result("l2", "wrong", "auroc", 1 / 3),
    Result("", "wrong", "n", 150),
    Result("", "", "test_error", 1e-17),
]


def test_results_are_written_with_all_digits(tmp_path: Path) -> None:
    path = tmp_path / "results" / "00.csv"
    write_results(path, RESULTS)
    assert read_results(path) == RESULTS
    assert path.read_text().splitlines()[:2] == [
        "score,column,measure,value",
        "softmax,wrong,auroc,0.30000000000000004",
    ]


@pytest.mark.parametrize(
    "text", ["score,column\na,b\n", "score,column,measure,value\na,b,c,d\n", "score,column,measure,value\na,b\n"]
)
def test_a_damaged_file_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "00.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"00\.csv"):
        read_results(path)
    path.unlink()
    with pytest.raises(DataError, match=r"00\.csv"):
        read_results(path)


def test_results_of_several_runs() -> None:
    other = [Result("softmax", "wrong", "auroc", 0.5), Result("", "wrong", "n", 151)]
    results = AllResults([RESULTS, other])
    assert results.runs == 2
    values = results("softmax", "wrong", "auroc")
    assert values is not None
    assert values.tolist() == [0.1 + 0.2, 0.5]
    assert results("l2", "wrong", "auroc") is None, "one run lacks the result"
    assert results("l2", "letters", "auroc") is None
    assert results.scores() == ("softmax", "l2")
    assert results.columns() == ("wrong",)
