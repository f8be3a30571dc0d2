"""Files in the format of FD-Shifts, read as its analysis reads them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from gradmeter import GradientMeter, TrustModel
from gradmeter.errors import DataError, InputError, OutputError
from gradmeter.trust.adapters.fd_shifts import NO_LABEL, read_outputs, write_confidences, write_outputs
from trust.trained import digits, noise, trained

IMAGES, LABELS = digits()


@pytest.fixture(scope="module")
def trust() -> TrustModel:
    trust = TrustModel(GradientMeter(trained()), reads="forward")
    return trust.fit((IMAGES[300:1000], LABELS[300:1000]), synthetic=[noise(60)])


@pytest.fixture(scope="module")
def datasets(trust: TrustModel) -> list[pa.Table]:
    """Readings of a validation set, a test set and unknown images."""
    parts = [trust.meter(images).to_arrow() for images in (IMAGES[1000:1200], IMAGES[1200:1500], noise(100))]
    for index, rows in enumerate((slice(1000, 1200), slice(1200, 1500))):
        parts[index] = parts[index].append_column("label", pa.array(LABELS[rows].numpy()))
    return parts


class Analysis:
    """What FD-Shifts reads of a folder `test_results`, and how it selects the samples of its studies."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "raw_logits.npz") as archive:
            raw = archive.f.arr_0.astype(np.float64)
        with np.load(folder / "external_confids.npz") as archive:
            self.confids = archive.f.arr_0
        self.softmax = softmax(raw[:, :-2], axis=1)
        self.labels, self.dataset_idx = raw[:, -2], raw[:, -1]
        self.correct = (np.argmax(self.softmax, axis=1) == self.labels).astype(int)

    def failures(self, dataset: int) -> float:
        """AUROC of right against wrong predictions of one data set."""
        rows = np.argwhere(self.dataset_idx == dataset)[:, 0]
        return float(roc_auc_score(self.correct[rows], self.confids[rows]))

    def new_classes(self, iid: int, dataset: int) -> float:
        """AUROC of right predictions against another data set, its "proposed mode"."""
        correct = self.correct.copy()
        correct[self.dataset_idx == dataset] = 0
        chosen = (self.dataset_idx == dataset) | ((self.dataset_idx == iid) & (correct == 1))
        return float(roc_auc_score(correct[chosen], self.confids[chosen]))


@pytest.mark.parametrize("score", ["p_correct", "p_known", "p_correct_if_known"])
def test_the_analysis_reads_our_outputs(
    score: str, trust: TrustModel, datasets: list[pa.Table], tmp_path: Path
) -> None:
    written = write_outputs(tmp_path / "new/test_results", trust, datasets, score=score)
    analysis = Analysis(tmp_path / "new/test_results")
    assert analysis.softmax.shape == (600, 10)
    assert analysis.labels[:500].tolist() == LABELS[1000:1500].tolist()
    assert {*analysis.labels[500:]} == {NO_LABEL}
    assert np.bincount(analysis.dataset_idx.astype(int)).tolist() == [200, 300, 100]
    logits = trained()(IMAGES[1000:1500]).detach().double().numpy()
    assert np.allclose(analysis.softmax[:500], softmax(logits, axis=1), atol=1e-6)
    scores = np.concatenate([trust.verdicts(images)[score].to_numpy() for images in (IMAGES[1000:1500], noise(100))])
    assert np.allclose(analysis.confids, scores, atol=1e-6)
    right = (logits.argmax(1) == LABELS[1000:1500].numpy())[200:]
    assert analysis.failures(1) == pytest.approx(roc_auc_score(right, scores[200:500]), abs=1e-3)
    unknown = np.concatenate([scores[200:500][right], scores[500:]])
    expected = roc_auc_score(np.arange(len(unknown)) < right.sum(), unknown)
    assert analysis.new_classes(1, 2) == pytest.approx(expected, abs=1e-3)
    again = read_outputs(tmp_path / "new/test_results")
    for name in ("logits", "labels", "datasets", "confidences"):
        assert np.array_equal(getattr(again, name), getattr(written, name))


def experiment(folder: Path, datasets: list[pa.Table], dtype: type = np.float32) -> np.ndarray:
    """Write outputs as FD-Shifts does: one tensor of one type, with labels of the unknown images' own classes."""
    logits = torch.cat([trained()(images) for images in (IMAGES[1000:1200], IMAGES[1200:1500], noise(100))])
    labels = torch.cat([LABELS[1000:1500], torch.arange(100) % 7])
    index = torch.repeat_interleave(torch.arange(3), torch.tensor([len(table) for table in datasets]))
    raw = torch.cat([logits, labels.unsqueeze(1), index.unsqueeze(1)], dim=1).detach().numpy().astype(dtype)
    np.savez_compressed(folder / "raw_logits.npz", raw)
    np.savez_compressed(folder / "external_confids.npz", np.zeros((600, 1), dtype))
    np.savez_compressed(folder / "raw_logits_dist.npz", np.zeros((600, 10, 3), dtype))
    return raw


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scores_beside_the_outputs_of_fd_shifts(
    dtype: type, trust: TrustModel, datasets: list[pa.Table], tmp_path: Path
) -> None:
    raw = experiment(tmp_path, datasets, dtype)
    given = read_outputs(tmp_path)
    assert given.confidences is not None
    assert given.confidences.shape == (600,)
    assert np.array_equal(given.predictions, raw[:, :10].argmax(1))
    before = (tmp_path / "raw_logits.npz").read_bytes()
    write_confidences(tmp_path, trust, datasets, score="p_known")
    assert (tmp_path / "raw_logits.npz").read_bytes() == before
    analysis = Analysis(tmp_path)
    assert analysis.labels[500:507].tolist() == [*range(7)]
    expected = np.concatenate([trust.verdicts(table)["p_known"].to_numpy() for table in datasets])
    assert np.array_equal(analysis.confids, expected)
    assert analysis.new_classes(1, 2) > 0.95


