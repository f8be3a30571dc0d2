import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from gradmeter.errors import DataError
from gradmeter.sources.samples import Unlabelled, Unreadable
from gradmeter.sources.samples.folders import ImageFolder
from gradmeter.sources.samples.location import Location
from gradmeter.stages import Advance, show_stages
from sources.samples.pictures import save


def test_class_folders_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, shade in (("dog/b.png", 20), ("cat/z.JPG", 30), ("dog/a.jpeg", 10), ("cat/deep/y.webp", 40)):
        save(tmp_path / name, shade)
    (tmp_path / "cat/notes.txt").write_text("not an image")
    (tmp_path / "README.md").write_text("neither")
    source = ImageFolder(Location(tmp_path))
    assert source.classes == ("cat", "dog")
    assert source.labelled
    samples = [source.read(index) for index in range(len(source))]
    assert [(sample.id, sample.label) for sample in samples] == [
        ("cat/deep/y.webp", 0),
        ("cat/z.JPG", 0),
        ("dog/a.jpeg", 1),
        ("dog/b.png", 1),
    ]
    assert [round(float(np.asarray(sample.content).mean()), -1) for sample in samples] == [40, 30, 10, 20]
    assert source.id(3) == "dog/b.png"


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        save(tmp_path / name)
    (tmp_path / "empty").mkdir()
    source = ImageFolder(Location(tmp_path), "L")
    assert (source.classes, source.labelled) == (None, False)
    assert [source.read(index).id for index in range(2)] == ["a.png", "b.png"]
    assert source.read(0).label is None
    assert source.read(0).content.mode == "L"  # type: ignore[union-attr]


def test_hidden_files_and_circles_of_links(tmp_path: Path) -> None:
    save(tmp_path / "cat/a.png")
    save(tmp_path / "cat/.hidden.png")
    save(tmp_path / ".thumbnails/b.png")
    save(tmp_path / "cat/.cache/c.png")
    save(tmp_path / "__MACOSX/cat/._a.png")
    save(tmp_path / "@eaDir/cat/a.png/SYNOPHOTO_THUMB_S.png")
    (tmp_path / "lost+found").mkdir()
    os.symlink(tmp_path / "cat", tmp_path / "cat/again")
    source = ImageFolder(Location(tmp_path))
    assert source.classes == ("cat",)
    assert len(source) == 1
    assert "5 hidden folders (.thumbnails, @eaDir, __MACOSX, ...)" in source.note


def test_parts_of_a_data_set_without_labels_are_read_as_one(tmp_path: Path) -> None:
    for name in ("train", "test"):
        save(tmp_path / f"{name}/a.png")
    source = Unlabelled(ImageFolder(Location(tmp_path)))
    assert [source.read(index).id for index in range(2)] == ["test/a.png", "train/a.png"]


def test_class_folders_may_be_links(tmp_path: Path) -> None:
    save(tmp_path / "store/cat/a.png")
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "store/cat", tmp_path / "data/cat")
    assert ImageFolder(Location(tmp_path / "data")).read(0).id == "cat/a.png"


def test_a_damaged_file_is_unreadable_and_the_others_are_not(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    source = ImageFolder(Location(tmp_path))
    source.read(0)
    with pytest.raises(Unreadable):
        source.read(1)


def test_the_fingerprint_tells_which_files_there_are(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    first = ImageFolder(Location(tmp_path)).fingerprint()
    assert ImageFolder(Location(tmp_path)).fingerprint() == first
    save(tmp_path / "b.png")
    assert ImageFolder(Location(tmp_path)).fingerprint() != first


def test_looking_at_every_file_is_shown(tmp_path: Path) -> None:
    """On a network drive, this takes minutes."""
    save(tmp_path / "a.png")
    source, shown = ImageFolder(Location(tmp_path)), list[str]()

    @contextmanager
    def show(name: str, steps: int | None) -> Iterator[Advance]:
        shown.append(name)
        yield lambda done: None

    with show_stages(show):
        source.file_versions()
    assert shown == [f"checking the files of {tmp_path}"]


def test_images_beside_folders_of_images(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "cat/b.png")
    with pytest.raises(DataError, match=r"a\.png.*cat/b\.png"):
        ImageFolder(Location(tmp_path))


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"\.avif"):
        ImageFolder(Location(tmp_path))
    with pytest.raises(DataError, match="absent"):
        ImageFolder(Location(tmp_path / "absent"))
