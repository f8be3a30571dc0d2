"""`gradmeter labels --engine ray` gives the verdicts of one process."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apps.cli.commands import in_this_process
from apps.workflows.label_folder import plant
from gradmeter.runs.measuring import on_ray

OPTIONS = ("--weights", "weights.safetensors", "--image-size", 8, "--grey", "--classes", "0,1,2,3,4,5,6,7,8,9", "-q")
# Ray leaves files open, and forks while threads run.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster"), pytest.mark.filterwarnings("default")]


@pytest.fixture
def folder(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Digits of which some have a wrong label and one cannot be read, and their network."""
    for name in ("weights.safetensors", "digits_network.py"):
        shutil.copy(place / name, tmp_path / name)
    for number, path in enumerate(sorted((place / "validation").rglob("*.png"))):
        if number % 3 == 0:
            copy = tmp_path / "few" / path.parent.name / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    plant(tmp_path / "few", tmp_path / "digits")
    (tmp_path / "digits/0/torn.png").write_bytes(b"no image")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(on_ray, "PART", 40)
    return tmp_path


def readings(folder: Path) -> pa.Table:
    return pq.read_table(folder, columns=["id", "label", "logits", "embedding", "content_hash"])


@pytest.mark.exhaustive
def test_the_same_rows_and_verdicts_as_in_one_process(folder: Path) -> None:
    """With gradients, which are also read at labels that the check corrupts."""
    tables = {}
    for engine in ("local", "ray"):
        out = f"{engine}.parquet"
        workers = ("--workers", 1) if engine == "ray" else ()
        arguments = ("labels", "digits_network:network", "digits", *OPTIONS, "--reads", "gradients", "-o", out)
        finished = in_this_process(*arguments, "--engine", engine, *workers, cwd=folder)
        assert finished.returncode == 0, finished.stderr
        assert "torn.png" in finished.stderr
        assert "Skipped 1 sample" in finished.stdout
        parts = folder / f"{engine}.review/readings/gradients"
        assert len([*parts.glob("part-*.parquet")]) == (1 if engine == "local" else 6)
        tables[engine] = pq.read_table(folder / out), readings(parts)
    (table, rows), (expected, expected_rows) = tables["ray"], tables["local"]
    for name in ("id", "label", "content_hash"):
        assert rows[name].equals(expected_rows[name]), name
    for name in ("logits", "embedding"):
        # Rounding depends on the number of threads.
        values, others = (np.stack(each[name].to_numpy()) for each in (rows, expected_rows))
        np.testing.assert_allclose(values, others, rtol=1e-4, atol=1e-4)
    assert table["id"].equals(expected["id"])
    np.testing.assert_allclose(table["p_label"], expected["p_label"], atol=1e-3)
    reasons = zip(table["reason"].to_pylist(), expected["reason"].to_pylist(), strict=True)
    assert np.mean([reason == other for reason, other in reasons]) > 0.99