def test_probabilities_of_earlier_versions(datasets: list[pa.Table], tmp_path: Path) -> None:
    raw = experiment(tmp_path, datasets)
    (tmp_path / "raw_logits.npz").unlink()
    (tmp_path / "external_confids.npz").unlink()
    raw[:, :10] = softmax(raw[:, :10], axis=1)
    raw[0, :10] = [1, *[0] * 9]
    np.savez_compressed(tmp_path / "raw_output.npz", raw)
    outputs = read_outputs(tmp_path)
    assert outputs.confidences is None
    assert np.allclose(np.exp(outputs.logits), raw[:, :10])
    assert np.array_equal(outputs.predictions, raw[:, :10].argmax(1))
    assert np.array_equal(outputs.labels, raw[:, 10].astype(int))


def _reversed(raw: np.ndarray) -> np.ndarray:
    changed = raw.copy()
    changed[:200, :10] = raw[:200, :10][::-1]
    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:-1], r"\(599, 10\).*\(600, 10\)"),
        (lambda raw: np.delete(raw, 0, 1), r"\(600, 9\)"),
        (lambda raw: np.where(np.arange(12) == 11, 0, raw), "data set 0 in row 200.* have 1"),
        (lambda raw: np.where(np.arange(12) == 10, 9 - raw, raw), r"label \d in row \d+"),
        (_reversed, "other predictions in"),
        (lambda raw: raw + 0.5, "fractions"),
        (lambda raw: np.where(np.arange(12) == 10, np.inf, raw), "not finite"),
        (lambda raw: np.where(np.arange(12) == 10, np.nan, raw), "not finite"),
        (lambda raw: np.where(np.arange(12) == 11, 2.0**60, raw), "not finite"),
        (lambda raw: raw[:, :3], r"\(600, 3\)"),
        (lambda raw: raw[0], r"\(12,\)"),
        (lambda raw: raw.astype(str), "<U"),
    ],
)
def test_outputs_of_other_samples(
    change: Callable[[np.ndarray], Any], message: str, trust: TrustModel, datasets: list[pa.Table], tmp_path: Path
) -> None:
    np.savez_compressed(tmp_path / "raw_logits.npz", change(experiment(tmp_path, datasets)))
    (tmp_path / "external_confids.npz").unlink()
    with pytest.raises(DataError, match=message):
        write_confidences(tmp_path, trust, datasets)
    assert not (tmp_path / "external_confids.npz").exists()


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("raw_logits.npz", lambda path: path.write_bytes(b"PK")),
        ("raw_logits.npz", lambda path: path.write_bytes(b"\x80no archive")),
        ("raw_logits.npz", lambda path: np.savez(path, logits=np.zeros((3, 4)))),
        ("raw_logits.npz", lambda path: np.savez(path, np.array([{}, None]))),
        ("raw_logits.npz", lambda path: path.unlink()),
        ("external_confids.npz", lambda path: np.savez(path, np.zeros(3))),
    ],
    ids=["no archive", "bytes", "another name", "objects", "missing", "too few"],
)
def test_damaged_files(name: str, write: Callable[[Path], Any], datasets: list[pa.Table], tmp_path: Path) -> None:
    experiment(tmp_path, datasets)
    write(tmp_path / name)
    with pytest.raises(DataError, match=name) as raised:
        read_outputs(tmp_path)
    assert "pickle" not in str(raised.value)


def test_wrong_arguments(trust: TrustModel, datasets: list[pa.Table], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'softmax'"):
        write_outputs(tmp_path, trust, datasets, score="softmax")
    with pytest.raises(InputError, match="no data sets"):
        write_outputs(tmp_path, trust, [])
    with pytest.raises(InputError, match="generator"):
        write_outputs(tmp_path, trust, (table for table in datasets))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="DataFrame"):
        write_outputs(tmp_path, trust, [datasets[0].to_pandas()])
    large = datasets[2].append_column("label", pa.array([2**63] * 100, pa.uint64()))
    with pytest.raises(DataError, match="a label is no class"):
        write_outputs(tmp_path, trust, [large])
    with pytest.raises(InputError, match="one table"):
        write_outputs(tmp_path, trust, datasets[0])  # type: ignore[arg-type]
    readings = trust.meter(IMAGES[:1]).to_arrow().append_column("label", pa.array([2**53 + 1]))
    with pytest.raises(DataError, match="9007199254740993"):
        write_outputs(tmp_path, trust, [readings])
    with pytest.raises(DataError, match="several columns 'label'"):
        write_outputs(tmp_path, trust, [readings.append_column("label", pa.array([0]))])
    for labels in (["a", "b", "c"], [0.5, 1.5, 2.5]):
        readings = trust.meter(IMAGES[:3]).to_arrow().append_column("label", pa.array(labels))
        with pytest.raises(DataError, match=r"string|double"):
            write_outputs(tmp_path, trust, [readings])
    ridge = TrustModel(GradientMeter(trained()), "ridge", reads="forward").fit((IMAGES[300:700], LABELS[300:700]))
    with pytest.raises(InputError, match="p_known"):
        write_outputs(tmp_path, ridge, [ridge.meter(IMAGES[:5]).to_arrow()], score="p_known")
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_cannot_be_created(trust: TrustModel, datasets: list[pa.Table], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of others")
    for folder in (tmp_path / "file", tmp_path / "file/test_results"):
        with pytest.raises(OutputError, match="file"):
            write_outputs(folder, trust, datasets)
    assert (tmp_path / "file").read_text() == "of others"
