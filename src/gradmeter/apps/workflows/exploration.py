"""The interactive part of an evaluation's report: its verdicts, and pictures of its samples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradmeter.apps.workflows.evaluate import Evaluation
from gradmeter.apps.workflows.extremes import read_examples
from gradmeter.apps.workflows.groups import given_scores, group_members
from gradmeter.apps.workflows.wording import SCORE_NAMES, rate
from gradmeter.report.exploration import Promise, Verdicts
from gradmeter.report.thumbnails import thumbnail
from gradmeter.trust.reasons import split_reason
from gradmeter.trust.risk import LEAST_PROBABILITY

# Longer side of a picture in pixels, and longest text in characters.
_SIDE, _EXCERPT = 64, 200


def verdicts_of(evaluation: Evaluation) -> Verdicts:
    """Return the verdicts of an evaluation; without a guarantee, the marked threshold is 0.5."""
    rows, guarantee = evaluation.rows, evaluation.guarantee
    reasons = rows["reason"].to_pylist()
    return Verdicts(
        rows["id"].to_pylist(),
        group_members(evaluation),
        evaluation.judged.unknowns,
        [evaluation.class_name(number) for number in rows["prediction"].to_pylist()],
        [None if number is None else evaluation.class_name(number) for number in rows["label"].to_pylist()],
        {SCORE_NAMES[score]: values for score, values in given_scores(evaluation).items()},
        SCORE_NAMES[evaluation.score],
        rows["familiar"].to_numpy(),
        [None if reason is None else split_reason(reason) for reason in reasons],
        LEAST_PROBABILITY if guarantee is None else guarantee.threshold,
    )


def promise_of(evaluation: Evaluation) -> Promise | None:
    """Return the guarantee of an evaluation; None if there is none."""
    if (guarantee := evaluation.guarantee) is None:
        return None
    covers_all = all(check.is_covered for check in evaluation.guarantee_checks.values())
    return Promise(guarantee.risk, f"{rate(guarantee.risk)} %", f"{rate(guarantee.confidence)} %", covers_all)


def contents_of(evaluation: Evaluation, rows: NDArray[np.int64]) -> Mapping[int, str]:
    """Return the pictures or texts of rows, without those whose samples are not available."""
    concept = evaluation.judged.concept[rows]
    contents: dict[int, str] = {}
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
