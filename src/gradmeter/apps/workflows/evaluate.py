"""gradmeter evaluate: how good P(correct) is on data that it did not learn from, beside scores without gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gradmeter.apps.workflows.fit import OURS
from gradmeter.apps.workflows.sets import ReadSet, open_sets, read_sets
from gradmeter.errors import InputError, OutputError
from gradmeter.files import is_temporary, read_json
from gradmeter.reading.readings import Readings
from gradmeter.reading.scores import energy, entropy, margin, max_softmax
from gradmeter.runs.measuring import Work
from gradmeter.sources.models import Classifier
from gradmeter.stages import stage
from gradmeter.trust.evaluation.comparison import WRONG, Comparison, Judged, compare
from gradmeter.trust.evaluation.resampling import REPETITIONS
from gradmeter.trust.importance import Importance, layer_importance
from gradmeter.trust.model import TrustModel
from gradmeter.trust.risk import Guarantee
from gradmeter.trust.saving import READINGS

# Samples of each set from which the importance of layers is estimated.
_SAMPLED = 2000
_WRONG_SHARE = 10
RESULTS = "results.json"
"""The file by which a folder is known to hold an evaluation."""
# What is written before it.
_WRITTEN = ("estimates.csv", "differences.csv", "judgements.parquet", "figures", "report.html")
# Scores that may be the same for every input, and what is no difference: energy, in nats, of logits in float32.
_MAY_BE_CONSTANT = {"entropy": 0.0, "margin": 0.0, "energy": 1e-4}
# Noise that `fit` did not see.
_SEED = 1


@dataclass(frozen=True)
class Kept:
    """What was promised, and what came of it on these data.

    Attributes:
        guarantee: the promise.
        accepted: predictions that were accepted.
        errors: among them.
        samples: predictions in all.
        unknown: of them for unknown inputs.
        promised_share: largest share of unknown inputs for which the promise holds; None where it was not noted.
        promised_kinds: DATA of the unknown inputs for which it was made.
    """

    guarantee: Guarantee
    accepted: int
    errors: int
    samples: int
    unknown: int
    promised_share: float | None
    promised_kinds: tuple[str, ...]

    @property
    def risk(self) -> float:
        """Share of errors among the accepted; 0 where none is accepted."""
        return self.errors / self.accepted if self.accepted else 0.0

    @property
    def unknown_share(self) -> float:
        """Share of unknown inputs among the predictions."""
        return self.unknown / self.samples


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came of evaluating.

    Attributes:
        model: the network, as the user named it.
        classes: names of its classes; None where they have none.
        judged: the predictions.
        comparison: of P(correct) with softmax, entropy, margin and energy.
        rows: "id", "concept", "label", "prediction", "correct", "p_correct", "accepted" (null where no risk was
            promised) and the other scores, one row a sample.
        importance: of each layer for P(correct); none where too few predictions are wrong.
        kept: the promise, on known inputs alone and with each unknown concept, by column; none where none was made.
        seen: how many samples the TrustModel has learned from, by name of the sets that hold some.
        sets: the data.
        meaning: for which inputs P(correct) is a probability, in words.
        recipe: how the network was opened, as `Recipe.to_json` notes it; None where nothing says so.
        constant: scores that are the same for every input, and are left out of the comparison: the energy of
            log-probabilities is 0.
    """

    model: str
    classes: tuple[str, ...] | None
    judged: Judged
    comparison: Comparison
    rows: pa.Table
    importance: tuple[Importance, ...]
    kept: dict[str, Kept]
    seen: dict[str, int]
    sets: tuple[ReadSet, ...]
    meaning: str
    recipe: Mapping[str, Any] | None = None
    constant: tuple[str, ...] = ()

    def class_name(self, number: int) -> str:
        """The name of a class, or its number."""
        return str(number) if self.classes is None else self.classes[number]

    @property
    def test_error(self) -> float:
        """Share of known inputs whose prediction is wrong."""
        return float(self.judged.wrong.sum() / (self.judged.concept == 0).sum())


