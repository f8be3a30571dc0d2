import errno
import os
from pathlib import Path

import pytest

from gradmeter import OutputError
from gradmeter.files import (
    atomic_write,
    is_incidental,
    read_regular,
    remove_earlier,
    shortened,
    sweep,
    sweep_beside,
    write_text,
)


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.bin"
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists()
        assert temporary.parent == path.parent, "a rename across file systems would be a copy"
        assert is_incidental(temporary)
    assert path.read_bytes() == b"half"
    assert not is_incidental(path)
    assert os.listdir(path.parent) == ["file.bin"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("new")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fill() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("ne")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutputError, match=r"file\.txt .*No space left on device"):
        fill()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_full_disk_beside_the_file_is_told_once(tmp_path: Path) -> None:
    def fill() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        pytest.raises(OutputError, match=r"^cannot write \S*inner \(No space left on device\); [^;]*$"),
        atomic_write(tmp_path / "outer"),
        atomic_write(tmp_path / "inner"),
    ):
        fill()


def test_an_address_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be a file in a folder named "s3:" on this machine, where nobody looks for it."""
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(OutputError, match="s3://bucket/readings is an address"),
        atomic_write(Path("s3://bucket/readings")) as temporary,
    ):
        temporary.touch()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["", "/"])
def test_a_path_without_a_name_is_no_file(path: str) -> None:
    with pytest.raises(OutputError, match="expected the path of a file"):
        write_text(Path(path), "text")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="below"):
        write_text(tmp_path / "file" / "below", "text")


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "日" * 85, "a" * 251 + ".csv"])
def test_a_name_of_any_length_that_the_file_system_takes(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert is_incidental(temporary)
        leftover = temporary.with_name(temporary.name.replace(f".{os.getpid()}-", ".77-"))
        leftover.write_text("left by a killed writer")
    assert path.read_text() == "new"
    sweep_beside(tmp_path / f"{name[:-1]}b")
    assert leftover.exists(), "it is that of another file"
    sweep_beside(path)
    assert os.listdir(tmp_path) == [name]


def test_names_are_shortened_only_if_they_are_too_long() -> None:
    assert shortened("日本.png", 10) == "日本.png"
    names = {shortened(f"{'é' * 40}{end}.csv", 50) for end in "ab"}
    assert len(names) == 2
    assert all(name.startswith("é" * 16) and len(name.encode()) <= 50 for name in names)


def test_files_of_an_earlier_run_are_removed_or_named(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("earlier")
    remove_earlier([tmp_path / "absent", tmp_path / "report.html"])
    assert os.listdir(tmp_path) == []
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder"):
        remove_earlier([tmp_path / "folder"])


def test_text_is_utf_8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "µ\nb\n")
    assert (tmp_path / "a").read_bytes() == b"\xc2\xb5\nb\n"


def test_sweep_removes_what_killed_writers_left_and_nothing_else(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    leftovers = [tmp_path / ".x.csv.77-0123abcd.partial", deep / ".y\n.parquet.123-89efabcd.partial"]
    others = [tmp_path / "x.csv", tmp_path / ".lock", deep / "z.partial", deep / ".partial.txt", deep / ".mine.partial"]
    for path in leftovers + others:
        path.write_text("")
    sweep(tmp_path)
    assert not any(path.exists() for path in leftovers)
    assert all(path.exists() for path in others)
    assert list(map(is_incidental, leftovers + others)) == [True] * len(leftovers) + [False] * len(others)


def test_sweep_of_one_file_removes_what_its_killed_writers_left(tmp_path: Path) -> None:
    names = [".[a].csv.7-0123abcd.partial", ".[a].csv.mine.partial", ".a.csv.7-0123abcd.partial", "[a].csv"]
    for name in names:
        (tmp_path / name).write_text("")
    sweep_beside(tmp_path / "[a].csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


def test_a_file_that_is_deleted_while_it_is_read_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads a saved model tries again then, because another process is replacing it."""
    path = tmp_path / "file"
    path.touch()
    looked = Path.stat

    def look_and_delete(self: Path) -> os.stat_result:
        status = looked(self)
        if self == path:
            self.unlink()
        return status

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", look_and_delete)
        with pytest.raises(FileNotFoundError):
            read_regular(path)
