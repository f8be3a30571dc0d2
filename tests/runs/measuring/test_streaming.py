"""Measuring a source in this process: rows, labels, skipped samples, and continued runs."""

import errno
import json
import os
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gradmeter.runs.measuring.filling as filling
import gradmeter.runs.measuring.streaming as streaming
from gradmeter import GradientMeter, Readings
from gradmeter.errors import DataError, InputError, OutputError
from gradmeter.reading.content import content_hashes
from gradmeter.runs.measuring import MeasuredSet, Skipped, Work, measure
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import Source, Unlabelled, Unreadable, open_source
from gradmeter.sources.samples.location import Location
from runs.measuring.small import KIND, Prepare, classifier, routed
from sources.samples.pictures import encoded, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """23 images of two of the three classes, two of which are damaged."""
    for number in range(23):
        save(tmp_path / f"data/{'dog' if number % 2 else 'cat'}/{number:02}.png", 10 * number)
    (tmp_path / "data/cat/04.png").write_bytes(b"no image")
    (tmp_path / "data/dog/11.png").write_bytes((tmp_path / "data/dog/11.png").read_bytes()[:45])
    return tmp_path / "data"


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PART", 6)
    monkeypatch.setattr(filling, "BATCH", 4)


def readable(source: Source) -> list[int]:
    return [index for index in range(len(source)) if source.id(index) not in ("cat/04.png", "dog/11.png")]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.usefixtures("small_parts")
def test_every_row_is_what_the_meter_reads(workers: int, folder: Path, tmp_path: Path) -> None:
    source, counts, skipped = open_source(str(folder), KIND), [], []
    work = Work(workers=workers, on_progress=counts.append, on_skip=skipped.append)
    result = measure(classifier(), source, tmp_path / "r", work)
    assert (result.rows, sum(counts), list(result.skipped)) == (21, 23, skipped)
    assert {sample.id for sample in skipped} == {"cat/04.png", "dog/11.png"}
    indices = readable(source)
    images = [source.read(index).content for index in indices]
    expected = GradientMeter(classifier().network)(Prepare()(images))
    table = pq.read_table(tmp_path / "r")
    assert table["id"].to_pylist() == [source.id(index) for index in indices]
    assert table["label"].to_pylist() == [1 if source.id(index).startswith("cat") else 2 for index in indices]
    readings = Readings.from_arrow(table)
    # A kurtosis near 0 is a difference of numbers near 3.
    torch.testing.assert_close(readings.values, expected.values, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(readings.logits, expected.logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        torch.tensor(np.stack(table["probabilities"].to_numpy())), expected.logits.softmax(1), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(MeasuredSet(tmp_path / "r").readings().values, readings.values, rtol=0, atol=0)


@pytest.mark.usefixtures("small_parts")
def test_other_programs_read_it(folder: Path, tmp_path: Path) -> None:
    measure(classifier(), open_source(str(folder), KIND), tmp_path / "r.parquet")
    frame = pd.read_parquet(tmp_path / "r.parquet")
    assert frame.columns[:6].tolist() == ["id", "label", "prediction", "probabilities", "log_scale", "logits"]
    assert "0/l2" in frame
    assert len(frame) == 21


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [1, 3, 5])
@pytest.mark.usefixtures("small_parts")
def test_a_killed_run_is_continued(after: int, folder: Path, tmp_path: Path) -> None:
    source, batches = open_source(str(folder), KIND), 0
    measure(classifier(), source, tmp_path / "whole")

    def kill(samples: int) -> None:
        nonlocal batches
        batches += 1
        if batches == after:
            raise Killed

    with pytest.raises(Killed):
        measure(classifier(), source, tmp_path / "r", Work(on_progress=kill))
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "r").glob("part-*")}
    counts: list[int] = []
    skipped: list[Skipped] = []
    result = measure(classifier(), source, tmp_path / "r", Work(on_progress=counts.append, on_skip=skipped.append))
    assert (result.rows, sum(counts), len(skipped)) == (21, 23, 2)
    assert pq.read_table(tmp_path / "r").equals(pq.read_table(tmp_path / "whole"))
    assert all((tmp_path / "r" / name).stat().st_mtime_ns == when for name, when in before.items())
    assert measure(classifier(), source, tmp_path / "r") == result


