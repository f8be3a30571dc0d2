"""gradmeter fit: from a classifier and data to a saved TrustModel, and how much better it is than softmax."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradmeter.errors import OutputError
from gradmeter.evaluation.comparison import Comparison, Judged, compare
from gradmeter.evaluation.resampling import REPETITIONS
from gradmeter.measuring import Work, measure_synthetic
from gradmeter.meta.risk import Guarantee, RiskNotControlled, require_rates
from gradmeter.meta.saving import READINGS, holds_trust, read_notes, require_free
from gradmeter.meta.trust import TrustModel
from gradmeter.meter import GradientMeter
from gradmeter.models import Classifier, Recipe
from gradmeter.pipeline.sets import ReadSet, open_sets, read_sets
from gradmeter.readings import Readings
from gradmeter.scores import entropy, max_softmax
from gradmeter.stages import stage

OURS = "P(correct)"
# Notes that must agree for a TrustModel to take the place of another.
_FITTED_ON = {"other MODEL or options": "recipe", "other DATA": "learned_from"}
_SPLIT_SEED = 0
# Made of all known images, or of the half that is not kept for a proof; either stays when the other is asked for.
_SYNTHETIC, _SYNTHETIC_OF_HALF = "_synthetic.parquet", "_synthetic-half.parquet"


@dataclass(frozen=True, eq=False)
class Fitted:
    """What came of fitting.

    Attributes:
        trust: the fitted TrustModel, saved.
        judged: predictions it learned from, judged by meta classifiers that had not.
        comparison: with softmax and entropy.
        guarantee: the promise, where a risk was asked for and could be promised.
        unknown_share: of the inputs for which it was.
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
    unknown_share: float
    known_coverage: float | None
    refusal: str | None
    sets: tuple[ReadSet, ...]
    no_synthetic: str | None = None
    replaced: str | None = None

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
    repetitions: int = REPETITIONS,
    work: Work | None = None,
    on_resample: Callable[[int], None] = lambda repetitions: None,
) -> Fitted:
    """Measure, fit a TrustModel, compare it with softmax and entropy, promise a risk, and save it.

    With a risk, a random half of every set is kept from the meta classifier: the promise needs data that it did not
    see. In a folder that holds a TrustModel of the same network and data this one takes its place, and the readings
    serve again.

    Args:
        recipe: the classifier.
        known: DATA with labels that the classifier did not learn from.
        unknowns: DATA of no class.
        folder: of the TrustModel; the readings are kept in its folder "readings".
        meta_classifier: as for `TrustModel`.
        risk: largest rate of errors among accepted inputs; None for no promise.
        confidence: that the promise holds.
        repetitions: of the bootstrap.
        work: how to measure.
        on_resample: told after every resample of the comparison.

    Raises:
        InputError, DataError, OutputError: for a model, data or a folder that will not do, before anything is lost.
    """
    # What can be refused is refused before hours of measuring.
    require_free(folder)
    if risk is not None:
        require_rates(risk, confidence)
    work = work or Work()
    classifier = recipe.open()
    trust = TrustModel(GradientMeter(classifier.network), meta_classifier)
    opened = open_sets(classifier, known, unknowns)
    trust.notes = {
        "recipe": recipe.to_json(),
        "learned_from": [one.identity for one in opened],
        "meta_classifier": str(meta_classifier),
        "promise": None if risk is None else {"risk": risk, "confidence": confidence},
    }
    replaced = None if work.fresh else _replaced(folder, trust.notes)
    sets = read_sets(classifier, opened, folder / READINGS, work)

    known_readings, labels = _with_labels(sets[0])
    readings = [known_readings, *(one.readings() for one in sets[1:])]
    learning = [np.ones(len(one), np.bool_) if risk is None else _half(len(one)) for one in readings]
    learned = [one.rows(rows) for one, rows in zip(readings, learning, strict=True)]
    learned_labels = labels[torch.from_numpy(learning[0])]
    made, no_synthetic = _synthetic(trust, classifier, sets[0], learning[0], folder, work)
    trust.fit((learned[0], learned_labels), learned[1:], synthetic=made)
    refusal, unknown_share, known_coverage = None, 0.0, None
    if risk is not None:
        rest = [one.rows(~rows) for one, rows in zip(readings, learning, strict=True)]
        unknown_share = sum(map(len, rest[1:])) / sum(map(len, rest))
        try:
            with stage("seeking a threshold"):
                trust.set_risk(risk, (rest[0], labels[torch.from_numpy(~learning[0])]), rest[1:], confidence=confidence)
        except RiskNotControlled as error:
            refusal = f"{error} (unknown inputs count as wrong)" if unknowns else str(error)
        else:
            known_coverage = float(trust.accept(rest[0]).double().mean())
        trust.notes["promised_unknown_share"] = unknown_share
    trust.save(folder)
    judged = _judged(trust, learned, learned_labels, [one.name for one in sets[1:]])
    comparison = compare(judged, repetitions=repetitions, on_progress=on_resample)
    return Fitted(
        trust,
        judged,
        comparison,
        trust.guarantee,
        unknown_share,
        known_coverage,
        refusal,
        tuple(sets),
        no_synthetic,
        replaced,
    )


