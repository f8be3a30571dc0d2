"""The interactive part of a study's report: the verdicts of the TrustModel of the first run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradmeter.report.exploration import Verdicts, exploration
from gradmeter.report.thumbnails import thumbnail
from gradmeter.research.study.own_judge import JudgedConcept
from gradmeter.trust.meta_classifier import Judgement
from gradmeter.trust.reasons import split_reason
from gradmeter.trust.risk import LEAST_PROBABILITY

# The figures of a study are larger than those of an evaluation, so there is less room for pictures.
_CHARACTERS = 400_000
_SCORES = {"P(known)": "p_known", "P(correct | known)": "p_correct_if_known", "P(correct)": "p_correct"}


def explored(judged: Mapping[str, JudgedConcept]) -> dict[str, Any]:
    """Return the data of the interactive part, in which unknown concepts have the names of their roles.

    Args:
        judged: the judged test digits as "test", and the unknown concepts by role.
    """
    concepts = [*judged.values()]
    concept = np.repeat(np.arange(len(concepts)), [len(part.images) for part in concepts])
    labels = judged["test"].images.labels
    assert labels is not None
    right = np.zeros(len(concept), np.bool_)
    right[concept == 0] = judged["test"].predictions == labels
    members = {"right": right, "wrong": (concept == 0) & ~right}
    members |= {role: concept == number for number, role in enumerate([*judged][1:], start=1)}
    judgement = Judgement.concatenate([part.judgement for part in concepts])
    place = np.concatenate([np.arange(len(part.images)) for part in concepts])

    def pictures(rows: NDArray[np.int64]) -> dict[int, str]:
        images = {row: concepts[concept[row]].images.take(place[row : row + 1]) for row in rows.tolist()}
        return {row: _picture(image.to_tensor()[0, 0].numpy()) for row, image in images.items()}

    verdicts = Verdicts(
        [f"{role} {number}" for role, part in judged.items() for number in range(len(part.images))],
        {name: rows for name, rows in members.items() if rows.any()},
        [*judged][1:],
        [str(digit) for part in concepts for digit in part.predictions.tolist()],
        [*map(str, labels.tolist()), *[None] * int((concept > 0).sum())],
        {name: values for name, field in _SCORES.items() if (values := getattr(judgement, field)) is not None},
        "P(correct)",
        judgement.familiar,
        [split_reason(reason) if reason else None for part in concepts for reason in part.reasons],
        LEAST_PROBABILITY,
    )
    return exploration(verdicts, pictures, characters=_CHARACTERS)


def _picture(image: NDArray[np.float32]) -> str:
    # Noise as drawn is outside [0, 1].
    return thumbnail(Image.fromarray(np.rint(255 * image.clip(0, 1)).astype(np.uint8)), max(image.shape))
