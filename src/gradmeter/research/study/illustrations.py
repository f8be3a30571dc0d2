"""The figures of a study: selects the numbers and images that `gradmeter.report.figures` draws."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from gradmeter.reading.readings import Readings
from gradmeter.report import figures
from gradmeter.research.study.classifiers import tasks
from gradmeter.research.study.data import Concept, Draw
from gradmeter.research.study.features import Features
from gradmeter.research.study.judging import THRESHOLDS, LinearClassifier
from gradmeter.research.study.names import CONCEPTS, SCORES, in_order
from gradmeter.research.study.outcome import Outcome, Score
from gradmeter.research.study.tables import recorded
from gradmeter.trust.evaluation import Curve, precision_recall, risk_coverage, roc, thin
from gradmeter.trust.neural import NetworkBank

_EXAMPLES = 12
_EXTREMES = 8
_VIOLIN_GROUPS = ("letters", "cifar10", "uniform")
_CURVE_SCORES = ("softmax", "entropy", "l2", "lasso", "nn_d")
# More than a panel's width of 200 points can show.
_CURVE_POINTS = 500


def illustrate(
    folder: Path,
    draw: Draw,
    outcome: Outcome,
    fitted: Mapping[str, LinearClassifier],
    bank: NetworkBank,
    names: Mapping[str, str],
    *,
    whole_gradient: bool,
) -> None:
    """Write the figures of one run, the first of the study, as SVG and PNG.

    Args:
        folder: output folder.
        draw: images of the run.
        outcome: readings of the run.
        fitted: regressions of the run, by name.
        bank: neural meta classifiers of the run.
        names: display name of each concept.
        whole_gradient: whether the classifiers use the statistics of the whole gradient.
    """
    concepts = CONCEPTS | dict(names)
    figures.save_for_screens(partial(figures.gallery, _gallery(draw, names)), folder / "gallery")
    figures.save_for_screens(partial(figures.violins, _violins(outcome), names), folder / "violins")
    figures.save_for_screens(partial(figures.stress, _stress(draw, outcome, names)), folder / "stress")
    scores = _curve_scores(outcome, fitted, bank, whole_gradient=whole_gradient)
    scored = {SCORES[name]: outcome.scored(score) for name, score in scores.items()}
    columns = {column: concepts[column] for column in in_order(outcome.columns, CONCEPTS)}
    for stem, curve, figure in (
        ("roc", roc, figures.roc),
        ("precision_recall", precision_recall, figures.precision_recall),
    ):
        panels = {
            title: {name: _points(curve(inside, outside[column])) for name, (inside, outside) in scored.items()}
            for column, title in columns.items()
        }
        figures.save_for_screens(partial(figure, panels), folder / stem)
    risks = {
        SCORES[name]: _points(risk_coverage(score(outcome.test), outcome.test_wrong)) for name, score in scores.items()
    }
    figures.save_for_screens(partial(figures.risk_coverage, risks), folder / "risk_coverage")


def _points(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    thinned = thin(curve, _CURVE_POINTS)
    return thinned.x, thinned.y


def _gallery(draw: Draw, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    concepts = {"digits": draw.test, **draw.unknowns}
    roles = ("digits", *in_order(draw.unknowns, CONCEPTS))
    return {names[role]: _grey(concepts[role], np.arange(_EXAMPLES)) for role in roles}


def _grey(concept: Concept, index: np.ndarray) -> np.ndarray:
    """Return images in [0, 1], for which noise as drawn is clipped."""
    images: np.ndarray = concept.take(index).to_tensor().squeeze(1).clamp(0, 1).numpy()
    return images


def _violins(outcome: Outcome) -> dict[str, dict[str, np.ndarray]]:
    panels = {}
    for score in ("entropy", "l2", "min"):
        digits = _figure_2_score(score, outcome.test)
        panels[SCORES[score]] = {
            "correct": digits[~outcome.test_wrong],
            "wrong": digits[outcome.test_wrong],
            **{
                role: _figure_2_score(score, outcome.unknowns[role])
                for role in _VIOLIN_GROUPS
                if role in outcome.unknowns
            },
        }
    return panels


def _figure_2_score(score: str, readings: Readings) -> np.ndarray:
    """Return the score as in the paper's Figure 2, where the minimum is not negated."""
    values = THRESHOLDS[score](readings)
    return -values if score == "min" else values


def _stress(draw: Draw, outcome: Outcome, names: Mapping[str, str]) -> list[figures.StressRow]:
    """Select per concept the images with the smallest and the largest Euclidean norm of the whole gradient."""
    measured = {"digits": outcome.test, **outcome.unknowns}
    images = {"digits": draw.test, **draw.unknowns}
    rows = []
    for role in ("digits", *in_order(outcome.unknowns, CONCEPTS)):
        readings = measured[role]
        order = np.argsort(readings["all", "l2"].numpy(), kind="stable")
        least, most = order[:_EXTREMES], order[::-1][:_EXTREMES]
        predictions = readings.predictions.numpy()
        rows.append(
            figures.StressRow(
                names[role],
                _grey(images[role], least),
                _grey(images[role], most),
                predictions[least].tolist(),
                predictions[most].tolist(),
            )
        )
    return rows


def _curve_scores(
    outcome: Outcome, fitted: Mapping[str, LinearClassifier], bank: NetworkBank, *, whole_gradient: bool
) -> dict[str, Score]:
    features = Features.every(outcome.validation, whole_gradient=whole_gradient)
    networks = [task.name("nn") for task in tasks(outcome)]

    def network(name: str) -> Score:
        position = networks.index(name)
        return lambda readings: bank.scores(position, features.matrix(readings))[0]

    available: dict[str, Score] = {}
    for name in _CURVE_SCORES:
        if name in THRESHOLDS:
            available[name] = THRESHOLDS[name]
        elif recorded(name) in fitted:
            available[name] = fitted[recorded(name)].score
        elif name in networks:
            available[name] = network(name)
    return available
