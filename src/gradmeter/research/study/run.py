"""One run of the study: its split, network, readings and regressions. Runs are independent of each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from gradmeter.files import write_text
from gradmeter.research.study.data import Collection, Concept, Draw, load
from gradmeter.research.study.exploration import explored
from gradmeter.research.study.judging import (
    fit_regressions,
    judge_networks,
    judge_thresholds,
    read_regressions,
    write_regressions,
)
from gradmeter.research.study.measuring import measure, sets_of
from gradmeter.research.study.neural import read_bank
from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.outcome import Outcome
from gradmeter.research.study.own_judge import evaluate_trust, judge_with_trust
from gradmeter.research.study.progress import run_step
from gradmeter.research.study.results import write_results
from gradmeter.research.study.store import StudyStore
from gradmeter.research.study.training import Digits, best_of, load_network, seed_of, train
from gradmeter.runs.progress import Step

# Usual number of epochs; it only affects the progress bar.
_USUAL_EPOCHS = 35


@dataclass(frozen=True)
class DataSource:
    """The data source of a study: the arguments of `gradmeter.research.study.data.load`."""

    data: str
    root: Path | None
    download: bool
    noise: str

    @lru_cache(maxsize=1)  # noqa: B019 (one source per process, kept for all its runs)
    def collection(self) -> Collection:
        """Return the images, which each process reads once."""
        return load(self.data, self.root, self.download, self.noise)


@dataclass(frozen=True)
class Run:
    """A run of a study, as sent to a worker."""

    number: int
    source: DataSource
    options: StudyOptions
    folder: Path


def perform(run: Run, emit: Callable[[Step], None]) -> None:
    """Perform the steps of a run that have no output yet: train, measure, fit and evaluate."""
    store, options, number = StudyStore(run.folder), run.options, run.number
    if store.results(number).exists():
        emit(run_step(number, "fit", 1, "already done"))
        return
    draw = run.source.collection().draw(number, options.seed)

    def on_epoch(epoch: int, accuracy: float) -> None:
        share = min(0.95, epoch / min(_USUAL_EPOCHS, options.max_epochs))
        emit(run_step(number, "train", share, f"epoch {epoch}, validation error {100 - 100 * accuracy:.2f} %"))

    if not store.network(number).exists():
        emit(run_step(number, "train", 0, "training"))
        train_run(store.network(number), draw, number, options, on_epoch)
    network, _ = load_network(selected_network(store.network(number), options))
    total, measured = sum(map(len, sets_of(draw).values())), 0

    def on_images(count: int) -> None:
        nonlocal measured
        measured += count
        emit(run_step(number, "measure", measured / total, f"{measured:,} of {total:,} images measured"))

    measure(network, draw, store.readings(number), biases=options.biases, on_images=on_images)
    outcome = Outcome.load(store.readings(number))
    if not store.regressions(number).exists():
        fitted = fit_regressions(
            outcome,
            whole_gradient=options.whole_gradient,
            on_fit=lambda name, share: emit(run_step(number, "fit", 0.1 * share, f"{name} fitted")),
        )
        write_regressions(store.regressions(number), fitted)
    if not store.own_results(number).exists():
        emit(run_step(number, "fit", 0.1, "fitting the TrustModel"))

        def on_scored(done: int, total: int) -> None:
            emit(run_step(number, "fit", 0.7 + 0.3 * done / total, f"{done:,} of {total:,} images scored"))

        judged = judge_with_trust(network, draw, on_scored)
        if number == 0:
            write_text(store.exploration, json.dumps(explored(judged)))
        write_results(store.own_results(number), evaluate_trust(judged, outcome, options.aupr))
    write_results(
        store.results(number),
        judge_thresholds(outcome, read_regressions(store.regressions(number)), options.aupr),
    )
    emit(run_step(number, "fit", 1, "done"))


def perform_networks(run: Run, emit: Callable[[Step], None]) -> None:
    """Evaluate the neural meta classifiers of a run, which `train_bank` trained with those of all runs."""
    store, options = StudyStore(run.folder), run.options
    if store.network_results(run.number).exists():
        return
    outcome = Outcome.load(store.readings(run.number))
    bank = read_bank(store.bank, run.number)
    write_results(
        store.network_results(run.number),
        judge_networks(outcome, bank, whole_gradient=options.whole_gradient, aupr=options.aupr),
    )


def train_run(path: Path, draw: Draw, run: int, options: StudyOptions, on_epoch: Callable[[int, float], None]) -> None:
    """Train the network of a run and write it to `path`; see `gradmeter.research.study.training.train`."""
    seed = seed_of(run, options)
    train(_digits(draw.train), _digits(draw.validation), path, options, seed=seed, on_epoch=on_epoch)


def selected_network(path: Path, options: StudyOptions) -> Path:
    """Return the path of the weights that `options.weights` selects, of the last or the best epoch."""
    return path if options.weights == "last" else best_of(path)


def _digits(concept: Concept) -> Digits:
    assert concept.labels is not None
    return Digits(concept.to_tensor(), torch.from_numpy(concept.labels))
