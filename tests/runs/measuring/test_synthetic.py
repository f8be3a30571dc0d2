"""Synthetic unknowns: their rows are correct, and a killed run is continued."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gradmeter import GradientMeter, Readings
from gradmeter.errors import OutputError
from gradmeter.runs.measuring import MeasuredSet, Work, measure_synthetic, synthetic
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import Encoded, ImageKind, Source, Unreadable, open_source
from gradmeter.trust.synthetic import KINDS, synthetic_unknowns

KIND = ImageKind("L", 8)


class Pictures(Source):
    """Images in memory, of three classes; every fifth one cannot be read."""

    name, classes, labelled = "pictures", ("bird", "cat", "dog"), True

    def __init__(self, count: int) -> None:
        self.images = np.random.default_rng(0).integers(256, size=(count, 8, 8), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def id(self, index: int) -> str:
        return str(index)

    def fetch(self, index: int) -> Encoded:
        if index % 5 == 4:
            raise Unreadable("damaged")
        return Encoded(str(index), self.images[index].tobytes(), index % 3)

    @staticmethod
    def decoder(content: bytes) -> Image.Image:
        return Image.frombytes("L", (8, 8), content)

    def fingerprint(self) -> str:
        return str(len(self))


class Texts(Pictures):
    texts = True


def prepare(images: Sequence[Any]) -> Tensor:
    return torch.stack([torch.from_numpy(np.asarray(image, np.float32) / 255).unsqueeze(0) for image in images])


def classifier() -> Classifier:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    return Classifier("small", network.eval(), ("bird", "cat", "dog"), KIND, prepare)


NUMBERS = [*range(20), *range(25, 30)]
READABLE = [number for number in NUMBERS if number % 5 != 4]


def measured(folder: Path, numbers: Sequence[int] = NUMBERS, **options: Any) -> MeasuredSet:
    result = measure_synthetic(classifier(), Pictures(30), numbers, folder, Work(**options))
    assert result is not None
    return result


def test_every_row_is_what_the_meter_reads(tmp_path: Path) -> None:
    """Unknowns of every kind are made of the given samples, without those that cannot be read."""
    tables = [*measured(tmp_path / "s").tables()]
    assert len(tables) == len(KINDS)
    source = Pictures(30)
    images = prepare([source.images[number] for number in READABLE])
    labels = torch.tensor([number % 3 for number in READABLE])
    meter = GradientMeter(classifier().network).for_trust_model()
    for number, (kind, table) in enumerate(zip(KINDS, tables, strict=True)):
        assert table["id"].to_pylist() == [kind] * len(READABLE)
        expected = meter(synthetic_unknowns(images, labels, [kind], seed=number)[kind])
        readings = Readings.from_arrow(table)
        torch.testing.assert_close(readings.values, expected.values, rtol=1e-4, atol=1e-5)
        assert readings.pseudo_labels == ("predicted", "uniform")
        assert readings.embedding is not None
        assert readings.activations is not None
    assert len(measured(tmp_path / "s").readings()) == len(KINDS) * len(READABLE)


class Picky(nn.Module):
    """Takes no image whose first pixel is bright."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        if (images[:, 0, 0, 0] > 0.8).any():
            raise ValueError("too bright")
        return self.network(images)


def test_those_on_which_the_network_fails_are_left_out(tmp_path: Path) -> None:
    small = classifier()
    picky = replace(small, network=Picky(small.network).eval())
    result = measure_synthetic(picky, Pictures(30), NUMBERS, tmp_path / "made", Work())
    assert result is not None
    made, every = (pa.concat_tables(run.tables()) for run in (result, measured(tmp_path / "every")))
    assert {*KINDS} >= {*made["id"].to_pylist()}
    assert 0 < len(made) < len(every)


def test_progress_is_reported(tmp_path: Path) -> None:
    started: list[tuple[str, int]] = []
    counts: list[int] = []
    measured(tmp_path / "s", on_start=lambda name, count: started.append((name, count)), on_progress=counts.append)
    assert started == [("synthetic unknowns", len(KINDS) * len(READABLE))]
    assert sum(counts) == len(KINDS) * len(READABLE)


