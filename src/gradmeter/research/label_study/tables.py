"""The tables of the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean

from gradmeter.report.markdown import markdown_table
from gradmeter.research.gradient_gain.gains import AUPR_OUT, AUROC, Gain, gain_text
from gradmeter.research.label_study.measures import FIRST, PRECISION
from gradmeter.research.label_study.names import COMBINED, CONFIDENT, FORWARD
from gradmeter.research.label_study.results import SetResults
from gradmeter.research.label_study.subjects import GROUPS
from gradmeter.research.label_study.targets import Results, rate_ratio, targets, true_rate
from gradmeter.trust.evaluation.resampling import Interval

TITLES = {AUROC: "AUROC", AUPR_OUT: "AUPR", PRECISION: f"precision among the first {FIRST}"}
"""The measures in words."""


def target_table(results: Results) -> Iterator[str]:
    """The lines of the table of targets."""
    rows = [
        [target.aim, target.wanted, target.result, "met" if target.met else "**missed**"] for target in targets(results)
    ]
    yield from markdown_table(["", "target", "result", ""], rows)


def score_table(sets: Sequence[SetResults], measure: str) -> Iterator[str]:
    """The lines of the table of all scores of a group: a row for each score, a column for each set."""
    best = [max(interval.value for interval in result.values[measure].values()) for result in sets]
    rows = [
        [
            name,
            *(_cell(result.values[measure][name], highest) for result, highest in zip(sets, best, strict=True)),
        ]
        for name in sets[0].values[measure]
    ]
    yield from markdown_table(["", *(result.title for result in sets)], rows)


def set_table(results: Results) -> Iterator[str]:
    """The lines of the table that compares P(label is right) with the best single score, and with itself without
    gradients, on every set.
    """
    rows = []
    for name, sets in results.items():
        for result in sets:
            best = result.best_single(AUROC)
            row = [
                f"{GROUPS[name].title}: {result.title}",
                f"{100 * result.values[AUROC][COMBINED].value:.2f}",
                f"{best}, {100 * result.values[AUROC][best].value:.2f}",
                gain_text(result.leads[AUROC][best]),
            ]
            gains = [result.leads[measure][FORWARD] for measure in TITLES]
            rows.append([*row, *map(gain_text, gains), *([_verdict(gains[0])])])
    head = ["labels", "AUROC", "best single score", "minus the best single"]
    head += [f"gradients add, {title}" for title in TITLES.values()]
    yield from markdown_table([*head, "verdict"], rows)


def rate_table(results: Results) -> Iterator[str]:
    """The lines of the table of estimated rates."""
    rows = []
    for name, sets in results.items():
        group = GROUPS[name]
        for result in sets:
            truth, ours = true_rate(result, group), result.rates[COMBINED]
            held = sum(rate.low <= truth <= rate.high for rate in ours)
            spread = f"{100 * min(rate.low for rate in ours):.1f} to {100 * max(rate.high for rate in ours):.1f}"
            rows.append(
                [
                    f"{group.title}: {result.title}",
                    f"{100 * truth:.2f}",
                    f"{100 * mean(rate.value for rate in ours):.2f}",
                    spread,
                    f"{held} of {result.draws}",
                    *(f"{rate_ratio(result, group, estimator):.2f}" for estimator in (COMBINED, FORWARD, CONFIDENT)),
                ]
            )
    head = ["labels", "wrong, %", "estimate, %", "intervals, %", "hold the truth", "estimate / truth"]
    yield from markdown_table([*head, "without gradients", f"cleanlab's {CONFIDENT}"], rows)


def _cell(interval: Interval, best: float) -> str:
    half = (interval.high - interval.low) / 2
    text = f"{100 * interval.value:.2f}"
    return f"{f'**{text}**' if interval.value >= best - 5e-7 else text} ±{100 * half:.2f}"


def _verdict(gain: Gain) -> str:
    return gain.verdict if gain.verdict != "adds" else f"**{gain.verdict}**"
