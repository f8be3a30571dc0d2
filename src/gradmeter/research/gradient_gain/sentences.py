"""Sentences that say what the tables show, made from the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean

from gradmeter.report.markdown import counted
from gradmeter.research.gradient_gain.gains import ADDS, HURTS, R2, SPEARMAN
from gradmeter.research.gradient_gain.judges import CLASSIFIERS
from gradmeter.research.gradient_gain.regression import REGRESSORS
from gradmeter.research.gradient_gain.results import SubjectResults
from gradmeter.research.gradient_gain.scored import method
from gradmeter.research.gradient_gain.table import Row, Table
from gradmeter.research.gradient_gain.variants import GRADIENTS, NOISE

# The share of intervals of 95 % that lie above 0 by chance, and of those that lie below.
_BY_CHANCE = 0.025


def conclusion(table: Table, results: Mapping[str, SubjectResults], titles: Mapping[str, str]) -> Iterator[str]:
    """Yield the answer over all cases.

    Args:
        table: all cases.
        results: the results by subject.
        titles: names of the classifiers.
    """
    by_chance = _BY_CHANCE * len(table.rows)
    for classifier in CLASSIFIERS:
        counts = [
            _count(table.rows, classifier, verdict, variant)
            for variant in (GRADIENTS, NOISE)
            for verdict in (ADDS, HURTS)
        ]
        beyond = sum(row.pays(classifier) for row in table.rows)
        yield (
            f"- With {titles[classifier]}, gradients add in {counts[0]} of {counted(len(table.rows), 'case')}, in "
            f"{beyond} of them beyond every score without gradients, and hurt in {counts[1]}; noise of the same shape "
            f"adds in {counts[2]} and hurts in {counts[3]}. The mean gain of AUROC is "
            f"{_mean(table.rows, classifier, GRADIENTS)} points with gradients and "
            f"{_mean(table.rows, classifier, NOISE)} with noise. {_remaining(table, classifier)}"
        )
    both = [row for row in table.rows if all(row.pays(classifier) for classifier in CLASSIFIERS)]
    yield (
        "- Gradients add, and lead beyond every score without them, with both classifiers in "
        f"{counted(len(both), 'case')}{_listed(both)}."
    )
    yield (
        f"- If gradients never mattered, about {by_chance:.1f} of {len(table.rows)} intervals would lie above 0 by "
        f"chance, and as many below, for each classifier. Holm's method corrects for all {table.comparisons} "
        "comparisons at once."
    )
    ratios = [mean(price.gradients / price.forward for price in result.prices) for result in results.values()]
    yield (
        f"- Reading gradients too takes {mean(ratios):.1f} times as long as reading the forward pass, on average over "
        f"the kinds of networks; {min(ratios):.1f} times at least, {max(ratios):.1f} times at most."
    )


def group_sentences(table: Table, rows: Sequence[Row], titles: Mapping[str, str]) -> Iterator[str]:
    """Yield a paragraph about the cases of a group."""
    sentences = []
    for classifier in CLASSIFIERS:
        adds, hurts = ([row for row in rows if row.gain(classifier).verdict == verdict] for verdict in (ADDS, HURTS))
        sentences.append(
            f"With {titles[classifier]}, gradients add in {len(adds)} of {len(rows)} cases{_listed(adds, classifier)} "
            f"and hurt in {len(hurts)}{_listed(hurts, classifier)}; the mean gain of AUROC is "
            f"{_mean(rows, classifier, GRADIENTS)} points, that of noise {_mean(rows, classifier, NOISE)}."
        )
    yield " ".join([*sentences, _summary(table, rows)])


def regression_sentences(results: Mapping[str, SubjectResults]) -> Iterator[str]:
    """Yield a paragraph about the meta regression."""
    sentences = []
    for regressor in REGRESSORS:
        for measure, title in ((R2, "R²"), (SPEARMAN, "Spearman's correlation")):
            gains = [result.regression.gains[measure][method(regressor, GRADIENTS)] for result in results.values()]
            noise = [result.regression.gains[measure][method(regressor, NOISE)] for result in results.values()]
            adds, hurts = (sum(gain.verdict == verdict for gain in gains) for verdict in (ADDS, HURTS))
            sentences.append(
                f"With {regressor}, gradients raise {title} on {adds} of {len(gains)} networks and lower it on "
                f"{hurts}; the mean gain is {mean(gain.value for gain in gains):+.3f}, that of noise "
                f"{mean(gain.value for gain in noise):+.3f}."
            )
    yield " ".join(sentences)


def _summary(table: Table, rows: Sequence[Row]) -> str:
    """Return the last sentence of a group: whether gradients pay."""
    firm = [
        row
        for row in rows
        if any(row.pays(classifier) and table.is_significant(row, classifier) for classifier in CLASSIFIERS)
    ]
    paying = [sum(row.pays(classifier) for row in rows) for classifier in CLASSIFIERS]
    if firm and 2 * min(paying) > len(rows):
        return (
            "So gradients pay here: in most cases they add, with either classifier, and lead beyond every other score."
        )
    if firm:
        names = "; ".join(row.name for row in firm)
        return f"So they pay in some cases: gains that lead beyond every other score, and remain corrected: {names}."
    if max(paying) > 0:
        return "No gain that leads beyond every other score remains after the correction for all comparisons."
    return "Nothing here shows that gradients pay."


def _remaining(table: Table, classifier: str) -> str:
    """Return how many gains and losses remain after the correction."""
    firm = [row for row in table.rows if table.is_significant(row, classifier)]
    gains = [row for row in firm if row.gain(classifier).value > 0]
    losses = [row for row in firm if row not in gains]
    return (
        f"After the correction, {counted(len(gains), 'gain')}{_listed(gains)} and "
        f"{counted(len(losses), 'loss', 'losses')}{_listed(losses)} remain."
    )


def _count(rows: Sequence[Row], classifier: str, verdict: str, variant: str = GRADIENTS) -> int:
    return sum(row.gain(classifier, variant).verdict == verdict for row in rows)


def _mean(rows: Sequence[Row], classifier: str, variant: str) -> str:
    return f"{100 * mean(row.gain(classifier, variant).value for row in rows):+.2f}"


def _listed(rows: Sequence[Row], classifier: str | None = None) -> str:
    """Return the names of cases in brackets, with the gains of a classifier if it is given."""
    if not rows:
        return ""
    gains = ["" if classifier is None else f" {100 * row.gain(classifier).value:+.2f}" for row in rows]
    return f" ({'; '.join(f'{row.name}{gain}' for row, gain in zip(rows, gains, strict=True))})"