def test_the_expected_duration_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first batch, and only if it is long."""
    notes: list[str] = []
    order: list[tuple[int, int]] = []
    work = {"on_note": notes.append, "on_progress": lambda count: order.append((len(notes), count))}
    measured(tmp_path / "fast", **work)
    assert notes == []
    order.clear()
    monkeypatch.setattr(synthetic, "_LONG", 0.0)
    measured(tmp_path / "s", **work)
    assert len(notes) == 1
    assert f" {len(KINDS)} " in notes[0]
    assert f" {len(READABLE)} " in notes[0]
    assert order[:2] == [(0, 0), (1, len(READABLE))]


def test_another_number_per_kind_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(tmp_path / "s")
    monkeypatch.setattr(synthetic, "per_kind", lambda known: 10)
    assert_close(measured(tmp_path / "s"), measured(tmp_path / "new"))


class Killed(BaseException):
    pass


def assert_close(result: MeasuredSet, expected: MeasuredSet) -> None:
    """Ids must be equal, and readings close: the first batch of a run has other tiles, which round differently."""
    for table, expected_table in zip(result.tables(), expected.tables(), strict=True):
        assert table["id"].equals(expected_table["id"])
        torch.testing.assert_close(
            Readings.from_arrow(table).values, Readings.from_arrow(expected_table).values, rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize("after", [1, 3, 9])
def test_a_killed_run_is_continued(after: int, tmp_path: Path) -> None:
    whole = measured(tmp_path / "whole")
    calls = 0

    def kill(samples: int) -> None:
        nonlocal calls
        calls += 1
        if calls == after:
            raise Killed

    with pytest.raises(Killed):
        measured(tmp_path / "s", on_progress=kill)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "s").glob("part-*")}
    assert len(before) < len(KINDS)
    counts: list[int] = []
    result = measured(tmp_path / "s", on_progress=counts.append)
    assert sum(counts) == len(KINDS) * len(READABLE)
    assert_close(result, whole)
    assert all((tmp_path / "s" / name).stat().st_mtime_ns == when for name, when in before.items())


def test_a_missing_part_is_made_again(tmp_path: Path) -> None:
    whole = measured(shutil.copytree(measured(tmp_path / "s").name, tmp_path / "whole"))
    for name in ("part-00005.parquet", "_part-00005.json"):
        (tmp_path / "s" / name).unlink()
    kept = (tmp_path / "s/part-00004.parquet").stat().st_mtime_ns
    assert_close(measured(tmp_path / "s"), whole)
    assert (tmp_path / "s/part-00004.parquet").stat().st_mtime_ns == kept


def test_a_finished_run_reads_no_sample(tmp_path: Path) -> None:
    measured(tmp_path / "s")

    class Gone(Pictures):
        def fetch(self, index: int) -> Encoded:
            raise AssertionError

    assert measure_synthetic(classifier(), Gone(30), NUMBERS, tmp_path / "s", Work()) is not None


def test_another_network_is_refused(tmp_path: Path) -> None:
    measured(tmp_path / "s")
    other = classifier()
    with torch.no_grad():
        next(other.network.parameters()).mul_(2)
    for numbers in (NUMBERS, NUMBERS[1:]):
        with pytest.raises(OutputError, match="weights"):
            measure_synthetic(other, Pictures(30), numbers, tmp_path / "s", Work())
    assert measure_synthetic(other, Pictures(30), NUMBERS, tmp_path / "s", Work(fresh=True)) is not None


def test_they_are_made_anew_of_other_samples(tmp_path: Path) -> None:
    """For example because a damaged image was removed after an interruption."""
    notes: list[str] = []
    measured(tmp_path / "s")
    changed = measured(tmp_path / "s", NUMBERS[1:], on_note=notes.append)
    assert changed.progress()[0] == len(KINDS) * (len(READABLE) - 1)
    assert_close(changed, measured(tmp_path / "new", NUMBERS[1:]))
    assert len(notes) == 1


def test_they_are_made_anew_of_files_that_were_modified(tmp_path: Path) -> None:
    """For example if new readings of these files are the known data of a fit into the same folder."""
    (tmp_path / "images").mkdir()

    def made(name: str, seed: int) -> MeasuredSet:
        for number, pixels in enumerate(np.random.default_rng(seed).integers(256, size=(6, 8, 8), dtype=np.uint8)):
            Image.fromarray(pixels).save(path := tmp_path / f"images/{number}.png")
            os.utime(path, ns=(seed, seed))
        source = open_source(str(tmp_path / "images"), KIND)
        result = measure_synthetic(classifier(), source, range(6), tmp_path / name, Work())
        assert result is not None
        return result

    before = made("s", 1).readings().values
    torch.testing.assert_close(made("s", 1).readings().values, before)
    assert_close(made("s", 2), made("new", 2))


@pytest.mark.parametrize(("source", "numbers"), [(Texts(30), NUMBERS), (Pictures(30), [4, 9]), (Pictures(30), [3, 4])])
def test_texts_and_too_few_images_make_none(source: Source, numbers: list[int], tmp_path: Path) -> None:
    assert measure_synthetic(classifier(), source, numbers, tmp_path / "s", Work()) is None
    assert not source.texts or not (tmp_path / "s").exists()


@pytest.mark.parametrize("count", [7, 10, 13, 19, 25])
def test_they_are_made_of_images_from_all_over_the_source(count: int, tmp_path: Path, monkeypatch: Any) -> None:
    """A folder is sorted by class: its first samples alone would be of one class."""
    monkeypatch.setattr(synthetic, "per_kind", lambda known: min(known, 10))
    seen: list[int] = []

    class Watched(Pictures):
        def fetch(self, index: int) -> Encoded:
            seen.append(index)
            return Encoded(str(index), self.images[index].tobytes(), index % 3)

    measure_synthetic(classifier(), Watched(count), range(count), tmp_path / "s", Work())
    assert len(seen) == min(10, count)
    assert len(set(seen)) == len(seen)
    assert (min(seen), max(seen)) == (0, count - 1)
    assert max(np.diff(sorted(seen))) <= -(-count // 10) + 1
