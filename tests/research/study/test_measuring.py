from pathlib import Path

import numpy as np
import pytest
import torch

from gradmeter import DataError, GradientMeter
from gradmeter.research.study import measuring
from gradmeter.research.study.data import Draw
from gradmeter.research.study.measuring import measure, read_set, sets_of
from gradmeter.research.study.network import PaperCNN

SETS = ["validation", "test", "letters", "cifar10", "uniform", "known-cifar10", "known-uniform"]


def test_every_set_is_measured_as_the_meter_reads_it(network: PaperCNN, draw: Draw, readings_folder: Path) -> None:
    assert sorted(path.stem for path in readings_folder.iterdir()) == sorted(SETS)
    for name, concept in sets_of(draw).items():
        readings, labels = read_set(readings_folder / f"{name}.parquet")
        expected = GradientMeter(network)(concept.to_tensor())
        torch.testing.assert_close(readings.values, expected.values, rtol=1e-4, atol=1e-7)
        assert torch.equal(readings.predictions, expected.predictions)
        assert (labels is None) == (concept.labels is None)
        if labels is not None:
            np.testing.assert_array_equal(labels, concept.labels)


def test_batches_are_joined_in_order(
    network: PaperCNN, draw: Draw, readings_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_BATCH", 17)
    counts: list[int] = []
    measure(network, draw, tmp_path, biases=True, on_images=counts.append)
    assert counts == [len(concept) for concept in sets_of(draw).values()]
    for name in SETS:
        torch.testing.assert_close(
            read_set(tmp_path / f"{name}.parquet")[0].values,
            read_set(readings_folder / f"{name}.parquet")[0].values,
            rtol=1e-4,
            atol=1e-7,
        )


def test_existing_readings_are_kept(network: PaperCNN, draw: Draw, readings_folder: Path, tmp_path: Path) -> None:
    for name in SETS[:4]:
        (tmp_path / f"{name}.parquet").write_bytes(b"measured before")
    measure(network, draw, tmp_path, biases=True, on_images=lambda count: None)
    for name in SETS[:4]:
        assert (tmp_path / f"{name}.parquet").read_bytes() == b"measured before"
    for name in SETS[4:]:
        assert (tmp_path / f"{name}.parquet").read_bytes() == (readings_folder / f"{name}.parquet").read_bytes()


def test_biases_may_be_left_out(network: PaperCNN, draw: Draw, tmp_path: Path) -> None:
    measure(network, draw, tmp_path, biases=False, on_images=lambda count: None)
    readings, _ = read_set(tmp_path / "test.parquet")
    expected = GradientMeter(network, biases=False)(draw.test.to_tensor())
    torch.testing.assert_close(readings.values, expected.values, rtol=1e-4, atol=1e-7)


def test_damaged_readings_are_named(readings_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "test.parquet"
    with pytest.raises(DataError, match=r"test\.parquet"):
        read_set(path)
    path.write_bytes((readings_folder / "test.parquet").read_bytes()[:1000])
    with pytest.raises(DataError, match=r"test\.parquet"):
        read_set(path)
