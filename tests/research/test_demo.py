"""What the demo serves is made once, from a study's network if there is one, and continues where it stopped."""

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("mlxtend", reason="the extra demo is not installed")

from gradmeter.errors import OutputError
from gradmeter.research import demo
from gradmeter.research.demo import make_demo, recipe_of
from gradmeter.research.study.data import Collection
from gradmeter.research.study.data import load as load_data
from gradmeter.research.study.network import PaperCNN
from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.store import StudyStore
from gradmeter.research.study.tensors import write_tensors
from gradmeter.runs.measuring import Work
from gradmeter.sources.samples import open_source

ARCHITECTURE = {"padding": "valid", "first_dropout": "after", "standard": (0.13, 0.31)}


load = cache(load_data)


def write_network(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    network = PaperCNN(**ARCHITECTURE)  # type: ignore[arg-type]
    write_tensors(path, network.state_dict(), {"network": ARCHITECTURE, "restarts": 0, "accuracies": [0.5]})


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace training and fitting, which take half a minute, and return the list of their calls.

    The digits are read once for all tests.
    """
    calls: list[str] = []

    def train(path: Path, *rest: Any) -> None:
        calls.append("train")
        write_network(path, 0)

    def fit(recipe: Any, known: str, unknowns: Any, folder: Path, **options: Any) -> None:
        calls.append("fit")
        recipe.open()
        folder.mkdir(exist_ok=True)

    monkeypatch.setattr(demo, "train_run", train)
    monkeypatch.setattr(demo, "fit", fit)
    monkeypatch.setattr(demo, "load", load)
    monkeypatch.setattr(Collection, "hashes", cache(Collection.hashes))
    return calls


def study(folder: Path, **changed: Any) -> Path:
    """Write the manifest and the first network of a study of the embedded digits."""
    store = StudyStore(folder)
    hashes = load("embedded").hashes()
    store.write({"gradmeter": "0", "options": {**StudyOptions().to_dict(), **changed}, "data_hashes": hashes})
    write_network(store.network(0), 1)
    return folder


def test_a_finished_demo_is_left_as_it_is(calls: list[str], tmp_path: Path) -> None:
    store = make_demo(tmp_path / "demo", tmp_path / "none", Work())
    assert calls == ["train", "fit"]
    before = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}
    make_demo(tmp_path / "demo", tmp_path / "none", Work())
    assert calls == ["train", "fit"]
    assert {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")} == before


def test_an_interrupted_demo_is_continued(calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(demo, "fit", stop)
        with pytest.raises(KeyboardInterrupt):
            make_demo(tmp_path / "demo", tmp_path / "none", Work())
    make_demo(tmp_path / "demo", tmp_path / "none", Work())
    assert calls == ["train", "fit"]


def test_fresh_starts_over_and_removes_nothing_else(calls: list[str], tmp_path: Path) -> None:
    make_demo(tmp_path / "demo", tmp_path / "none", Work())
    (tmp_path / "demo/notes.txt").write_text("mine")
    make_demo(tmp_path / "demo", tmp_path / "none", Work(fresh=True))
    assert calls == ["train", "fit"] * 2
    assert (tmp_path / "demo/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("part", ["network", "validation", "trust", "examples"])
def test_a_demo_of_which_a_part_was_removed_is_made_again(part: str, calls: list[str], tmp_path: Path) -> None:
    store = make_demo(tmp_path / "demo", tmp_path / "none", Work())
    removed = getattr(store, part)
    if removed.is_dir():
        shutil.rmtree(removed)
    else:
        removed.unlink()
    make_demo(tmp_path / "demo", tmp_path / "none", Work())
    assert calls == ["train", "fit"] * 2
    assert removed.exists()


def test_a_demo_of_another_version_is_not_used(calls: list[str], tmp_path: Path) -> None:
    store = make_demo(tmp_path / "demo", tmp_path / "none", Work())
    manifest = json.loads((store.folder / "manifest.json").read_text())
    (store.folder / "manifest.json").write_text(json.dumps({**manifest, "gradmeter": "0.0.1"}))
    with pytest.raises(OutputError, match=r"0\.0\.1"):
        make_demo(tmp_path / "demo", tmp_path / "none", Work())


def test_a_folder_of_other_things_is_left_alone(calls: list[str], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        make_demo(tmp_path, tmp_path / "none", Work())
    assert calls == []


def test_the_network_of_a_study_is_taken(calls: list[str], tmp_path: Path) -> None:
    store = make_demo(tmp_path / "demo", study(tmp_path / "embedded"), Work())
    assert calls == ["fit"]
    torch.manual_seed(1)
    expected = PaperCNN(**ARCHITECTURE).eval()  # type: ignore[arg-type]
    classifier = recipe_of(store).open()
    # The preprocessing standardises the pixels, which the study's network does itself.
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    inputs = classifier.batch([Image.fromarray(image) for image in pixels])
    with torch.no_grad():
        logits = classifier.network(inputs)
        torch.testing.assert_close(logits, expected(torch.from_numpy(pixels)[:, None] / 255), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"padding": "same"}, {"max_epochs": 2}])
def test_a_network_of_another_study_is_not_taken(changed: dict[str, Any], calls: list[str], tmp_path: Path) -> None:
    """With another seed it may have been trained on the digits of the TrustModel."""
    make_demo(tmp_path / "demo", study(tmp_path / "embedded", **changed), Work())
    assert calls == ["train", "fit"]


def test_a_damaged_study_is_passed_over(calls: list[str], tmp_path: Path) -> None:
    folder = study(tmp_path / "embedded")
    StudyStore(folder).network(0).write_bytes(b"no tensors")
    make_demo(tmp_path / "demo", folder, Work())
    assert calls == ["train", "fit"]


def test_no_digit_is_in_two_sets(calls: list[str], tmp_path: Path) -> None:
    store = make_demo(tmp_path / "demo", tmp_path / "none", Work())
    collection = load("embedded")
    draw = collection.draw(0, StudyOptions().seed)
    with np.load(store.validation) as archive:
        images, labels = archive["images"], archive["labels"]
    assert len(images) == len(labels) == 1900
    examples = open_source(str(store.examples), recipe_of(store).open().image)
    assert examples.classes == (*map(str, range(10)), "letter", "noise", "photograph")
    shown = [np.asarray(examples.read(index).content).tobytes() for index in range(len(examples))]
    assert len(shown) == 24
    sets = [{image.tobytes() for image in draw.train.images}, {image.tobytes() for image in images}, {*shown}]
    assert not sets[0] & sets[1]
    assert not sets[0] & sets[2]
    assert not sets[1] & sets[2]
