"""The tables of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gradmeter.report.markdown import markdown_table
from gradmeter.research.ood_benchmark.cells import SEPARATION, separation_cells
from gradmeter.research.ood_benchmark.real.names import IF_KNOWN, STATEMENTS, name_of
from gradmeter.research.ood_benchmark.real.results import POOLED, RealResults
from gradmeter.research.ood_benchmark.real.run import CONTROLLED_READS, FEW, reading
from gradmeter.research.ood_benchmark.real.targets import targets
from gradmeter.research.ood_benchmark.results import BASELINE
from gradmeter.research.ood_benchmark.run import OURS, WRONG, few

_ERRORS = {"fpr95": 100, "aurc": 1e4, "augrc": 1e4}
_TEMPERATURE = "TemperatureScaling"
# Smaller p-values are not shown exactly.
_SMALLEST = 1e-12
# Detectors of the table of each network, from the first in the mean rank.
_LEADING = 5


def separation_table(results: RealResults, methods: Sequence[str]) -> Iterator[str]:
    """Return AUROC / AUPR-Out of each method and column, and the times; the best are bold."""
    cell = separation_cells(results, methods)
    rows = [
        [
            name_of(method),
            *(cell(method, column) for column in results.columns),
            f"{results.fit_seconds(method):.1f}",
            f"{results.milliseconds(method):.2f}",
        ]
        for method in methods
    ]
    yield from markdown_table(["", *results.columns, "fit, s", "ms / image"], rows)


def error_table(results: RealResults, methods: Sequence[str]) -> Iterator[str]:
    """Return FPR95 / AURC / AUGRC of each method and column."""
    rows = [
        [
            name_of(method),
            *(
                " / ".join(
                    f"{factor * results.mean(method, column, measure).mean:.1f}" for measure, factor in _ERRORS.items()
                )
                for column in results.columns
            ),
        ]
        for method in methods
    ]
    yield from markdown_table(["", *results.columns], rows)


def in_order(results: RealResults) -> list[str]:
    """Return the statements, then the detectors by their mean AUROC over the columns, the best first."""

    def quality(method: str) -> float:
        return sum(results.mean(method, column, "auroc").mean for column in results.separate)

    return [*STATEMENTS, *sorted(results.detectors, key=quality, reverse=True)]


def target_table(results: RealResults) -> Iterator[str]:
    """Return the targets with the values that are reached."""
    rows = [
        [target.quantity, target.expected, target.value, "met" if target.met else "**missed**"]
        for target in targets(results)
    ]
    yield from markdown_table(["", "target", "result", ""], rows)


def rank_table(results: RealResults) -> Iterator[str]:
    """Return the mean ranks of P(correct) and the detectors, with Friedman's test and Conover's p-values."""
    ranks = results.ranks()
    yield (
        f"Friedman's test: chi-squared {ranks.statistic:.1f} with {len(ranks.mean) - 1} degrees of freedom, "
        f"p-value {_shown(ranks.p_value)}, {ranks.blocks} blocks."
    )
    yield ""
    rows = [
        [name_of(method), f"{mean:.2f}", _shown(ranks.against[method]) if method in ranks.against else ""]
        for method, mean in ranks.mean.items()
    ]
    yield from markdown_table(["", "mean rank", "p, against P(correct)"], rows)


def _shown(p_value: float) -> str:
    return f"{p_value:.1e}" if p_value >= _SMALLEST else f"< {_SMALLEST:.0e}"


def network_table(results: RealResults, leading: Sequence[str]) -> Iterator[str]:
    """Return AUROC / AUPR-Out of the statements, the softmax and some detectors on one network."""
    methods = [*STATEMENTS, *dict.fromkeys((BASELINE, *leading))]
    yield from separation_table(results, methods)


def leading_detectors(results: RealResults) -> list[str]:
    """Return the detectors that are first in the mean rank."""
    return [method for method in results.ranks().mean if method != OURS][:_LEADING]


def gain_table(results: RealResults) -> Iterator[str]:
    """Return, for each network, the gains of the statements over the softmax on wrong predictions."""
    measures: Mapping[str, tuple[str, float]] = {
        "auroc": ("AUROC", 100),
        "aupr_out": ("AUPR-Out", 100),
        "aurc": ("AURC, 1e-4", 1e4),
    }
    rows = []
    for network in results.networks:
        for method in (IF_KNOWN, OURS):
            row = [f"ResNet-{network.depths[0]}", name_of(method)]
            for measure, (_, factor) in measures.items():
                pairs = zip(network.quality(method, WRONG), network.quality(BASELINE, WRONG), strict=True)
                gains = [factor * (getattr(a, measure) - getattr(b, measure)) for a, b in pairs]
                row.append(f"{sum(gains) / len(gains):+.2f} ({min(gains):+.2f} to {max(gains):+.2f})")
            rows.append(row)
    yield from markdown_table(["", "", *(f"{name} - softmax" for name, _ in measures.values())], rows, texts=2)


def calibration_table(results: RealResults) -> Iterator[str]:
    """Return the calibration of the probabilities on known test images."""
    methods = [OURS, IF_KNOWN, BASELINE, *([_TEMPERATURE] if results.has(_TEMPERATURE) else [])]
    rows = []
    for method in methods:
        calibration = results.calibration(method)
        rows.append([name_of(method), f"{100 * calibration.ece:.2f}", f"{100 * calibration.brier:.2f}"])
    yield from markdown_table(["", "ECE, %", "Brier, %"], rows)


def few_table(results: RealResults) -> Iterator[str]:
    """Return the default judge fitted to few validation images, compared with the softmax and the whole half."""
    judges = {**{few(size): f"{size:,} images" for size in FEW if results.has(few(size))}, OURS: "all"}
    rows = [["", "softmax (MSP)", *_cells(results, BASELINE)]]
    for judge, name in judges.items():
        for method, label in STATEMENTS.items():
            rows.append([name, label, *_cells(results, judge + method.removeprefix(OURS))])
    head = ["fitted to", "", *results.columns, "wrong: AURC, 1e-4"]
    yield from markdown_table(head, rows, texts=2)


def reads_table(results: RealResults) -> Iterator[str]:
    """Return the default judge and the controls that read the forward pass only, or gradients too."""
    judges = {OURS: "default", **{reading(reads): f'reads="{reads}"' for reads in CONTROLLED_READS}}
    rows = [
        [
            name,
            label,
            *_cells(results, judge + method.removeprefix(OURS)),
            f"{results.fit_seconds(judge):.0f}",
            f"{results.milliseconds(judge):.2f}",
        ]
        for judge, name in judges.items()
        for method, label in STATEMENTS.items()
    ]
    head = ["", "", *results.columns, "wrong: AURC, 1e-4", "fit, s", "ms / image"]
    yield from markdown_table(head, rows, texts=2)


def _cells(results: RealResults, method: str) -> list[str]:
    """Return AUROC / AUPR-Out of each column, and the AURC of wrong predictions."""
    cells = [
        " / ".join(f"{100 * results.mean(method, column, measure).mean:.2f}" for measure in SEPARATION)
        for column in results.columns
    ]
    return [*cells, f"{1e4 * results.mean(method, WRONG, 'aurc').mean:.2f}"]


def column_sizes(results: RealResults) -> str:
    """Return how many images the columns have, for the text."""
    scores = results.scores(OURS)[0].values
    return ", ".join(f"{name} ({len(scores[name]):,})" for name in results.concepts if name != POOLED)
