"""What decides whether a study is begun, continued, refused or left alone; the work itself is tested end to end."""

import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gradmeter import OutputError
from gradmeter.research.study import reproduce as module
from gradmeter.research.study.data import Collection, Concept, Sizes
from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.reproduce import Study, reproduce

SIZES = Sizes(150, 50, 140, {"uniform": 20, "normal": 10}, 20)


@dataclasses.dataclass(frozen=True)
class Images:
    """A source of 340 digits that are nothing but noise."""

    seed: int = 0

    def collection(self) -> Collection:
        images = np.random.default_rng(self.seed).integers(0, 256, (340, 28, 28), np.uint8)
        digits = Concept("digits", images, np.arange(340) % 10)
        return Collection(digits, {}, {"digits": "noise"}, {"digits": "made up"}, {"letters": "none"}, SIZES)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study("tiny", "gradmeter reproduce", Images(), StudyOptions(runs=1), tmp_path / "tiny")  # type: ignore[arg-type]


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[Study]:
    """The studies that were worked on; the work is left out."""
    studies: list[Study] = []

    def perform(study: Study, *rest: object) -> dict[str, float]:
        studies.append(study)
        return {"networks": 1.0}

    monkeypatch.setattr(module, "_perform", perform)
    return studies


def run(study: Study, *, fresh: bool = False) -> bool:
    return reproduce(study, workers=1, console=Console(file=io.StringIO()), fresh=fresh)


def test_a_manifest_tells_what_the_study_was_made_with(study: Study, performed: list[Study]) -> None:
    assert run(study)
    manifest = json.loads((study.folder / "manifest.json").read_text())
    assert manifest["options"] == study.options.to_dict()
    assert manifest["names"] == {"digits": "noise"}
    assert manifest["absent"] == {"letters": "none"}
    assert manifest["sizes"] == {"train": 150, "validation": 50, "test": 140}
    assert manifest["data_hashes"] == Images().collection().hashes()
    assert manifest["timings"].keys() == {"networks", "total"}
    assert manifest["command"] == "gradmeter reproduce"
    assert manifest["finished"]


def test_a_finished_study_is_left_alone(study: Study, performed: list[Study]) -> None:
    run(study)
    before = (study.folder / "manifest.json").read_bytes()
    assert not run(study)
    assert len(performed) == 1
    assert (study.folder / "manifest.json").read_bytes() == before


def test_an_unfinished_study_is_continued(
    study: Study, monkeypatch: pytest.MonkeyPatch, performed: list[Study]
) -> None:
    perform = module._perform

    def interrupt(*_: object) -> dict[str, float]:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_perform", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(study)
    assert "finished" not in json.loads((study.folder / "manifest.json").read_text())
    monkeypatch.setattr(module, "_perform", perform)
    assert run(study)
    assert len(performed) == 1


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (lambda study: dataclasses.replace(study, options=StudyOptions(runs=2)), "options: runs was 1, is 2"),
        (lambda study: dataclasses.replace(study, source=Images(1)), "data_hashes: digits changed"),
    ],
)
@pytest.mark.usefixtures("performed")
def test_a_study_made_with_other_settings_is_refused(other: Callable[[Study], Study], named: str, study: Study) -> None:
    run(study)
    before = (study.folder / "manifest.json").read_bytes()
    with pytest.raises(OutputError, match=f"{named}.*--fresh"):
        run(other(study))
    assert (study.folder / "manifest.json").read_bytes() == before


@pytest.mark.usefixtures("performed")
def test_a_study_of_another_version_is_refused(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    run(study)
    monkeypatch.setattr(module, "__version__", "9.9")
    with pytest.raises(OutputError, match=r"gradmeter was [\d.]+, is 9\.9"):
        run(study)


def test_fresh_begins_anew_and_keeps_what_is_not_the_studys(study: Study, performed: list[Study]) -> None:
    run(study)
    old, mine = study.folder / "tables" / "table1.csv", study.folder / "notes.txt"
    for path in (old, mine):
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    assert run(dataclasses.replace(study, options=StudyOptions(runs=2)), fresh=True)
    assert len(performed) == 2
    assert not old.exists()
    assert mine.exists()
    assert json.loads((study.folder / "manifest.json").read_text())["options"]["runs"] == 2


def test_killed_while_it_clears_it_is_not_taken_for_finished(
    study: Study, performed: list[Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(study)

    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(study, fresh=True)
    assert run(study), "there is something to do"
    assert len(performed) == 2


def test_a_foreign_folder_is_refused_before_anything_is_read(study: Study, performed: list[Study]) -> None:
    study.folder.mkdir()
    (study.folder / "thesis.docx").write_text("mine")
    with pytest.raises(OutputError, match=r"thesis\.docx"):
        run(study, fresh=True)
    assert [path.name for path in study.folder.iterdir()] == ["thesis.docx"]
    assert not performed
