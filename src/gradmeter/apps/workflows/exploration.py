"""The data of the interactive part of an evaluation's report: a slider on the threshold, and a browser of samples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradmeter.apps.workflows.evaluate import Evaluation
from gradmeter.apps.workflows.extremes import read_examples
from gradmeter.apps.workflows.groups import given_scores, group_members
from gradmeter.apps.workflows.reasons import split_reason
from gradmeter.apps.workflows.thumbnails import thumbnail
from gradmeter.apps.workflows.wording import SCORE_NAMES, rate
from gradmeter.names import printable
from gradmeter.report.operating_points import OperatingPoints, operating_points
from gradmeter.trust.risk import LEAST_PROBABILITY

# Largest number of samples in the browser, and of characters of all their pictures.
_SAMPLES, _CHARACTERS = 2000, 1_200_000
# The size of a picture is estimated from this many of each data set.
_TRIED = 8
# Longer side of a picture in pixels, and longest text in characters.
_SIDE, _EXCERPT = 64, 200
# Decimals of probabilities.
_DECIMALS = 6


def guarantee_score(evaluation: Evaluation) -> NDArray[np.float64]:
    """Return the score [N] that the threshold is on, and -1 for unfamiliar inputs, which no threshold accepts."""
    rows = evaluation.rows
    score: NDArray[np.float64] = np.where(rows["familiar"].to_numpy(), rows[evaluation.score].to_numpy(), -1.0)
    return score


def explored(evaluation: Evaluation) -> OperatingPoints:
    """Return the samples that each threshold accepts; the marked one is guaranteed if there is a guarantee."""
    guarantee = evaluation.guarantee
    return operating_points(
        guarantee_score(evaluation),
        group_members(evaluation),
        LEAST_PROBABILITY if guarantee is None else guarantee.threshold,
    )


def exploration(evaluation: Evaluation, points: OperatingPoints) -> dict[str, Any]:
    """Return the data of the interactive part, as a JSON value.

    All counts are exact. Of many samples, only some are in the browser: of each group the most and the least trusted
    ones, those nearest to the threshold, and random ones, as many as keep the page small.
    """
    guarantee, members = evaluation.guarantee, group_members(evaluation)
    unknowns = {*evaluation.judged.unknowns}
    return {
        "score": SCORE_NAMES[evaluation.score],
        "marked": points.marked,
        **(
            {"guaranteed": False}
            if guarantee is None
            else {
                "guaranteed": True,
                "risk": guarantee.risk,
                "limit": f"{rate(guarantee.risk)} %",
                "confidence": f"{rate(guarantee.confidence)} %",
                "covers_all": all(check.is_covered for check in evaluation.guarantee_checks.values()),
            }
        ),
        "thresholds": points.thresholds.tolist(),
        "groups": [
            {
                "name": printable(name),
                "known": name not in unknowns,
                "samples": points.samples[name],
                "accepted": points.accepted[name].tolist(),
            }
            for name in members
        ],
        "samples": _samples(evaluation, points),
    }


def _samples(evaluation: Evaluation, points: OperatingPoints) -> dict[str, Any]:
    """Return the samples of the browser as columns; layers and classes are numbers of a list of names."""
    rows, pictures = _chosen(evaluation, points)
    table = evaluation.rows.take(rows)
    group = np.select([*group_members(evaluation).values()], range(len(group_members(evaluation))))[rows]
    numbers = [*table["prediction"].to_pylist(), *table["label"].drop_null().to_pylist()]
    classes = {number: index for index, number in enumerate(dict.fromkeys(numbers))}
    reasons = [reason and split_reason(reason) for reason in table["reason"].to_pylist()]
    layers = {
        layer: index
        for index, layer in enumerate(dict.fromkeys(layer for reason in reasons if reason for layer in reason[1]))
    }
    return {
        "of": evaluation.rows.num_rows,
        "classes": [printable(evaluation.class_name(number)) for number in classes],
        "layers": list(map(printable, layers)),
        "id": list(map(printable, table["id"].to_pylist())),
        "group": group.tolist(),
        "prediction": [classes[number] for number in table["prediction"].to_pylist()],
        "label": [None if number is None else classes[number] for number in table["label"].to_pylist()],
        "passed": points.passed[rows].tolist(),
        "scores": {
            SCORE_NAMES[score]: [round(value, _DECIMALS) for value in values[rows].tolist()]
            for score, values in given_scores(evaluation).items()
        },
        "reason": [reason and [reason[0], *(layers[layer] for layer in reason[1])] for reason in reasons],
        "content": [pictures.get(row) for row in rows.tolist()],
        "texts": any(data.source is not None and data.source.texts for data in evaluation.sets),
    }


def _chosen(evaluation: Evaluation, points: OperatingPoints) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Return the rows of the browser, and the pictures or texts of those that can be read."""
    order = np.fromiter(_by_interest(evaluation, points), np.int64)
    concept = evaluation.judged.concept
    tried = [order[concept[order] == number][:_TRIED] for number in range(len(evaluation.sets))]
    sizes = [len(text) for text in _contents(evaluation, np.concatenate(tried)).values()]
    count = min(_SAMPLES, int(_CHARACTERS / np.mean(sizes))) if sizes else _SAMPLES
    rows = order[:count]
    pictures = _contents(evaluation, rows)
    # The estimate may be too low.
    total = np.cumsum([len(pictures.get(row, "")) for row in rows.tolist()])
    return rows[total <= _CHARACTERS], pictures


def _by_interest(evaluation: Evaluation, points: OperatingPoints) -> Iterator[int]:
    """Yield all rows once, the most interesting ones of each group first."""
    score, random = guarantee_score(evaluation), np.random.default_rng(0)
    distance = np.abs(score - points.thresholds[points.marked])
    orders = []
    for members in group_members(evaluation).values():
        rows = np.flatnonzero(members)
        by_score = rows[np.argsort(score[rows], kind="stable")]
        nearest = rows[np.argsort(distance[rows], kind="stable")]
        orders += [by_score[::-1], by_score, nearest, random.permutation(rows)]
    in_turn = chain.from_iterable(zip_longest(*(order.tolist() for order in orders)))
    yield from dict.fromkeys(row for row in in_turn if row is not None)


def _contents(evaluation: Evaluation, rows: NDArray[np.int64]) -> dict[int, str]:
    """Return the pictures or texts of rows, without those whose samples are not available."""
    concept = evaluation.judged.concept[rows]
    contents = {}
    for number, data in enumerate(evaluation.sets):
        if data.source is None:
            continue
        for row, example in read_examples(evaluation, data, rows[concept == number].tolist()):
            if isinstance(example.content, Image.Image):
                contents[row] = thumbnail(example.content, _SIDE)
            elif isinstance(example.content, str):
                contents[row] = excerpt(example.content)
    return contents


def excerpt(text: str) -> str:
    """Return the start of a text."""
    return text if len(text) <= _EXCERPT else text[:_EXCERPT].rstrip() + "…"
