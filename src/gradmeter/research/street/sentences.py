"""Sentences that say what the tables show, made from the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gradmeter.research.gradient_gain.gains import ADDS, HURTS, UNDEFINED, Gain, gain_text
from gradmeter.research.street.judges import BOTH, FORWARD, GRADIENTS, INPUTS, NOISE, VARIANTS, judge_name
from gradmeter.research.street.pixels import ANOMALIES, ERRORS, LEARNED
from gradmeter.research.street.results import TaskResults
from gradmeter.research.street.scenes import ALL, PART, TITLES
from gradmeter.research.street.segments import METASEG, R2, WITH_GRADIENTS, WITH_NOISE
from gradmeter.research.street.tables import chosen
from gradmeter.trust.evaluation.binned import AUPR, AUROC

_WORDS = {ADDS: "higher", HURTS: "lower"}
_FOUND = {
    ERRORS: "Wrong pixels",
    ANOMALIES: "Anomalies, judges of wrong pixels",
    LEARNED: "Anomalies, judges that learn from anomalies of validation scenes",
}


def segments_key(lesson: str) -> str:
    """Return the name of the results of segments."""
    return f"segments, {lesson}"


def conclusion(results: Mapping[str, TaskResults]) -> Iterator[str]:
    """Yield the answer, in short and then one item for each comparison."""
    yield _in_short(results)
    yield ""
    for task, title in ((ERRORS, "Wrong pixels"), (ANOMALIES, "Anomalies")):
        yield f"- {title}, one score alone: {_alone(results[task])}"
    for task, title in _FOUND.items():
        yield f"- {title}. {_judged(results[task])}"
    for lesson in (ALL, PART):
        yield f"- Segments, {TITLES[lesson]}: {_of_segments(results[segments_key(lesson)])}"


def _in_short(results: Mapping[str, TaskResults]) -> str:
    """Return how often judges with gradients differ from those that read noise in the place of gradients."""
    gains = [
        results[task].gains[AUROC][judge_name(classifier, GRADIENTS)][judge_name(classifier, NOISE)]
        for task in _FOUND
        for classifier in VARIANTS
    ]
    for lesson in (ALL, PART):
        of_segments = results[segments_key(lesson)].gains
        gains += [of_segments[measure][WITH_GRADIENTS][WITH_NOISE] for measure in (AUROC, R2)]
    verdicts = [gain.verdict for gain in gains]
    higher, lower, unclear = (verdicts.count(verdict) for verdict in (ADDS, HURTS, UNDEFINED))
    without = f"; {unclear} have no interval, because too few blocks of scenes hold both kinds" if unclear else ""
    return (
        f"In short: a judge that reads gradients beside the forward pass is better than one that reads noise in their "
        f"place in {higher} of {len(gains)} comparisons, worse in {lower}, and not different in "
        f"{len(gains) - higher - lower - unclear}{without}."
    )


def _alone(result: TaskResults) -> str:
    logits, gradient = chosen(result)
    return (
        f"the best gradient statistic on validation scenes ({gradient}) has an AUROC of "
        f"{100 * result.mean(AUROC, gradient):.2f}, the best score of the logits ({logits}) one of "
        f"{100 * result.mean(AUROC, logits):.2f}; the difference is {_points(result.gains[AUROC][gradient][logits])}, "
        f"that of AUPR {_points(result.gains[AUPR][gradient][logits])}."
    )


def _judged(result: TaskResults) -> str:
    parts = []
    for classifier in VARIANTS:
        forward, gradients, noise, inputs, both = (
            judge_name(classifier, variant) for variant in (FORWARD, GRADIENTS, NOISE, INPUTS, BOTH)
        )
        gains = result.gains[AUROC]
        parts.append(
            f"with {classifier}, gradients change the AUROC of {100 * result.mean(AUROC, forward):.2f} by "
            f"{_points(gains[gradients][forward])}, noise by {_points(gains[noise][forward])}, the difference is "
            f"{_points(gains[gradients][noise])}; the last layer's input changes it by "
            f"{_points(gains[inputs][forward])}, and gradients beside that input by {_points(gains[both][inputs])}"
        )
    return f"{'. '.join(part[0].upper() + part[1:] for part in parts)}."


def _of_segments(result: TaskResults) -> str:
    parts = []
    for measure, title in ((AUROC, "the AUROC of meta classification"), (R2, "the R² of meta regression")):
        gains = result.gains[measure]
        parts.append(
            f"gradients change {title} of {100 * result.mean(measure, METASEG):.2f} by "
            f"{_points(gains[WITH_GRADIENTS][METASEG])}, noise by {_points(gains[WITH_NOISE][METASEG])}, the "
            f"difference is {_points(gains[WITH_GRADIENTS][WITH_NOISE])}"
        )
    return f"{'; '.join(parts)}."


def _points(gain: Gain) -> str:
    word = _WORDS.get(gain.verdict)
    return f"{gain_text(gain)}{f' ({word})' if word else ''}"
