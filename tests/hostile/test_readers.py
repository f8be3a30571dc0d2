"""Damaged and malicious files: every reader raises a clear error or skips the sample."""

import io
import json
import resource
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features
from safetensors.torch import save_file
from torch import nn

from gradmeter.errors import DataError, GradmeterError, OutputError
from gradmeter.runs.measuring import MeasuredSet, Skipped
from gradmeter.sources.models.weights import read_weights
from gradmeter.sources.samples import ImageKind, Source, Unreadable, arrays_of, open_source
from gradmeter.sources.samples.decoding import decode
from hostile.mutations import JSON, assert_clear, mutated

pytestmark = pytest.mark.slow

KIND = ImageKind("RGB", 16)
FORMATS = {
    "PNG": {},
    "JPEG": {"quality": 90},
    "GIF": {},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {},
    "PPM": {},
    "JPEG2000": {},
    "AVIF": {},
}
AVAILABLE = [
    name
    for name in FORMATS
    if features.check({"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}.get(name, "zlib"))
]
many = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def memory_limit() -> Iterator[None]:
    """Limit the address space to four gigabytes more than this process has."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * 2**30, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def picture(mode: str = "RGB", side: int = 24) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(name: str) -> bytes:
    stream = io.BytesIO()
    picture().save(stream, name, **FORMATS[name])
    return stream.getvalue()


@pytest.mark.parametrize("name", AVAILABLE)
@many
@given(data=st.data())
def test_images(name: str, data: st.DataObject) -> None:
    content = data.draw(mutated(encoded(name)))
    try:
        assert decode(io.BytesIO(content)).mode == "RGB"
    except Unreadable as error:
        assert_clear(error)


def read_all(path: Path) -> None:
    """Open a source and read its first samples; errors must be clear."""
    try:
        source = open_source(str(path), KIND)
    except DataError as error:
        assert_clear(error)
        return
    for index in range(min(len(source), 50)):
        read_one(source, index)
    source.fingerprint()
    source.containers()


def read_one(source: Source, index: int) -> None:
    assert source.id(index)
    try:
        sample = source.read(index)
        assert sample.label is None or sample.label >= 0
    except Unreadable as error:
        assert_clear(error)


@many
@given(data=st.data())
def test_archives(data: st.DataObject, tmp_path: Path) -> None:
    stream = io.BytesIO()
    arrays = {"images": np.zeros((5, 8, 8), np.uint8), "labels": np.arange(5), "class_names": np.array(list("abcde"))}
    data.draw(st.sampled_from([np.savez, np.savez_compressed]))(stream, **arrays)
    (tmp_path / "a.npz").write_bytes(data.draw(mutated(stream.getvalue())))
    read_all(tmp_path / "a.npz")


@many
@given(data=st.data())
def test_archives_of_arrays(data: st.DataObject, tmp_path: Path) -> None:
    stream = io.BytesIO()
    arrays = {"inputs:ids": np.arange(40).reshape(5, 8), "inputs:sound": np.zeros((5, 2)), "labels": np.arange(5)}
    data.draw(st.sampled_from([np.savez, np.savez_compressed]))(stream, **arrays)
    path = tmp_path / "a.npz"
    path.write_bytes(data.draw(mutated(stream.getvalue())))
    try:
        kind = arrays_of(str(path))
        source = open_source(str(path), KIND if kind is None else None, arrays=kind)
        source.fingerprint()
    except DataError as error:
        assert_clear(error)
        return
    for index in range(min(len(source), 50)):
        read_one(source, index)


@many
@given(data=st.data())
def test_tables(data: st.DataObject, tmp_path: Path) -> None:
    note = {"info": {"features": {"label": {"names": ["a", "b", "c"]}}}}
    table = pa.table({"image": [encoded("PNG")] * 6, "label": [0, 1, 2, 0, None, -1]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(note)})
    compression = data.draw(st.sampled_from(["none", "snappy", "zstd"]))
    pq.write_table(table, tmp_path / "whole", compression=compression, row_group_size=4)
    (tmp_path / "a.parquet").write_bytes(data.draw(mutated((tmp_path / "whole").read_bytes())))
    read_all(tmp_path / "a.parquet")


@pytest.mark.parametrize("column", ["image", "label"])
def test_a_table_of_two_kilobytes_that_unpacks_to_terabytes(column: str, tmp_path: Path) -> None:
    """The file has a dictionary with one large value, which every row repeats."""
    rows, value = 300_000, bytes(2**23)
    repeated = pa.array([value if column == "image" else value.decode()])
    columns = {"image": pa.array([b"no image"] * rows)}
    columns[column] = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), repeated)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path, compression="zstd", dictionary_pagesize_limit=2**30, store_schema=False)
    assert path.stat().st_size < 30_000
    source = open_source(str(path), KIND)
    for index in (0, 20, 3):
        with pytest.raises(Unreadable, match="format"):
            source.read(index)


@many
@given(data=st.data())
def test_weights(data: st.DataObject, tmp_path: Path) -> None:
    tensors = {"0.weight": torch.ones(3, 4), "0.bias": torch.zeros(3)}
    name = data.draw(st.sampled_from(["w.safetensors", "w.pt"]))
    if name == "w.pt":
        torch.save(tensors, tmp_path / "whole")
    else:
        save_file(tensors, tmp_path / "whole", metadata={"classes": '["a", "b", "c"]'})
    (tmp_path / name).write_bytes(data.draw(mutated((tmp_path / "whole").read_bytes())))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            loaded, _ = read_weights(tmp_path / name)
        except DataError as error:
            assert_clear(error)
        else:
            assert all(isinstance(value, torch.Tensor) for value in loaded.values())


def read_everything(measured: MeasuredSet) -> None:
    measured.purpose()
    assert measured.part >= 1
    for _ in measured.tables():
        pass
    measured.progress()
    measured.ids()
    assert measured.finished in (True, False)


@many
@given(data=st.data())
def test_manifests_and_notes(data: st.DataObject, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    measured = MeasuredSet.begin(folder, {"model": "m", "data": "d"}, containers={}, fresh=True)
    measured.write(0, pa.table({"id": ["x", "y"]}), [Skipped("z", "why")])
    measured.finish()
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".parquet"))
    path = data.draw(st.sampled_from(paths))
    if path.suffix == ".json" and data.draw(st.booleans()):
        content = json.loads(path.read_text())
        key = data.draw(st.sampled_from(sorted(content)))
        path.write_text(json.dumps({**content, key: data.draw(JSON)}))
    else:
        path.write_bytes(data.draw(mutated(path.read_bytes())))
    for step in (
        lambda: read_everything(measured),
        lambda: MeasuredSet.begin(folder, {"model": "m", "data": "d"}, containers={}),
        lambda: read_everything(measured),
    ):
        try:
            step()
        except (DataError, OutputError) as error:
            assert_clear(error)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"1e999", b"null", b""])
def test_json_made_to_break_readers(content: bytes, tmp_path: Path) -> None:
    from gradmeter import TrustModel
    from gradmeter.sources.samples.opening import MANIFEST
    from gradmeter.trust.saving import read_notes

    (tmp_path / "r").mkdir()
    (tmp_path / "r" / MANIFEST).write_bytes(content)
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust/trust.json").write_bytes(content)
    readers: list[Callable[[], Any]] = [
        lambda: MeasuredSet(tmp_path / "r").purpose(),
        lambda: read_notes(tmp_path / "trust"),
        lambda: TrustModel.load(tmp_path / "trust", nn.Linear(2, 2)),
    ]
    for reader in readers:
        with pytest.raises(GradmeterError):
            reader()


def test_an_archive_that_unpacks_to_more_than_there_is(tmp_path: Path) -> None:
    """The header of a huge array, followed by zeros, which compress well."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**42, 28, 28)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(2**20))
    with pytest.raises(DataError, match=r"a\.npz"):
        open_source(str(tmp_path / "a.npz"), KIND)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        packed = (tmp_path / "a.npz").read_bytes()
        size = archive.getinfo("images.npy").file_size
    # Both headers of the member contain its uncompressed size.
    assert packed.count(struct.pack("<I", size)) == 2
    (tmp_path / "a.npz").write_bytes(packed.replace(struct.pack("<I", size), struct.pack("<I", 2**32 - 2)))
    with pytest.raises(DataError, match=r"a\.npz"):
        open_source(str(tmp_path / "a.npz"), KIND)


def test_an_archive_larger_than_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((3000, 28, 28), np.uint8))
    monkeypatch.setattr("os.sysconf", lambda name: 1000)
    with pytest.raises(DataError, match=r"^[^(]*a\.npz [^(]* GiB[^(]* GiB"):
        open_source(str(tmp_path / "a.npz"), KIND)


def test_a_picture_that_unpacks_to_more_than_is_decoded() -> None:
    """A small PNG file whose header states 100,000 x 100,000 pixels."""
    content = bytearray(encoded("PNG"))
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    with pytest.raises(Unreadable, match=r"10000000000|100000 x 100000"):
        decode(io.BytesIO(bytes(content)))