def _synthetic(
    trust: TrustModel, classifier: Classifier, known: ReadSet, learning: NDArray[np.bool_], folder: Path, work: Work
) -> tuple[list[Readings], str | None]:
    """Readings of synthetic unknowns, for a meta classifier that learns from them; why there are none."""
    if not trust.learns_from_synthetic:
        return [], None
    if known.source is None:
        return [], f"the samples of {known.name} are not at hand, or changed since they were measured"
    ids = np.concatenate([table["id"].to_numpy(zero_copy_only=False) for table in known.labelled_tables()])
    # What is kept for the proof must not have been seen in any form.
    allowed = set(ids[learning])
    numbers = [number for number in range(len(known.source)) if known.source.id(number) in allowed]
    place = _SYNTHETIC if learning.all() else _SYNTHETIC_OF_HALF
    measured = measure_synthetic(classifier, known.source, numbers, folder / READINGS / place, work)
    if measured is None:
        what = (
            "are texts" if known.source.texts else "are too few, or reach the network as something else than one tensor"
        )
        return [], f"the samples of {known.name} {what}"
    return [Readings.from_arrow(kind) for kind in measured.tables()], None


def _replaced(folder: Path, notes: dict[str, Any]) -> str | None:
    """What lies there, if it is of the same network and data and can be had again; None if it is the same, or nothing.

    Raises:
        OutputError: if it is of another network or other data.
    """
    if not holds_trust(folder):
        return None
    there, here = read_notes(folder), json.loads(json.dumps(notes))
    differing = [what for what, key in _FITTED_ON.items() if there.get(key) != here[key]]
    if differing:
        raise OutputError(
            f"{folder} holds a TrustModel that was fitted otherwise ({' and '.join(differing)}); choose another folder "
            "or give --fresh"
        )
    if all(there.get(key) == here[key] for key in ("meta_classifier", "promise")):
        return None
    asked = there.get("promise")
    risk = f"--risk {asked['risk']:g} --confidence {asked['confidence']:g}" if asked else "no --risk"
    return f"--classifier {there.get('meta_classifier')}, {risk}"


def _with_labels(known: ReadSet) -> tuple[Readings, Tensor]:
    tables = list(known.labelled_tables())
    readings = Readings.concatenate([Readings.from_arrow(table) for table in tables])
    return readings, torch.from_numpy(np.concatenate([table["label"].to_numpy() for table in tables]))


def _half(count: int) -> NDArray[np.bool_]:
    taken = np.zeros(count, np.bool_)
    taken[np.random.default_rng(_SPLIT_SEED).permutation(count)[: (count + 1) // 2]] = True
    return taken


def _judged(trust: TrustModel, sets: Sequence[Readings], labels: Tensor, unknowns: Sequence[str]) -> Judged:
    """The held-out judgements, in the order in which the meta classifier was given the samples."""
    assert trust.judge is not None
    everything = Readings.concatenate(sets)
    right = (sets[0].predictions == labels).numpy()
    softmax = max_softmax(everything.logits)
    return Judged(
        np.concatenate([right, np.zeros(len(everything) - len(right), np.bool_)]),
        np.repeat(np.arange(len(sets)), [len(one) for one in sets]),
        tuple(unknowns),
        {OURS: -trust.judge.held_out, "softmax": -softmax, "entropy": entropy(everything.logits)},
        {OURS: trust.judge.held_out, "softmax": softmax},
    )
