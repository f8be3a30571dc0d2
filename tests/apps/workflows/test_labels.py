"""gradmeter labels: one command finds ten planted errors in a folder of digits; what it writes and refuses."""

import csv
import errno
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from apps.cli.commands import gradmeter, in_this_process
from apps.workflows.label_folder import PLANTED, plant
from gradmeter.apps.workflows import label_cards, label_lists
from gradmeter.apps.workflows.labels import CheckedLabels
from gradmeter.locks import locked
from gradmeter.names import decode_name, encode_name
from gradmeter.trust.labels import LabelCheck, LabelVerdicts

pytestmark = pytest.mark.slow

OPTIONS = ("--weights", "weights.safetensors", "--image-size", 8, "--grey", "--classes", "0,1,2,3,4,5,6,7,8,9")


@pytest.fixture(scope="module")
def digits(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """A folder with the network, and digits of which ten have a wrong label; the ids of these.

    The name of one of the ten is no UTF-8.
    """
    folder = tmp_path_factory.mktemp("labels")
    for name in ("weights.safetensors", "digits_network.py"):
        shutil.copy(place / name, folder / name)
    first, *others = sorted(plant(place / "validation", folder / "digits"))
    renamed = first.replace(".png", "\udcff.png")
    (folder / "digits" / first).rename(folder / "digits" / renamed)
    return folder, {encode_name(renamed), *others}


@pytest.fixture(scope="module")
def checked(digits: tuple[Path, set[str]]) -> Path:
    folder, _ = digits
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        finished = in_this_process("labels", "digits_network:network", "digits", *OPTIONS, "-q", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    assert "labels are wrong" in finished.stdout
    return folder


def test_one_command_finds_ten_planted_errors(checked: Path, digits: tuple[Path, set[str]]) -> None:
    _, planted = digits
    with (checked / "labels.review/review.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rank"]) for row in rows] == [*range(1, len(rows) + 1)]
    found = planted & {row["id"] for row in rows[: 2 * PLANTED]}
    assert len(found) >= PLANTED - 1
    truth = {row["id"]: Path(row["id"]).stem.partition("-")[0] for row in rows if row["id"] in planted}
    right = [row["suggestion"] == truth[row["id"]] for row in rows if row["id"] in truth]
    assert np.mean(right) > 0.7


def test_the_table_is_in_the_order_of_the_data(checked: Path) -> None:
    table = pq.read_table(checked / "labels.parquet")
    ids = table["id"].to_pylist()
    assert ids == sorted(ids)
    assert [name.partition("/")[0] for name in ids] == table["label"].to_pylist()
    assert sorted(table["rank"].to_pylist()) == [*range(1, len(ids) + 1)]
    doubtful = [reason is not None for reason in table["reason"].to_pylist()]
    assert doubtful == [p < 0.9 for p in table["p_label"].to_pylist()]


def test_lists_for_label_studio_and_fiftyone(checked: Path) -> None:
    tasks = json.loads((checked / "labels.review/label_studio.json").read_text())
    assert sum(task["data"]["image"].endswith("%FF.png") for task in tasks) == 1
    first = tasks[0]
    assert unquote_to_bytes(first["data"]["image"]).endswith(os.fsencode(decode_name(first["data"]["id"])))
    assert first["predictions"][0]["result"][0]["value"]["choices"] == [first["data"]["suggestion"]]
    labels = json.loads((checked / "labels.review/fiftyone.json").read_text())["labels"]
    assert len(labels) == pq.read_metadata(checked / "labels.parquet").num_rows
    assert labels[decode_name(first["data"]["id"]).removesuffix(".png")]["attributes"]["rank"] == 1
    assert sum("\udcff" in image for image in labels) == 1, "FiftyOne finds images by the names of their files"


