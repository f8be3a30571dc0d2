import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradmeter.errors import DataError
from gradmeter.sources.samples import open_source
from gradmeter.sources.samples.archives import arrays_of, open_archive
from gradmeter.sources.samples.array_archive import ArrayArchive
from gradmeter.sources.samples.arrays import ImageArchive
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.sample import Unlabelled

TOKENS = np.arange(3 * 5, dtype=np.int32).reshape(3, 5)
SOUNDS = np.linspace(-1, 1, 3 * 2 * 4, dtype=np.float32).reshape(3, 2, 4)


def saved(folder: Path, *, compressed: bool = False, **arrays: Any) -> Path:
    path = folder / "data.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def opened(folder: Path, **arrays: Any) -> ArrayArchive:
    source = open_archive(Location(saved(folder, **arrays)))
    assert isinstance(source, ArrayArchive)
    return source


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "inputs",
    [TOKENS, SOUNDS, TOKENS > 3, TOKENS.astype(">u2"), SOUNDS.astype(np.float16), np.asfortranarray(SOUNDS)],
    ids=["int32", "float32", "bool", "big endian", "float16", "Fortran order"],
)
def test_rows_are_those_of_the_array(inputs: np.ndarray, compressed: bool, tmp_path: Path) -> None:
    source = opened(tmp_path, inputs=inputs, labels=np.array([2, 0, 1]), compressed=compressed)
    assert (len(source), source.labelled, source.classes, source.note) == (3, True, None, "")
    for index in range(3):
        sample = source.read(index)
        assert (sample.id, sample.label) == (str(index), [2, 0, 1][index])
        assert isinstance(sample.content, dict)
        assert np.array_equal(sample.content[""], inputs[index])
        assert sample.content[""].dtype == inputs.dtype


def test_named_arguments_and_arrays_that_are_none(tmp_path: Path) -> None:
    mask = np.ones_like(TOKENS)
    arrays = {"inputs:ids": TOKENS, "inputs:attention_mask": mask, "lengths": mask[:, 0], "class_names": np.array("a")}
    source = opened(tmp_path, **arrays)
    content = source.read(1).content
    assert isinstance(content, dict)
    assert [*content] == ["attention_mask", "ids"]
    assert np.array_equal(content["ids"], TOKENS[1])
    assert source.note == "the network does not get the array lengths"
    assert not source.labelled


def test_the_output_of_a_tokenizer(tmp_path: Path) -> None:
    arrays = {"attention_mask": TOKENS > 2, "input_ids": TOKENS, "special_tokens_mask": TOKENS, "labels": np.arange(3)}
    source = opened(tmp_path, **arrays)
    assert source.arrays is not None
    assert source.arrays.names == ("attention_mask", "input_ids")
    assert source.note == "the network does not get the array special_tokens_mask"


def test_the_kind_says_what_the_arrays_are(tmp_path: Path) -> None:
    source = opened(tmp_path, **{"inputs:ids": TOKENS, "inputs:mask": (TOKENS > 3).astype(np.int8)})
    kind = source.arrays
    assert kind is not None
    ids, mask = kind.fields
    assert (ids.name, ids.dtype, ids.shape, ids.low, ids.high) == ("ids", "int32", (5,), 4, 10)
    assert (mask.low, mask.high) == (1, 1)
    assert Unlabelled(source).arrays == kind
    assert arrays_of(str(tmp_path / "data.npz")) == kind


@pytest.mark.parametrize("compressed", [False, True])
def test_the_fingerprint_tells_every_number(compressed: bool, tmp_path: Path) -> None:
    first = opened(tmp_path, inputs=TOKENS, compressed=compressed).fingerprint()
    changed = TOKENS.copy()
    changed[2, 4] += 1
    assert opened(tmp_path, inputs=TOKENS, compressed=not compressed).fingerprint() == first
    others = [{"inputs": changed}, {"inputs": TOKENS, "labels": np.zeros(3, int)}, {"inputs:x": TOKENS}]
    assert len({first, *(opened(tmp_path, compressed=compressed, **other).fingerprint() for other in others)}) == 4