@pytest.mark.usefixtures("small_parts")
def test_another_network_is_refused(folder: Path, tmp_path: Path) -> None:
    source = open_source(str(folder), KIND)
    measure(classifier(), source, tmp_path / "r")
    other = classifier()
    with torch.no_grad():
        next(other.network.parameters()).mul_(2)
    with pytest.raises(OutputError, match="weights"):
        measure(other, source, tmp_path / "r")


@pytest.mark.parametrize("names", [{}, {"class_names": np.array(["bird", "cat", "dog"])}], ids=["numbers", "names"])
def test_readings_with_and_without_labels_are_not_mixed(names: dict[str, np.ndarray], tmp_path: Path) -> None:
    images = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(3), **names)
    labelled = open_source(str(tmp_path / "data.npz"), KIND)
    for first, second, words in (
        (Unlabelled(labelled), labelled, "labelled was no, is yes"),
        (labelled, Unlabelled(labelled), "labelled was yes, is no"),
    ):
        measure(classifier(), first, tmp_path / "r", Work(fresh=True))
        with pytest.raises(OutputError, match=words):
            measure(classifier(), second, tmp_path / "r")


def aged(path: Path, seconds: float) -> None:
    when = time.time() - seconds
    os.utime(path, (when, when))


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("seconds", [100, 0, -1000])
def test_a_file_that_was_replaced_is_not_taken_for_done(seconds: float, folder: Path, tmp_path: Path) -> None:
    """By an older file, a new one, or one that claims to be from the future."""
    out = tmp_path / "r"
    rows = measure(classifier(), open_source(str(folder), KIND), out).rows
    save(folder / "dog/24.png", 7)  # new, and not done
    (folder / "cat/02.png").unlink()
    for _ in range(2):
        assert measure(classifier(), open_source(str(folder), KIND), out).rows == rows + 1
    changed = folder / "dog/24.png"
    save(changed, 99)
    aged(changed, seconds)
    with pytest.raises(OutputError, match=r"samples that were modified since \(dog/24\.png\).*--fresh"):
        measure(classifier(), open_source(str(folder), KIND), out)
    assert measure(classifier(), open_source(str(folder), KIND), out, Work(fresh=True)).rows == rows


@pytest.mark.usefixtures("small_parts")
def test_a_file_that_comes_back_is_compared_with_its_earlier_version(folder: Path, tmp_path: Path) -> None:
    path, out = folder / "cat/02.png", tmp_path / "r"
    measure(classifier(), open_source(str(folder), KIND), out)
    away = path.rename(tmp_path / "away.png")
    measure(classifier(), open_source(str(folder), KIND), out)
    away.rename(path)
    measure(classifier(), open_source(str(folder), KIND), out)
    path.unlink()
    measure(classifier(), open_source(str(folder), KIND), out)
    save(path, 99)
    with pytest.raises(OutputError, match=r"cat/02\.png"):
        measure(classifier(), open_source(str(folder), KIND), out)


