from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradmeter import DataError, GradientMeter
from gradmeter.research.label_study.pairs import PairReader, embedding_of


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


def images(count: int = 30) -> Tensor:
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(1))


ROWS, LABELS = np.array([4, 0, 7, 7]), np.array([2, 1, 0, 2])


def test_readings_are_those_of_the_meter(tmp_path: Path) -> None:
    model, inputs = network(), images()
    reader = PairReader([model], inputs, tmp_path)
    readings = reader.at(ROWS, LABELS)
    expected = GradientMeter(model, embedding=True)(inputs[ROWS], torch.from_numpy(LABELS))
    assert readings.layers == expected.layers
    torch.testing.assert_close(readings.values, expected.values, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(readings.log_scale, expected.log_scale)
    torch.testing.assert_close(readings.embedding, expected.embedding)
    np.testing.assert_allclose(reader.probabilities.sum(axis=1), 1)


def test_each_pair_is_read_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = PairReader([network()], images(), tmp_path)
    before = reader.at(ROWS, LABELS)
    reader.keep()
    reader.at(ROWS[:1], LABELS[:1])
    reader.keep()
    assert [path.name for path in tmp_path.glob("pairs-*")] == ["pairs-0000.parquet"]
    again = PairReader([network()], images(), tmp_path)

    def refuse(*arguments: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(GradientMeter, "__call__", refuse)
    torch.testing.assert_close(again.at(ROWS[::-1].copy(), LABELS[::-1].copy()).values, before.values.flip(0))


def test_each_fold_has_a_network_of_its_own() -> None:
    inputs, folds = images(), np.arange(30) % 2
    models = [network(0), network(0)]
    with torch.no_grad():
        models[1][3].weight.mul_(2)
    reader = PairReader(models, inputs, None, folds)
    for fold, model in enumerate(models):
        rows = np.flatnonzero(folds == fold)
        expected = GradientMeter(model, embedding=True)(inputs[rows], torch.zeros(len(rows), dtype=torch.int64))
        readings = reader.at(rows, np.zeros(len(rows), np.int64))
        torch.testing.assert_close(readings.values, expected.values, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(reader.forward.logits[rows], expected.logits)
    reader.keep()


def test_a_damaged_file(tmp_path: Path) -> None:
    reader = PairReader([network()], images(), tmp_path)
    reader.at(ROWS, LABELS)
    reader.keep()
    (tmp_path / "pairs-0000.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"pairs-0000\.parquet"):
        PairReader([network()], images(), tmp_path)


def test_a_part_that_was_deleted_leaves_a_gap(tmp_path: Path) -> None:
    reader = PairReader([network()], images(), tmp_path)
    for label in (0, 1):
        reader.at(ROWS, np.full(len(ROWS), label))
        reader.keep()
    (tmp_path / "pairs-0000.parquet").unlink()
    kept = (tmp_path / "pairs-0001.parquet").read_bytes()
    reader = PairReader([network()], images(), tmp_path)
    reader.at(ROWS, np.full(len(ROWS), 2))
    reader.keep()
    assert (tmp_path / "pairs-0001.parquet").read_bytes() == kept


def test_a_network_without_a_dense_last_layer() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten()).eval()
    with pytest.raises(DataError, match="dense"):
        embedding_of(GradientMeter(model, gradients=False, embedding=True)(images(3)))
