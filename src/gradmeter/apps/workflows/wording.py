"""Sentences that explain a fit and an evaluation: comparisons with other scores, and the risk guarantee."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from gradmeter.apps.workflows.accuracy import accuracy_sentence
from gradmeter.apps.workflows.class_errors import ClassErrors, exceeding
from gradmeter.apps.workflows.evaluate import Evaluation, GuaranteeCheck
from gradmeter.apps.workflows.fit import Fitted
from gradmeter.names import listed, printable
from gradmeter.report.probabilities import percent, significant
from gradmeter.trust.evaluation.comparison import ALL, LEAST_INPUTS, MEASURES, WRONG, Comparison
from gradmeter.trust.meta_classifier import P_CORRECT, P_CORRECT_IF_KNOWN, P_KNOWN
from gradmeter.trust.model import TrustModel
from gradmeter.trust.risk import Guarantee

_COMPARISONS = {"better": "is higher than", "worse": "is lower than", "no different": "does not clearly differ from"}
SCORE_NAMES = {P_KNOWN: "P(known)", P_CORRECT_IF_KNOWN: "P(correct | known)", P_CORRECT: "P(correct)"}
"""Names of the probabilities of a verdict."""
# The most names of classes in a sentence.
_SHOWN = 5
_GROUPS = {WRONG: "Wrong predictions", ALL: "Wrong predictions and unknown inputs together"}


def compared(
    comparison: Comparison, columns: Iterable[str], *, ours: str = "P(correct)", other: str = "softmax"
) -> list[str]:
    """Return one sentence per column that compares the AUROC of the first method with that of another method.

    Args:
        comparison: the comparison.
        columns: those to compare.
        ours: displayed name of the first method.
        other: name of the other method.
    """
    sentences = []
    for column in columns:
        difference = comparison.differences["auroc", column, other]
        other_value = comparison.estimates["auroc", column, other].value
        verdict = _COMPARISONS[comparison.verdict("auroc", column, other)]
        if (inputs := comparison.few.get(column)) is not None:
            rests = "one input" if inputs == 1 else f"{inputs} different inputs"
            basis = f"this rests on {rests}, and {LEAST_INPUTS} are needed to show a difference"
        else:
            basis = (
                f"{100 * comparison.confidence:g} % confidence interval of the difference: "
                f"{100 * difference.low:+z.2f} to {100 * difference.high:+z.2f}"
            )
        sentences.append(
            f"{_GROUPS.get(column, column)}: the {MEASURES['auroc'].name} of {ours} {verdict} that of {other}: "
            f"{100 * (other_value + difference.value):.2f} % against {100 * other_value:.2f} % ({basis})."
        )
    return sentences


def learned(fitted: Fitted) -> list[str]:
    """Return sentences on the data of a fit, on the meaning of its P(correct), and on the table that follows."""
    correct, wrong, unknown, synthetic = fitted.learned_from.values()
    judge = fitted.trust.judge
    assert judge is not None
    is_half = fitted.trust.notes.get("promise") is not None
    data = "Fitted on a random half of the data" if is_half else "Fitted on all data"
    data += f": {correct:,} correct predictions, {wrong:,} wrong predictions and {unknown:,} unknown inputs"
    if synthetic:
        data += f", plus {synthetic:,} synthetic unknown inputs made from the known images{' of this half' * is_half}"
    sentences = [f"{data}."]
    if is_half:
        sentences.append("The other half was held out for the risk guarantee.")
    if fitted.absent:
        sentences.append(
            f"No known input is of {_classes(fitted.absent)}; P(known) and P(correct) may be too low for such inputs, "
            "and no guarantee covers them."
        )
    if fitted.no_synthetic is not None:
        sentences.append(f"No synthetic unknown inputs were made: {fitted.no_synthetic}.")
    sentences += [judge.meaning, *_read(fitted.trust)]
    if wrong or unknown:
        sentences.append(
            "Comparison within held-out folds, each judged by a meta classifier that was not fitted on it:"
        )
    else:
        sentences.append(
            "P(correct) cannot be compared with other scores, because there are no wrong predictions and no unknown "
            "inputs."
        )
    return sentences


def _classes(names: Sequence[str]) -> str:
    """Return the names of classes, of many the first few."""
    if len(names) == 1:
        return f"class {names[0]}"
    such_as = "such as " if len(names) > _SHOWN else ""
    return f"{len(names):,} classes, {such_as}{', '.join(names[:_SHOWN])}"


def _read(trust: TrustModel) -> list[str]:
    """Return sentences on what the TrustModel reads of each input, and why."""
    what = "gradients and the forward pass" if trust.meter.gradients else "the forward pass only"
    why = "" if trust.choice is None else f": {trust.choice.reason}"
    sentences = [f"Reads {what}{why}."]
    if trust.meter.second_look is not None and trust.meter.second_look < inf:
        sentences.append(
            "Predicts the mirror image of doubtful images, too, about 30 % of the known ones, because this helps to "
            "find wrong predictions on held-out folds."
        )
    return sentences


def guaranteed(guarantee: Guarantee, unknown_share: float, known_coverage: float | None) -> str:
    """Return a sentence that states the risk guarantee and the inputs for which it holds."""
    unknown = f"at most {100 * unknown_share:.3g} %" if unknown_share else "none"
    of_known = f", {percent(known_coverage, 1)} % of the known ones" if unknown_share and known_coverage else ""
    return (
        f"Risk guarantee: with {rate(guarantee.confidence)} % confidence, at most {rate(guarantee.risk)} % of the "
        f"accepted predictions are wrong, for inputs from the same distribution, {unknown} of them unknown. A "
        f"prediction is accepted only if {SCORE_NAMES[guarantee.score]} is at least "
        f"{significant(guarantee.threshold, 6)}: this accepts "
        f"{percent(guarantee.coverage, 1)} % of the held-out inputs ({guarantee.accepted:,} inputs, "
        f"{guarantee.errors:,} of them wrong){of_known}."
    )


def above_risk(classes: Sequence[ClassErrors], risk: float) -> list[str]:
    """Return a sentence, in a list, that names the classes whose accepted predictions exceed a guaranteed risk."""
    above = [
        f"{printable(given.name)} ({percent(given.errors / given.count, 1)} %, {given.errors:,} of {given.count:,})"
        for given in exceeding(classes, risk)
    ]
    if not above:
        return []
    kind = "class" if len(above) == 1 else "the classes"
    return [
        f"More than {rate(risk)} % are wrong among the accepted predictions of {kind} {listed(above, _SHOWN)}: "
        "the guarantee is for all classes together."
    ]


def guarantee_scope(check: GuaranteeCheck) -> str:
    """Return a sentence that states a risk guarantee and which inputs of an evaluation it covers."""
    guarantee = check.guarantee
    shares = {data: share for data, share in (check.guaranteed or {}).items() if share}
    if check.guaranteed is None:
        unknown = "; the TrustModel does not say which unknown inputs it covers"
    elif shares:
        parts = [f"{100 * share:.3g} % of unknown inputs such as {data}" for data, share in shares.items()]
        unknown = f", and at most {', '.join(parts)}{' (of each kind and the known inputs alone)' * (len(parts) > 1)}"
    else:
        unknown = ", and no unknown inputs"
    return (
        f"Risk guarantee: with {rate(guarantee.confidence)} % confidence, at most {rate(guarantee.risk)} % of the "
        f"accepted predictions are wrong. A prediction is accepted only if {SCORE_NAMES[guarantee.score]} is at least "
        f"{significant(guarantee.threshold, 6)}. The guarantee covers known inputs like those of the calibration data"
        f"{unknown}. For all other inputs, the error rate is only observed."
    )


def guarantee_checked(column: str, check: GuaranteeCheck) -> str:
    """Return a sentence on the error rate of the accepted predictions on other data, and whether it is guaranteed."""
    subject = {WRONG: "Known inputs", ALL: "All inputs"}.get(column, f"Known inputs and {column}")
    if not check.accepted:
        return f"{subject}: none of {check.samples:,} predictions is accepted."
    if check.is_covered:
        relation = "within" if check.risk <= check.guarantee.risk else "above"
        verdict = f"{relation} the guaranteed {rate(check.guarantee.risk)} %"
    else:
        verdict = f"only observed, because {_not_covered(check)}"
    return (
        f"{subject}: {percent(check.accepted / check.samples, 1)} % of the predictions are accepted, "
        f"{percent(check.risk, 2)} % of those are wrong ({check.errors:,} of {check.accepted:,}), {verdict}."
    )


def _not_covered(check: GuaranteeCheck) -> str:
    """Return why the guarantee does not cover inputs of an evaluation."""
    if check.guaranteed is None:
        return "the TrustModel does not say which unknown inputs its guarantee covers"
    if not any(check.guaranteed.values()):
        return "the guarantee covers no unknown inputs"
    if check.other_kinds:
        return f"the guarantee does not cover unknown inputs such as {', '.join(check.other_kinds)}"
    excess = check.excess
    assert excess is not None
    covered, share = _distinct(100 * excess.covered, 100 * excess.share)
    inputs = "these inputs" if len(check.unknown) == 1 else f"known inputs and {excess.kind} together"
    return f"{share} % of {inputs} are unknown and the guarantee covers at most {covered} %"


def rate(share: float) -> str:
    """Return a rate that the user chose, in percent, with the digits that the user gave."""
    return f"{100 * share:.12g}"


def _distinct(first: float, second: float) -> tuple[str, str]:
    """Format two numbers with three digits, or with as many as make them distinct."""
    for digits in range(3, 17):
        texts = f"{first:.{digits}g}", f"{second:.{digits}g}"
        if texts[0] != texts[1]:
            return texts
    return f"{first:.3g}", f"{second:.3g}"


def left_out(constant: Iterable[str]) -> list[str]:
    """Return one sentence per score that is constant and therefore not compared."""
    reasons = {"energy": ", which is the case for networks that output log-probabilities"}
    return [
        f"The {name} is left out of the comparison because it is the same for every input{reasons.get(name, '')}."
        for name in constant
    ]


def answer(evaluation: Evaluation) -> list[str]:
    """Summarise an evaluation: what is accepted and guaranteed, then the comparison with other scores."""
    checks, known = evaluation.guarantee_checks, evaluation.judged.concept == 0
    sentences = [guarantee_checked(column, check) for column, check in checks.items()]
    for check in [*checks.values()][:1]:
        sentences += [*above_risk(evaluation.class_errors, check.guarantee.risk), guarantee_scope(check)]
    sentences.append(accuracy_sentence((int(evaluation.judged.correct[known].sum()), int(known.sum()))))
    sentences += [*compared(evaluation.comparison, evaluation.judged.columns()), *left_out(evaluation.constant)]
    return [*sentences, *seen_before(evaluation, "the TrustModel")]


def seen_before(evaluation: Evaluation, trust: str) -> list[str]:
    """Return a warning, in a list, if `fit` of a TrustModel with this name has seen data of its evaluation."""
    if not evaluation.seen:
        return []
    sizes = {data.name: len(data) for data in evaluation.sets}
    shares = [f"{count:,} of the {sizes[name]:,} samples of {name}" for name, count in evaluation.seen.items()]
    return [
        f"Warning: {trust} was fitted on {', '.join(shares)}, so these results do not hold for new data; evaluate on "
        "data that gradmeter fit has not seen. They hold only where inputs recur, as short texts do, and these data "
        "were drawn independently of those of fit."
    ]
