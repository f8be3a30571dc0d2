"""Comparison of readings: which choices for what the paper leaves open reproduce its network best.

Each reading trains networks and compares with the paper how well their softmax and entropy separate wrong and unknown
inputs. Scores of gradients and meta classifiers are not used, so the defaults are not tuned to the study's results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gradmeter.files import write_text
from gradmeter.report.markdown import markdown_table
from gradmeter.research.study.data import Concept, Draw
from gradmeter.research.study.data.collection import NOISE_ROLES
from gradmeter.research.study.data.noise import CLIPPED, FORMS, RAW
from gradmeter.research.study.judging import OF_LOGITS
from gradmeter.research.study.names import CONCEPTS, SCORES
from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.outcome import with_all
from gradmeter.research.study.paper import PAPER_TABLES, paper_cell
from gradmeter.research.study.progress import run_step
from gradmeter.research.study.results import AllResults, Result, read_results, write_results
from gradmeter.research.study.run import DataSource, selected_network, train_run
from gradmeter.research.study.tables import write_rows
from gradmeter.research.study.training import load_network
from gradmeter.runs.progress import Step
from gradmeter.trust.evaluation import mean_sem, separation

MARKDOWN = "readings.md"
"""Name of the file with the comparison."""

_BATCH = 2000
# Every network is evaluated on noise in each form. "8-bit" differs from "clipped" in the fourth digit and is in the CSV
# file only.
_SHOWN_FORMS = (RAW, CLIPPED)
_COLUMNS_BY_FORM = ("normal", "all")


@dataclass(frozen=True)
class Alternative:
    """A reading of the paper.

    Attributes:
        name: name of its files.
        title: display name.
        changes: the options that it changes.
    """

    name: str
    title: str
    changes: dict[str, Any]


ALTERNATIVES = (
    Alternative("given", "as given", {}),
    Alternative("best-epoch", "weights of the best epoch, not of the last", {"weights": "best"}),
    Alternative("unit", "inputs in [0, 1]", {"inputs": "unit"}),
    Alternative("standardised", "inputs standardised", {"inputs": "standard"}),
    Alternative("decay-5e-4", "decay 5e-4", {"weight_decay": 5e-4}),
    Alternative("decay-1e-3", "decay 1e-3", {"weight_decay": 1e-3}),
    Alternative("standardised-1e-3", "inputs standardised, decay 1e-3", {"inputs": "standard", "weight_decay": 1e-3}),
    Alternative("decay-2.5e-4", "decay 2.5e-4", {"weight_decay": 2.5e-4}),
    Alternative("decay-2e-3", "decay 2e-3", {"weight_decay": 2e-3}),
    Alternative("convolutions", "decay 2e-3, convolutions only", {"weight_decay": 2e-3, "decayed": "convolutions"}),
    Alternative("dense", "decay 2e-3, dense layer only", {"weight_decay": 2e-3, "decayed": "dense"}),
    Alternative("patience-10", "patience 10", {"patience": 10}),
    Alternative("clipped-loss", "loss clipped as in Keras 2.1", {"loss": "clipped"}),
    Alternative("dropout-before", "dropout before the first pooling", {"first_dropout": "before"}),
    Alternative("same-padding", "convolutions with padding", {"padding": "same"}),
)
"""Readings of what the paper leaves open about its network; each changes one or two options."""


def alternatives_to(options: StudyOptions) -> list[tuple[Alternative, StudyOptions]]:
    """Return the distinct readings with their options, the given options first."""
    readings: dict[StudyOptions, Alternative] = {}
    for alternative in ALTERNATIVES:
        readings.setdefault(replace(options, **alternative.changes), alternative)
    return [(alternative, changed) for changed, alternative in readings.items()]


@dataclass(frozen=True)
class Trial:
    """A network and the readings that share it.

    Attributes:
        number: number of the trial.
        run: number of the run, which determines split and seeds.
        source: data source.
        readings: names and options of the readings; the network's file is named after the first.
        folder: output folder of the comparison.
    """

    number: int
    run: int
    source: DataSource
    readings: tuple[tuple[str, StudyOptions], ...]
    folder: Path

    @property
    def network(self) -> Path:
        """Path of the network."""
        return self.folder / "networks" / f"{self.readings[0][0]}-{self.run:02d}.safetensors"


def trials(options: StudyOptions, source: DataSource, folder: Path) -> list[Trial]:
    """Return the trials of a comparison, ordered by run."""
    groups: dict[StudyOptions, list[tuple[str, StudyOptions]]] = {}
    for alternative, changed in alternatives_to(options):
        groups.setdefault(replace(changed, weights="last"), []).append((alternative.name, changed))
    pairs = [(tuple(readings), run) for run in range(options.runs) for readings in groups.values()]
    return [Trial(number, run, source, readings, folder) for number, (readings, run) in enumerate(pairs)]


def perform_trial(trial: Trial, emit: Callable[[Step], None]) -> None:
    """Train the network of a trial and evaluate its softmax and entropy, unless the results exist."""
    results = [_results(trial.folder, name, trial.run) for name, _ in trial.readings]
    if all(path.exists() for path in results):
        emit(run_step(trial.number, "fit", 1, "already done"))
        return
    name, options = trial.readings[0]
    draw = trial.source.collection().draw(trial.run, options.seed)

    def on_epoch(epoch: int, accuracy: float) -> None:
        note = f"{name}, epoch {epoch}, validation error {100 - 100 * accuracy:.2f} %"
        emit(run_step(trial.number, "train", epoch / options.max_epochs, note))

    if not trial.network.exists():
        emit(run_step(trial.number, "train", 0, name))
        train_run(trial.network, draw, trial.run, options, on_epoch)
    draws = {form: replace(trial.source.collection(), noise_form=form).draw(trial.run, options.seed) for form in FORMS}
    for path, (name, reading) in zip(results, trial.readings, strict=True):
        write_results(path, _evaluate(selected_network(trial.network, reading), draws))
        emit(run_step(trial.number, "measure", 1, f"{name} evaluated"))
    emit(run_step(trial.number, "fit", 1, "done"))


def _evaluate(network: Path, draws: Mapping[str, Draw]) -> Iterator[Result]:
    """Evaluate how well softmax and entropy separate correct digits from every column, for each form of noise."""
    model, training = load_network(network)
    draw = draws[RAW]
    test = _logits(model, draw.test)
    real = {role: _logits(model, concept) for role, concept in draw.unknowns.items() if role not in NOISE_ROLES}
    correct = test.argmax(1) == draw.test.labels
    yield Result("", "", "test_error", 1 - correct.mean())
    yield Result("", "", "restarts", training.restarts)
    yield Result("", "", "dead_filters", training.dead_filters)
    for form, noisy in draws.items():
        logits = real | {role: _logits(model, noisy.unknowns[role]) for role in NOISE_ROLES}
        for name, score in OF_LOGITS.items():
            digits = score(test)
            outside = {"wrong": digits[~correct], **{role: score(logits[role]) for role in draw.unknowns}}
            for column, values in with_all(outside).items():
                yield Result(name, column, _auroc(form), separation(digits[correct], values).auroc)


def _auroc(form: str) -> str:
    """Return the name of the measure with the form of noise."""
    return f"auroc, noise {form}"


def _logits(network: torch.nn.Module, concept: Concept) -> NDArray[np.float64]:
    with torch.inference_mode():
        parts = [network(batch) for batch in concept.to_tensor().split(_BATCH)]
    return np.asarray(torch.cat(parts).double().numpy())


def _results(folder: Path, name: str, run: int) -> Path:
    return folder / "results" / f"{name}-{run:02d}.csv"


def summarise(options: StudyOptions, folder: Path) -> None:
    """Write tables/readings.csv and readings.md: each reading beside the paper, and its distance from the paper."""
    compared = {
        reading.title: AllResults(read_results(_results(folder, reading.name, run)) for run in range(options.runs))
        for reading, _ in alternatives_to(options)
    }
    rows: list[dict[str, object]] = []
    for title, results in compared.items():
        for form, (score, column) in product(FORMS, _cells(results)):
            values = _values(results, score, column, form)
            rows.append(
                {
                    "reading": title,
                    "noise": form,
                    "score": score,
                    "column": column,
                    "mean": values.mean(),
                    "sem": mean_sem(values).sem,
                    "runs": len(values),
                    "paper": _paper(score, column),
                    "distance": _distance(results, form),
                }
            )
    write_rows(folder / "tables" / "readings.csv", rows)
    write_text(folder / MARKDOWN, "\n".join(_page(compared)) + "\n")


def _page(compared: dict[str, AllResults]) -> Iterator[str]:
    first = next(iter(compared.values()))
    cells = [
        (column, form)
        for column in CONCEPTS
        if column in first.columns()
        for form in (_SHOWN_FORMS if column in _COLUMNS_BY_FORM else (RAW,))
    ]
    head = [f"{CONCEPTS[column]}{f', {form}' if column in _COLUMNS_BY_FORM else ''}" for column, form in cells]
    distances = [[_distance(results, form) for form in _SHOWN_FORMS] for results in compared.values()]
    nearest = int(np.argmin([min(pair) for pair in distances]))
    for score in OF_LOGITS:
        values = [_paper(score, column) for column, _ in cells]
        printed = ["" if value is None else f"{value:.2f}" for value in values]
        paper = ["**the paper**", "about 1.3", "", "", *printed, "", ""]
        body = []
        for number, (title, results) in enumerate(compared.items()):
            means = [_mean(_values(results, score, column, form)) for column, form in cells]
            row = [title, *_training(results), *means, *(f"{distance:.2f}" for distance in distances[number])]
            body.append([f"**{cell}**" for cell in row] if number == nearest else row)
        yield from ("", f"AUROC of {SCORES[score].lower()}, mean (standard error) of {first.runs} networks:", "")
        tail = (f"distance, {form}" for form in _SHOWN_FORMS)
        yield from markdown_table(["reading", "test error", "restarts", "dead filters", *head, *tail], [paper, *body])


def _training(results: AllResults) -> list[str]:
    """Return the mean test error, and the total number of restarts and dead filters, formatted."""
    errors, *counts = (results("", "", measure) for measure in ("test_error", "restarts", "dead_filters"))
    assert errors is not None
    return [f"{100 * errors.mean():.2f}", *(f"{count.sum():.0f}" for count in counts if count is not None)]


def _mean(values: NDArray[np.float64]) -> str:
    summary = mean_sem(values)
    return f"{summary.mean:.2f}" + (f" ({summary.sem:.2f})" if summary.n > 1 else "")


def _distance(results: AllResults, form: str) -> float:
    """Return the root mean squared difference to the paper over both scores and all columns, in points of AUROC."""
    differences = [
        _values(results, score, column, form).mean() - paper
        for score, column in _cells(results)
        if (paper := _paper(score, column)) is not None
    ]
    return float(np.sqrt(np.mean(np.square(differences))))


def _values(results: AllResults, score: str, column: str, form: str) -> NDArray[np.float64]:
    """Return the AUROC of each network, in percent."""
    values = results(score, column, _auroc(form))
    assert values is not None
    return 100 * values


def _cells(results: AllResults) -> list[tuple[str, str]]:
    return [(score, column) for score in OF_LOGITS for column in results.columns()]


def _paper(score: str, column: str) -> float | None:
    """Return the paper's value, the mean if its tables print several, or None if they print none."""
    cells = [paper_cell(table, "auroc", *cell) for table in PAPER_TABLES for cell in ((score, column), (column, score))]
    values = [cell.value for cell in cells if cell is not None]
    return float(np.mean(values)) if values else None
