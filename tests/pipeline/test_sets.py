from pathlib import Path

import pytest

from gradmeter.measuring import Work
from gradmeter.models import Classifier
from gradmeter.pipeline.sets import read_sets
from pipeline.digits import recipe


@pytest.fixture
def classifier(place: Path, at_place: Path) -> Classifier:
    return recipe(place).open()


def test_every_set_has_a_file_of_its_own(classifier: Classifier, place: Path, tmp_path: Path) -> None:
    """Also where names are alike, or alike once they are names of files, or not in Latin letters."""
    unknowns = [tmp_path / name for name in ("日本", "中文", "a b", "a+b", "more/a b", "wrong")]
    for number, folder in enumerate(unknowns):
        folder.mkdir(parents=True)
        (folder / "one.png").write_bytes(sorted((place / "test/3").iterdir())[number].read_bytes())
    sets = read_sets(classifier, "noise:uniform:2", [str(path) for path in unknowns], tmp_path / "readings", Work())
    assert [one.name for one in sets] == [
        "noise:uniform", "日本", "中文", "a b", "a+b (2)", "a b (3)", "wrong (2)"
    ]  # fmt: skip
    assert len({one.measured.folder for one in sets}) == 7
    assert len({one.readings().logits[0, 0].item() for one in sets}) == 7
