"""The workflow of `gradmeter evaluate`: compare P(correct) on new data with scores that need no gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gradmeter.apps.workflows.class_errors import ClassErrors, class_errors
from gradmeter.apps.workflows.fit import OURS
from gradmeter.apps.workflows.records import guarantee_record
from gradmeter.apps.workflows.sets import ReadSet, open_sets, read_sets
from gradmeter.errors import InputError, OutputError, warn
from gradmeter.files import is_incidental, read_json
from gradmeter.names import class_name
from gradmeter.reading.content import table_contents
from gradmeter.reading.readings import Readings
from gradmeter.reading.scores import energy, entropy, margin, max_softmax
from gradmeter.runs.measuring import Work
from gradmeter.runs.measuring.purpose import CLASSES
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import scheme_of
from gradmeter.sources.samples.location import plain_name
from gradmeter.stages import stage
from gradmeter.trust.doubts import order_doubts
from gradmeter.trust.evaluation.comparison import WRONG, Comparison, Judged, compare
from gradmeter.trust.evaluation.resampling import REPETITIONS
from gradmeter.trust.features import FeatureBlock
from gradmeter.trust.folds import distinct_rows
from gradmeter.trust.importance import Importance, layer_importance
from gradmeter.trust.meta_classifier import P_CORRECT, SCORES
from gradmeter.trust.model import TrustModel
from gradmeter.trust.reads import FORWARD, GRADIENTS
from gradmeter.trust.risk import Guarantee
from gradmeter.trust.saving import READINGS

# Number of samples per set for the importance of layers; wrong predictions are drawn this many times as often.
_SAMPLED = 2000
_WRONG_SHARE = 10
RESULTS = "results.json"
"""The file that marks a folder as an evaluation; it is written last."""
# Files that are written before it.
_WRITTEN = ("estimates.csv", "differences.csv", "judgements.parquet", "figures", "report.html")
# Scores that can be the same for every input, and the range up to which they count as constant: float32 rounds the
# energy, which is in nats.
_MAY_BE_CONSTANT = {"entropy": 0.0, "margin": 0.0, "energy": 1e-4}
# Differs from the seed of `fit`, so that noise is new.
_SEED = 1


class Excess(NamedTuple):
    """A kind of unknown inputs of which there are more than a guarantee covers.

    Attributes:
        kind: its DATA.
        share: its share of this kind and the known inputs together.
        covered: the largest share that the guarantee covers.
    """

    kind: str
    share: float
    covered: float


@dataclass(frozen=True)
class GuaranteeCheck:
    """A risk guarantee, and the error rate on the data of an evaluation.

    Attributes:
        guarantee: the guarantee.
        accepted: number of accepted predictions.
        errors: number of wrong predictions among them, which include all for unknown inputs.
        samples: number of predictions.
        unknown: number of unknown inputs among them, by DATA.
        guaranteed: for each DATA of unknown inputs the largest share, of it and the known inputs together, for which
            the guarantee holds; None if it was not saved.
    """

    guarantee: Guarantee
    accepted: int
    errors: int
    samples: int
    unknown: Mapping[str, int]
    guaranteed: Mapping[str, float] | None

    @property
    def other_kinds(self) -> tuple[str, ...]:
        """DATA of the unknown inputs of kinds that the guarantee does not cover.

        Noise is recognised whatever its number of images; other data only by their name.
        """
        covered = {_kind_of(data) for data, share in (self.guaranteed or {}).items() if share}
        return tuple(data for data in self.unknown if _kind_of(data) not in covered)

    @property
    def excess(self) -> Excess | None:
        """The first kind of unknown inputs of which there are more than the guarantee covers; None if there is none.

        Each kind is compared with the known inputs alone: fewer inputs of another one do not make room for it.
        """
        guaranteed, known = self.guaranteed or {}, self.samples - sum(self.unknown.values())
        for data in self.unknown:
            kind = _kind_of(data)
            count = sum(number for other, number in self.unknown.items() if _kind_of(other) == kind)
            covered = max((most for other, most in guaranteed.items() if _kind_of(other) == kind), default=0.0)
            if (share := count / (known + count)) > covered:
                return Excess(data, share, covered)
        return None

    @property
    def is_covered(self) -> bool:
        """Whether the guarantee covers these inputs, if the known ones are drawn like those of the calibration."""
        return self.excess is None

    @property
    def risk(self) -> float:
        """Error rate among the accepted predictions; 0 if none is accepted."""
        return self.errors / self.accepted if self.accepted else 0.0


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        model: the network, as the user named it.
        classes: names of its classes; None if they have none.
        judged: the predictions.
        comparison: P(correct) compared with softmax, entropy, margin and energy.
        rows: one row per sample with "id", "concept", "label" and "prediction" (class numbers), "correct", the
            probabilities, "accepted" and "reason" of `TrustModel.verdicts`, "familiar" of its `Judgement`, and the
            other scores.
        importance: importance of each layer for P(correct); empty if too few predictions are wrong.
        class_errors: the errors of each predicted class, for the known inputs without copies.
        guarantee_checks: the risk guarantee checked on known inputs alone and together with each kind of unknown
            inputs, by column; empty without a guarantee.
        seen: number of samples that the TrustModel was fitted on, by name of the data set; only non-zero numbers.
        sets: the data sets.
        meaning: a sentence on the inputs for which P(correct) is a probability.
        reads: what the TrustModel reads, "gradients" or "forward".
        recipe: how the network was opened, as `Recipe.to_json` writes it; None if it was not saved.
        constant: scores that are left out of the comparison because they are the same for every input, such as the
            energy of log-probabilities.
    """

    model: str
    classes: tuple[str, ...] | None
    judged: Judged
    comparison: Comparison
    rows: pa.Table
    importance: tuple[Importance, ...]
    class_errors: tuple[ClassErrors, ...]
    guarantee_checks: dict[str, GuaranteeCheck]
    seen: dict[str, int]
    sets: tuple[ReadSet, ...]
    meaning: str
    reads: str
    recipe: Mapping[str, Any] | None = None
    constant: tuple[str, ...] = ()

    def class_name(self, number: int) -> str:
        """Return the name of a class, or its number if the classes have no names."""
        return class_name(self.classes, number)

    @property
    def guarantee(self) -> Guarantee | None:
        """The risk guarantee of the TrustModel; None if it has none."""
        return next((check.guarantee for check in self.guarantee_checks.values()), None)

    @property
    def score(self) -> str:
        """The probability that the threshold of the guarantee is on; P(correct) without a guarantee."""
        return P_CORRECT if self.guarantee is None else self.guarantee.score

    @property
    def test_error(self) -> float:
        """Share of wrong predictions among the known inputs."""
        return float(self.judged.wrong.sum() / (self.judged.concept == 0).sum())


