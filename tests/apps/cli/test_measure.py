"""gradmeter measure in processes of its own."""

import json
import os
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import timm
import torch
from safetensors.torch import save_file

from apps.cli.commands import gradmeter, started
from sources.samples.pictures import save

pytestmark = pytest.mark.slow


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return gradmeter("measure", *arguments, cwd=cwd)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with images of two classes, one of them damaged, and weights of a network."""
    for number in range(6):
        save(tmp_path / f"data/{'dog' if number % 2 else 'cat'}/{number}.png", 40 * number, 160)
    (tmp_path / "data/dog/5.png").write_bytes(b"no image")
    network = timm.create_model("test_resnet", num_classes=2)
    save_file(network.state_dict(), tmp_path / "w.safetensors", metadata={"classes": json.dumps(["cat", "dog"])})
    return tmp_path


def test_a_folder(place: Path) -> None:
    process = run("timm:test_resnet", "data", "-o", "r.parquet", "--weights", "w.safetensors", cwd=place)
    assert process.returncode == 0, process.stderr
    right = sum(label == prediction for label, prediction in rows(place / "r.parquet"))
    assert process.stdout.startswith("Measured 5 samples, skipped 1.")
    assert f" {20 * right}.0 % of 5 " in process.stdout
    assert process.stdout.endswith(" r.parquet\n")
    assert "skipped dog/5.png: " in process.stderr
    assert pq.read_table(place / "r.parquet")["label"].to_pylist() == [0, 0, 0, 1, 1]
    again = run("timm:test_resnet", "data", "-o", "r.parquet", "--weights", "w.safetensors", "--json", cwd=place)
    record = json.loads(again.stdout)
    (skipped,) = record.pop("skipped")
    assert record == {
        "out": "r.parquet",
        "measured": 5,
        "known": {"labelled": 5, "right": right, "accuracy": right / 5},
    }
    assert skipped["id"] == "dog/5.png"
    assert skipped["reason"]


def rows(folder: Path) -> list[tuple[int, int]]:
    """Return labels and predictions."""
    table = pq.read_table(folder)
    return list(zip(table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True))


def test_without_labels_there_is_no_share_of_right_predictions(place: Path) -> None:
    arguments = ("timm:test_resnet", "data", "--weights", "w.safetensors", "--no-labels")
    assert "%" not in run(*arguments, cwd=place).stdout
    assert json.loads(run(*arguments, "--json", cwd=place).stdout)["known"] is None


def test_class_names_in_utf_16_are_refused(place: Path) -> None:
    (place / "names.txt").write_text("cat\ndog\n", encoding="utf-16")
    arguments = ("timm:test_resnet", "data", "--weights", "w.safetensors", "--classes", "names.txt", "-o", "other")
    process = run(*arguments, cwd=place)
    assert process.returncode == 2
    assert "gradmeter: --classes names.txt is encoded in UTF-16; save it in UTF-8" in process.stderr


def test_classes_without_names_are_numbered_and_it_says_so(place: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=2)
    save_file(network.state_dict(), place / "plain.safetensors")
    process = run("timm:test_resnet", "data", "--weights", "plain.safetensors", cwd=place)
    assert process.returncode == 0, process.stderr
    (line,) = [line for line in process.stderr.splitlines() if "--classes" in line]
    assert "cat is 0, dog is 1" in line
    (place / "data/eel").mkdir()
    save(place / "data/eel/0.png")
    process = run("timm:test_resnet", "data", "--weights", "plain.safetensors", "-o", "other", cwd=place)
    assert process.returncode == 2
    assert "(cat, dog, eel)" in process.stderr
    assert not (place / "other").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_only_devices_of_this_machine_are_recommended(place: Path) -> None:
    process = run("timm:test_resnet", "data", "--weights", "w.safetensors", "--device", "cuda", cwd=place)
    assert process.returncode == 2
    message, _, recommended = process.stderr.partition("; ")
    assert "cuda" in message
    assert "cpu" in recommended
    assert "cuda" not in recommended


def test_what_was_done_before_is_said(place: Path) -> None:
    arguments = ("timm:test_resnet", "data", "--weights", "w.safetensors", "-o", "r")
    run(*arguments, cwd=place)
    assert "6 of 6" in run(*arguments, cwd=place).stderr.splitlines()[0]
    (place / "data/cat/0.png").rename(place / "data/cat/9.png")
    before, gone, skipped = run(*arguments, cwd=place).stderr.splitlines()
    assert "5 of 6" in before
    assert "1 earlier sample was removed or left out" in gone
    assert skipped.startswith("skipped dog/5.png: ")


def test_names_from_a_file_and_other_preprocessing(place: Path) -> None:
    (place / "names.txt").write_text("dog\ncat\n")
    arguments = ("timm:test_resnet", "data", "--weights", "w.safetensors", "--classes", "names.txt")
    process = run(*arguments, "--image-size", 64, "--mean", "0.5", "--std", "0.2,0.2,0.2", "--workers", 1, cwd=place)
    assert process.returncode == 0, process.stderr
    assert pq.read_table(place / "readings.parquet")["label"].to_pylist() == [1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("timm:test_resnet", "data", "--weights", "no.pt"), "no.pt"),
        (("timm:test_resnet", "absent", "--weights", "w.safetensors"), "absent"),
        (("resnet", "data"), "timm:NAME"),
        (("timm:test_resnet", "data", "--weights", "w.safetensors", "--classes", "a,b"), "cat"),
        (("timm:test_resnet", "data", "--weights", "w.safetensors", "--mean", "x"), "--mean x"),
        (("timm:test_resnet", "data", "--weights", "w.safetensors", "-o", "data"), "data"),
        (("timm:test_resnet", "data", "--weights", "w.safetensors", "--device", "tpu9"), "tpu9"),
        (("tim:test_resnet", "data"), "timm:test_resnet"),
        (("timm:test_resnet", "data", "--weights", "data/cat/0.png"), "0.png"),
    ],
)
def test_one_line_for_bad_input(arguments: tuple[str, ...], named: str, place: Path) -> None:
    process = run(*arguments, cwd=place)
    assert process.returncode == 2
    assert process.stderr.startswith("gradmeter: ")
    assert named in process.stderr
    assert process.stderr.count("\n") == 1


@pytest.mark.exhaustive
def test_killed_and_begun_again(place: Path) -> None:
    for number in range(2000):
        os.link(place / "data/cat/0.png", place / f"data/cat/again-{number:04}.png")
    arguments = ("timm:test_resnet", "data", "-o", "r", "--weights", "w.safetensors", "--image-size", "32")
    with started("measure", *arguments, cwd=place) as process:
        deadline = time.monotonic() + 120
        while not (place / "r/_part-00000.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    first = (place / "r/part-00000.parquet").stat().st_mtime_ns
    resumed = run(*arguments, cwd=place)
    assert resumed.returncode == 0, resumed.stderr
    assert (place / "r/part-00000.parquet").stat().st_mtime_ns == first
    ids = pq.read_table(place / "r")["id"].to_pylist()
    assert len(ids) == len(set(ids)) == 2005
