"""Files and folders of any name and kind: names survive, each error is one line, only regular files are opened."""

import io
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gradmeter.apps.cli import main
from gradmeter.errors import DataError, OutputError
from gradmeter.sources.samples import ImageKind, Unreadable, decode_name, open_source, require_outside
from gradmeter.sources.samples.location import Location

NAMES = [
    b"plain.png",
    b"\xff\xfe.png",
    b"\\xff\\xfe.png",
    b"a\nb.png",
    b"cr\rx.png",
    b"\x1b[31mred\x1b[0m.png",
    b"[red]m[bold].png",
    b":x:.png",
    b":smile:.png",
    "rtl\u202egnp.png".encode(),
    b"-rf.png",
    b'a,"b".png',
    b" .png",
    b"$x$.png",
    b"%s {0}.png",
    b"noise:uniform.png",
    "c1\x9b31m.png".encode(),
    "日本.png".encode(),
    b"l" * 250 + b".png",
]
KIND = ImageKind("RGB", 8)
NETWORK = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
"""


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(stream, "PNG")
    return stream.getvalue()


def fill(folder: bytes) -> None:
    os.makedirs(folder)
    for number, name in enumerate(NAMES):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(png(10 * number))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    fill(b"flat")
    (tmp_path / "odd_network.py").write_text(NETWORK)
    return tmp_path


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[Any, list[str], list[str]]:
    monkeypatch.setattr(sys, "argv", ["gradmeter", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    output = capsys.readouterr()
    for text in (output.out, output.err):
        assert all(line.isprintable() for line in text.split("\n"))
    return ended.value.code, output.out.split("\n")[:-1], output.err.split("\n")[:-1]


def test_every_name_comes_back(place: Path) -> None:
    source = open_source("flat", KIND)
    ids = [source.id(index) for index in range(len(source))]
    names = [os.fsencode(decode_name(sample)) for sample in ids]
    assert sorted(names) == sorted(NAMES)
    for index, name in enumerate(names):
        content = source.read(index).content
        assert content.getpixel((0, 0)) == (10 * NAMES.index(name),) * 3  # type: ignore[union-attr]
    for name in NAMES:
        single = open_source(os.fsdecode(b"flat/" + name), KIND)
        assert os.fsencode(decode_name(single.id(0))) == name
        single.read(0)


def test_names_of_classes_come_back(place: Path) -> None:
    classes = [b"c\xff", b"\\xff", b"x\ny", b"[red]"]
    for name in classes:
        fill(os.path.join(b"filed\xfe", name))
    source = open_source(os.fsdecode(b"filed\xfe"), KIND)
    assert source.classes is not None
    assert sorted(os.fsencode(decode_name(name)) for name in source.classes) == sorted(classes)
    assert decode_name(source.name) == os.fsdecode(b"filed\xfe")
    assert len({source.id(index) for index in range(len(source))}) == len(classes) * len(NAMES)


def test_tables_and_archives_of_odd_names(place: Path) -> None:
    os.makedirs(b"tables\xff")
    for name in (b"a\xfe.parquet", b"\\xfe.parquet"):
        with open(os.path.join(b"tables\xff", name), "wb") as file:
            pq.write_table(pa.table({"image": [png(1)], "label": ["a"]}), file)
    tables = open_source(os.fsdecode(b"tables\xff"), KIND)
    assert [tables.read(index).id for index in range(2)] == ["\\\\xfe.parquet:0", "a\\xfe.parquet:0"]
    with open(b"\xff.npz", "wb") as file:
        np.savez(file, images=np.zeros((1, 8, 8), np.uint8), labels=[0], class_names=["\udcff"])
    assert open_source(os.fsdecode(b"\xff.npz"), KIND).classes == ("\\xff",)


def test_columns_and_labels_that_are_no_utf_8(place: Path) -> None:
    schema = pa.schema([pa.field(b"\xff", pa.binary())])  # type: ignore[arg-type]
    pq.write_table(pa.table([pa.array([png(1)])], schema=schema), "column.parquet")
    labels = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff"))
    pq.write_table(pa.table({"image": [png(1)], "label": labels}), "label.parquet")
    for name in ("column.parquet", "label.parquet"):
        with pytest.raises(DataError, match=name):
            open_source(name, KIND)


def test_one_row_is_one_line_and_outputs_are_exact(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = os.fsdecode(b"out\xff\n[red]")
    command = ("measure", "odd_network:make", "flat", "--image-size", "8", "--device", "cpu", "--out", out)
    code, lines, errors = run(capsys, monkeypatch, *command)
    assert (code, len(lines), errors) == (None, 1, [])
    assert "out\\xff\\n[red]" in lines[0]
    with open(os.path.join(out, "part-00000.parquet"), "rb") as file:
        ids = pq.read_table(file)["id"].to_pylist()
    assert sorted(os.fsencode(decode_name(sample)) for sample in ids) == sorted(NAMES)
    code, lines, errors = run(capsys, monkeypatch, *command, "--json")
    assert code is None
    assert decode_name(json.loads("".join(lines))["out"]) == out
    assert len(errors) == 1
    assert f"{len(NAMES)} of {len(NAMES)} samples" in errors[0]


@pytest.mark.parametrize("name", ["nosuch:x:", "[red]no[/red]", "a\nb", "\x1b[31m", "\u202e", "\udcff", ":smile:", "-"])
def test_names_in_errors(
    name: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (
        ("measure", name, "flat"),
        ("measure", "odd_network:make", name, "--image-size", "8"),
        ("measure", "odd_network:make", "flat", "--image-size", "8", "--weights", name),
        ("measure", "odd_network:make", "flat", "--image-size", "8", "--classes", name),
        ("measure", "odd_network:make", "flat", "--image-size", name),
        ("measure", "odd_network:make", "flat", "--device", name, "--image-size", "8"),
        ("judge", name, "flat"),
        ("evaluate", "nowhere", "--known", name),
        (name,),
        (f"--{name}",),
    ):
        code, lines, errors = run(capsys, monkeypatch, *command)
        assert (code, lines, len(errors)) == (2, [], 1), command


def test_only_files_are_opened_and_all_else_is_counted(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkdir("filed")
    for folder in ("flat", "filed/cat"):
        os.makedirs(folder, exist_ok=True)
        Path(folder, "good.png").write_bytes(png(1))
        Path(folder, "notes.txt").write_text("none")
        Path(folder, ".hidden.png").write_bytes(png(1))
        Path(folder, ".cache").mkdir()
        os.symlink("nowhere", f"{folder}/dangling.png")
        os.symlink("circle.png", f"{folder}/circle.png")
        os.symlink("/dev/zero", f"{folder}/device.png")
        os.mkfifo(f"{folder}/fifo.png")
        os.symlink("fifo.png", f"{folder}/to_fifo.png")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{folder}/socket.png")
    filed = open_source("filed", KIND)
    assert [filed.id(index) for index in range(len(filed))] == ["cat/good.png"]
    for value in (
        *("(cat/notes.txt)", "2 dangling links (cat/circle.png, cat/dangling.png)"),
        *("2 FIFOs (cat/fifo.png, cat/to_fifo.png)", "1 socket (cat/socket.png)", "1 device (cat/device.png)"),
        *("1 hidden file (cat/.hidden.png)", "1 hidden folder (cat/.cache)"),
    ):
        assert value in filed.note
    command = ("measure", "odd_network:make", "flat", "--image-size", "8", "--device", "cpu")
    code, _, errors = run(capsys, monkeypatch, *command)
    assert code is None
    (line,) = errors
    assert "2 FIFOs (fifo.png, to_fifo.png)" in line


def test_a_file_that_became_a_fifo_is_not_waited_for(place: Path) -> None:
    source = open_source("flat", KIND)
    (place / "flat/plain.png").unlink()
    os.mkfifo("flat/plain.png")
    (index,) = (number for number in range(len(source)) if source.id(number) == "plain.png")
    with pytest.raises(Unreadable):
        source.fetch(index)


@pytest.mark.parametrize(("name", "kind"), [("fifo", "FIFO"), ("dangling", "dangling link"), ("/dev/null", "device")])
def test_what_is_no_file_is_named(
    name: str, kind: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo("fifo")
    os.symlink("nowhere", "dangling")
    network = ("measure", "odd_network:make")
    for typed in (
        (*network, name, "--image-size", "8"),
        (*network, "flat", "--image-size", "8", "--weights", name),
        (*network, "flat", "--image-size", "8", "--classes", name),
    ):
        code, _, errors = run(capsys, monkeypatch, *typed)
        assert (code, len(errors)) == (2, 1)
        assert kind in errors[0]


def test_folders_that_cannot_be_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions do not restrict root, so the test raises the error itself."""
    fill(b"filed/cat")
    fill(b"filed/dog")
    scandir = os.scandir

    def scan(path: str) -> Any:
        if path.endswith("dog"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    source = open_source("filed", KIND)
    assert len(source) == len(NAMES)
    assert source.note.endswith("(dog)")
    with pytest.raises(DataError, match="Permission denied"):
        open_source("filed/dog", KIND)


def test_names_that_mean_something_else(place: Path) -> None:
    fill(b"noise:uniform")
    fill(b"a:/b")
    assert len(open_source("./noise:uniform", KIND)) == len(NAMES)
    assert len(open_source("noise:uniform:3", KIND)) == 3
    assert Location("./a://b").is_folder()
    with pytest.raises(DataError, match="empty"):
        open_source("", KIND)


def test_nothing_is_written_among_samples(place: Path) -> None:
    for out in ("flat/out", "flat/deep/out.csv", str(place / "flat/x")):
        with pytest.raises(OutputError, match="flat"):
            require_outside(out, ["noise:uniform", "flat"])
    for out in ("flat", "flat2", "out", "."):
        require_outside(out, ["noise:uniform", "flat"])
