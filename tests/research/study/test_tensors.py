from pathlib import Path

import pytest
import torch

from gradmeter import DataError
from gradmeter.research.study.tensors import read_tensors, write_tensors


@pytest.mark.parametrize("name", ["x.safetensors", "\udcff\n.safetensors"])
def test_what_is_written_is_read(name: str, tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor([7], dtype=torch.int64)}
    write_tensors(tmp_path / name, tensors, {"restarts": 2, "accuracies": [0.5, 0.1 + 0.2]})
    read, metadata = read_tensors(tmp_path / name)
    assert metadata == {"restarts": 2, "accuracies": [0.5, 0.1 + 0.2]}
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    tensors = {name: torch.ones(3) for name in "abcdef"}
    write_tensors(tmp_path / "x", tensors, {"one": 1, "two": 2, "three": 3})
    write_tensors(tmp_path / "y", dict(reversed(tensors.items())), {"three": 3, "two": 2, "one": 1})
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


@pytest.mark.parametrize("damage", ["missing", "cut", "nothing", "foreign"])
def test_a_damaged_file_is_named(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.ones(100)}, {})
    whole = path.read_bytes()
    match damage:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(whole[:-50])
        case "nothing":
            path.write_bytes(b"")
        case "foreign":
            path.write_bytes(whole.replace(b"gradmeter", b"gradmeteR"))
    with pytest.raises(DataError, match=r"x\.safetensors"):
        read_tensors(path)
