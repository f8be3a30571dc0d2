from pathlib import Path

import numpy as np
import pytest

from gradmeter import DataError
from gradmeter.research.label_study.sheet import Sheet
from research.label_study.sheets import sheet


def test_a_sheet_comes_back_from_its_file(tmp_path: Path) -> None:
    written = sheet(0, 0.1)
    written.write(tmp_path / "sheet.parquet")
    read = Sheet.read(tmp_path / "sheet.parquet")
    for name in ("ids", "labels", "given", "suggestion", "reason", "planted"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert list(read.scores) == list(written.scores)
    for name, values in written.scores.items():
        np.testing.assert_array_equal(read.scores[name], values)
    assert read.rates == written.rates
    assert read.learned == written.learned
    assert read.planted.sum() == 40


def test_a_damaged_file(tmp_path: Path) -> None:
    for content in (b"", b"PAR1"):
        (tmp_path / "sheet.parquet").write_bytes(content)
        with pytest.raises(DataError, match=r"sheet\.parquet"):
            Sheet.read(tmp_path / "sheet.parquet")
