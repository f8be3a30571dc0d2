"""The study's answer for a reader who does not know the paper, made from its claims and tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gradmeter.report.grid import Block, Cell, Grid
from gradmeter.report.probabilities import PERCENT
from gradmeter.research.study.names import OWN, SCORES
from gradmeter.research.study.report.records import NOTHING, number
from gradmeter.research.study.report.results import StudyResults

HOLDS, FAILS, UNTESTED = "holds", "does not hold", "not testable on this data"
GRADIENT_METRICS = ("l1", "l2", "min", "max", "std", "mean", "skewness", "kurtosis")
# Points of AUROC that make no difference to a reader.
_ALIKE = 0.1
_TABLES = ("table1", "table2", "table3", "table4")
_COLUMNS = {"wrong": "Own mistakes", "letters": "Letters", "all": "All unknown images"}


@dataclass(frozen=True)
class Answer:
    """What came of a study.

    Attributes:
        parts: heading and text, in the order in which one reads them.
        grid: the scores that the text compares; None where there is nothing to compare.
    """

    parts: tuple[tuple[str, str], ...]
    grid: Grid | None


def answer(results: StudyResults) -> Answer:
    """Return what the tables at hand support; no part where there are no tables."""
    parts = {
        "What was tried": _tried(results),
        "What the paper's method gives": " ".join([*_metrics(results), *_meta_classifiers(results), *_claims(results)]),
        "What gradmeter's judge gives": _judge(results),
        "What that means": _meaning(results),
    }
    return Answer(tuple((heading, text) for heading, text in parts.items() if text), _grid(results))


def _tried(results: StudyResults) -> str:
    runs, known = len(results.rows["networks"]), results.names.get("digits", "digits")
    if not runs:
        return ""
    networks = f"{runs} small networks" if runs > 1 else "One small network"
    return (
        f"A classifier answers every image, also images that it gets wrong and images of a kind that it never learned. "
        f"{networks} learned {known}; then each method gave every answer a score, which should be worse for these two. "
        f"Its AUROC is the chance that the score is worse for such an answer than for a right one: 50{PERCENT} is a "
        f"guess, 100{PERCENT} is perfect. The baseline is the softmax, the network's own confidence, which costs "
        "nothing. All unknown images are those of every kind but letters, which stand apart. The paper "
        "scores an answer by the gradient that it would cause if it were true, and claims that this finds mistakes as "
        "well as the softmax does, and unknown images better."
    )


def _metrics(results: StudyResults) -> Iterator[str]:
    baseline = _mean(results, "auroc", "softmax", "wrong")
    best = _best_metric(results)
    if baseline is not None and best is not None:
        yield (
            f"To find the network's own mistakes, the best single gradient metric ({SCORES[best]}) reaches "
            f"{_mean(results, 'auroc', best, 'wrong'):.2f}{PERCENT}, the softmax {baseline:.2f}{PERCENT}: it is "
            f"{_rank(_mean(results, 'auroc', best, 'wrong'), baseline)}."
        )


def _meta_classifiers(results: StudyResults) -> Iterator[str]:
    untold, told, baseline = (_mean(results, "auroc", score, "all") for score in ("nn_a", "nn_b", "softmax"))
    if untold is not None and baseline is not None:
        yield (
            f"To find unknown images, its neural meta classifier, which sees the metrics of all layers, reaches "
            f"{untold:.2f}{PERCENT}"
            + (f", and {told:.2f}{PERCENT} once it is shown some uniform noise" if told is not None else "")
            + f"; the softmax reaches {baseline:.2f}{PERCENT}. It is {_rank(untold, baseline)}"
            + (f" without noise and {_rank(told, baseline)} with it." if told is not None else ".")
        )


def _rank(ours: float | None, theirs: float) -> str:
    """How an AUROC compares with another, in a word."""
    assert ours is not None
    return "about as good" if abs(ours - theirs) < _ALIKE else "better" if ours > theirs else "worse"


def _claims(results: StudyResults) -> Iterator[str]:
    verdicts = [row["verdict"] for row in results.rows["claims"]]
    if verdicts:
        holds, fails, untested = (verdicts.count(verdict) for verdict in (HOLDS, FAILS, UNTESTED))
        rest = f", {untested} cannot be tested on this data" if untested else ""
        yield f"Of the paper's {len(verdicts)} claims {holds} hold here, {fails} do not{rest}."


def _judge(results: StudyResults) -> str:
    reached = [
        f"{mean:.2f}{PERCENT} on {what}{_beside_softmax(results, column)}"
        for column, what in (("wrong", "the network's own mistakes"), ("all", "all unknown images"))
        if (mean := _mean(results, "auroc", OWN, column)) is not None
    ]
    if not reached:
        return ""
    return (
        "The library's own judge (a TrustModel with its defaults) is fitted to the same validation images and is shown "
        f"no unknown image; it makes its own of these digits, noise among them. It reaches {' and '.join(reached)}."
    )


def _beside_softmax(results: StudyResults, column: str) -> str:
    ours, baseline = (_mean(results, "auroc", score, column) for score in (OWN, "softmax"))
    return "" if ours is None or baseline is None else f" ({ours - baseline:+z.2f} points against the softmax)"


def _meaning(results: StudyResults) -> str:
    verdicts = {column: _compared(results, column) for column in ("wrong", "all")}
    if None in verdicts.values():
        return ""
    said = (
        f"Beside the softmax, gradmeter's judge is {verdicts['wrong']} at finding the network's own mistakes and "
        f"{verdicts['all']} at finding unknown images."
    )
    if "worse" in verdicts.values():
        return f"{said} Where it is worse, use the softmax."
    if "better" in verdicts.values():
        return f"{said} With it one need not know beforehand which unknown images will come."
    return f"{said} The differences are smaller than these runs can tell."


def _compared(results: StudyResults, column: str) -> str | None:
    """Better, worse or as good as the softmax: by the interval of the difference, or by its sign for one run."""
    for row in results.rows["differences"]:
        if (row["measure"], row["row"], row["column"]) == ("auroc", column, OWN):
            low, high = number(row, "low"), number(row, "high")
            if low is not None and high is not None:
                return "better" if low > 0 else "worse" if high < 0 else "about as good"
    ours, baseline = (_mean(results, "auroc", score, column) for score in (OWN, "softmax"))
    if ours is None or baseline is None:
        return None
    return "better" if ours > baseline else "worse" if ours < baseline else "about as good"


def _grid(results: StudyResults) -> Grid | None:
    metric = _best_metric(results)
    scores = {
        "softmax": "Softmax",
        **({metric: f"Best gradient metric ({SCORES[metric]})"} if metric else {}),
        "lasso_a": "LASSO on all metrics",
        "nn_a": "Neural network on all metrics",
        "nn_b": "The same, shown some noise",
        OWN: SCORES[OWN],
    }
    means_of = {score: {column: _mean(results, "auroc", score, column) for column in _COLUMNS} for score in scores}
    columns = [column for column in _COLUMNS if any(means[column] is not None for means in means_of.values())]
    if not columns:
        return None
    best = {
        column: max(mean for means in means_of.values() if (mean := means[column]) is not None) for column in columns
    }
    rows = tuple(
        (scores[score], tuple(_cell(means[column], best[column]) for column in columns))
        for score, means in means_of.items()
        if any(means[column] is not None for column in columns)
    )
    names = tuple(results.names["letters"] if column == "letters" else _COLUMNS[column] for column in columns)
    return Grid(
        f"How well each method tells what is wrong or unknown from right answers,{PERCENT}",
        "Method",
        names,
        (Block("AUROC", rows),),
    )


def _cell(mean: float | None, best: float) -> Cell:
    return Cell(NOTHING) if mean is None else Cell(f"{mean:.2f}", bold=round(mean, 2) == round(best, 2))


def _best_metric(results: StudyResults) -> str | None:
    pairs = ((metric, _mean(results, "auroc", metric, "wrong")) for metric in GRADIENT_METRICS)
    means = {metric: mean for metric, mean in pairs if mean is not None}
    return max(means, key=means.__getitem__) if means else None


def _mean(results: StudyResults, measure: str, score: str, concept: str) -> float | None:
    # Tables 3 and 4 have scores as columns, so a pair is looked up either way round; Table 2 names the LASSO alone.
    names = {score, "lasso"} if score == "lasso_a" else {score}
    for table in _TABLES:
        for record in results.rows.get(table, []):
            pair = {record["row"], record["column"]}
            if record["measure"] == measure and concept in pair and pair - {concept} <= names:
                return number(record, "mean")
    return None
