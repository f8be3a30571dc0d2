from __future__ import annotations

from pathlib import Path

import pytest

from gradmeter.errors import DataError, InputError
from gradmeter.research.study.data import load, sources


def test_embedded_is_loaded() -> None:
    assert load("embedded").names["digits"] == "MNIST digits"
    assert load("embedded", noise_form="clipped").noise_form == "clipped"


def test_folder_is_loaded(archive_folder: Path) -> None:
    collection = load(str(archive_folder), noise_form="clipped")
    assert len(collection.digits) == 400
    assert collection.noise_form == "clipped"


def test_emnist_is_loaded_with_its_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "load_torchvision", lambda *arguments: arguments)
    assert load("emnist", tmp_path, download=True, noise_form="clipped") == (tmp_path, True, "clipped")


def test_unknown_source() -> None:
    with pytest.raises(DataError, match="--data no/such/folder"):
        load("no/such/folder")


def test_emnist_needs_root() -> None:
    with pytest.raises(InputError, match="--root"):
        load("emnist")


@pytest.mark.parametrize("options", [{"root": Path()}, {"download": True}])
def test_options_of_emnist_are_refused_with_other_data(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="--data embedded"):
        load("embedded", **options)  # type: ignore[arg-type]
