from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gradmeter.reading.content import content_hashes
from gradmeter.research.gradient_gain import subjects, training
from gradmeter.research.gradient_gain.corruptions import CORRUPTIONS, STRENGTHS
from gradmeter.research.gradient_gain.samples import Samples
from gradmeter.research.gradient_gain.subjects import RUNS, SUBJECTS, Place
from gradmeter.research.study.options import StudyOptions
from research.gradient_gain.exams import network


def hashes(images: Tensor) -> set[int]:
    return set(content_hashes(images).tolist())


@pytest.fixture
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def shortly(make: Any, samples: Any, path: Path, recipe: Any, **options: Any) -> Any:
        return training.trained(make, samples, path, replace(recipe, epochs=min(recipe.epochs, 3)), **options)

    monkeypatch.setattr(subjects, "trained", shortly)
    monkeypatch.setattr(subjects, "StudyOptions", lambda max_epochs: StudyOptions(max_epochs=3))


@pytest.mark.slow
@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("name", ["paper", "convolutions", "overfitted-digits", "texts"])
def test_networks_are_trained_once_and_tested_on_other_inputs(name: str, small_data: Path, tmp_path: Path) -> None:
    place = Place(small_data, None, tmp_path / "weights.safetensors", 0.01)
    notes: list[str] = []
    exam = SUBJECTS[name].exam(place, 0, notes.append)
    assert notes[0] == "training, epoch 1"
    assert exam.validation is not None
    assert len(exam.known)
    assert not exam.network.training
    assert not hashes(exam.known.inputs) & hashes(exam.validation.inputs)
    with torch.no_grad():
        classes = exam.network(exam.known.inputs[:2]).shape[1]
    for samples in (exam.known, exam.validation):
        assert 0 <= samples.labels.min() <= samples.labels.max() < classes
    assert all(len(inputs) for inputs in exam.unknown.values())
    assert bool(exam.synthetic) == (name != "texts")
    before = place.weights.stat().st_mtime_ns
    notes.clear()
    again = SUBJECTS[name].exam(place, 0, notes.append)
    assert notes == []
    assert place.weights.stat().st_mtime_ns == before
    with torch.no_grad():
        torch.testing.assert_close(again.network(again.known.inputs), exam.network(exam.known.inputs))
    other = SUBJECTS[name].exam(Place(small_data, None, tmp_path / "other.safetensors", 0.01), 1, notes.append)
    if name != "convolutions":  # the images of CIFAR-10 in the small archive are noise, but the classes differ
        assert not hashes(other.known.inputs) & hashes(exam.known.inputs)


def test_corrupted_images_lie_in_the_fold_of_their_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CORRUPTIONS:
        monkeypatch.setitem(CORRUPTIONS, name, lambda images, strength, generator: images)
    images = torch.rand(100, 3, 4, 4)
    known = Samples(images, torch.arange(100))
    for samples in subjects._corrupted(known, 30).values():
        assert len(samples) == 30 * STRENGTHS
        torch.testing.assert_close(samples.inputs, images[samples.labels])
        assert (samples.labels % RUNS == torch.arange(len(samples)) % RUNS).all()


def test_adversarial_images_are_made_when_they_are_needed() -> None:
    model = network()
    known = Samples(torch.rand(6, 1, 8, 8), torch.zeros(6, dtype=torch.int64))
    made = subjects._adversarial(model, known)
    assert list(made) == [f"{attack} {size}/255" for attack in ("FGSM", "PGD") for size in (1, 2, 4)]
    for name, attacked in made.items():
        change = (attacked() - known.inputs).abs().max()
        assert 0 < change <= int(name.split()[1].split("/")[0]) / 255 + 1e-6


def test_the_classes_of_the_others_are_numbered_without_gaps() -> None:
    labels = subjects._renumbered(torch.arange(10).numpy(), (2, 3))
    assert labels.tolist() == [0, 1, -1, -1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(("share", "expected"), [(1, 1200), (0.1, 120), (0.001, 3), (0.01, 12)])
def test_shares_are_multiples_of_the_number_of_draws(share: float, expected: int) -> None:
    assert Place(Path(), None, Path(), share).count(1200) == expected
