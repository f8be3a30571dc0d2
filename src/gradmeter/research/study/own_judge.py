"""Evaluation of a `TrustModel` with its defaults, beside the methods of the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from gradmeter.reading.meter import GradientMeter
from gradmeter.research.study.data import Concept, Draw
from gradmeter.research.study.judging import judge
from gradmeter.research.study.measuring import batches
from gradmeter.research.study.names import TRUST_MODEL
from gradmeter.research.study.network import PaperCNN
from gradmeter.research.study.outcome import Outcome
from gradmeter.research.study.results import Result
from gradmeter.trust.evaluation.separation import Interpolation
from gradmeter.trust.model import TrustModel


def judge_with_trust(
    network: PaperCNN, draw: Draw, outcome: Outcome, aupr: Interpolation, on_images: Callable[[int, int], None]
) -> Iterator[Result]:
    """Fit a TrustModel to the validation digits, without unknown images, and evaluate its P(correct) on a run.

    Args:
        network: the network of the run.
        draw: images of the run.
        outcome: readings of the run.
        aupr: "step" or "trapezoid".
        on_images: called with the number of scored images and the total.
    """
    trust = TrustModel(GradientMeter(network)).fit(_labelled(draw.validation))
    sets = {"test": draw.test, **draw.unknowns}
    total, done = sum(map(len, sets.values())), 0
    scores: dict[int, np.ndarray] = {}
    for name, concept in sets.items():
        parts = []
        for batch in batches(concept):
            parts.append(trust.predict_proba(batch).numpy())
            done += len(batch)
            on_images(done, total)
        scores[id(outcome.test if name == "test" else outcome.unknowns[name])] = -np.concatenate(parts)
    yield from judge(outcome, TRUST_MODEL, lambda readings: scores[id(readings)], aupr)


def _labelled(digits: Concept) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    assert digits.labels is not None
    done = 0
    for batch in batches(digits):
        yield batch, torch.from_numpy(digits.labels[done : done + len(batch)])
        done += len(batch)
