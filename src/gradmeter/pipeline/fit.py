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
from gradmeter.pipeline.sets import ReadSet, read_sets
from gradmeter.readings import Readings
from gradmeter.scores import entropy, max_softmax

OURS = "P(correct)"
_SPLIT_SEED = 0
_SYNTHETIC = "_synthetic.parquet"


@dataclass(frozen=True, eq=False)
class Fitted:
    """What came of fitting.

    Attributes:
        trust: the fitted TrustModel, saved.
        judged: predictions it learned from, judged by meta classifiers that had not.
        comparison: with softmax and entropy.
        guarantee: the promise, where a risk was asked for and could be promised.
        unknown_share: of the inputs for which it was.
        refusal: why no risk was promised; None where it was, or none was asked for.
        sets: what it learned from.
    """

    trust: TrustModel
    judged: Judged
    comparison: Comparison
    guarantee: Guarantee | None
    unknown_share: float
    refusal: str | None
    sets: tuple[ReadSet, ...]

    @property
    def learned_from(self) -> dict[str, int]:
        """How many predictions it learned from were right, wrong, and for unknown and synthetic inputs."""
        judge = self.trust.judge
        assert judge is not None
        return {"right": judge.right, "wrong": judge.wrong, "unknown": judge.unknown, "synthetic": judge.synthetic}

    @property
    def unknown_share_of_probability(self) -> float:
        """The share of unknown inputs for which P(correct) is a probability."""
        assert self.trust.judge is not None
        return self.trust.judge.unknown_share


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
    see.

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
    sets = read_sets(classifier, known, unknowns, folder / READINGS, work)
    trust.notes = {
        "recipe": recipe.to_json(),
        "learned_from": [one.identity for one in sets],
        "meta_classifier": str(meta_classifier),
        "promise": None if risk is None else {"risk": risk, "confidence": confidence},
    }
    if not work.fresh:
        _require_same_fit(folder, trust.notes)

    known_readings, labels = _with_labels(sets[0])
    readings = [known_readings, *(one.readings() for one in sets[1:])]
    learning = [np.ones(len(one), np.bool_) if risk is None else _half(len(one)) for one in readings]
    learned = [one.rows(rows) for one, rows in zip(readings, learning, strict=True)]
    learned_labels = labels[torch.from_numpy(learning[0])]
    trust.fit(
        (learned[0], learned_labels),
        learned[1:],
        synthetic=_synthetic(trust, classifier, sets[0], learning[0], folder, work),
    )
    refusal, unknown_share = None, 0.0
    if risk is not None:
        rest = [one.rows(~rows) for one, rows in zip(readings, learning, strict=True)]
        unknown_share = sum(map(len, rest[1:])) / sum(map(len, rest))
        try:
            trust.set_risk(risk, (rest[0], labels[torch.from_numpy(~learning[0])]), rest[1:], confidence=confidence)
        except RiskNotControlled as error:
            refusal = str(error)
    trust.save(folder)
    judged = _judged(trust, learned, learned_labels, [one.name for one in sets[1:]])
    comparison = compare(judged, repetitions=repetitions, on_progress=on_resample)
    return Fitted(trust, judged, comparison, trust.guarantee, unknown_share, refusal, tuple(sets))


def _synthetic(
    trust: TrustModel, classifier: Classifier, known: ReadSet, learning: NDArray[np.bool_], folder: Path, work: Work
) -> list[Readings]:
    """Readings of synthetic unknowns, for a meta classifier that learns from them and of images that are at hand."""
    if not trust.learns_from_synthetic or known.source is None:
        return []
    ids = np.concatenate([table["id"].to_numpy(zero_copy_only=False) for table in known.labelled_tables()])
    # What is kept for the proof must not have been seen in any form.
    allowed = set(ids[learning])
    numbers = [number for number in range(len(known.source)) if known.source.id(number) in allowed]
    measured = measure_synthetic(classifier, known.source, numbers, folder / READINGS / _SYNTHETIC, work)
    return [] if measured is None else [measured.readings()]


def _require_same_fit(folder: Path, notes: dict[str, Any]) -> None:
    """Refuse to write over a TrustModel that was fitted otherwise."""
    if not holds_trust(folder):
        return
    there = read_notes(folder)
    differing = [name for name, value in json.loads(json.dumps(notes)).items() if there.get(name) != value]
    if differing:
        raise OutputError(
            f"{folder} holds a TrustModel that was fitted otherwise ({', '.join(differing)}); choose another folder or "
            "give --fresh"
        )


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
