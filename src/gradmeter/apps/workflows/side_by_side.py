"""The workflow of `gradmeter evaluate` with two TrustModels: evaluate both on the same data and compare them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradmeter.apps.workflows.evaluate import RESULTS, Evaluation, evaluate, named_as_fitted
from gradmeter.errors import InputError, OutputError
from gradmeter.files import is_incidental, read_json
from gradmeter.names import encode_name, look_alike
from gradmeter.reading.network import weights_hash
from gradmeter.runs.measuring import Work
from gradmeter.sources.models import Classifier
from gradmeter.trust.evaluation.comparison import LEAST_INPUTS, Comparison, Judged, compare
from gradmeter.trust.evaluation.resampling import REPETITIONS, Interval, bootstrap
from gradmeter.trust.model import TrustModel
from gradmeter.trust.saving import READINGS

TRUST_MODELS = "trust_models"
"""The key of results.json that marks a folder as a comparison of two TrustModels."""
_WRITTEN = ("report.html", "estimates.csv", "differences.csv", "figures")


@dataclass(frozen=True)
class Candidate:
    """A TrustModel to compare.

    Attributes:
        name: short and unique name, also of the folder of its evaluation.
        trust: the TrustModel.
        classifier: its network and preprocessing.
    """

    name: str
    trust: TrustModel
    classifier: Classifier


@dataclass(frozen=True)
class Share:
    """A share of both TrustModels, and its paired difference.

    Attributes:
        name: what it is a share of.
        first: share of the first TrustModel with its interval.
        second: that of the second.
        difference: first minus second, with its interval.
        differing: number of different inputs on which the two differ.
    """

    name: str
    first: Interval
    second: Interval
    difference: Interval
    differing: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval of the difference excludes zero, and rests on enough inputs."""
        return self.differing >= LEAST_INPUTS and self.difference.excludes_zero


@dataclass(frozen=True, eq=False)
class SideBySide:
    """The result of a comparison of two TrustModels.

    Attributes:
        names: names of the TrustModels.
        evaluations: their evaluations.
        judged: their predictions for the inputs that both have judged, with P(correct) as the only method.
        comparison: P(correct) of the first compared with that of the second.
        shares: shares of right and of accepted predictions, and of errors among the accepted ones.
        same_network: whether both judge the same network, opened by the same name and with the same names of classes.
        left_out: number of inputs that only one of them has judged.
    """

    names: tuple[str, str]
    evaluations: tuple[Evaluation, Evaluation]
    judged: tuple[Judged, Judged]
    comparison: Comparison
    shares: tuple[Share, ...]
    same_network: bool
    left_out: int


def evaluate_two(
    candidates: tuple[Candidate, Candidate],
    known: str,
    unknowns: Sequence[str],
    folder: Path,
    *,
    one_per: str | None = None,
    repetitions: int = REPETITIONS,
    work: Work | None = None,
    on_resample: Callable[[], Callable[[int], None]] = lambda: lambda repetitions: None,
) -> SideBySide:
    """Evaluate two TrustModels on the same data, and compare them with paired intervals.

    Args:
        candidates: the TrustModels.
        known: DATA with labels that is new to the networks and the TrustModels.
        unknowns: DATA of none of the networks' classes.
        folder: folder of the comparison; each evaluation is written to a subfolder with its name, and the readings of
            one network are read by both of its TrustModels.
        one_per: as for `evaluate`.
        repetitions: number of bootstrap resamples.
        work: device, workers and callbacks of the measurement.
        on_resample: called before each of the three bootstraps; returns a callback for the number of new resamples.

    Raises:
        InputError: if the networks have other classes.
        InputError, DataError, OutputError: as `evaluate` raises.
    """
    first, second = (
        replace(candidate, classifier=named_as_fitted(candidate.classifier, candidate.trust))
        for candidate in candidates
    )
    candidates = (first, second)
    _require_same_classes(first, second)
    _require_ours(folder, [candidate.name for candidate in candidates])
    same_network = _network(first.classifier) == _network(second.classifier)
    shared = folder / first.name / READINGS
    evaluations = [
        evaluate(
            candidate.trust,
            candidate.classifier,
            known,
            unknowns,
            folder / candidate.name,
            readings=shared if same_network else None,
            one_per=one_per,
            repetitions=repetitions,
            work=work,
            on_resample=on_resample(),
        )
        for candidate in candidates
    ]
    rows = _common(*evaluations)
    judged = tuple(
        _judged(evaluation, of_both, candidate.name)
        for evaluation, of_both, candidate in zip(evaluations, rows, candidates, strict=True)
    )
    comparison = compare(*judged, repetitions=repetitions, on_progress=on_resample())
    longest = max(len(evaluation.rows) for evaluation in evaluations)
    return SideBySide(
        (first.name, second.name),
        (evaluations[0], evaluations[1]),
        (judged[0], judged[1]),
        comparison,
        _shares(evaluations, rows, repetitions),
        same_network,
        longest - len(rows[0]),
    )


def short_names(trusts: Sequence[Path]) -> list[str]:
    """Return a short and unique name for each folder of a TrustModel."""
    names = [*_WRITTEN, RESULTS]
    for path in trusts:
        name = encode_name(path.resolve().name) or "trust"
        taken = (name, *(f"{name} ({number})" for number in range(2, len(trusts) + 2)))
        names.append(next(candidate for candidate in taken if candidate not in names))
    return names[len(names) - len(trusts) :]


