import json
import shutil
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from apps.workflows.digits import CLASSES, MODULE, recipe
from gradmeter import GradientMeter, TrustModel
from gradmeter.apps.workflows.fit import Fitted, fit
from gradmeter.apps.workflows.open_trust import open_trust
from gradmeter.errors import DataError, InputError, OutputError
from gradmeter.sources.models import Classifier, Recipe
from gradmeter.trust.fitted_weights import FittedWeights
from gradmeter.trust.main_file import write_main
from trust.trained import trained

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


def test_a_network_for_images_of_another_size(
    at_place: Path, fitted: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message advises no option of the preprocessing, which is that of the TrustModel."""
    (tmp_path / "larger_network.py").write_text(MODULE.replace("nn.Linear(72, 24)", "nn.Linear(200, 24)"))
    monkeypatch.syspath_prepend(str(tmp_path))
    weights = trained().state_dict()
    weights["4.weight"] = torch.zeros(24, 200)
    save_file(weights, tmp_path / "larger.safetensors")
    with pytest.raises(InputError, match="larger_network:network fails on samples like those of trust") as raised:
        open_trust(Path("trust"), model="larger_network:network", weights=tmp_path / "larger.safetensors")
    assert "mat1 and mat2" in str(raised.value)
    assert "--" not in str(raised.value)


def test_class_names_are_those_of_the_fit(at_place: Path, tmp_path: Path) -> None:
    """Though a copy of the weights has other names in its metadata, or none."""
    weights = load_file(at_place / "weights.safetensors")
    save_file(weights, tmp_path / "named.safetensors", {"classes": json.dumps(CLASSES)})
    named = replace(recipe(at_place), weights=tmp_path / "named.safetensors", classes=None)
    fit(named, "validation", ["noise:uniform:200"], tmp_path / "trust", repetitions=100)
    copy = tmp_path / "copy.safetensors"
    for metadata in (None, {"classes": json.dumps(CLASSES[::-1])}):
        save_file(weights, copy, metadata)
        _, classifier = open_trust(tmp_path / "trust", model="digits_network:network", weights=copy)
        assert classifier.classes == CLASSES


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


def test_weights_that_have_moved(at_place: Path, fitted: Fitted, tmp_path: Path) -> None:
    shutil.copytree("trust", tmp_path / "trust", ignore=shutil.ignore_patterns("readings"))
    path = tmp_path / "trust/trust.json"
    content = json.loads(path.read_text())
    content.pop("checksum")
    weights = Path("weights.safetensors").resolve()
    content["notes"]["recipe"]["weights"] = str(tmp_path / "before.safetensors")
    write_main(path, content)
    with pytest.raises(DataError, match=r"before\.safetensors.* give its path with --weights"):
        open_trust(tmp_path / "trust", model="digits_network:network")
    open_trust(tmp_path / "trust", model="digits_network:network", weights=weights)


@pytest.mark.parametrize("other_network", [False, True], ids=["other preprocessing", "other network, too"])
def test_one_that_is_replaced_while_its_network_is_opened(
    other_network: bool, at_place: Path, fitted: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, opened = tmp_path / "trust", Recipe.open
    shutil.copytree("trust", folder, ignore=shutil.ignore_patterns("readings"))
    earlier, _ = open_trust(folder, model="digits_network:network")
    given = Recipe.from_json(earlier.notes["recipe"])
    recipe = replace(given, options=replace(given.options, mean=(0.25,), std=(0.5,)))
    if other_network:
        weights = {name: tensor * 2 for name, tensor in load_file("weights.safetensors").items()}
        save_file(weights, tmp_path / "other.safetensors")
        recipe = replace(recipe, weights=tmp_path / "other.safetensors")
    classifier = recipe.open()
    later = TrustModel.load(folder, given.open().network)
    later.meter = GradientMeter(classifier.network).for_trust_model(earlier.meter.gradients, inf)
    later.weights = FittedWeights(classifier.network)
    later.notes |= {"recipe": recipe.to_json(), "answer": classifier.trial.double().tolist()}

    def open_slowly(recipe: Recipe, device: str = "cpu") -> Classifier:
        monkeypatch.undo()
        monkeypatch.chdir(at_place)
        later.save(folder)
        return opened(recipe, device)

    monkeypatch.setattr(Recipe, "open", open_slowly)
    trust, classifier = open_trust(folder, model="digits_network:network")
    assert trust.notes["recipe"] == recipe.to_json()
    assert repr(classifier.batch) == repr(recipe.open().batch)