def evaluate(
    trust: TrustModel,
    classifier: Classifier,
    known: str,
    unknowns: Sequence[str],
    folder: Path,
    *,
    readings: Path | None = None,
    one_per: str | None = None,
    repetitions: int = REPETITIONS,
    work: Work | None = None,
    on_resample: Callable[[int], None] = lambda repetitions: None,
) -> Evaluation:
    """Measure and judge the data, and compare P(correct) with scores that need no gradients.

    Args:
        trust: the TrustModel to evaluate.
        classifier: its network and preprocessing.
        known: DATA with labels that is new to the network and the TrustModel.
        unknowns: DATA of none of the network's classes.
        folder: folder of the evaluation.
        readings: folder of the readings; None for the subfolder "readings".
        one_per: what names the patient, object or scene of a sample, as for `open_sets`.
        repetitions: number of bootstrap resamples.
        work: device, workers and callbacks of the measurement.
        on_resample: called with the number of new resamples.

    Raises:
        InputError, DataError, OutputError: for invalid data or an invalid folder, or if all predictions are correct or
            none is.
    """
    work, earlier_data = work or Work(), _earlier_data(folder, has_readings=readings is None)
    classifier = named_as_fitted(classifier, trust)
    opened = open_sets(classifier, known, unknowns, one_per=one_per, seed=_SEED)
    if earlier_data is not None and earlier_data != [data.identity["data"] for data in opened]:
        work.on_note(f"{folder} holds an evaluation of {', '.join(earlier_data)}, which will be replaced")
    # A second look at all images: which ones need it may change when the TrustModel is fitted again.
    look = trust.meter.second_look is not None and trust.meter.second_look < inf
    place = readings or folder / READINGS
    sets = read_sets(
        classifier,
        opened,
        place,
        work,
        gradients=trust.meter.gradients,
        second_look=look,
        layers=trust.meter.output_layers,
    )
    judge = trust.judge
    assert judge is not None
    tables, contents, samples = [], [], []
    with stage("judging", len(sets)) as advance:
        for number, data in enumerate(sets):
            table, of_inputs, sample = _scored(trust, data, known=number == 0)
            tables.append(table)
            contents.append(of_inputs)
            samples.append(sample)
            advance(1)
    rows = pa.concat_tables(tables)
    if pc.all(rows["correct"]).as_py():
        raise InputError(
            f"all {len(rows):,} predictions are correct, so there are no wrong predictions or unknown inputs to "
            "compare them with; give more data, or unknown inputs with --unknown"
        )
    if not pc.any(rows["correct"]).as_py():
        raise InputError(
            f"none of the {tables[0].num_rows:,} predictions for {sets[0].name} is right; expected some right ones: "
            "check the labels and the preprocessing"
        )
    constant = tuple(name for name, span in _MAY_BE_CONSTANT.items() if np.ptp(rows[name].to_numpy()) <= span)
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
        tuple(data.name for data in sets[1:]),
        {name: values for name, values in uncertainty.items() if name not in constant},
        {OURS: rows["p_correct"].to_numpy(), "softmax": rows["softmax"].to_numpy()},
        np.concatenate(contents),
    )
    comparison = compare(judged, repetitions=repetitions, on_progress=on_resample)
    correct = np.concatenate([correct for _, correct in samples])
    importance = (
        layer_importance(judge, FeatureBlock.concatenate([block for block, _ in samples]), correct)
        if correct.any() and not correct.all()
        else ()
    )
    for doubt in order_doubts(tables[0]["prediction"].to_numpy(), tables[0]["label"].to_numpy()):
        warn(doubt)
    for number, data in enumerate(sets[2:], 2):
        if shared := int(np.isin(contents[number], np.concatenate(contents[1:number])).sum()):
            warn(
                f"{shared:,} of the {len(contents[number]):,} inputs of {data.name} are also in other unknown data; in "
                "what is said of all inputs together they count more than once: leave them out of one"
            )
    seen = {data.name: count for data in sets if (count := int(trust.learned_from(data.contents()).sum()))}
    return Evaluation(
        classifier.name,
        classifier.classes,
        judged,
        comparison,
        rows,
        importance,
        _class_errors(classifier, tables[0], contents[0], has_guarantee=trust.guarantee is not None),
        _guarantee_checks(trust, judged, rows["accepted"], [data.identity["data"] for data in sets[1:]]),
        seen,
        tuple(sets),
        judge.meaning,
        GRADIENTS if trust.meter.gradients else FORWARD,
        trust.notes.get("recipe"),
        constant,
    )


