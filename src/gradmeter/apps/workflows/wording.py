"""What came of it in plain sentences: where P(correct) is better and where it is not, and what is promised."""

from __future__ import annotations

from collections.abc import Iterable

from gradmeter.apps.workflows.evaluate import Evaluation, Kept
from gradmeter.apps.workflows.fit import Fitted
from gradmeter.report.probabilities import percent, significant
from gradmeter.trust.evaluation.comparison import ALL, MEASURES, WRONG, Comparison
from gradmeter.trust.risk import Guarantee

_JUDGEMENTS = {"better": "better than", "worse": "worse than", "no different": "not clearly different from"}
_TASKS = {WRONG: "Wrong predictions", ALL: "Wrong and unknown together"}


def compared(comparison: Comparison, columns: Iterable[str], *, other: str = "softmax") -> list[str]:
    """One sentence for each column on the AUROC, the method `other` beside ours."""
    found = []
    for column in columns:
        gain = comparison.differences["auroc", column, other]
        theirs = comparison.estimates["auroc", column, other].value
        verdict = _JUDGEMENTS[comparison.verdict("auroc", column, other)]
        found.append(
            f"{_TASKS.get(column, column)}: P(correct) is {verdict} {other}, {MEASURES['auroc'].name} "
            f"{100 * (theirs + gain.value):.2f} against {100 * theirs:.2f} % (difference {100 * gain.low:+z.2f} to "
            f"{100 * gain.high:+z.2f} with {100 * comparison.confidence:g} % confidence)."
        )
    return found


def learned(fitted: Fitted) -> str:
    """What a meta classifier learned from, and for what its P(correct) is a probability."""
    right, wrong, unknown, synthetic = fitted.learned_from.values()
    judge = fitted.trust.judge
    assert judge is not None
    made = f" ({synthetic:,} more were made of the known images)" if synthetic else ""
    if fitted.no_synthetic is not None:
        made = f" (no synthetic unknowns were made of the known ones: {fitted.no_synthetic})"
    held_out = (
        "On held-out folds, by meta classifiers that had not seen them:"
        if wrong or unknown
        else "There is nothing to compare P(correct) on: for that some predictions must be wrong, or inputs unknown."
    )
    return (
        f"Learned from {right:,} right and {wrong:,} wrong predictions and {unknown:,} unknown inputs{made}. "
        f"{judge.meaning} {held_out}"
    )


def promised(guarantee: Guarantee, unknown_share: float, known_coverage: float | None) -> str:
    """A promise, and for what it holds."""
    mixture = (
        f"of which at most {100 * unknown_share:.3g} % are unknown" if unknown_share else "of which none is unknown"
    )
    of_known = f", {percent(known_coverage, 1)} % of the known ones" if unknown_share and known_coverage else ""
    return (
        f"Promised with {_rate(guarantee.confidence)} % confidence: at most {_rate(guarantee.risk)} % of the "
        f"accepted predictions are wrong, for inputs drawn as these, {mixture}. Accepted is P(correct) of at least "
        f"{significant(guarantee.threshold, 6)}: {percent(guarantee.coverage, 1)} % of the inputs kept for the proof "
        f"({guarantee.accepted:,}, {guarantee.errors:,} of them wrong){of_known}."
    )


def kept(column: str, found: Kept) -> str:
    """What came of a promise on data that it was not made on."""
    subject = {WRONG: "Known inputs", ALL: "All together"}.get(column, f"Known inputs and {column}")
    if not found.accepted:
        return f"{subject}: none of {found.samples:,} is accepted."
    promise = f"{_rate(found.guarantee.risk)} %"
    if found.risk <= found.guarantee.risk:
        verdict = f"within the promised {promise}"
    elif column == WRONG:
        verdict = f"above the promised {promise}"
    else:
        verdict = f"above the {promise}, {_beyond(found)}"
    return (
        f"{subject}: {percent(found.accepted / found.samples, 1)} % accepted, {percent(found.risk, 2)} % of them wrong "
        f"({found.errors:,} of {found.accepted:,}); {verdict}."
    )


def _rate(share: float) -> str:
    """A rate that somebody asked for, in percent: as they wrote it."""
    return f"{100 * share:.12g}"


def _beyond(found: Kept) -> str:
    """Why a promise need not hold here."""
    share, kinds = found.promised_share, found.promised_kinds
    if share is None:
        return "which were not promised for so many unknown inputs, or other kinds of them"
    if not kinds:
        return "which were promised for known inputs only"
    if found.unknown_share <= share:
        return f"which were promised for unknown inputs such as {', '.join(kinds)}"
    promised_share, unknown_share = _told_apart(100 * share, 100 * found.unknown_share)
    of = f"at most {promised_share} % of unknown inputs such as {', '.join(kinds)}"
    return f"which were promised for {of}; here {unknown_share} % are unknown"


def _told_apart(first: float, second: float) -> tuple[str, str]:
    """Two numbers with three digits, or with as many as it takes to see that they differ."""
    for digits in range(3, 17):
        texts = f"{first:.{digits}g}", f"{second:.{digits}g}"
        if texts[0] != texts[1]:
            return texts
    return f"{first:.3g}", f"{second:.3g}"


def left_out(constant: Iterable[str]) -> list[str]:
    """One sentence for each score that is not compared, because it tells nothing."""
    reason = {"energy": ", as it is where a network puts out log-probabilities"}
    return [
        f"The {name} is the same for every input{reason.get(name, '')}: it is left out of the comparison."
        for name in constant
    ]


def answer(evaluation: Evaluation) -> list[str]:
    """An evaluation in sentences: what is accepted and how much of it is wrong, then how the methods compare."""
    found = [kept(column, one) for column, one in evaluation.kept.items()]
    found += [*compared(evaluation.comparison, evaluation.judged.columns()), *left_out(evaluation.constant)]
    if evaluation.seen:
        sizes = {data.name: data.measured.progress()[0] for data in evaluation.sets}
        shares = [f"{count:,} of {sizes[name]:,} samples of {name}" for name, count in evaluation.seen.items()]
        found.append(
            f"Careful: the TrustModel has learned from {', '.join(shares)}, so these numbers are too good; expected "
            "data that gradmeter fit did not see."
        )
    return found
