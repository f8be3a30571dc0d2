"""gradmeter fit: from a classifier and data to a saved TrustModel, and how much better it is than softmax."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gradmeter.apps.workflows.halves import halves
from gradmeter.apps.workflows.open_trust import answers_as_fitted
from gradmeter.apps.workflows.sets import ReadSet, open_sets, read_sets
from gradmeter.errors import OutputError
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.readings import Readings
from gradmeter.reading.scores import entropy, max_softmax
from gradmeter.runs.measuring import Work, measure_synthetic
from gradmeter.sources.models import Classifier, Recipe
from gradmeter.stages import stage
from gradmeter.trust.evaluation.comparison import Comparison, Judged, compare
from gradmeter.trust.evaluation.resampling import REPETITIONS
from gradmeter.trust.model import TrustModel
from gradmeter.trust.risk import (
    COVERAGE_TOLERANCE,
    LEAST_PROBABILITY,
    Guarantee,
    RiskNotControlled,
    require_rates,
)
from gradmeter.trust.saving import READINGS, holds_trust, read_notes, require_free

OURS = "P(correct)"
# Notes that must agree for a TrustModel to take the place of another.
_FITTED_ON = {"other MODEL or options": "recipe", "other DATA": "learned_from"}
# Made of all known images, or of the half that is not kept for a proof; either stays when the other is asked for.
_SYNTHETIC, _SYNTHETIC_OF_HALF = "_synthetic.parquet", "_synthetic-half.parquet"


@dataclass(frozen=True, eq=False)
class Fitted:
    """What came of fitting.

    Attributes:
        trust: the fitted TrustModel, saved.
        judged: predictions it learned from, judged by meta classifiers that had not.
        comparison: with softmax and entropy; empty where all that it learned from are right.
        guarantee: the promise, where a risk was asked for and could be promised.
        known_coverage: share of the known inputs kept for the proof that is accepted; None where nothing was promised.
        refusal: why no risk was promised; None where it was, or none was asked for.
        sets: what it learned from.
        no_synthetic: why no synthetic unknowns were made; None where they were, or are of no use.
        replaced: the TrustModel that lay there before, of the same network and data, in words; None where there was
            none, or the same.
    """

    trust: TrustModel
    judged: Judged
    comparison: Comparison
    guarantee: Guarantee | None
    known_coverage: float | None
    refusal: str | None
    sets: tuple[ReadSet, ...]
    no_synthetic: str | None = None
    replaced: str | None = None

    @property
    def unknown_share(self) -> float:
        """Share of unknown inputs among those that were kept for the proof; 0 where nothing was promised."""
        return 0.0 if self.guarantee is None else self.guarantee.unknown_share or 0.0

    @property
    def answered(self) -> tuple[int, int]:
        """How many predictions for known inputs are right, and how many there are."""
        found = self.sets[0].measured.right()
        assert found is not None
        return found

    @property
    def learned_from(self) -> dict[str, int]:
        """How many predictions it learned from were right, wrong, and for unknown and synthetic inputs."""
        judge = self.trust.judge
        assert judge is not None
        return {"right": judge.right, "wrong": judge.wrong, "unknown": judge.unknown, "synthetic": judge.synthetic}


def fit(
    recipe: Recipe,
    known: str,
    unknowns: Sequence[str],
    folder: Path,
    *,
    meta_classifier: Any = "gradmeter",
    risk: float | None = None,
    confidence: float = 0.95,
    least_probability: float = LEAST_PROBABILITY,
    coverage_tolerance: float = COVERAGE_TOLERANCE,
    repetitions: int = REPETITIONS,
    work: Work | None = None,
    on_resample: Callable[[int], None] = lambda repetitions: None,
) -> Fitted:
    """Measure, fit a TrustModel, compare it with softmax and entropy, promise a risk, and save it.

    With a risk, a random half of every set is kept from the meta classifier: the promise needs data that it did not
    see. Equal inputs go into the same half, as do inputs with equal readings. In a folder that holds a TrustModel of
    the same network and data this one takes its place, and the readings serve again.

    Args:
        recipe: the classifier.
        known: DATA with labels that the classifier did not learn from.
        unknowns: DATA of no class.
        folder: of the TrustModel; the readings are kept in its folder "readings".
        meta_classifier: as for `TrustModel`.
        risk: largest rate of errors among accepted inputs; None for no promise.
        confidence: that the promise holds.
        least_probability: smallest P(correct) that is ever accepted.
        coverage_tolerance: share of the largest coverage that may be given up for a stricter threshold.
        repetitions: of the bootstrap.
        work: how to measure.
        on_resample: told after every resample of the comparison.

    Raises:
        InputError, DataError, OutputError: for a model, data or a folder that will not do, before anything is lost.
    """
    # What can be refused is refused before hours of measuring.
    require_free(folder)
    if risk is not None:
        require_rates(risk, confidence, least_probability, coverage_tolerance)
    work = work or Work()
    classifier = recipe.open(work.device)
    trust = TrustModel(GradientMeter(classifier.network), meta_classifier)
    opened = open_sets(classifier, known, unknowns)
    trust.notes = {
        "recipe": recipe.to_json(),
        "learned_from": [one.identity for one in opened],
        # What tells the network from one with the same weights that does something else with them.
        "answer": classifier.trial.double().tolist(),
        "meta_classifier": str(meta_classifier),
        "promise": None
        if risk is None
        else {
            "risk": risk,
            "confidence": confidence,
            "least_probability": least_probability,
            "coverage_tolerance": coverage_tolerance,
        },
    }
    replaced = None if work.fresh else _replaced(folder, classifier, trust.notes)
    sets = read_sets(classifier, opened, folder / READINGS, work)

    parts = [sets[0].labelled_tables(), *(unknown.measured.tables() for unknown in sets[1:])]
    tables = [pa.concat_tables(tables) for tables in parts]
    learning = [np.ones(len(table), np.bool_) for table in tables] if risk is None else halves(tables)
    learned = [table.filter(pa.array(rows)) for table, rows in zip(tables, learning, strict=True)]
    synthetic, no_synthetic = _synthetic(trust, classifier, sets[0], learned[0]["id"], folder, work)
    trust.fit(learned[0], learned[1:], synthetic=synthetic)
    refusal, known_coverage = None, None
    if risk is not None:
        rest = [table.filter(pa.array(~rows)) for table, rows in zip(tables, learning, strict=True)]
        try:
            if not len(rest[0]):  # equal inputs are in the same half
                raise RiskNotControlled(f"all {len(tables[0]):,} known inputs are equal, and none is left for a proof")
            with stage("seeking a threshold"):
                trust.set_risk(
                    risk,
                    rest[0],
                    rest[1:],
                    confidence=confidence,
                    least_probability=least_probability,
                    coverage_tolerance=coverage_tolerance,
                )
        except RiskNotControlled as error:
            refusal = f"{error} (unknown inputs count as wrong)" if unknowns else str(error)
        else:
            known_coverage = float(trust.accept(rest[0]).double().mean())
    trust.save(folder)
    judged = _judged(trust, learned, [one.name for one in sets[1:]])
    comparison = compare(judged, repetitions=repetitions, on_progress=on_resample)
    return Fitted(
        trust,
        judged,
        comparison,
        trust.guarantee,
        known_coverage,
        refusal,
        tuple(sets),
        no_synthetic,
        replaced,
    )


def _synthetic(
    trust: TrustModel, classifier: Classifier, known: ReadSet, learned: pa.ChunkedArray, folder: Path, work: Work
) -> tuple[list[Readings], str | None]:
    """Readings of synthetic unknowns, for a meta classifier that learns from them; why there are none.

    They are made of the known samples whose ids were learned from: what is kept for the proof must not be seen in any
    form.
    """
    if not trust.learns_from_synthetic:
        return [], None
    if known.source is None:
        return [], f"the samples of {known.name} are not at hand, or changed since they were measured"
    allowed = set(learned.to_pylist())
    numbers = [number for number in range(len(known.source)) if known.source.id(number) in allowed]
    place = _SYNTHETIC if trust.notes["promise"] is None else _SYNTHETIC_OF_HALF
    measured = measure_synthetic(classifier, known.source, numbers, folder / READINGS / place, work)
    if measured is None:
        what = (
            "are texts" if known.source.texts else "are too few, or reach the network as something else than one tensor"
        )
        return [], f"the samples of {known.name} {what}"
    return [Readings.from_arrow(kind) for kind in measured.tables()], None


def _replaced(folder: Path, classifier: Classifier, notes: dict[str, Any]) -> str | None:
    """What lies there, if it is of the same network and data and can be had again; None if it is the same, or nothing.

    Raises:
        OutputError: if it is of another network or other data.
    """
    if not holds_trust(folder):
        return None
    there, here = read_notes(folder), json.loads(json.dumps(notes))
    differing = [what for what, key in _FITTED_ON.items() if there.get(key) != here[key]]
    if not differing and not answers_as_fitted(classifier, there):
        differing = ["a network that answered otherwise"]
    if differing:
        raise OutputError(
            f"{folder} holds a TrustModel that was fitted otherwise ({' and '.join(differing)}); choose another folder "
            "or give --fresh"
        )
    if all(there.get(key) == here[key] for key in ("meta_classifier", "promise")):
        return None
    promise = there.get("promise")
    options = [f"--{name.replace('_', '-')} {value:g}" for name, value in promise.items()] if promise else ["no --risk"]
    return f"--classifier {there.get('meta_classifier')}, {' '.join(options)}"


def _judged(trust: TrustModel, tables: Sequence[pa.Table], unknowns: Sequence[str]) -> Judged:
    """The held-out judgements, in the order in which the meta classifier was given the samples."""
    assert trust.judge is not None
    held_out = trust.judge.held_out.p_correct
    everything = Readings.concatenate([Readings.from_arrow(table) for table in tables])
    right = everything.predictions[: len(tables[0])].numpy() == tables[0]["label"].to_numpy()
    softmax = max_softmax(everything.logits)
    return Judged(
        np.concatenate([right, np.zeros(len(everything) - len(right), np.bool_)]),
        np.repeat(np.arange(len(tables)), [len(table) for table in tables]),
        tuple(unknowns),
        {OURS: -held_out, "softmax": -softmax, "entropy": entropy(everything.logits)},
        {OURS: held_out, "softmax": softmax},
    )