def _class_errors(
    classifier: Classifier, known: pa.Table, contents: NDArray[np.uint64], *, has_guarantee: bool
) -> tuple[ClassErrors, ...]:
    rows, _ = distinct_rows(contents, known["label"].to_numpy())
    known = known.take(pa.array(rows))
    return class_errors(
        partial(class_name, classifier.classes),
        known["prediction"].to_numpy(),
        known["correct"].to_numpy(),
        known[P_CORRECT].to_numpy(),
        known["accepted"].to_numpy() if has_guarantee else None,
    )


def named_as_fitted(classifier: Classifier, trust: TrustModel) -> Classifier:
    """Name the classes of a network without names as those of the data of `gradmeter fit`, in whose order they were."""
    fitted = trust.notes.get(CLASSES) or ()
    if classifier.classes is not None or len(fitted) != classifier.outputs:  # readings may lack the last class
        return classifier
    return replace(classifier, classes=tuple(fitted))


def _earlier_data(folder: Path, *, has_readings: bool) -> list[str] | None:
    """Return the DATA of the evaluation in a folder, which may hold its readings; None if there is none yet.

    Raises:
        OutputError: if the folder holds something else.
    """
    if not folder.exists():
        return None
    names = {path.name for path in folder.iterdir() if not is_incidental(path)} if folder.is_dir() else {folder.name}
    if RESULTS in names:
        try:
            results = read_json(folder / RESULTS)
            if not {"gradmeter", "estimates"} <= {*results}:
                raise ValueError("not the results of an evaluation")
            return [str(data["data"]) for data in results["sets"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f"{folder / RESULTS} exists and is not that of an evaluation of one TrustModel; choose another folder"
            ) from error
    # An evaluation that was interrupted while it wrote its report has no results yet.
    if names - {READINGS, *_WRITTEN} or (has_readings and names and READINGS not in names):
        raise OutputError(f"{folder} exists and holds no evaluation; choose another folder")
    return None


def _scored(
    trust: TrustModel, data: ReadSet, *, known: bool
) -> tuple[pa.Table, NDArray[np.uint64], tuple[FeatureBlock, NDArray[np.bool_]]]:
    """Return all scores of a data set and the contents of its inputs.

    Also return the features of a sample of it with whether the predictions are correct.
    """
    assert trust.judge is not None
    tables, contents, readings_sample, correct_sample = [], [], [], []
    share = min(1.0, _SAMPLED / len(data))
    random = np.random.default_rng(0)
    for table in data.labelled_tables() if known else data.tables():
        readings = Readings.from_arrow(table)
        contents.append(table_contents(table, readings))
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
                    **{name: verdicts[name] for name in (*SCORES, "accepted", "reason")},
                    "familiar": trust.judge.judge(readings).familiar,
                    "softmax": max_softmax(readings.logits),
                    "entropy": entropy(readings.logits),
                    "margin": margin(readings.logits),
                    "energy": energy(readings.logits),
                }
            )
        )
        # Wrong predictions may be few, and AUROC does not depend on their share.
        is_drawn = random.random(len(readings)) < share * np.where(correct, 1, _WRONG_SHARE)
        readings_sample.append(readings.rows(is_drawn))
        correct_sample.append(correct[is_drawn])
    # Not the readings: those of another command may have gradients that the TrustModel does not read.
    block = trust.judge.features.block(Readings.concatenate(readings_sample))
    return pa.concat_tables(tables), np.concatenate(contents), (block, np.concatenate(correct_sample))


