"""The summary of a study for readers who do not know the paper, made from its claims and tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gradmeter.report.grid import Block, Cell, Grid
from gradmeter.report.probabilities import PERCENT
from gradmeter.research.study.names import FAILS, HOLDS, PAPER_METRICS, SCORES, TRUST_MODEL, UNTESTED
from gradmeter.research.study.report.records import NOTHING, number
from gradmeter.research.study.report.results import StudyResults

# Differences in AUROC of the paper's methods below this number of points count as "about as good".
_SAME = 0.1
_UNCLEAR = "not clearly better or worse"
_TABLES = ("table1", "table2", "table3", "table4")
_COLUMNS = {"wrong": "Wrong predictions", "letters": "Letters", "all": "All unknown images"}


@dataclass(frozen=True)
class Answer:
    """The summary of a study.

    Attributes:
        parts: headings and texts, in reading order.
        grid: AUROC of the methods that the text compares; None if the study has no tables.
    """

    parts: tuple[tuple[str, str], ...]
    grid: Grid | None


def answer(results: StudyResults) -> Answer:
    """Summarise the results; parts without results are omitted."""
    parts = {
        "What was tested": _tested(results),
        "What the paper's method gives": " ".join(
            [*_statistics(results), *_meta_classifiers(results), *_claims(results)]
        ),
        "What gradmeter's judge gives": _judge(results),
        "What that means": _meaning(results),
    }
    return Answer(tuple((heading, text) for heading, text in parts.items() if text), _grid(results))


def _tested(results: StudyResults) -> str:
    runs, known = len(results.rows["networks"]), results.names.get("digits", "digits")
    if not runs:
        return ""
    networks = f"{runs} small networks were" if runs > 1 else "One small network was"
    return (
        "A classifier predicts a class for every image, including images that it gets wrong and images of concepts "
        f"that it was not trained on. {networks} trained on {known}. Each method scores every prediction and should "
        "score predictions for such images worse than correct predictions. The AUROC is the probability that it does: "
        f"50{PERCENT} is chance, 100{PERCENT} is perfect. The baseline is the maximum softmax probability, which costs "
        "nothing. All unknown images are those of every unknown concept except letters. The paper scores a prediction "
        "by the gradient that the predicted class would cause as the label, and claims that this score finds wrong "
        "predictions as well as the softmax does, and unknown images better."
    )


def _statistics(results: StudyResults) -> Iterator[str]:
    baseline = _mean(results, "auroc", "softmax", "wrong")
    best = _best_statistic(results)
    if baseline is not None and best is not None:
        mean = _mean(results, "auroc", best, "wrong")
        assert mean is not None
        yield (
            f"On wrong predictions, the best gradient statistic ({SCORES[best]}) reaches an AUROC of "
            f"{mean:.2f}{PERCENT} and the softmax {baseline:.2f}{PERCENT}: the statistic is "
            f"{_rank(results, best, 'wrong')}."
        )


def _meta_classifiers(results: StudyResults) -> Iterator[str]:
    plain, noise, baseline = (_mean(results, "auroc", score, "all") for score in ("nn_a", "nn_b", "softmax"))
    if plain is not None and baseline is not None:
        yield (
            "On unknown images, the neural meta classifier on the statistics of all layers reaches "
            f"{plain:.2f}{PERCENT}"
            + (f", and {noise:.2f}{PERCENT} with some uniform noise in its training set" if noise is not None else "")
            + f"; the softmax reaches {baseline:.2f}{PERCENT}. The meta classifier is {_rank(results, 'nn_a', 'all')}"
            + (f" without noise and {_rank(results, 'nn_b', 'all')} with noise." if noise is not None else ".")
        )


def _rank(results: StudyResults, score: str, concept: str) -> str:
    """Compare the AUROC of a method of the paper with the softmax in a word."""
    difference, verdict = _difference(results, score, concept), _compared(results, score, concept)
    assert difference is not None
    assert verdict is not None
    return "about as good" if abs(difference) < _SAME else verdict


def _claims(results: StudyResults) -> Iterator[str]:
    verdicts = [row["verdict"] for row in results.rows["claims"]]
    if verdicts:
        holds, fails, untested = (verdicts.count(verdict) for verdict in (HOLDS, FAILS, UNTESTED))
        rest = f", {untested} cannot be tested on this data" if untested else ""
        yield f"Of the paper's {len(verdicts)} claims, {holds} hold here and {fails} do not{rest}."


def _judge(results: StudyResults) -> str:
    reached = [
        f"{mean:.2f}{PERCENT} on {images}{_beside_softmax(results, column)}"
        for column, images in (("wrong", "wrong predictions"), ("all", "all unknown images"))
        if (mean := _mean(results, "auroc", TRUST_MODEL, column)) is not None
    ]
    if not reached:
        return ""
    return (
        "gradmeter's judge, a TrustModel with its defaults, is fitted to the same validation images. It sees no "
        "unknown images; it synthesises some from the validation images and from noise. It reaches "
        f"{' and '.join(reached)}."
    )


def _beside_softmax(results: StudyResults, concept: str) -> str:
    difference = _difference(results, TRUST_MODEL, concept)
    return "" if difference is None else f" ({difference:+z.2f} points relative to the softmax)"


def _difference(results: StudyResults, score: str, concept: str) -> float | None:
    """Return the AUROC of a method minus that of the softmax, in points."""
    auroc, baseline = (_mean(results, "auroc", name, concept) for name in (score, "softmax"))
    return None if auroc is None or baseline is None else auroc - baseline


def _meaning(results: StudyResults) -> str:
    verdicts = {column: _compared(results, TRUST_MODEL, column) for column in ("wrong", "all")}
    if None in verdicts.values():
        return ""
    comparison = (
        f"Compared with the softmax, gradmeter's judge is {verdicts['wrong']} at finding wrong predictions and "
        f"{verdicts['all']} at finding unknown images."
    )
    if "worse" in verdicts.values():
        return f"{comparison} Where it is worse, use the softmax."
    if "better" in verdicts.values():
        return f"{comparison} It needs no examples of the unknown images."
    return f"{comparison} More runs would give narrower intervals."


def _compared(results: StudyResults, score: str, concept: str) -> str | None:
    """Compare a method with the softmax by the interval of the difference, or by its sign for a single run."""
    for row in results.rows["differences"]:
        # As in the tables, a score is a row or a column.
        if row["measure"] == "auroc" and {row["row"], row["column"]} == {score, concept}:
            low, high = number(row, "low"), number(row, "high")
            if low is not None and high is not None:
                return "better" if low > 0 else "worse" if high < 0 else _UNCLEAR
    difference = _difference(results, score, concept)
    if difference is None:
        return None
    return "better" if difference > 0 else "worse" if difference < 0 else "about as good"


def _grid(results: StudyResults) -> Grid | None:
    best_statistic = _best_statistic(results)
    scores = {
        "softmax": "Softmax",
        **({best_statistic: f"Best gradient statistic ({SCORES[best_statistic]})"} if best_statistic else {}),
        "lasso_a": "LASSO on all statistics",
        "nn_a": "Neural network on all statistics",
        "nn_b": "The same, trained with some noise",
        TRUST_MODEL: SCORES[TRUST_MODEL],
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
        f"Separation of correct predictions from wrong predictions and from unknown images,{PERCENT}",
        "Method",
        names,
        (Block("AUROC", rows),),
    )


def _cell(mean: float | None, best: float) -> Cell:
    return Cell(NOTHING) if mean is None else Cell(f"{mean:.2f}", bold=round(mean, 2) == round(best, 2))


def _best_statistic(results: StudyResults) -> str | None:
    pairs = ((metric, _mean(results, "auroc", metric, "wrong")) for metric in PAPER_METRICS)
    means = {metric: mean for metric, mean in pairs if mean is not None}
    return max(means, key=means.__getitem__) if means else None


def _mean(results: StudyResults, measure: str, score: str, concept: str) -> float | None:
    # Scores are columns in Tables 3 and 4, rows in the others. Table 2 calls "lasso_a" "lasso".
    names = {score, "lasso"} if score == "lasso_a" else {score}
    for table in _TABLES:
        for record in results.rows.get(table, []):
            pair = {record["row"], record["column"]}
            if record["measure"] == measure and concept in pair and pair - {concept} <= names:
                return number(record, "mean")
    return None