@pytest.mark.usefixtures("small_parts")
def test_a_file_that_was_skipped_and_is_repaired_is_measured(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    first = measure(classifier(), open_source(str(folder), KIND), out)
    assert {sample.id for sample in first.skipped} == {"cat/04.png", "dog/11.png"}
    save(folder / "cat/04.png", 7)
    for _ in range(2):
        again = measure(classifier(), open_source(str(folder), KIND), out)
        assert (again.rows, [sample.id for sample in again.skipped]) == (first.rows + 1, ["dog/11.png"])
    ids = [id_ for table in MeasuredSet(out).tables(["id"]) for id_ in table["id"].to_pylist()]
    assert sorted(ids) == sorted({*ids})
    assert "cat/04.png" in ids
    save(folder / "cat/04.png", 99)
    with pytest.raises(OutputError, match=r"modified since \(cat/04\.png\)"):
        measure(classifier(), open_source(str(folder), KIND), out)


@pytest.mark.usefixtures("small_parts")
def test_a_repaired_file_whose_name_begins_that_of_another(folder: Path, tmp_path: Path) -> None:
    """An id with a colon may be that of a file; it is not always one of several samples in a file."""
    out = tmp_path / "r"
    (folder / "cat/00.png").rename(folder / "cat/04.png:1.png")
    first = measure(classifier(), open_source(str(folder), KIND), out)
    save(folder / "cat/04.png", 7)
    assert measure(classifier(), open_source(str(folder), KIND), out).rows == first.rows + 1


@pytest.mark.usefixtures("small_parts")
def test_a_file_that_may_be_read_now_is_measured(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions do not change when it was modified."""
    read, out = Location._read, tmp_path / "r"

    def refuse(location: Location, path: str) -> bytes:
        if path in ("dog/03.png", "dog/05.png"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return read(location, path)

    with monkeypatch.context() as patch:
        patch.setattr(Location, "_read", refuse)
        for _ in range(2):
            assert measure(classifier(), open_source(str(folder), KIND), out).rows == 19
    (folder / "dog/05.png").unlink()
    for _ in range(2):
        again = measure(classifier(), open_source(str(folder), KIND), out)
        assert again.rows == 20
    ids = [id_ for table in MeasuredSet(out).tables(["id"]) for id_ in table["id"].to_pylist()]
    assert sorted(ids) == sorted({*ids})
    assert "dog/03.png" in ids


@pytest.mark.usefixtures("small_parts")
def test_a_file_that_was_modified_while_the_run_went_on_is_not_taken_for_done(folder: Path, tmp_path: Path) -> None:
    changed = folder / "cat/00.png"
    modify = Work(on_progress=lambda steps: aged(changed, 100))
    measure(classifier(), open_source(str(folder), KIND), tmp_path / "r", modify)
    with pytest.raises(OutputError, match=r"modified since \(cat/00\.png\)"):
        measure(classifier(), open_source(str(folder), KIND), tmp_path / "r")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.usefixtures("small_parts")
def test_a_folder_that_is_away_for_a_while(workers: int, folder: Path, tmp_path: Path) -> None:
    """As on a network share; its images are not skipped one by one, which the next run would keep."""
    away = tmp_path / "away"
    go = Work(workers=workers, on_progress=lambda steps: folder.exists() and folder.rename(away))
    with pytest.raises(DataError, match="data cannot be read any more"):
        measure(classifier(), open_source(str(folder), KIND), tmp_path / "r", go)
    away.rename(folder)
    assert measure(classifier(), open_source(str(folder), KIND), tmp_path / "r").rows == 21


@pytest.mark.usefixtures("small_parts")
def test_another_file_system_in_the_place_of_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(str(folder), KIND)
    (folder / "cat/00.png").unlink()
    with pytest.raises(Unreadable):
        source.read(0)
    monkeypatch.setattr(source._location, "_device", -1)  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="file system"):
        source.read(0)
    with pytest.raises(Unreadable):  # as on another machine, where file systems have other numbers
        pickle.loads(pickle.dumps(source)).read(0)


def test_a_table_that_is_gone(tmp_path: Path) -> None:
    pq.write_table(images_with([0, 1]), tmp_path / "data.parquet")
    source = open_source(str(tmp_path / "data.parquet"), KIND)
    (tmp_path / "data.parquet").unlink()
    with pytest.raises(DataError, match="No such file"):
        source.read(0)


def images_with(labels: list[int | None]) -> pa.Table:
    images = [encoded(Image.new("RGB", (8, 8), (number, 0, 0)), "PNG").getvalue() for number in range(len(labels))]
    return pa.table({"image": images, "label": labels})


def test_a_label_that_was_corrected_in_a_table_is_not_taken_for_the_former_one(tmp_path: Path) -> None:
    """The footer of the Parquet file, with the sizes and ranges of its columns, stays the same."""
    path, out = tmp_path / "data.parquet", tmp_path / "r"
    pq.write_table(images_with([0, 1, 2, 1, 0, 2]), path)
    earlier = open_source(str(path), KIND)
    for _ in range(2):
        measure(classifier(), open_source(str(path), KIND), out)
    pq.write_table(images_with([0, 1, 2, 2, 0, 2]), path)
    source = open_source(str(path), KIND)
    assert source.fingerprint() == earlier.fingerprint()
    with pytest.raises(OutputError, match=r"modified since \(data\.parquet\).*--fresh"):
        measure(classifier(), source, out)
    measure(classifier(), source, out, Work(fresh=True))
    assert [label for table in MeasuredSet(out).tables() for label in table["label"].to_pylist()] == [0, 1, 2, 2, 0, 2]


def test_a_table_of_which_no_row_could_be_read_may_be_modified(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(images_with([0, 1]), tmp_path / "data/a.parquet")
    pq.write_table(pa.table({"image": [b"none"], "label": [2]}), tmp_path / "data/b.parquet")
    counts = []
    for seconds in (100, 50):
        aged(tmp_path / "data/b.parquet", seconds)
        measured = measure(classifier(), open_source(str(tmp_path / "data"), KIND), tmp_path / "r")
        counts.append((measured.rows, [sample.id for sample in measured.skipped]))
    assert counts == [(2, ["b.parquet:0"])] * 2


def test_a_network_whose_code_has_changed_is_not_taken_for_the_former_one(folder: Path, tmp_path: Path) -> None:
    """Its weights and preprocessing are the same."""
    source, same, other = open_source(str(folder), KIND), classifier(), classifier()
    measure(same, source, tmp_path / "r")
    other.network.forward = lambda images: nn.Sequential.forward(other.network, images * 2 - 1)
    with pytest.raises(OutputError, match=r"other outputs on the same noise.*--fresh"):
        measure(other, source, tmp_path / "r")
    manifest = json.loads((tmp_path / "r/_measurement.json").read_text())
    for outputs in (5, [["none"]]):
        (tmp_path / "r/_measurement.json").write_text(json.dumps({**manifest, "outputs": outputs}))
        with pytest.raises(OutputError, match="other outputs"):
            measure(same, source, tmp_path / "r")
    del manifest["outputs"]  # as an earlier version wrote it
    (tmp_path / "r/_measurement.json").write_text(json.dumps(manifest))
    measure(same, source, tmp_path / "r")


def test_other_samples_of_the_same_names_are_not_called_modified(folder: Path, tmp_path: Path) -> None:
    measure(classifier(), open_source(str(folder), KIND), tmp_path / "r")
    shutil.copytree(folder, tmp_path / "others")
    aged(tmp_path / "others/cat/00.png", 50)
    with pytest.raises(OutputError, match=r"data was .*data, is .*others"):
        measure(classifier(), open_source(str(tmp_path / "others"), KIND), tmp_path / "r")


def test_versions_of_files_that_another_program_wrote(folder: Path, tmp_path: Path) -> None:
    measure(classifier(), open_source(str(folder), KIND), tmp_path / "r")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "r/_files.parquet")
    with pytest.raises(DataError, match=r"_files\.parquet"):
        measure(classifier(), open_source(str(folder), KIND), tmp_path / "r")
    measure(classifier(), open_source(str(folder), KIND), tmp_path / "r", Work(fresh=True))


@pytest.mark.parametrize("name", ["camera.png", "table.parquet"])
def test_a_replaced_file_is_not_taken_for_done(name: str, folder: Path, tmp_path: Path) -> None:
    """Neither its name nor its number of samples has changed, nor its time of modification."""
    path, pictures = tmp_path / name, sorted((folder / "dog").glob("1[3-9].png"))
    for step in (1, -1):
        contents = [picture.read_bytes() for picture in pictures][::step]
        if name == "camera.png":
            path.write_bytes(contents[0])
        else:
            pq.write_table(pa.table({"image": contents}), path)
        aged(path, 100)
        source = open_source(str(path), KIND)
        if step == 1:
            first = measure(classifier(), source, tmp_path / "r")
            assert measure(classifier(), source, tmp_path / "r") == first
    with pytest.raises(OutputError, match="replaced"):
        measure(classifier(), source, tmp_path / "r")


@pytest.mark.usefixtures("small_parts")
def test_samples_of_the_same_names_elsewhere_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere/data")
    for place in (tmp_path, tmp_path / "data/.."):
        monkeypatch.chdir(place)
        assert measure(classifier(), open_source("data", KIND), tmp_path / "r").rows == 21
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="elsewhere/data"):
        measure(classifier(), open_source("data", KIND), tmp_path / "r")


def test_readings_of_a_version_that_did_not_store_the_place(folder: Path, tmp_path: Path) -> None:
    source, manifest = open_source(str(folder), KIND), tmp_path / "r/_measurement.json"
    measure(classifier(), source, tmp_path / "r")
    content = json.loads(manifest.read_text())
    del content["place"]
    manifest.write_text(json.dumps(content))
    notes: list[str] = []
    measure(classifier(), source, tmp_path / "r", Work(on_note=notes.append))
    assert any("23 of 23" in note for note in notes)


def test_a_part_of_which_nothing_can_be_read(folder: Path, tmp_path: Path) -> None:
    for path in sorted(folder.glob("cat/*"))[:6]:
        path.write_bytes(b"no image")
    assert measure(classifier(), open_source(str(folder), KIND), tmp_path / "r").rows == 16
    assert pq.read_table(tmp_path / "r").num_rows == 16


def test_nothing_can_be_read(tmp_path: Path) -> None:
    save(tmp_path / "data/a.png")
    (tmp_path / "data/a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.png"):
        measure(classifier(), open_source(str(tmp_path / "data"), KIND), tmp_path / "r")


def test_classes_that_are_not_the_networks(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\(cat, dog\).* small .*\(a, b, c\)"):
        measure(classifier(("a", "b", "c")), open_source(str(folder), KIND), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_labels_without_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8), labels=np.array([0, 2]))
    measure(classifier(), open_source(str(tmp_path / "a.npz"), KIND), tmp_path / "r")
    assert pq.read_table(tmp_path / "r")["label"].to_pylist() == [0, 2]
    np.savez(tmp_path / "b.npz", images=np.zeros((2, 8, 8), np.uint8), labels=np.array([0, 3]))
    with pytest.raises(DataError, match=r"label 3.*0 to 2"):
        measure(classifier(), open_source(str(tmp_path / "b.npz"), KIND), tmp_path / "s")


@pytest.mark.parametrize("label", [3, -7, 2**63])
def test_a_label_that_no_name_belongs_to(label: int, tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    image = (tmp_path / "a.png").read_bytes()
    table = pa.table({"image": [image] * 2, "label": pa.array([1, label], pa.uint64() if label > 0 else pa.int64())})
    note = {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["a", "b", "c"]}}}})}
    pq.write_table(table.replace_schema_metadata(note), tmp_path / "a.parquet")
    source = open_source(str(tmp_path / "a.parquet"), KIND)
    assert source.classes == ("a", "b", "c")
    with pytest.raises(DataError, match=f"label {label}"):
        measure(classifier(("c", "b", "a")), source, tmp_path / "r")


def test_no_labels(tmp_path: Path) -> None:
    measure(classifier(), open_source("noise:uniform:3", KIND), tmp_path / "r")
    assert "label" not in pq.read_table(tmp_path / "r").column_names


class Standardising(nn.Module):
    """A network that divides by the standard deviation of an image: not finite if all pixels are equal."""

    def __init__(self) -> None:
        super().__init__()
        self.network = classifier().network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network((x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True))
        return logits


class Deviations(nn.Module):
    """A network that takes the root of a variance: the gradient is not finite if all pixels are equal."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.last = nn.Conv2d(1, 4, 3, bias=False), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.layer(x - x.mean((1, 2, 3), keepdim=True)).square().mean((2, 3)).sqrt())
        return logits


@pytest.mark.parametrize("make", [Standardising, Deviations])
@pytest.mark.parametrize("plain", [[3], [0, 9], [4, 5, 6, 7]])
@pytest.mark.usefixtures("small_parts")
def test_samples_whose_logits_or_gradients_are_not_finite_are_skipped(
    plain: list[int], make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (10, 8, 8), np.uint8)
    images[plain] = 200
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(10) % 3)
    skipped: list[Skipped] = []
    source, network = open_source(str(tmp_path / "a.npz"), KIND), make().eval()
    result = measure(
        Classifier("made", network, None, KIND, Prepare()), source, tmp_path / "r", Work(on_skip=skipped.append)
    )
    assert list(result.skipped) == skipped
    assert [sample.id for sample in skipped] == [source.id(row) for row in plain]
    table = pq.read_table(tmp_path / "r")
    rows = [row for row in range(10) if row not in plain]
    assert table["id"].to_pylist() == [source.id(row) for row in rows]
    assert table["label"].to_pylist() == [row % 3 for row in rows]
    inputs = Prepare()(images[rows])
    assert np.array_equal(table["content_hash"].to_numpy(), content_hashes(inputs))
    torch.testing.assert_close(Readings.from_arrow(table).logits, network(inputs).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [Standardising, Deviations])
def test_a_network_that_is_never_finite_is_an_error(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.full((10, 8, 8), 200, np.uint8))
    classifier = Classifier("made", make().eval(), None, KIND, Prepare())
    with pytest.raises(InputError, match="10 of 10"):
        measure(classifier, open_source(str(tmp_path / "a.npz"), KIND), tmp_path / "r")


class Selective(Deviations):
    """A network that raises an error if all pixels of an image are equal, or if the batch has an even size."""

    def __init__(self, *, even: bool = True) -> None:
        super().__init__()
        self.even = even

    def forward(self, x: Tensor) -> Tensor:
        if (x.std((1, 2, 3)) == 0).any():
            raise IndexError("an image without contrast")
        if not self.even and len(x) % 2 == 0:
            raise ValueError("an even batch")
        return super().forward(x)


@pytest.mark.parametrize("plain", [[3], [0, 9], [4, 5, 6, 7], [8, 9]])
@pytest.mark.usefixtures("small_parts")
def test_samples_on_which_the_network_fails_are_skipped(plain: list[int], tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8), np.uint8)
    images[plain] = 200
    np.savez(tmp_path / "a.npz", images=images)
    source, network = open_source(str(tmp_path / "a.npz"), KIND), Selective().eval()
    result = measure(Classifier("made", network, None, KIND, Prepare()), source, tmp_path / "r")
    reason = "the network fails on it (IndexError: an image without contrast)"
    assert list(result.skipped) == [Skipped(source.id(row), reason) for row in plain]
    rows = [row for row in range(10) if row not in plain]
    table = pq.read_table(tmp_path / "r")
    assert table["id"].to_pylist() == [source.id(row) for row in rows]
    logits = network(Prepare()(images[rows])).detach()
    torch.testing.assert_close(Readings.from_arrow(table).logits, logits, rtol=1e-4, atol=1e-5)


