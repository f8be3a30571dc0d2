import json
import shutil
from pathlib import Path

import pytest

from apps.workflows.digits import MODULE, recipe
from gradmeter.apps.workflows.fit import Fitted, fit
from gradmeter.apps.workflows.open_trust import open_trust
from gradmeter.errors import DataError, OutputError
from gradmeter.trust.main_file import write_main

# The same parameters in another forward pass.
OTHER = MODULE.replace("nn.ReLU(), nn.Linear(24, 10)", "nn.Tanh(), nn.Linear(24, 10)")


def test_a_network_that_does_something_else_with_its_weights(
    place: Path, at_place: Path, fitted: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other_network.py").write_text(OTHER)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DataError, match="other_network:network"):
        open_trust(Path("trust"), model="other_network:network")
    shutil.copytree("trust", tmp_path / "trust")
    # As if the file of the module had been edited.
    import digits_network  # type: ignore[import-not-found]
    import other_network  # type: ignore[import-not-found]

    monkeypatch.setattr(digits_network, "network", other_network.network)
    with pytest.raises(OutputError, match="trust"):
        fit(recipe(place), "validation", ["noise:uniform:200"], tmp_path / "trust", risk=0.08, repetitions=100)


@pytest.mark.parametrize("answer", [None, "none", [], [[1.0, "2"]], [[1.0], [1.0, 2.0]]], ids=str)
def test_a_note_on_the_answer_that_is_damaged(answer: object, at_place: Path, fitted: Fitted, tmp_path: Path) -> None:
    shutil.copytree("trust", tmp_path / "trust", ignore=shutil.ignore_patterns("readings"))
    path = tmp_path / "trust/trust.json"
    content = json.loads(path.read_text())
    content.pop("checksum")
    content["notes"]["answer"] = answer
    write_main(path, content)
    with pytest.raises(DataError):
        open_trust(tmp_path / "trust", model="digits_network:network")


def test_one_of_an_earlier_version_says_nothing_of_the_answer(at_place: Path, fitted: Fitted, tmp_path: Path) -> None:
    shutil.copytree("trust", tmp_path / "trust", ignore=shutil.ignore_patterns("readings"))
    path = tmp_path / "trust/trust.json"
    content = json.loads(path.read_text())
    content.pop("checksum")
    del content["notes"]["answer"]
    write_main(path, content)
    open_trust(tmp_path / "trust", model="digits_network:network")
