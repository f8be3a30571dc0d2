"""gradients.md: where gradients add to one forward pass, as tables and sentences made from the results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from gradmeter.files import write_text
from gradmeter.report.markdown import markdown_table
from gradmeter.research.gradient_gain.gains import ADDS, AUPR_OUT, R2, SPEARMAN, gain_text
from gradmeter.research.gradient_gain.groups import GROUPS
from gradmeter.research.gradient_gain.judges import CLASSIFIERS, LOGISTIC, TWO_HEADS
from gradmeter.research.gradient_gain.regression import REGRESSORS
from gradmeter.research.gradient_gain.results import SubjectResults
from gradmeter.research.gradient_gain.scored import SOFTMAX, method
from gradmeter.research.gradient_gain.sentences import conclusion, group_sentences, regression_sentences
from gradmeter.research.gradient_gain.subjects import SUBJECTS
from gradmeter.research.gradient_gain.table import Row, Table
from gradmeter.research.gradient_gain.variants import ALONE, FORWARD, GRADIENTS, NOISE

PAGE = "gradients.md"
_TITLES = {TWO_HEADS: "gradmeter's meta classifier", LOGISTIC: "logistic regression"}


@dataclass(frozen=True)
class Made:
    """How the results were made: the commands, and sentences about versions and the machine."""

    commands: tuple[str, ...]
    provenance: tuple[str, ...]


def write_page(results: Mapping[str, SubjectResults], made: Made, folder: Path) -> Path:
    """Write gradients.md.

    Args:
        results: the results by subject.
        made: how they were made.
        folder: of the page.

    Returns:
        The path of the page.
    """
    path = folder / PAGE
    write_text(path, "\n".join(_page(results, made)) + "\n")
    return path


def _page(results: Mapping[str, SubjectResults], made: Made) -> Iterator[str]:
    table = Table(results)
    yield from ("# Where do gradients pay?", "", _INTRODUCTION, "", "```sh", *made.commands, "```", "")
    yield from (f"- {sentence}" for sentence in made.provenance)
    yield from ("", "## The answer", "", *conclusion(table, results, _TITLES))
    for classifier in CLASSIFIERS:
        yield from ("", f"## The table: {_TITLES[classifier]}", "", *_cases(table, classifier))
    yield from ("", _LEGEND, "", "## Group by group")
    for group in GROUPS:
        if rows := [row for row in table.rows if row.group == group]:
            yield from ("", f"### {group}", "", *group_sentences(table, rows, _TITLES))
    yield from ("", "## The loss itself", "", *_regression(results), "", *regression_sentences(results))
    yield from ("", "## The price", "", *_prices(results), "", "## How it was done", "", *_method(results))


_INTRODUCTION = (
    "Gradients cost two backward passes. This page asks what they add to what the forward pass shows anyway: logits, "
    "the input of the last layer and statistics of all activations. Judges of the same kind are fitted to the same "
    "inputs and tested on the same other inputs; only what they read differs. The control reads noise in the place of "
    "gradients: the gradients of another input, drawn at random for each input, so that it has as many features of the "
    "same shape. All numbers and sentences on this page are written by the command; DIR holds the archives of "
    "[the study](study.md), `cifar10_train20k.npz`, `cifar100_test3k.npz` and `tiny_imagenet_32_3k.npz`, and NETWORKS "
    "the weights of the ResNets."
)

_LEGEND = (
    "AUROC and AUPR-Out in percent, means over draws; gains in points, with bootstrap intervals of 95 %. The others "
    "are wrong predictions in the cases called wrong and in those of corruptions, else unknown or adversarial inputs; "
    "they are compared with right predictions. Draws: in how many draws AUROC rises with gradients. Verdict: by the "
    "interval of the AUROC's gain; not beyond: the AUROC with gradients is not higher than 50 %, or than the best one "
    "without, of the softmax and both tables; `*`: the gain or loss remains after Holm's correction for all "
    "comparisons of both tables. A gain of 0 with an interval of 0 means that the judges rank the inputs alike, as "
    "when they use the softmax alone."
)


def _cases(table: Table, classifier: str) -> Iterator[str]:
    head = [
        "network: case",
        "right / others",
        "softmax",
        "forward",
        "gradients add, AUROC",
        "AUPR-Out",
        "noise adds, AUROC",
    ]
    head += ["gradients alone"] if classifier == LOGISTIC else []
    head += ["draws", "verdict"]
    rows = []
    for row in table.rows:
        forward, gain = method(classifier, FORWARD), row.gain(classifier)
        rows.append(
            [
                row.name,
                f"{row.measures.inside:,} / {row.measures.outside:,}",
                f"{row.value(SOFTMAX):.2f}",
                f"{row.value(forward):.2f} / {row.value(forward, AUPR_OUT):.2f}",
                gain_text(gain),
                gain_text(row.gain(classifier, measure=AUPR_OUT)),
                gain_text(row.gain(classifier, NOISE)),
                *([f"{row.value(method(LOGISTIC, ALONE)):.2f}"] if classifier == LOGISTIC else []),
                f"{gain.ahead} of {row.measures.draws}",
                _verdict(row, classifier) + ("*" if table.is_significant(row, classifier) else ""),
            ]
        )
    yield from markdown_table(head, rows)


def _verdict(row: Row, classifier: str) -> str:
    """Return the verdict in words; a gain pays only if it leads beyond the best score without gradients."""
    verdict = row.gain(classifier).verdict
    if verdict != ADDS:
        return verdict
    return f"**{ADDS}**" if row.pays(classifier) else f"{ADDS}, not beyond"


def _regression(results: Mapping[str, SubjectResults]) -> Iterator[str]:
    yield (
        "Meta regression: predict -log p(true class) of known test inputs. Ridge regression and gradient boosting, "
        "from the softmax (entropy, 1 - p, their logarithms, energy), from the forward pass, and with gradients or "
        "noise."
    )
    names = {R2: "R²", SPEARMAN: "Spearman"}
    for measure, title in names.items():
        rows = []
        for name, result in results.items():
            for regressor in REGRESSORS:
                values, gains = result.regression.values[measure], result.regression.gains[measure]
                gain = gains[method(regressor, GRADIENTS)]
                rows.append(
                    [
                        f"{SUBJECTS[name].title}: {regressor}",
                        f"{result.regression.inside:,}",
                        f"{values[method(regressor, SOFTMAX)]:.3f}",
                        f"{values[method(regressor, FORWARD)]:.3f}",
                        gain_text(gain, 1),
                        gain_text(gains[method(regressor, NOISE)], 1),
                        gain.verdict,
                    ]
                )
        head = [
            "network: regressor",
            "inputs",
            f"{title}, softmax",
            "forward",
            "gradients add",
            "noise adds",
            "verdict",
        ]
        yield from ("", *markdown_table(head, rows))


def _prices(results: Mapping[str, SubjectResults]) -> Iterator[str]:
    yield (
        "Milliseconds per input on one thread, in batches of 64, medians of five rounds on each network, measured in "
        "the same run: the network's forward pass; the readings of the forward pass; these and the gradients of two "
        "pseudo-labels."
    )
    rows = []
    for name, result in results.items():
        plain, forward, gradients = (
            mean(getattr(price, step) for price in result.prices) for step in ("plain", "forward", "gradients")
        )
        row = [SUBJECTS[name].title, f"{plain:.3f}", f"{forward:.3f}", f"{gradients:.3f}"]
        rows.append([*row, f"{forward / plain:.1f}", f"{gradients / plain:.1f}"])
    head = ["network", "forward pass", "forward readings", "with gradients", "forward readings / pass"]
    yield from ("", *markdown_table([*head, "with gradients / pass"], rows))


def _method(results: Mapping[str, SubjectResults]) -> Iterator[str]:
    for name, result in results.items():
        subject = SUBJECTS[name]
        yield f"- {subject.title}: {subject.about} {100 * result.error:.1f} % of the known test inputs predicted wrong."
    yield from _METHOD


_METHOD = (
    "- Draws: the ResNets have three judges, each tested on another third of the inputs and fitted to the known inputs "
    "of the other two thirds. Of the other architectures three networks are trained, each tested on another third of "
    "the data and judged by a judge of its own. So the draws have disjoint test inputs; a test input of one draw may "
    "be a training or validation input of another.",
    "- Intervals: 1,000 resamples of the test inputs, right predictions and others separately in each draw; all "
    "methods get the same resamples. They do not include the spread over networks or validation data, at which the "
    "column of draws hints. p values use the normal approximation with the bootstrap's standard error.",
    "- gradmeter's meta classifier is fitted as `TrustModel.fit` does, with synthetic unknowns for images and without "
    "for texts. Wrong predictions are ranked by P(correct | known), all else by P(correct). Its choice between what it "
    "has learned and the softmax on held-out folds is left out.",
    "- The logistic regression learns wrong predictions only, and no unknown inputs unless a case says learned. "
    "Features are standardised; outputs, logits, embedding, activations and gradients have the same total weight, and "
    "log(1 - p) of the prediction is nearly free of the penalty, so that the softmax is not lost. The strength of the "
    "penalty is the best of four on a held-out fifth. The four were chosen after a look at 4,000 images of the "
    "ResNet-56.",
    "- Adversarial inputs: FGSM, and PGD with 10 steps from a random start, changes of at most 1, 2 and 4 of 255 per "
    "pixel. Inputs count whose prediction was right and is wrong after the attack. Learned: the judges also learn from "
    "the same attacks on images of the other folds, all sizes together.",
    "- Corruptions: after CIFAR-10-C, five strengths in equal parts. Judges are fitted to clean images.",
    "- Few labels: the first 200 or 1,000 validation inputs, with fewer synthetic unknowns, as `TrustModel.fit` makes "
    "them.",
)
