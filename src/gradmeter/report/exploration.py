"""The data of the interactive part of a report: a slider on the threshold, and a browser of samples."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradmeter.names import printable
from gradmeter.report.operating_points import OperatingPoints, operating_points
from gradmeter.report.thumbnails import Picture

# Largest number of samples in the browser.
_SAMPLES = 2000
CHARACTERS = 1_200_000
"""Default of the largest number of characters of all pictures."""
# The size of a picture is estimated from this many of each group.
_TRIED = 8
# Decimals of probabilities.
_DECIMALS = 6

Contents = Callable[[NDArray[np.int64]], Mapping[int, str]]
"""Returns for rows of the verdicts their contents, a `Picture` or another text, if they are available."""


@dataclass(frozen=True, eq=False)
class Verdicts:
    """N verdicts.

    Attributes:
        ids: [N] names of the samples.
        groups: members of each group, [N] bool by name; the first group are the right predictions.
        unknowns: names of the groups of unknown inputs.
        predictions: [N] names of the predicted classes.
        labels: [N] names of the true classes; None for unknown inputs.
        scores: [N] probabilities by displayed name.
        score: displayed name of the probability that the threshold is on.
        familiar: [N] False for inputs that no threshold accepts.
        reasons: [N] why a prediction is not accepted at the threshold, and the layers that object; None if unknown.
        threshold: the threshold that is marked.
    """

    ids: Sequence[str]
    groups: Mapping[str, NDArray[np.bool_]]
    unknowns: Collection[str]
    predictions: Sequence[str]
    labels: Sequence[str | None]
    scores: Mapping[str, NDArray[np.float64]]
    score: str
    familiar: NDArray[np.bool_]
    reasons: Sequence[tuple[str, Sequence[str]] | None]
    threshold: float

    @property
    def on_threshold(self) -> NDArray[np.float64]:
        """The score [N] that the threshold is on, and -1 for inputs that no threshold accepts."""
        score: NDArray[np.float64] = np.where(self.familiar, self.scores[self.score], -1.0)
        return score

    def points(self) -> OperatingPoints:
        """Return what each threshold accepts."""
        return operating_points(self.on_threshold, self.groups, self.threshold)


@dataclass(frozen=True)
class Promise:
    """The risk guarantee of the marked threshold.

    Attributes:
        risk: largest error rate among accepted inputs.
        limit: this rate, as text.
        confidence: confidence of the guarantee, as text.
        covers_all: whether the guarantee covers the unknown inputs too.
    """

    risk: float
    limit: str
    confidence: str
    covers_all: bool


def exploration(
    verdicts: Verdicts,
    contents: Contents,
    promise: Promise | None = None,
    *,
    characters: int = CHARACTERS,
) -> dict[str, Any]:
    """Return the data of the interactive part, as a JSON value.

    All counts are exact. Of many samples, only some are in the browser: of each group the most and the least trusted
    ones, those nearest to the threshold, and random ones, as many as keep the page small.

    Args:
        verdicts: the verdicts.
        contents: returns pictures or texts.
        promise: the guarantee of the threshold; None if there is none.
        characters: largest number of characters of all pictures and texts.
    """
    points = verdicts.points()
    return {
        "score": verdicts.score,
        "marked": points.marked,
        "guaranteed": promise is not None,
        **({} if promise is None else vars(promise)),
        "thresholds": points.thresholds.tolist(),
        "groups": [
            {
                "name": printable(name),
                "known": name not in verdicts.unknowns,
                "samples": points.samples[name],
                "accepted": points.accepted[name].tolist(),
            }
            for name in verdicts.groups
        ],
        "samples": _samples(verdicts, points, contents, characters),
    }


def _samples(verdicts: Verdicts, points: OperatingPoints, contents: Contents, characters: int) -> dict[str, Any]:
    """Return the samples of the browser as columns; groups, layers and classes are numbers of a list of names."""
    rows, content = _chosen(verdicts, points, contents, characters)
    group = np.select([*verdicts.groups.values()], range(len(verdicts.groups)))
    chosen = rows.tolist()
    predictions, labels = ([names[row] for row in chosen] for names in (verdicts.predictions, verdicts.labels))
    reasons = [verdicts.reasons[row] for row in chosen]
    classes = _numbered(name for name in (*predictions, *labels) if name is not None)
    layers = _numbered(layer for reason in reasons if reason for layer in reason[1])
    return {
        "of": len(verdicts.ids),
        "classes": list(map(printable, classes)),
        "layers": list(map(printable, layers)),
        "id": [printable(verdicts.ids[row]) for row in chosen],
        "group": group[rows].tolist(),
        "prediction": [classes[name] for name in predictions if name is not None],
        "label": [None if name is None else classes[name] for name in labels],
        "passed": points.passed[rows].tolist(),
        "scores": {
            name: [round(value, _DECIMALS) for value in values[rows].tolist()]
            for name, values in verdicts.scores.items()
        },
        "reason": [reason and [reason[0], *(layers[layer] for layer in reason[1])] for reason in reasons],
        "picture": [value if isinstance(value := content.get(row), Picture) else None for row in chosen],
        "text": [None if isinstance(value := content.get(row), Picture) else value for row in chosen],
    }


def _numbered(names: Iterator[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def _chosen(
    verdicts: Verdicts, points: OperatingPoints, contents: Contents, characters: int
) -> tuple[NDArray[np.int64], Mapping[int, str]]:
    """Return the rows of the browser, and the contents of those that are available."""
    order = np.fromiter(_by_interest(verdicts, points), np.int64)
    tried = np.concatenate([order[members[order]][:_TRIED] for members in verdicts.groups.values()])
    sizes = [len(content) for content in contents(tried).values()]
    count = min(_SAMPLES, int(characters / np.mean(sizes))) if sizes else _SAMPLES
    rows = order[:count]
    available = contents(rows)
    # The estimate may be too low.
    total = np.cumsum([len(available.get(row, "")) for row in rows.tolist()])
    return rows[total <= characters], available


def in_turn(orders: Sequence[NDArray[np.int64]]) -> Iterator[int]:
    """Yield the first row of each order, then the second of each, and so on; each row once."""
    rows = chain.from_iterable(zip_longest(*(order.tolist() for order in orders)))
    yield from dict.fromkeys(row for row in rows if row is not None)


def _by_interest(verdicts: Verdicts, points: OperatingPoints) -> Iterator[int]:
    """Yield all rows once, the most interesting ones of each group first."""
    score, random = verdicts.on_threshold, np.random.default_rng(0)
    distance = np.abs(score - points.thresholds[points.marked])
    orders = []
    for members in verdicts.groups.values():
        rows = np.flatnonzero(members)
        by_score = rows[np.argsort(score[rows], kind="stable")]
        nearest = rows[np.argsort(distance[rows], kind="stable")]
        orders += [by_score[::-1], by_score, nearest, random.permutation(rows)]
    yield from in_turn(orders)
