"""The manifest of an experiment in parts."""

import json
from pathlib import Path
from typing import Any

import pytest

from gradmeter import DataError, OutputError
from gradmeter.research.manifest import begin_parts, commands_of
from gradmeter.runs.store import Store, StoreKind

KIND = StoreKind("parts.json", "an experiment", "gradmeter gain", {})


class Cleared(list[tuple[str, set[str]]]):
    """Records which parts are cleared."""

    def __call__(self, name: str, changed: set[str]) -> None:
        self.append((name, changed))


def begin(folder: Path, identity: dict[str, Any], clear: Cleared | None = None) -> Any:
    """Begin parts, and make something."""
    manifest = begin_parts(Store(folder, KIND), identity, "gradmeter gain", clear)
    (folder / "scores").mkdir(exist_ok=True)
    return manifest


def test_parts_are_added_and_continued(tmp_path: Path) -> None:
    begin(tmp_path, {"a": {"share": 1}})
    manifest = begin(tmp_path, {"b": {"share": 2}})
    assert manifest == json.loads((tmp_path / "parts.json").read_text())
    assert commands_of(manifest, ["a", "b", "c"]) == ("gradmeter gain",)
    with pytest.raises(OutputError, match="share was 1, is 2"):
        begin(tmp_path, {"a": {"share": 2}})


def test_a_part_of_which_nothing_was_made_may_have_other_settings(tmp_path: Path) -> None:
    """For example, because the data was refused."""
    begin(tmp_path, {"a": {"share": 1}})
    (tmp_path / "scores").rmdir()
    manifest = begin(tmp_path, {"a": {"share": 2}})
    assert (
        manifest
        == json.loads((tmp_path / "parts.json").read_text())
        == {"a": {"share": 2, "commands": ["gradmeter gain"]}}
    )


def test_starting_over(tmp_path: Path) -> None:
    """It says of each part that is in the manifest what changed; the other parts stay."""
    begin(tmp_path, {"a": {"share": 1, "data": "x"}, "b": {"share": 1, "data": "x"}, "c": {"share": 1, "data": "x"}})
    cleared = Cleared()
    identity = {name: {"share": 1, "data": data} for name, data in (("a", "x"), ("b", "y"), ("d", "x"))}
    manifest = begin(tmp_path, identity, cleared)
    assert cleared == [("a", set()), ("b", {"data"})]
    assert set(manifest) == {"a", "b", "c", "d"}
    assert manifest["b"]["data"] == "y"


@pytest.mark.parametrize("manifest", ['{"a": 3}', '{"a": {"share": 1}}', '{"a": {"commands": "x"}}', "[1]", "{"])
def test_a_damaged_manifest(manifest: str, tmp_path: Path) -> None:
    (tmp_path / "parts.json").write_text(manifest)
    cleared = Cleared()
    for clear in (None, cleared):
        with pytest.raises(DataError, match=r"parts\.json"):
            begin(tmp_path, {"a": {"share": 1}}, clear)
    assert not cleared


def test_nothing_is_cleared_in_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    cleared = Cleared()
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        begin(tmp_path, {"a": {"share": 1}}, cleared)
    assert not cleared