def evaluate(
    trust: TrustModel,
    classifier: Classifier,
    known: str,
    unknowns: Sequence[str],
    folder: Path,
    *,
    repetitions: int = REPETITIONS,
    work: Work | None = None,
    on_resample: Callable[[int], None] = lambda repetitions: None,
) -> Evaluation:
    """Measure, judge, and compare with scores without gradients.

    Args:
        trust: what is evaluated.
        classifier: its network and preprocessing.
        known: DATA with labels that neither the network nor the TrustModel learned from.
        unknowns: DATA of no class.
        folder: the readings are kept in its folder "readings".
        repetitions: of the bootstrap.
        work: how to measure.
        on_resample: told after every resample.

    Raises:
        InputError, DataError, OutputError: for data or a folder that will not do: some predictions must be right, and
            some not.
    """
    work, before = work or Work(), _evaluated_before(folder)
    opened = open_sets(classifier, known, unknowns, seed=_SEED)
    if before is not None and before != [one.identity["data"] for one in opened]:
        work.on_note(f"{folder} holds an evaluation of {', '.join(before)}; this one takes its place")
    sets = read_sets(classifier, opened, folder / READINGS, work)
    judge = trust.judge
    assert judge is not None
    tables, samples = [], []
    with stage("judging", len(sets)) as advance:
        for number, one in enumerate(sets):
            scored, sampled = _scored(trust, one, known=number == 0)
            tables.append(scored)
            samples.append(sampled)
            advance(1)
    rows = pa.concat_tables(tables)
    if pc.all(rows["correct"]).as_py():
        raise InputError(
            f"all of {len(rows):,} predictions are right, so there is nothing to tell them from; give more data, or "
            "--unknown"
        )
    constant = tuple(name for name, least in _MAY_BE_CONSTANT.items() if np.ptp(rows[name].to_numpy()) <= least)
    uncertainty = {
        OURS: -rows["p_correct"].to_numpy(),
        "softmax": -rows["softmax"].to_numpy(),
        "entropy": rows["entropy"].to_numpy(),
        "margin": -rows["margin"].to_numpy(),
        "energy": rows["energy"].to_numpy(),
    }
    judged = Judged(
        rows["correct"].to_numpy(),
        np.repeat(np.arange(len(sets)), [table.num_rows for table in tables]),
        tuple(one.name for one in sets[1:]),
        {name: values for name, values in uncertainty.items() if name not in constant},
        {OURS: rows["p_correct"].to_numpy(), "softmax": rows["softmax"].to_numpy()},
    )
    comparison = compare(judged, repetitions=repetitions, on_progress=on_resample)
    correct = np.concatenate([found for _, found in samples])
    importance = (
        layer_importance(judge, Readings.concatenate([found for found, _ in samples]), correct)
        if correct.any() and not correct.all()
        else ()
    )
    seen = {data.name: count for data in sets if (count := int(trust.learned_from(data.contents()).sum()))}
    return Evaluation(
        classifier.name,
        classifier.classes,
        judged,
        comparison,
        rows,
        importance,
        _kept(trust, judged, rows["accepted"]),
        seen,
        tuple(sets),
        judge.meaning,
        trust.notes.get("recipe"),
        constant,
    )


def _evaluated_before(folder: Path) -> list[str] | None:
    """The DATA of the evaluation that lies in a folder; None where none does.

    Raises:
        OutputError: if something else lies there.
    """
    if not folder.exists():
        return None
    names = {path.name for path in folder.iterdir() if not is_temporary(path)} if folder.is_dir() else {folder.name}
    if RESULTS in names:
        try:
            results = read_json(folder / RESULTS)
            if not {"gradmeter", "estimates"} <= {*results}:
                raise ValueError("others' results")
            return [str(one["data"]) for one in results["sets"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f"{folder / RESULTS} is there and was not made by gradmeter evaluate; choose another folder"
            ) from error
    # One that was stopped while it wrote its report has no results yet.
    if names - {READINGS, *_WRITTEN} or (names and READINGS not in names):
        raise OutputError(f"{folder} is there and holds no evaluation; choose another folder")
    return None


def _scored(trust: TrustModel, data: ReadSet, *, known: bool) -> tuple[pa.Table, tuple[Readings, NDArray[np.bool_]]]:
    """All scores of a set, part by part, and a few of its readings with whether the prediction was right."""
    tables, sampled, right = [], [], []
    done, _ = data.measured.progress()
    share = min(1.0, _SAMPLED / done)
    random = np.random.default_rng(0)
    for table in data.labelled_tables() if known else data.measured.tables():
        readings = Readings.from_arrow(table)
        predictions = readings.predictions.numpy()
        labels = table["label"] if known else pa.nulls(len(readings), pa.int64())
        correct = predictions == labels.to_numpy() if known else np.zeros(len(readings), np.bool_)
        verdicts = trust.verdicts(readings)
        tables.append(
            pa.table(
                {
                    "id": table["id"],
                    "concept": pa.array([data.name] * len(readings), pa.string()),
                    "label": labels,
                    "prediction": predictions,
                    "correct": correct,
                    "p_correct": verdicts["p_correct"],
                    "accepted": verdicts["accepted"],
                    "softmax": max_softmax(readings.logits),
                    "entropy": entropy(readings.logits),
                    "margin": margin(readings.logits),
                    "energy": energy(readings.logits),
                }
            )
        )
        # Wrong predictions may be few, and AUROC does not depend on their share.
        taken = random.random(len(readings)) < share * np.where(correct, 1, _WRONG_SHARE)
        sampled.append(readings.rows(taken))
        right.append(correct[taken])
    return pa.concat_tables(tables), (Readings.concatenate(sampled), np.concatenate(right))


def _kept(trust: TrustModel, judged: Judged, decisions: pa.ChunkedArray) -> dict[str, Kept]:
    if trust.guarantee is None:
        return {}
    accepted = decisions.to_numpy()
    share = trust.guarantee.unknown_share
    kinds = tuple(one["data"] for one in trust.notes.get("learned_from", [])[1:])
    found = {}
    # What is accepted of known inputs is told also where none of them is wrong.
    for column, members in {WRONG: judged.wrong, **judged.columns()}.items():
        population = (judged.concept == 0) | members
        taken = accepted & population
        found[column] = Kept(
            trust.guarantee,
            int(taken.sum()),
            int((taken & ~judged.correct).sum()),
            int(population.sum()),
            int((population & (judged.concept > 0)).sum()),
            share,
            kinds,
        )
    return found
