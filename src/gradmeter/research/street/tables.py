"""The tables of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean

from gradmeter.reading.pixels.scores import CONFIDENCES, ENTROPY, SOFTMAX
from gradmeter.report.markdown import markdown_table
from gradmeter.research.gradient_gain.gains import ADDS, HURTS, Gain, gain_text
from gradmeter.research.street.judges import BOTH, FORWARD, GRADIENTS, INPUTS, NOISE, VARIANTS, judge_name
from gradmeter.research.street.quality import Quality
from gradmeter.research.street.results import TaskResults
from gradmeter.research.street.scenes import TITLES
from gradmeter.research.street.segments import METASEG, METHODS, R2, WITH_GRADIENTS, WITH_NOISE
from gradmeter.trust.evaluation.binned import AUPR, AUROC, FPR95

_FURTHER = (
    ("gradients beside inputs", BOTH, INPUTS),
    ("gradients against noise", GRADIENTS, NOISE),
)
"""Differences of judges that do not read the forward pass only: title, judge and the other judge."""


def bold_gain(gain: Gain) -> str:
    """Return a gain with its interval, in points of percent; bold if the interval excludes 0."""
    text = gain_text(gain)
    return f"**{text}**" if gain.verdict in (ADDS, HURTS) else text


def single_scores(result: TaskResults) -> list[str]:
    """Return the names of the scores that learn nothing."""
    return list(result.validation)


def chosen(result: TaskResults) -> tuple[str, str]:
    """Return the best score of the logits and the best gradient statistic for wrong pixels of validation scenes."""
    logits = [name for name in result.validation if name in CONFIDENCES]
    gradients = [name for name in result.validation if name not in CONFIDENCES]
    return max(logits, key=result.validation.__getitem__), max(gradients, key=result.validation.__getitem__)


def score_table(result: TaskResults) -> Iterator[str]:
    """Return the measures of all scores that learn nothing."""
    rows = []
    for name in single_scores(result):
        gains = result.gains[AUROC].get(name, {})
        rows.append(
            [
                f"**{name}**" if name in chosen(result) else name,
                *_measures(result, name),
                bold_gain(gains[SOFTMAX]) if SOFTMAX in gains else "",
                bold_gain(gains[ENTROPY]) if ENTROPY in gains else "",
                f"{100 * result.validation[name]:.2f}",
            ]
        )
    head = ["score", "AUROC", "AUPR", "FPR95", "AUROC - softmax's", "AUROC - entropy's", "AUROC on validation"]
    yield from markdown_table(head, rows)


def judge_table(result: TaskResults) -> Iterator[str]:
    """Return the measures of the judges, and what each adds to the one that reads the forward pass."""
    rows = []
    for classifier, variants in VARIANTS.items():
        for variant in variants:
            name, forward = judge_name(classifier, variant), judge_name(classifier, FORWARD)
            cells = [
                bold_gain(result.gains[measure][name][forward]) if variant != FORWARD else ""
                for measure in (AUROC, AUPR, FPR95)
            ]
            rows.append([name, *_measures(result, name), *cells])
        for title, variant, other in _FURTHER:
            name, than = judge_name(classifier, variant), judge_name(classifier, other)
            added = [bold_gain(result.gains[measure][name][than]) for measure in (AUROC, AUPR, FPR95)]
            rows.append([f"{classifier}: {title}", "", "", "", *added])
    head = ["judge", "AUROC", "AUPR", "FPR95", "AUROC - forward", "AUPR - forward", "FPR95 - forward"]
    yield from markdown_table(head, rows)


def segment_table(result: TaskResults) -> Iterator[str]:
    """Return the measures of segments, and what each method adds to MetaSeg's features."""
    rows = []
    for method in METHODS:
        cells = [
            bold_gain(result.gains[measure][method][METASEG]) if method != METASEG else ""
            for measure in (AUROC, AUPR, R2)
        ]
        r2 = f"{100 * result.mean(R2, method):.2f}"
        rows.append([method, *_measures(result, method), r2, *cells])
    against = [bold_gain(result.gains[measure][WITH_GRADIENTS][WITH_NOISE]) for measure in (AUROC, AUPR, R2)]
    rows.append(["gradients against noise", "", "", "", "", *against])
    head = ["features", "AUROC", "AUPR", "FPR95", "R²", "AUROC - forward", "AUPR - forward", "R² - forward"]
    yield from markdown_table(head, rows)


def quality_table(qualities: Mapping[str, Sequence[Quality]]) -> Iterator[str]:
    """Return how well the networks segment."""
    rows = [
        [TITLES[lesson], *(_range([getattr(one, name) for one in of_lesson]) for name in _QUALITIES)]
        for lesson, of_lesson in qualities.items()
    ]
    head = ["learned", "right, validation", "mean IoU, validation", "right, test", "mean IoU, test"]
    yield from markdown_table(head, rows)


_QUALITIES = ("val_right", "val_iou", "test_right", "test_iou")


def _range(values: Sequence[float]) -> str:
    low, middle, high = (f"{100 * value:.1f}" for value in (min(values), mean(values), max(values)))
    return f"{middle} ({low} to {high})"


def _measures(result: TaskResults, name: str) -> list[str]:
    return [f"{100 * result.mean(measure, name):.2f}" for measure in (AUROC, AUPR, FPR95)]
