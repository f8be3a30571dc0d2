"""Evaluation of a `TrustModel` with its defaults, beside the methods of the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gradmeter.reading.meter import GradientMeter
from gradmeter.research.study.data import Concept, Draw
from gradmeter.research.study.judging import judge
from gradmeter.research.study.measuring import batches
from gradmeter.research.study.names import TRUST_MODEL
from gradmeter.research.study.network import PaperCNN
from gradmeter.research.study.outcome import Outcome
from gradmeter.research.study.results import Result
from gradmeter.trust.evaluation.separation import Interpolation
from gradmeter.trust.meta_classifier import Judgement
from gradmeter.trust.model import TrustModel
from gradmeter.trust.risk import LEAST_PROBABILITY


@dataclass(frozen=True, eq=False)
class JudgedConcept:
    """A concept whose images a TrustModel has judged.

    Attributes:
        images: N images.
        predictions: [N] classes that the network predicts.
        judgement: N judgements.
        reasons: [N] why a prediction is not accepted if P(correct) must be at least 0.5; None for accepted ones.
    """

    images: Concept
    predictions: NDArray[np.int64]
    judgement: Judgement
    reasons: list[str | None]


def judge_with_trust(network: PaperCNN, draw: Draw, on_images: Callable[[int, int], None]) -> dict[str, JudgedConcept]:
    """Fit a TrustModel to the validation digits, without unknown images, and judge the test images of a run.

    Args:
        network: the network of the run.
        draw: images of the run.
        on_images: called with the number of judged images and the total.

    Returns:
        The test digits as "test", and the unknown concepts by role.
    """
    trust = TrustModel(GradientMeter(network)).fit(_labelled(draw.validation))
    own = trust.judge
    assert own is not None
    sets = {"test": draw.test, **draw.unknowns}
    total, done = sum(map(len, sets.values())), 0
    judged = {}
    for name, concept in sets.items():
        predictions, judgements, reasons = [], [], list[str | None]()
        for batch in batches(concept):
            readings = trust.meter(batch)
            judgement = own.judge(readings)
            reasons += own.reasons(readings, judgement, judgement.score() >= LEAST_PROBABILITY)
            predictions.append(readings.predictions.numpy())
            judgements.append(judgement)
            done += len(batch)
            on_images(done, total)
        judged[name] = JudgedConcept(concept, np.concatenate(predictions), Judgement.concatenate(judgements), reasons)
    return judged


def evaluate_trust(judged: Mapping[str, JudgedConcept], outcome: Outcome, aupr: Interpolation) -> Iterator[Result]:
    """Evaluate P(correct) on a run.

    Args:
        judged: the judged images of the run.
        outcome: readings of the run.
        aupr: "step" or "trapezoid".
    """
    scores = {
        id(outcome.test if name == "test" else outcome.unknowns[name]): -concept.judgement.p_correct
        for name, concept in judged.items()
    }
    yield from judge(outcome, TRUST_MODEL, lambda readings: scores[id(readings)], aupr)


def _labelled(digits: Concept) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    assert digits.labels is not None
    done = 0
    for batch in batches(digits):
        yield batch, torch.from_numpy(digits.labels[done : done + len(batch)])
        done += len(batch)
