"""Recognising files that were modified or replaced."""

import os
from pathlib import Path

from gradmeter.sources.samples.file_versions import FileVersions


def look(*paths: Path) -> FileVersions:
    return FileVersions.of((path.name, path) for path in paths)


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
    assert look(*paths).differing_from(look()) == []


def test_earlier_versions_of_other_files_are_kept(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    all_of_them, two = look(*(tmp_path / name for name in "abc")), look(tmp_path / "c", tmp_path / "a")
    assert two.or_else(all_of_them).table["id"].to_pylist() == ["c", "a", "b"]
    assert all_of_them.of_files_in(two).hash() == two.hash() != all_of_them.hash()
    assert two.or_else(all_of_them).of_files_in(all_of_them).hash() == all_of_them.hash()