def _network(classifier: Classifier) -> tuple[object, ...]:
    """What readings are made with; names of classes also decide which labels are right."""
    return classifier.name, weights_hash(classifier.network), classifier.classes, repr(classifier.batch)


def _require_same_classes(first: Candidate, second: Candidate) -> None:
    """Check that both networks have as many classes, and the same ones in the same order if these have names.

    Raises:
        InputError: if they have not.
    """
    classes, others = first.classifier.classes, second.classifier.classes
    if classes is not None and others is not None and classes != others:
        if (alike := look_alike(first.name, classes, second.name, others)) is not None:
            raise InputError(f"{alike}; expected TrustModels of networks with the same classes")
        raise InputError(
            f"{first.name} has the classes ({', '.join(classes)}), but {second.name} has ({', '.join(others)}); "
            "expected TrustModels of networks with the same classes"
        )
    numbers = first.classifier.outputs, second.classifier.outputs
    if numbers[0] != numbers[1]:
        raise InputError(
            f"{first.name} has {numbers[0]:,} classes, but {second.name} has {numbers[1]:,}; expected TrustModels of "
            "networks with the same classes"
        )


def _require_ours(folder: Path, names: Sequence[str]) -> None:
    """Refuse a folder that holds something else than a comparison of these TrustModels.

    Raises:
        OutputError: if it does.
    """
    if not folder.exists():
        return
    present = {path.name for path in folder.iterdir() if not is_incidental(path)} if folder.is_dir() else {folder.name}
    if RESULTS in present:
        try:
            results = read_json(folder / RESULTS)
            is_ours = isinstance(results, dict) and TRUST_MODELS in results
        except (OSError, ValueError):
            is_ours = False
    else:  # none yet, or one that was interrupted
        is_ours = not present - {*names, *_WRITTEN}
    if not is_ours:
        raise OutputError(f"{folder} exists and holds no comparison of two TrustModels; choose another folder")


def _common(first: Evaluation, second: Evaluation) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the inputs that both evaluations hold, in the same order."""
    keys = [
        list(zip(evaluation.judged.concept.tolist(), evaluation.rows["id"].to_pylist(), strict=True))
        for evaluation in (first, second)
    ]
    place = {key: row for row, key in enumerate(keys[1])}
    pairs = [(row, place[key]) for row, key in enumerate(keys[0]) if key in place]
    return np.array([row for row, _ in pairs], np.int64), np.array([row for _, row in pairs], np.int64)


def _judged(evaluation: Evaluation, rows: NDArray[np.int64], name: str) -> Judged:
    p_correct = evaluation.rows["p_correct"].to_numpy()[rows]
    judged = evaluation.judged
    scores = {name: -p_correct}, {name: p_correct}
    return Judged(judged.correct[rows], judged.concept[rows], judged.unknowns, *scores, judged.inputs[rows])


def _shares(
    evaluations: Sequence[Evaluation], rows: Sequence[NDArray[np.int64]], repetitions: int
) -> tuple[Share, ...]:
    """Return the shares of each group of inputs, with intervals of the bootstrap over inputs."""
    correct = [part.judged.correct[of_both] for part, of_both in zip(evaluations, rows, strict=True)]
    concept, inputs = evaluations[0].judged.concept[rows[0]], evaluations[0].judged.inputs[rows[0]]
    everything, known = np.ones((len(concept), 2), np.bool_), concept == 0
    right = np.stack(correct, axis=1)
    parts = [("Right predictions for known inputs", right, everything, known)]
    if all(evaluation.guarantee is not None for evaluation in evaluations):
        decisions = [part.rows["accepted"].to_numpy()[of_both] for part, of_both in zip(evaluations, rows, strict=True)]
        accepted = np.stack(decisions, axis=1)
        parts.append(("Accepted known inputs", accepted, everything, known))
        parts.append(("Errors among accepted known inputs", ~right, accepted, known))
        unknowns = evaluations[0].judged.unknowns
        parts += [
            (f"Accepted inputs of {name}", accepted, everything, concept == number)
            for number, name in enumerate(unknowns, start=1)
        ]
    return tuple(
        _share(name, events[members], of[members], inputs[members], repetitions)
        for name, events, of, members in parts
        if len(np.unique(inputs[members])) >= 2  # one sample has no interval
    )


def _share(
    name: str, events: NDArray[np.bool_], of: NDArray[np.bool_], contents: NDArray[np.uint64], repetitions: int
) -> Share:
    """Return the shares of `events` [N, 2] among `of` [N, 2], with paired intervals of the bootstrap over inputs."""
    samples = np.concatenate([events & of, of], axis=1)

    def share(rows: NDArray[np.bool_], column: int) -> float:
        # Nothing accepted means no errors among it.
        return float(rows[:, column].sum() / max(rows[:, 2 + column].sum(), 1))

    def interval(statistic: Callable[[NDArray[np.bool_]], float]) -> Interval:
        return bootstrap(statistic, samples, repetitions=repetitions, contents=[contents])

    return Share(
        name,
        interval(lambda rows: share(rows, 0)),
        interval(lambda rows: share(rows, 1)),
        interval(lambda rows: share(rows, 0) - share(rows, 1)),
        np.unique(contents[(samples[:, ::2] != samples[:, 1::2]).any(1)]).size,
    )