def test_no_list_for_fiftyone_of_images_that_it_cannot_tell_apart(
    digits: tuple[Path, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names without extension are keys, and the later ones replaced the others."""
    folder, _ = digits
    shutil.copytree(folder / "digits", tmp_path / "digits")
    image = sorted((tmp_path / "digits" / "3").glob("*.png"))[0]
    Image.open(image).save(image.with_suffix(".bmp"))
    monkeypatch.syspath_prepend(folder)
    options = ("--weights", folder / "weights.safetensors", *OPTIONS[2:], "-q")
    finished = in_this_process("labels", "digits_network:network", "digits", *options, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    names = {path.name for path in (tmp_path / "labels.review").iterdir()}
    assert "label_studio.json" in names
    assert "fiftyone.json" not in names


def test_no_list_for_fiftyone_of_an_archive(
    digits: tuple[Path, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its images are no files."""
    folder, _ = digits
    files = [path for name in range(10) for path in sorted((folder / "digits" / str(name)).glob("*.png"))[:12]]
    images = np.stack([np.asarray(Image.open(path).convert("L")) for path in files])
    np.savez(tmp_path / "digits.npz", images=images, labels=np.repeat(np.arange(10), 12))
    monkeypatch.syspath_prepend(folder)
    options = ("--weights", folder / "weights.safetensors", *OPTIONS[2:], "-q", "--out", "labels.parquet")
    finished = in_this_process("labels", "digits_network:network", "digits.npz", *options, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert not (tmp_path / "labels.review/fiftyone.json").exists()


def test_lists_take_no_room_in_the_folder_of_temporary_files(checked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = checked / "labels.review/label_studio.json"
    before = tasks.read_text()
    write = label_lists.write_lists

    def without_room(checked: CheckedLabels) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(checked.folder / "full"))
            write(checked)

    tasks.unlink()
    monkeypatch.setattr(label_lists, "write_lists", without_room)
    monkeypatch.syspath_prepend(checked)
    finished = in_this_process("labels", "digits_network:network", "digits", *OPTIONS, "-q", cwd=checked)
    assert finished.returncode == 0, finished.stderr
    assert tasks.read_text() == before


def test_the_report_shows_pictures(checked: Path) -> None:
    page = (checked / "labels.review/report.html").read_text()
    assert "data:image/png" in page
    assert "http://" not in page
    assert "https://" not in page


def test_a_page_of_many_labels_stays_small(checked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(checked)
    monkeypatch.setattr(label_cards, "_BYTES", 12_000)
    finished = in_this_process("labels", "digits_network:network", "digits", *OPTIONS, "--json", "-q", cwd=checked)
    doubtful = sum(json.loads(finished.stdout)["reasons"].values())
    page = (checked / "labels.review/report.html").read_text()
    cards = re.findall("<li title.*?</li>", page, re.DOTALL)
    assert 0 < len(cards) < doubtful
    assert sum(map(len, cards)) <= 12_000
    assert f"The page holds {len(cards)} of {doubtful} labels" in page
    assert [int(re.search(r"<span>(\d+)\.", card)[1]) for card in cards] == [*range(1, len(cards) + 1)]


def test_a_second_run_reads_nothing_again(checked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(checked)
    part = next((checked / "labels.review/readings/forward").glob("part-*.parquet"))
    before = part.stat().st_mtime_ns
    arguments = ("labels", "digits_network:network", "digits", *OPTIONS, "--learned", "--json", "-q")
    finished = in_this_process(*arguments, cwd=checked)
    record = json.loads(finished.stdout)
    assert record["learned"]
    assert record["rate"]["low"] <= record["rate"]["value"] <= record["rate"]["high"]
    assert part.stat().st_mtime_ns == before


def test_only_the_writer_removes_temporary_files(checked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run that is refused because of it would make it fail; those of a killed run would stay for good."""
    monkeypatch.syspath_prepend(checked)
    place = checked / "labels.review"
    leftovers = [checked / ".labels.parquet.1-0123abcd.partial", place / ".review.csv.1-0123abcd.partial"]
    for path in leftovers:
        path.touch()
    arguments = ("labels", "digits_network:network", "digits", *OPTIONS, "-q")
    with locked(place):
        refused = gradmeter(*arguments, cwd=checked)
    assert refused.returncode == 2
    assert all(path.exists() for path in leftovers)
    assert in_this_process(*arguments, cwd=checked).returncode == 0
    assert not any(path.exists() for path in leftovers)


def test_a_damaged_image_that_was_removed_is_not_listed(
    checked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(checked)
    shutil.copytree(checked, tmp_path / "copy")
    torn = tmp_path / "copy/digits/3/torn.png"
    torn.write_bytes(b"torn")

    def skipped() -> list[str]:
        arguments = ("labels", "digits_network:network", "digits", *OPTIONS, "--json")
        finished = in_this_process(*arguments, "--out", "new.parquet", cwd=tmp_path / "copy")
        listed = [sample["id"] for sample in json.loads(finished.stdout)["skipped"]]
        assert ("torn.png" in finished.stderr) == bool(listed)
        return listed

    assert skipped() == ["3/torn.png"]
    torn.unlink()
    assert skipped() == []


def test_classes_in_the_wrong_order_are_mentioned(
    digits: tuple[Path, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = digits
    monkeypatch.syspath_prepend(folder)
    swapped = (*OPTIONS[:-1], "0,1,2,8,4,5,6,7,3,9")
    out = tmp_path / "swapped.parquet"
    finished = in_this_process("labels", "digits_network:network", "digits", *swapped, "-o", out, cwd=folder)
    assert finished.returncode == 0, finished.stderr
    assert "the network predicts 8 for" in finished.stdout + finished.stderr
    assert "with the label 3; check the preprocessing" in finished.stdout + finished.stderr
    assert "with the label 5;" not in finished.stdout + finished.stderr


@pytest.mark.parametrize("blocked", ["labels.parquet", "labels.review/review.csv"])
def test_one_that_cannot_be_written_leaves_no_report_on_another_table(
    blocked: str, checked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk may be full when some of the files have been replaced; readings of another run are of other data."""
    monkeypatch.syspath_prepend(checked)
    for name in ("labels.parquet", "labels.review"):
        (shutil.copytree if (checked / name).is_dir() else shutil.copy)(checked / name, tmp_path / name)
    path, replace = tmp_path / blocked, Path.replace

    def full(self: Path, target: Path) -> Path:
        if target == path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    arguments = ("labels", "digits_network:network", "digits", *OPTIONS, "--learned", "-q", "-o")
    finished = in_this_process(*arguments, tmp_path / "labels.parquet", cwd=checked)
    assert finished.returncode == 2
    assert blocked in finished.stderr.splitlines()[-1]
    assert sorted(path.name for path in (tmp_path / "labels.review").iterdir()) == ["readings"]


def test_a_list_that_was_filled_in_is_not_replaced(
    checked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(checked)
    # Arrow takes no path that is not valid UTF-8.
    table = tmp_path / "\udcff.parquet"
    shutil.copy(checked / "labels.parquet", table)
    shutil.copytree(checked / "labels.review", tmp_path / "\udcff.review")
    review = tmp_path / "\udcff.review/review.csv"
    filled = review.read_text().replace("wrong label", "wrong label, I moved it", 1)
    review.write_text(filled)
    arguments = ("labels", "digits_network:network", "digits", *OPTIONS, "-q", "-o", table)
    refused = in_this_process(*arguments, cwd=checked)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert review.read_text() == filled
    written = table.read_bytes()
    table.write_bytes(written[:100] + bytes(1000) + written[1100:])
    refused = in_this_process(*arguments, cwd=checked)
    assert refused.returncode == 2
    assert "\\xff.parquet cannot be read" in refused.stderr
    table.unlink()
    assert in_this_process(*arguments, cwd=checked).returncode == 2
    assert review.read_text() == filled
    review.rename(review.with_name("mine.csv"))
    for _ in range(2):
        assert in_this_process(*arguments, cwd=checked).returncode == 0
    assert review.with_name("mine.csv").read_text() == filled
    judge = LabelCheck.fit_predict

    def fill_in(*arguments: Any) -> LabelVerdicts:
        review.write_text(filled)
        return judge(*arguments)

    monkeypatch.setattr(LabelCheck, "fit_predict", fill_in)
    assert in_this_process(*arguments, cwd=checked).returncode == 2
    assert review.read_text() == filled


def test_what_is_refused(digits: tuple[Path, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = digits
    monkeypatch.syspath_prepend(folder)
    (tmp_path / "mine.parquet").write_bytes(b"PAR1")

    def error(*arguments: object) -> str:
        finished = in_this_process("labels", "digits_network:network", *arguments, "-q", cwd=folder)
        assert finished.returncode != 0
        assert finished.stderr.count("\n") == 1
        return finished.stderr

    assert "ends in .parquet" in error("digits", *OPTIONS, "-o", tmp_path / "labels.csv")
    assert "s3://bucket/l.parquet is an address" in error("digits", *OPTIONS, "-o", "s3://bucket/l.parquet")
    assert "was not written by gradmeter labels" in error("digits", *OPTIONS, "-o", tmp_path / "mine.parquet")
    both = ("--learned", "--reads", "gradients")
    assert "--learned" in error("digits", *OPTIONS, *both, "-o", tmp_path / "a.parquet")
    assert "no labels" in error("digits/3", *OPTIONS, "-o", tmp_path / "b.parquet")
    shutil.copytree(folder / "digits/3", tmp_path / "one/3")
    assert "class 3; expected labels of at least two" in error(
        tmp_path / "one", *OPTIONS, "--learned", "-o", tmp_path / "d.parquet"
    )
    other = (*OPTIONS[:-1], "a,b,c,d,e,f,g,h,i,j")
    assert "--classes" in error("digits", *other, "-o", tmp_path / "c.parquet")