def test_a_sample_without_finite_logits_is_named_so_beside_one_on_which_the_network_fails(tmp_path: Path) -> None:
    class Rooted(Selective):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + (0.8 - x.mean((1, 2, 3)))[:, None].sqrt()

    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8), np.uint8)
    images[3], images[5] = 250 + images[3] % 6, 200
    np.savez(tmp_path / "a.npz", images=images)
    source, network = open_source(str(tmp_path / "a.npz"), KIND), Rooted().eval()
    result = measure(Classifier("made", network, None, KIND, Prepare()), source, tmp_path / "r")
    assert {skipped.id: skipped.reason.partition(" (")[0] for skipped in result.skipped} == {
        source.id(3): "the network's logits for it are not finite",
        source.id(5): "the network fails on it",
    }


@pytest.mark.parametrize(("network", "value"), [(Selective(), 200), (Selective(even=False), None)])
def test_a_network_that_fails_on_all_samples_or_on_none_alone_is_an_error(
    network: nn.Module, value: int | None, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", images=images if value is None else np.full_like(images, value))
    failing = Classifier("failing", network.eval(), None, KIND, Prepare())
    with pytest.raises(InputError, match=r"failed with (Index|Value)Error"):
        measure(failing, open_source(str(tmp_path / "a.npz"), KIND), tmp_path / "r")


@pytest.mark.usefixtures("small_parts")
def test_all_parts_have_the_outputs_of_the_same_layers(tmp_path: Path) -> None:
    """Bright images are measured by a process that was started later, and sees no dark ones."""
    for number in range(12):
        save(tmp_path / f"data/{number:02}.png", 20 if number < 6 else 230)
    source = open_source(str(tmp_path / "data"), KIND)

    def stop(count: int) -> None:
        if MeasuredSet(tmp_path / "r").complete():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(routed(), source, tmp_path / "r", Work(on_progress=stop))
    measure(routed(), source, tmp_path / "r")
    measure(routed(), source, tmp_path / "at once")
    layers = MeasuredSet(tmp_path / "at once").output_layers()
    assert layers == ("conv", "experts.0", "head")
    for name in ("r", "at once"):
        activations = MeasuredSet(tmp_path / name).readings().activations
        assert activations is not None
        assert activations.layers == layers
    measure(routed(), source, tmp_path / "given", layers=("conv", "head"))
    assert MeasuredSet(tmp_path / "given").output_layers() == ("conv", "head")
    assert MeasuredSet(tmp_path / "nothing").output_layers() == ()