def test_it_can_be_pickled(tmp_path: Path) -> None:
    content = pickle.loads(pickle.dumps(opened(tmp_path, inputs=TOKENS))).read(2).content
    assert np.array_equal(content[""], TOKENS[2])


def test_an_archive_that_is_changed_or_removed(tmp_path: Path) -> None:
    source, path = opened(tmp_path, inputs=TOKENS), tmp_path / "data.npz"
    with path.open("r+b") as file:
        file.truncate(100)
    with pytest.raises(DataError, match="changed while it was read; run the same command again"):
        source.read(1)
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        source.read(1)


def test_a_wrong_checksum(tmp_path: Path) -> None:
    path = saved(tmp_path, inputs=TOKENS)
    content = path.read_bytes()
    at = content.index(TOKENS.tobytes())
    path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    with pytest.raises(DataError, match="CRC"):
        open_archive(Location(path)).fingerprint()


NEEDS_LONG_DOUBLE = pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="a long double has 64 bits here")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"inputs": np.array([{}, None])}, "Python objects"),
        ({"inputs": np.array(["a b", "c"])}, "<U3.*Parquet.*token ids"),
        ({"inputs": TOKENS.astype(np.complex64)}, "complex64.*real"),
        ({"inputs": TOKENS.astype("datetime64[s]")}, "datetime64"),
        pytest.param({"inputs": TOKENS.astype(np.longdouble)}, "64 bits", marks=NEEDS_LONG_DOUBLE),
        ({"inputs": np.array(5)}, r"shape \(\)"),
        ({"inputs": TOKENS[:0]}, r"shape \(0, 5\)"),
        ({"inputs": TOKENS[:, :0]}, r"shape \(3, 0\)"),
        ({"inputs": TOKENS, "input_ids": TOKENS}, "'inputs' and 'input_ids'"),
        ({"inputs": TOKENS, "inputs:x": TOKENS}, "'inputs' and 'inputs:x'"),
        ({"inputs": TOKENS, "images": TOKENS}, "'images' and 'inputs'"),
        ({"inputs:": TOKENS}, "'inputs:'.*NAME"),
        ({"inputs:x y": TOKENS}, "'inputs:x y'.*NAME"),
        ({"inputs:x": TOKENS, "inputs:y": TOKENS[:2]}, "inputs:y has 2 rows.*inputs:x has 3"),
        ({"attention_mask": TOKENS}, "'images' or 'inputs'.*attention_mask"),
    ],
)
def test_bad_arrays(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        arrays_of(str(saved(tmp_path, **arrays)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"labels": np.array([0, 1])}, r"labels .*\(2,\).*3 samples"),
        ({"labels": np.array([0, 1, 2]), "class_names": np.array(["a"])}, "label is 2.*1 class"),
    ],
)
def test_invalid_labels_matter_only_where_labels_are_used(labels: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = str(saved(tmp_path, inputs=TOKENS, **labels))
    with pytest.raises(DataError, match=message):
        open_source(path, None, arrays=arrays_of(path))
    source = open_source(path, None, arrays=arrays_of(path), labels=False)
    assert (source.classes, source.labelled, source.read(2).label) == (None, False, None)


def test_data_that_is_no_archive_of_arrays(tmp_path: Path) -> None:
    assert arrays_of("noise:uniform") is None
    assert arrays_of(str(tmp_path)) is None
    images = saved(tmp_path, images=np.full((2, 4, 4), 7, np.uint8))
    assert arrays_of(str(images)) is None
    assert isinstance(open_archive(Location(images)), ImageArchive)
    with pytest.raises(DataError, match="no such file"):
        arrays_of(str(tmp_path / "other.npz"))
    (tmp_path / "torn.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match="torn"):
        arrays_of(str(tmp_path / "torn.npz"))