def _kind_of(data: str) -> str:
    """Return DATA without the number of generated images; earlier versions saved names that are not plain."""
    return ":".join(data.split(":")[:2]) if scheme_of(data) is not None else plain_name(data)


def _guarantee_checks(
    trust: TrustModel, judged: Judged, decisions: pa.ChunkedArray, unknowns: Sequence[str]
) -> dict[str, GuaranteeCheck]:
    if trust.guarantee is None:
        return {}
    is_accepted = decisions.to_numpy()
    guaranteed = _guaranteed(trust)
    checks = {}
    # `columns` leaves out known inputs if none of their predictions is wrong; their guarantee is checked anyway.
    for column, members in {WRONG: judged.wrong, **judged.columns()}.items():
        population = (judged.concept == 0) | members
        accepted = is_accepted & population
        unknown: dict[str, int] = {}
        for number, data in enumerate(unknowns, start=1):
            if count := int((population & (judged.concept == number)).sum()):
                unknown[data] = unknown.get(data, 0) + count
        checks[column] = GuaranteeCheck(
            trust.guarantee,
            int(accepted.sum()),
            int((accepted & ~judged.correct).sum()),
            int(population.sum()),
            unknown,
            guaranteed,
        )
    return checks


def _guaranteed(trust: TrustModel) -> dict[str, float] | None:
    """Return the largest share of each DATA of unknown inputs for which the guarantee holds; None if not saved."""
    assert trust.guarantee is not None
    shares, record = trust.guarantee.unknown_shares, guarantee_record(trust.guarantee)
    kinds = [data["data"] for data in trust.notes.get("learned_from", [])[1:]]
    if not shares:
        return None if shares is None else {}
    # The notes are those of `fit`; a program may have called `set_risk` with other data. Earlier versions did not note
    # the guarantee.
    if trust.notes.get("guarantee", record) != record or len(kinds) != len(shares):
        return None
    # Of DATA that were given twice, the first one counts: the second has no inputs of its own.
    return {kind: shares[kinds.index(kind)] for kind in kinds}
