"""Recognising files that were modified or replaced."""

import os
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from gradmeter.sources.samples.file_versions import FileVersions
from gradmeter.sources.samples.location import Location


def look(*paths: Path) -> FileVersions:
    """Versions of files in one folder."""
    names = [path.name for path in paths]
    return FileVersions.of(zip(names, Location(paths[0].parent).versions(names), strict=True))


def test_files_that_differ(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abcd"]
    for path in paths[:3]:
        path.write_text("text")
        os.utime(path, (10, 10))
    earlier = look(*paths)
    assert look(*paths).differing_from(earlier) == []
    os.utime(paths[0], (5, 5))
    paths[1].write_text("longer")
    os.utime(paths[1], (10, 10))
    paths[3].write_text("new")
    assert look(*paths).differing_from(earlier) == ["a", "b", "d"]
    assert look(*paths).differing_from(FileVersions.of([])) == []


def test_earlier_versions_of_other_files_are_kept(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    all_of_them, two = look(*(tmp_path / name for name in "abc")), look(tmp_path / "c", tmp_path / "a")
    assert two.or_else(all_of_them).table["id"].to_pylist() == ["c", "a", "b"]
    assert all_of_them.of_files_in(two).hash() == two.hash() != all_of_them.hash()
    assert two.or_else(all_of_them).of_files_in(all_of_them).hash() == all_of_them.hash()


def test_files_of_the_far_future(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("text")
    os.utime(path, (10_500_000_000, 10_500_000_000))  # in 2302; 64 bits of nanoseconds end in 2262
    earlier = look(path)
    assert look(path).differing_from(earlier) == []
    os.utime(path, (10_500_000_001, 10_500_000_001))
    assert look(path).differing_from(earlier) == ["a"]


def test_memory_does_not_grow_with_objects_of_python(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        names, paths = (map(str, range(20_000)) for _ in range(2))
        versions = FileVersions.of(zip(names, Location(tmp_path).versions(paths), strict=True))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(versions.table) == 20_000
    assert peak < 2_000_000, peak


def test_another_table(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="modified"):
        FileVersions.from_arrow(pa.table({"a": [1]}))
