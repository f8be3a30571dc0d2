"""The workflow of `gradmeter fit`: fit and save a TrustModel, and compare it with softmax and entropy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradmeter.apps.workflows.halves import Halves, halves
from gradmeter.apps.workflows.open_trust import has_same_outputs
from gradmeter.apps.workflows.records import guarantee_record
from gradmeter.apps.workflows.sets import (
    ReadSet,
    ToMeasure,
    open_sets,
    place_for,
    read_sets,
    readings_suffix,
    recipe_for,
)
from gradmeter.errors import InputError, OutputError
from gradmeter.reading.content import HASH_COLUMN, table_contents
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.readings import Readings
from gradmeter.reading.scores import entropy, max_softmax
from gradmeter.runs.measuring import Work, measure_synthetic
from gradmeter.runs.measuring.dataset import right_predictions
from gradmeter.runs.measuring.loading import explain_dead_workers, load_batches
from gradmeter.runs.measuring.purpose import CLASSES
from gradmeter.sources.models import Classifier, Recipe
from gradmeter.sources.samples import Source
from gradmeter.stages import stage
from gradmeter.trust.evaluation.comparison import Comparison, Judged, compare
from gradmeter.trust.evaluation.resampling import REPETITIONS
from gradmeter.trust.judge import resolve_classifier
from gradmeter.trust.meta_classifier import P_CORRECT
from gradmeter.trust.model import TrustModel
from gradmeter.trust.reads import AUTO, GRADIENTS, PILOT, PILOT_BATCH
from gradmeter.trust.risk import (
    CONFIDENCE,
    COVERAGE_TOLERANCE,
    LEAST_PROBABILITY,
    Guarantee,
    RiskNotControlled,
    require_rates,
)
from gradmeter.trust.saving import READINGS, holds_trust, read_notes, require_free

OURS = "P(correct)"
# Readings of synthetic unknowns, made from all known images or from the half that is not held out for the guarantee.
# Both are kept, so that a fit with the other setting can use them again.
_SYNTHETIC, _SYNTHETIC_OF_HALF = "_synthetic", "_synthetic-half"


@dataclass(frozen=True, eq=False)
class Fitted:
    """The result of a fit.

    Attributes:
        trust: the fitted and saved TrustModel.
        judged: the predictions that it was fitted on, judged on held-out folds.
        comparison: P(correct) compared with softmax and entropy; empty if all predictions are correct.
        guarantee: the risk guarantee; None if none was requested or it could not be given.
        known_coverage: share of the held-out known inputs that are accepted; None without a guarantee.
        refusal: why the requested guarantee could not be given; None if it was given or not requested.
        sets: the data.
        absent: names or numbers of the network's classes of which there is no known input.
        no_synthetic: why no synthetic unknowns were made; None if they were made or are not used.
        replaced: options of the TrustModel that was replaced; None if there was none, or one with the same options.
    """

    trust: TrustModel
    judged: Judged
    comparison: Comparison
    guarantee: Guarantee | None
    known_coverage: float | None
    refusal: str | None
    sets: tuple[ReadSet, ...]
    absent: tuple[str, ...]
    no_synthetic: str | None = None
    replaced: str | None = None

    @property
    def unknown_share(self) -> float:
        """Share of unknown inputs in the data held out for the guarantee; 0 without a guarantee."""
        return 0.0 if self.guarantee is None else self.guarantee.unknown_share or 0.0

    @property
    def accuracy_counts(self) -> tuple[int, int]:
        """Number of correct predictions for known inputs, and number of known inputs."""
        counts = right_predictions(self.sets[0].tables(["label", "prediction"]))
        assert counts is not None
        return counts

    @property
    def learned_from(self) -> dict[str, int]:
        """Numbers of correct and wrong predictions, unknown inputs and synthetic unknowns that were fitted on."""
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
    reads: str = AUTO,
    risk: float | None = None,
    confidence: float = CONFIDENCE,
    least_probability: float = LEAST_PROBABILITY,
    coverage_tolerance: float = COVERAGE_TOLERANCE,
    score: str = P_CORRECT,
    one_per: str | None = None,
    repetitions: int = REPETITIONS,
    work: Work | None = None,
    on_resample: Callable[[int], None] = lambda repetitions: None,
) -> Fitted:
    """Measure the data, fit a TrustModel, set its risk guarantee, save it, and compare it with softmax and entropy.

    With `risk`, a random half of every data set is held out from the meta classifier, because the guarantee needs data
    that it has not seen. Equal inputs, and inputs with equal readings, are in the same half. If the folder holds a
    TrustModel of the same network and data, it is replaced, and its readings are used again.

    Args:
        recipe: how to open the classifier.
        known: DATA with labels that the network was not trained on.
        unknowns: DATA of none of the network's classes.
        folder: folder of the TrustModel; the readings are kept in its subfolder "readings".
        meta_classifier: name of the meta classifier, as for `TrustModel`.
        reads: "auto", "forward" or "gradients", as for `TrustModel`.
        risk: largest rate of errors among accepted inputs; None for no guarantee.
        confidence: confidence of the guarantee.
        least_probability: lower bound of the threshold.
        coverage_tolerance: share of the largest possible coverage to give up for a stricter threshold.
        score: the probability that the threshold is on, as for `TrustModel.set_risk`.
        one_per: what names the patient, object or scene of a sample, as for `open_sets`.
        repetitions: number of bootstrap resamples.
        work: device, workers and callbacks of the measurement.
        on_resample: called with the number of new resamples during the comparison.

    Raises:
        InputError, DataError, OutputError: for an invalid model, data, option or folder, before anything is changed.
    """
    # Check everything that can be checked before hours of measuring.
    require_free(folder)
    if risk is not None:
        require_rates(risk, confidence, least_probability, coverage_tolerance)
    else:
        for name, given, default in (
            ("score", score, P_CORRECT),
            ("confidence", confidence, CONFIDENCE),
            ("least_probability", least_probability, LEAST_PROBABILITY),
            ("coverage_tolerance", coverage_tolerance, COVERAGE_TOLERANCE),
        ):
            if given != default:
                raise InputError(f"{name}={given!r} without a risk guarantee; expected a risk too (--risk), as in 0.01")
    work = work or Work()
    recipe = recipe_for(recipe, known)
    classifier = recipe.open(work.device)
    trust = TrustModel(GradientMeter(classifier.network), meta_classifier, reads=reads)
    if score != P_CORRECT and not trust.learns_from_synthetic:
        raise InputError(f"score={score!r} with meta classifier {meta_classifier}; expected {P_CORRECT}, or gradmeter")
    opened = open_sets(classifier, known, unknowns, one_per=one_per)
    trust.notes = {
        # Other weights of the same network may have other class names, or none.
        "recipe": replace(recipe, classes=classifier.classes).to_json(),
        "learned_from": [data.identity for data in opened],
        CLASSES: opened[0].classes,
        # Distinguishes the network from one with the same weights and another forward pass.
        "answer": classifier.trial.double().tolist(),
        "meta_classifier": str(meta_classifier),
        "reads": reads,
        "promise": None
        if risk is None
        else {
            "risk": risk,
            "confidence": confidence,
            "least_probability": least_probability,
            "coverage_tolerance": coverage_tolerance,
            "score": score,
        },
    }
    replaced = None if work.fresh else _replaced(folder, classifier, trust.notes)
    readings = folder / READINGS
    second_look, halved = trust.learns_from_synthetic and classifier.arrays is None, risk is not None
    read = partial(_read, classifier, opened, readings, work, second_look=second_look, halved=halved)
    compares = reads == AUTO and trust.learns_from_synthetic and isinstance(opened[0], ToMeasure)
    sets, tables, drawn = read(gradients=not compares and trust.meter_to_fit().gradients)
    fitted_on = _filtered(tables, [half.fitted for half in drawn])
    right = len(_distinct(fitted_on[0].filter(pc.equal(fitted_on[0]["label"], fitted_on[0]["prediction"]))))
    if trust.learns_from_synthetic:  # comparing what to read and measuring synthetic unknowns takes minutes
        with _naming_the_half(halved=halved):
            resolve_classifier(meta_classifier).require_enough(right, 0, 0)
    if compares:
        assert sets[0].source is not None
        # Of the half that is held out for the guarantee, nothing may be known before.
        distinct = _distinct(fitted_on[0])
        trust.choose(_pilot(classifier, sets[0].source, distinct, work), (right, len(distinct) - right))
        if trust.meter_to_fit().gradients:
            sets, tables, drawn = read(gradients=True)
            fitted_on = _filtered(tables, [half.fitted for half in drawn])
    synthetic, no_synthetic = _synthetic(trust, classifier, sets[0], fitted_on[0]["id"], folder, work)
    # All inputs of a set may be equal to those of another set that are held out.
    with _naming_the_half(halved=halved):
        trust.fit(fitted_on[0], [table for table in fitted_on[1:] if len(table)], synthetic=synthetic)
    refusal, known_coverage = None, None
    if risk is not None:
        held_out = _filtered(tables, [~half.fitted for half in drawn])
        proof = _filtered(tables, [~half.fitted | half.recurring for half in drawn])
        try:
            for data, table in zip(sets[1:], held_out[1:], strict=True):
                if not len(table):
                    raise RiskNotControlled(
                        f"none of the {len(data):,} inputs of {data.name} can be held out for the guarantee, because "
                        "all are equal to each other or to inputs that were fitted on"
                    )
            with stage("choosing the threshold"):
                trust.set_risk(
                    risk,
                    proof[0],
                    proof[1:],
                    confidence=confidence,
                    least_probability=least_probability,
                    coverage_tolerance=coverage_tolerance,
                    score=score,
                    recurring=True,
                )
        except RiskNotControlled as error:
            refusal = f"{error} (unknown inputs count as wrong)" if unknowns else str(error)
        else:
            known_coverage = float(trust.accept(held_out[0]).double().mean())
    # Says whose guarantee it is, if a program replaces it.
    trust.notes["guarantee"] = guarantee_record(trust.guarantee)
    trust.save(folder)
    judged = _judged(trust, fitted_on, [data.name for data in sets[1:]])
    comparison = compare(judged, repetitions=repetitions, on_progress=on_resample)
    return Fitted(
        trust,
        judged,
        comparison,
        trust.guarantee,
        known_coverage,
        refusal,
        tuple(sets),
        _absent(classifier, tables[0]),
        no_synthetic,
        replaced,
    )


def _read(
    classifier: Classifier,
    opened: Sequence[ReadSet | ToMeasure],
    folder: Path,
    work: Work,
    *,
    gradients: bool,
    second_look: bool,
    halved: bool,
) -> tuple[list[ReadSet], list[pa.Table], list[Halves]]:
    """Measure the data; return the sets, their readings, and the rows to fit to: a random half if `halved`."""
    sets = read_sets(classifier, opened, folder, work, gradients=gradients, second_look=second_look)
    parts = [sets[0].labelled_tables(), *(unknown.tables() for unknown in sets[1:])]
    tables = [pa.concat_tables(tables) for tables in parts]
    return sets, tables, halves(tables) if halved else [Halves.undivided(len(table)) for table in tables]


def _filtered(tables: Sequence[pa.Table], masks: Sequence[NDArray[np.bool_]]) -> list[pa.Table]:
    """Return the rows of each table that its mask selects."""
    return [table.filter(pa.array(mask)) for table, mask in zip(tables, masks, strict=True)]


@contextmanager
def _naming_the_half(*, halved: bool) -> Iterator[None]:
    """Add to an error that only half of the data count for it."""
    try:
        yield
    except InputError as error:
        if halved:
            raise InputError(f"{error} (of the random half that is not held out for the risk guarantee)") from error
        raise


def _distinct(known: pa.Table) -> pa.Table:
    """Return the first row of each input; all rows if an earlier version measured them."""
    if HASH_COLUMN not in known.column_names:
        return known
    return known.take(np.sort(np.unique(known[HASH_COLUMN].to_numpy(), return_index=True)[1]))


def _pilot(classifier: Classifier, source: Source, known: pa.Table, work: Work) -> Iterator[tuple[Inputs, Tensor]]:
    """Load a random sample of the known samples in a table of readings, in batches of inputs and classes."""
    labels = dict(zip(known["id"].to_pylist(), known["label"].to_pylist(), strict=True))
    indices = [index for index in range(len(source)) if source.id(index) in labels]
    chosen = np.sort(np.random.default_rng(0).permutation(indices)[:PILOT]).tolist()
    batches = [chosen[start : start + PILOT_BATCH] for start in range(0, len(chosen), PILOT_BATCH)]
    with explain_dead_workers():
        for batch in load_batches(source, classifier.batch, batches, work.workers):
            if batch.ids:
                yield Inputs.of(batch.inputs), torch.tensor([labels[sample] for sample in batch.ids])


def _synthetic(
    trust: TrustModel, classifier: Classifier, known: ReadSet, ids: pa.ChunkedArray, folder: Path, work: Work
) -> tuple[list[Readings], str | None]:
    """Measure synthetic unknowns, if the meta classifier learns from them.

    They are made only from the known samples with these ids, because held-out samples must not be seen in any form.

    Returns:
        The readings of each kind, and why there are none if the meta classifier would use them.
    """
    if not trust.learns_from_synthetic:
        return [], None
    if known.source is None:
        return [], f"the samples of {known.name} cannot be found, or have changed since they were measured"
    allowed = set(ids.to_pylist())
    indices = [index for index in range(len(known.source)) if known.source.id(index) in allowed]
    name = _SYNTHETIC if trust.notes["promise"] is None else _SYNTHETIC_OF_HALF
    gradients = trust.meter_to_fit().gradients
    readings = place_for(name, readings_suffix(gradients=gradients), known.source, folder / READINGS)
    layers = known.measured.output_layers()
    measured = measure_synthetic(classifier, known.source, indices, readings, work, gradients=gradients, layers=layers)
    if measured is None:
        reason = "are too few, or are not given to the network as one tensor"
        if known.source.texts or known.source.arrays is not None:
            reason = f"are {'texts' if known.source.texts else 'arrays'}, not images"
        return [], f"the samples of {known.name} {reason}"
    return [Readings.from_arrow(kind) for kind in measured.tables()], None


def _replaced(folder: Path, classifier: Classifier, notes: dict[str, Any]) -> str | None:
    """Return the options of the TrustModel that will be replaced; None if there is none, or one with the same options.

    Raises:
        OutputError: if the folder holds a TrustModel of another network or other data.
    """
    if not holds_trust(folder):
        return None
    # An earlier version always read gradients.
    saved, new = {"reads": GRADIENTS} | read_notes(folder), json.loads(json.dumps(notes))
    differences = ["another MODEL or other options"] if saved.get("recipe") != new["recipe"] else []
    differences += _other_data(saved.get("learned_from", []), new["learned_from"])
    if not differences and not has_same_outputs(classifier, saved):
        differences = ["a network with other outputs"]
    if differences:
        raise OutputError(
            f"{folder} holds a TrustModel that was fitted with {' and '.join(differences)}; choose another folder or "
            "give --fresh"
        )
    if all(saved.get(key) == new[key] for key in ("meta_classifier", "reads", "promise")):
        return None
    guarantee = saved.get("promise")
    options = (
        [f"--{name.replace('_', '-')} {value}" for name, value in guarantee.items()] if guarantee else ["no --risk"]
    )
    return f"--classifier {saved.get('meta_classifier')}, --reads {saved['reads']}, {' '.join(options)}"


def _other_data(saved: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say how the identities of the sets of two fits differ; empty if they do not."""

    def are_equal(*keys: str) -> bool:
        first, second = ([[data.get(key) for key in keys] for data in sets] for sets in (saved, new))
        return first == second

    # Earlier versions recorded no place.
    place = "place" if all(data.get("place") for data in saved) else "data"
    if are_equal("contents", place):
        return []
    if are_equal(place):
        return ["other samples of DATA (or another --one-per)"]
    return ["DATA of another place" if are_equal("contents", "data") else "other DATA"]


