from pathlib import Path

import pytest

from gradmeter.errors import DataError
from gradmeter.sources.models import ImageOptions, Recipe
from gradmeter.sources.samples.array_kind import ArrayField, ArrayKind


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("timm:resnet18"),
        Recipe("a.b:make", Path("/w.pt"), ("cat", "dog"), ImageOptions(32, (0.5,), (0.1, 0.2, 0.3))),
        Recipe("torchvision:resnet18", options=ImageOptions(grey=True)),
        Recipe("a.b:make", arrays=ArrayKind((ArrayField("ids", "int64", (5,), 0, 9),))),
    ],
)
def test_it_survives_as_json(recipe: Recipe) -> None:
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_paths_do_not_depend_on_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    noted = Recipe("hf:mine", Path("w.safetensors")).to_json()
    assert noted["model"] == f"hf:{tmp_path / 'mine'}"
    assert noted["weights"] == str(tmp_path / "w.safetensors")
    assert Recipe("hf:someone/model").to_json()["model"] == "hf:someone/model"


def test_only_functions_run_code() -> None:
    assert Recipe("a.b:make").runs_code
    assert not any(Recipe(name).runs_code for name in ("timm:x", "torchvision:x", "hf:x"))


@pytest.mark.parametrize(
    ("values", "missing"),
    [({}, "options"), ({"model": "timm:x", "options": {}}, "weights"), ({"options": {"depth": 3}}, "weights")],
)
def test_damaged_json(values: dict[str, object], missing: str) -> None:
    with pytest.raises(DataError, match=missing):
        Recipe.from_json(values)


def test_json_with_an_unknown_option() -> None:
    values = Recipe("timm:x").to_json() | {"options": {"depth": 3}}
    with pytest.raises(DataError, match="depth"):
        Recipe.from_json(values)


def test_json_with_options_that_are_refused_now() -> None:
    """`judge` and `serve` take no --mean."""
    values = Recipe("timm:x").to_json() | {"options": {"mean": [1.2], "std": [1]}}
    with pytest.raises(DataError, match=r"the TrustModel was fitted with mean 1\.2; .*fit it again"):
        Recipe.from_json(values)


def test_json_with_damaged_arrays() -> None:
    with pytest.raises(DataError, match="arrays is damaged"):
        Recipe.from_json(Recipe("timm:x").to_json() | {"arrays": [{"name": "ids"}]})


def test_recipes_for_images_are_saved_as_before() -> None:
    assert "arrays" not in Recipe("timm:x").to_json()
