from pathlib import Path

import numpy as np
import pytest

from gradmeter import DataError
from gradmeter.research.ood_benchmark.scores import KNOWN, Scores, score_path


def test_back_from_disk(tmp_path: Path) -> None:
    values = {KNOWN: np.array([0.1, 1 / 3, -np.inf]), "letters": np.array([2.0])}
    Scores(values, 1.5, 0.25).write(tmp_path / "a.parquet")
    back = Scores.read(tmp_path / "a.parquet")
    assert (back.fit_seconds, back.milliseconds) == (1.5, 0.25)
    assert list(back.values) == [KNOWN, "letters"]
    for name, found in values.items():
        np.testing.assert_array_equal(back.values[name], found)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 no more"])
def test_damaged(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet is not readable .*; remove it and run the same command again"):
        Scores.read(path)


def test_names_of_files(tmp_path: Path) -> None:
    assert (
        score_path(tmp_path, "digits", 3, "layer conv1 alone") == tmp_path / "scores/digits-3/layer-conv1-alone.parquet"
    )