def _absent(classifier: Classifier, known: pa.Table) -> tuple[str, ...]:
    """Return the names, or numbers, of the classes of which there is no known sample."""
    numbers = np.unique(known["label"].to_numpy())
    names = classifier.classes or tuple(map(str, range(classifier.outputs)))
    return tuple(name for number, name in enumerate(names) if number not in numbers)


def _judged(trust: TrustModel, tables: Sequence[pa.Table], unknowns: Sequence[str]) -> Judged:
    """Return the held-out judgements of the samples, in the order in which the meta classifier was fitted on them."""
    assert trust.judge is not None
    held_out = trust.judge.held_out.p_correct
    parts = [Readings.from_arrow(table) for table in tables]
    logits = torch.cat([part.logits for part in parts])  # readings of another command may have gradients, too
    correct = parts[0].predictions.numpy() == tables[0]["label"].to_numpy()
    softmax = max_softmax(logits)
    return Judged(
        np.concatenate([correct, np.zeros(len(logits) - len(correct), np.bool_)]),
        np.repeat(np.arange(len(tables)), [len(table) for table in tables]),
        tuple(unknowns),
        {OURS: -held_out, "softmax": -softmax, "entropy": entropy(logits)},
        {OURS: held_out, "softmax": softmax},
        np.concatenate([*map(table_contents, tables, parts)]),
        trust.judge.folds,
    )
