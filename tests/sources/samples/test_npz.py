"""Damaged archives of which libraries raise errors of many types."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gradmeter.errors import DataError
from gradmeter.runs.arrays import read_array
from gradmeter.sources.samples.archives import open_archive
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.npz import read_arrays
from gradmeter.sources.samples.npz_rows import open_rows
from gradmeter.trust.adapters.fd_shifts import read_outputs

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
HEADERS = {
    "lost bracket": "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 28, 28",
    "syntax": "{'descr': ',', 'fortran_order': False, 'shape': (3, 28, 28)}",
    "type": "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 28, 28)}",
    "nested": "-" * 3000 + "1",
    "nested deeply": "-" * 9000 + "1",
    "no dictionary": "7" * 9000,
    "long": f"{{'descr': '|u1', 'fortran_order': False, 'shape': (3, 28, 28)}}{' ' * 20_000}",
}
METHODS = {"bz2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}
DAMAGE = [*HEADERS, *METHODS, "version", "directory"]


def write(path: Path, name: str, damage: str) -> None:
    """Write an archive of one array with this damage."""
    stream = io.BytesIO()
    np.save(stream, IMAGES)
    array = stream.getvalue()
    if damage in HEADERS:
        header = HEADERS[damage].encode() + b"\n"
        array = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + IMAGES.tobytes()
    with zipfile.ZipFile(path, "w", METHODS.get(damage, zipfile.ZIP_STORED)) as archive:
        archive.writestr(f"{name}.npy", array)
    content = bytearray(path.read_bytes())
    if damage in METHODS:
        content[60] ^= 0xFF
    if damage == "version":
        content[content.index(b"PK\1\2") + 6] = 255
    if damage == "directory":  # where it begins
        content[-4] = 255
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_of_any_kind(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write(path, "images", damage)
    with pytest.raises(DataError) as raised:
        open_archive(Location(path))
    message = str(raised.value)
    assert message.startswith(f"{path} is ")
    assert message.endswith("; copy or create it again")
    assert len(message) < len(str(path)) + 300
    assert "pickle" not in message
    with path.open("rb") as file, pytest.raises(DataError, match="copy or create it again"):
        read_arrays("s3://a.npz", ["images"], file)


@pytest.mark.parametrize(
    ("dtype", "message"), [("<U0", "of no size"), ("|S0", "of no size"), ("<U1", "texts with invalid characters")]
)
def test_texts_that_are_none(dtype: str, message: str, tmp_path: Path) -> None:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': (30,)}}\n".encode()
    numbers = np.full(30, 0x110000, "<u4").tobytes() if dtype == "<U1" else b""
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("class_names.npy", b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + numbers)
    with pytest.raises(DataError, match=f"a.npz: class_names h.* {message}"):
        read_arrays(tmp_path / "a.npz", ["class_names"])


def test_damage_after_an_archive_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=IMAGES)
    rows = open_rows(Location(path), ["images"])["images"]
    write(path, "images", "version")
    with pytest.raises(DataError, match=r"a\.npz is damaged \(zip file version 25\.5\); copy"):
        list(rows.chunks())


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_outputs_of_fd_shifts(damage: str, tmp_path: Path) -> None:
    write(tmp_path / "raw_logits.npz", "arr_0", damage)
    with pytest.raises(DataError, match=r"raw_logits\.npz is damaged or not of FD-Shifts.*; write it again") as raised:
        read_outputs(tmp_path)
    assert "pickle" not in str(raised.value)
    assert len(str(raised.value)) < len(str(tmp_path)) + 300


@pytest.mark.parametrize("damage", [damage for damage in DAMAGE if damage != "nested deeply"])
def test_damaged_parts(damage: str, tmp_path: Path) -> None:
    write(tmp_path / "part.npz", "numbers", damage)
    with pytest.raises(DataError, match=r"part\.npz (is damaged|cannot be read).*; delete it") as raised:
        read_array(tmp_path / "part.npz", "numbers")
    assert "pickle" not in str(raised.value)
