from pathlib import Path

import numpy as np
import pytest

from gradmeter import DataError
from gradmeter.research.ood_benchmark.scores import KNOWN, Scores, score_path


def test_written_scores_are_read(tmp_path: Path) -> None:
    values = {KNOWN: np.array([0.1, 1 / 3, -np.inf]), "letters": np.array([2.0])}
    Scores(values, 1.5, 0.25).write(tmp_path / "a.parquet")
    read = Scores.read(tmp_path / "a.parquet")
    assert (read.fit_seconds, read.milliseconds) == (1.5, 0.25)
    assert list(read.values) == [KNOWN, "letters"]
    for name, scores in values.items():
        np.testing.assert_array_equal(read.values[name], scores)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 no more"])
def test_a_missing_or_damaged_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet"):
        Scores.read(path)


def test_file_names(tmp_path: Path) -> None:
    assert (
        score_path(tmp_path, "digits", 3, "layer conv1 alone") == tmp_path / "scores/digits-3/layer-conv1-alone.parquet"
    )
