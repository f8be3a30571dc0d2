"""The comparison of readings: its networks, its evaluation, and resuming after an interruption."""

import csv
import dataclasses
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gradmeter.research.study import alternatives
from gradmeter.research.study.alternatives import (
    ALTERNATIVES,
    MARKDOWN,
    alternatives_to,
    perform_trial,
    summarise,
    trials,
)
from gradmeter.research.study.data import Collection, Concept, Sizes
from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.paper import paper_cell
from gradmeter.research.study.results import read_results
from gradmeter.research.study.training import load_network
from gradmeter.runs.progress import Step
from gradmeter.trust.evaluation import separation

SIZES = Sizes(150, 50, 140, {"uniform": 30, "normal": 20}, 20)
OPTIONS = StudyOptions(runs=2, max_epochs=1)


@dataclasses.dataclass(frozen=True)
class Images:
    """A data source of letters and of 340 digits with a bright row per class."""

    def collection(self) -> Collection:
        random = np.random.default_rng(0)
        images, labels = random.integers(0, 60, (340, 28, 28), np.uint8), np.arange(340) % 10
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 4 : 2 * label + 7] += 190
        letters = Concept("letters", random.integers(0, 256, (25, 28, 28), np.uint8))
        return Collection(Concept("digits", images, labels), {"letters": letters}, {}, {}, {}, SIZES)


def silent(event: Step) -> None:
    """Ignore the progress."""


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    for trial in trials(OPTIONS, Images(), folder):  # type: ignore[arg-type]
        perform_trial(trial, silent)
    summarise(OPTIONS, folder)
    return folder


def test_readings_that_differ_after_training_share_their_networks() -> None:
    work = trials(OPTIONS, Images(), Path())  # type: ignore[arg-type]
    assert [trial.run for trial in work] == [0] * (len(work) // 2) + [1] * (len(work) // 2)
    names = [[name for name, _ in trial.readings] for trial in work if trial.run == 0]
    assert names[0] == ["given", "best-epoch"]
    assert sorted(name for group in names for name in group) == sorted(one.name for one, _ in alternatives_to(OPTIONS))
    assert len({trial.network for trial in work}) == len(work)


def test_the_given_options_are_compared_with_the_other_readings() -> None:
    given = replace(OPTIONS, weight_decay=1e-3, inputs="standard")
    (first, *_) = trials(given, Images(), Path())  # type: ignore[arg-type]
    assert all(options.weight_decay == 1e-3 for _, options in first.readings)
    left_out = {one.name for one in ALTERNATIVES} - {one.name for one, _ in alternatives_to(given)}
    assert left_out == {"standardised", "decay-1e-3", "standardised-1e-3"}, "they equal the given options"


@pytest.mark.slow
def test_only_softmax_and_entropy_are_judged(compared: Path) -> None:
    results = read_results(compared / "results/given-00.csv")
    assert {result.score for result in results} == {"", "softmax", "entropy"}
    assert {result.column for result in results} == {"", "wrong", "letters", "uniform", "normal", "all"}
    network, _ = load_network(compared / "networks/given-00.safetensors")
    draw = Images().collection().draw(0, 0)
    logits = {
        name: alternatives._logits(network, concept) for name, concept in {"test": draw.test, **draw.unknowns}.items()
    }
    right = logits["test"].argmax(1) == draw.test.labels
    confidence = {name: np.exp(values).max(1) / np.exp(values).sum(1) for name, values in logits.items()}
    expected = separation(-confidence["test"][right], -confidence["letters"]).auroc
    values = [r.value for r in results if (r.score, r.column) == ("softmax", "letters")]
    assert values == pytest.approx([expected] * 3, abs=1e-6)


def test_each_reading_is_compared_with_the_paper(compared: Path) -> None:
    with (compared / "tables/readings.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    readings = [one for one, _ in alternatives_to(OPTIONS)]
    assert {row["reading"] for row in rows} == {one.title for one in readings}
    letters = next(row for row in rows if (row["score"], row["column"]) == ("softmax", "letters"))
    paper = paper_cell(1, "auroc", "softmax", "letters")
    assert paper is not None
    assert (float(letters["paper"]), letters["runs"]) == (paper.value, "2")
    page = (compared / MARKDOWN).read_text()
    assert all(f"| {one.title} | " in page or f"| **{one.title}** | " in page for one in readings)
    shown = [row for row in rows if row["noise"] != "8-bit"]
    assert f"| **{min(shown, key=lambda row: float(row['distance']))['reading']}** | " in page


@pytest.mark.parametrize("noise", ["raw", "clipped"])
def test_the_distance_is_the_root_of_the_mean_squared_difference(noise: str, compared: Path) -> None:
    with (compared / "tables/readings.csv").open() as lines:
        rows = [r for r in csv.DictReader(lines) if (r["reading"], r["noise"]) == ("as given", noise) and r["paper"]]
    expected = np.sqrt(np.mean([(float(row["mean"]) - float(row["paper"])) ** 2 for row in rows]))
    assert float(rows[0]["distance"]) == pytest.approx(expected, rel=1e-4)


def test_the_form_of_noise_reaches_the_judgement(compared: Path) -> None:
    results = {(r.score, r.column, r.measure): r.value for r in read_results(compared / "results/given-00.csv")}
    differing = {
        column
        for score, column, measure in results
        if measure == "auroc, noise raw"
        and results[score, column, "auroc, noise clipped"] != results[score, column, measure]
    }
    assert differing == {"normal", "all"}


def test_a_killed_comparison_resumes(compared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = trials(OPTIONS, Images(), tmp_path)[0]  # type: ignore[arg-type]
    written, write = [], alternatives.write_results

    def killed(path: Path, results: object) -> None:
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(path)
        write(path, results)  # type: ignore[arg-type]

    monkeypatch.setattr(alternatives, "write_results", killed)
    with pytest.raises(KeyboardInterrupt):
        perform_trial(trial, silent)
    monkeypatch.setattr(alternatives, "write_results", write)

    def never(*arguments: object, **options: object) -> None:
        pytest.fail("trained twice")

    monkeypatch.setattr(alternatives, "train_run", never)
    again: Callable[[Step], None] = silent
    perform_trial(trial, again)
    for name, _ in trial.readings:
        path = f"results/{name}-00.csv"
        assert (tmp_path / path).read_bytes() == (compared / path).read_bytes()
