"""label_study.md: how well wrong labels are found, as tables and sentences made from the results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradmeter.files import write_text
from gradmeter.research.gradient_gain.gains import ADDS, AUPR_OUT, AUROC, HURTS
from gradmeter.research.label_study.measures import FIRST, PRECISION
from gradmeter.research.label_study.names import FORWARD
from gradmeter.research.label_study.natural import Doubted, natural_section
from gradmeter.research.label_study.results import SetResults
from gradmeter.research.label_study.subjects import GROUPS, SUBJECTS
from gradmeter.research.label_study.tables import TITLES, rate_table, score_table, set_table, target_table
from gradmeter.research.label_study.targets import Results

PAGE = "label_study.md"


@dataclass(frozen=True)
class Made:
    """How the results were made: the commands, and sentences about versions and the machine."""

    commands: tuple[str, ...]
    provenance: tuple[str, ...]


def write_page(results: Results, found: Sequence[Doubted], made: Made, folder: Path) -> Path:
    """Write label_study.md.

    Args:
        results: the results by group.
        found: what ranks first in data sets as they are.
        made: how they were made.
        folder: of the page.

    Returns:
        The path of the page.
    """
    path = folder / PAGE
    write_text(path, "\n".join(_page(results, found, made)).rstrip() + "\n")
    return path


def _page(results: Results, found: Sequence[Doubted], made: Made) -> Iterator[str]:
    reported = {name: sets for name, sets in results.items() if GROUPS[name].reported}
    chosen_on = {name: sets for name, sets in results.items() if not GROUPS[name].reported}
    yield from ("# Planted label errors", "", _INTRODUCTION, "", "```sh", *made.commands, "```", "")
    yield from (f"- {sentence}" for sentence in made.provenance)
    if reported:
        yield from ("", "## Targets", "", _TARGETS, "", *target_table(reported))
        yield from ("", "## Two cases", "", *_regimes(reported))
        yield from ("", "## What gradients add", "", *_gradients(reported), "", *set_table(reported), "", _LEGEND)
        yield from ("", "## All scores side by side", "", _SCORES)
        for measure, title in TITLES.items():
            for name, sets in reported.items():
                yield from ("", f"### {GROUPS[name].title}: {title}", "", *score_table(sets, measure))
        yield from ("", "## The estimated share of wrong labels", "", _RATES, "", *rate_table(reported))
    if found:
        yield from ("", "## Data sets as they are", "", _AS_THEY_ARE, "", *natural_section(found))
    if chosen_on:
        yield from ("", "## What settings were chosen on", "", _CHOSEN_ON, "", *set_table(chosen_on))
        yield from ("", *rate_table(chosen_on))
    yield from ("", "## How it was done", "", *_method(results))


_INTRODUCTION = (
    "How well does `LabelCheck` find wrong labels? Errors are planted in labels, and every score ranks all labels, "
    "the planted ones and the others. P(label is right) is fitted to the labels with their errors; with gradients, "
    "also to labels that gradmeter corrupts itself, with other code and other kinds of errors than those planted here. "
    "All numbers and sentences on this page are written by the command; DIR holds the archives of [the "
    "study](study.md), NETWORKS the weights of the ResNets."
)

_TARGETS = (
    "Means over draws, in percent. The targets were set before. Labels that were wrong before errors were planted "
    "count as right ones in all measures but the estimated rate: 54 of CIFAR-10's 10,000 test labels are wrong by the "
    "votes of people (Northcutt, Athalye and Mueller 2021)."
)

_LEGEND = (
    "AUROC and AUPR (average precision, planted errors are the positives) in percent; differences in points, with "
    "paired bootstrap intervals of 95 %. Verdict: by the interval of the AUROC. The best single score is chosen after "
    "the fact on each set."
)

_SCORES = (
    "In percent, means over draws; ± is half the bootstrap interval of 95 %; the best of each column is bold. 1 - "
    "p(given) and the margin rank as cleanlab's self-confidence and normalised margin do; confident learning ranks "
    "first what cleanlab's `find_label_issues` flags. P(label is right) without gradients is the same combination of "
    "the other scores."
)

_RATES = (
    "The truth contains errors that were there before, as far as they are known. Estimates are means over draws; the "
    "intervals are those that the check states, from the lowest to the highest bound over the draws; hold the truth: "
    "how many of them do."
)

_AS_THEY_ARE = (
    "No errors are planted here. Every image of these lists was looked at once, by the author of this study, who knew "
    "both the label and the suggestion: the verdicts are own ones, not those of independent annotators."
)

_CHOSEN_ON = (
    "Settings were chosen on these sets, on networks that learned corrupted digits from two other seeds, and on other "
    "draws of errors in the names, by the same networks that the reported draws have. An earlier form, in which "
    "P(label is right) was learned from corrupted labels alone, had been reported for all sets above before: on names "
    "it was up to 0.33 points below the best single score, on learned digits up to 0.65. The estimate of the rate of "
    "learned labels is younger still. It was chosen on those two seeds, but after an earlier estimate had been "
    "reported here: it was within a fifth of the truth on 8 of the 12 sets of digits learned to convergence."
)


def _regimes(results: Results) -> Iterator[str]:
    held_out = [name for name in results if not _learned(name)]
    learned = [name for name in results if _learned(name)]
    if held_out:
        yield (
            "**The network did not learn these labels** (" + ", ".join(GROUPS[name].title for name in held_out) + "). "
            "This is the cheap case: one pass over the data, no retraining. The network knows nothing of the errors, "
            "so its softmax contradicts most of them."
        )
    if learned:
        yield ""
        yield (
            "**The network learned from the corrupted labels** ("
            + ", ".join(GROUPS[name].title for name in learned)
            + "). Its own softmax is biased towards the errors that it learned. The head is trained again on the "
            "frozen embedding in five folds, and each label is judged by a head that did not learn it; the embedding "
            "did. " + " ".join(_memorised(GROUPS[name].title, results[name]) for name in learned)
        )


def _memorised(title: str, sets: Sequence[SetResults]) -> str:
    shares = [100 * result.learned for result in sets]
    return f"{title}: the networks predict {min(shares):.1f} to {max(shares):.1f} % of their errors, by set."


def _learned(name: str) -> bool:
    return any(subject.learned for subject in SUBJECTS.values() if subject.group == name)


def _gradients(results: Results) -> Iterator[str]:
    for measure in (AUROC, AUPR_OUT, PRECISION):
        gains = [result.leads[measure][FORWARD] for sets in results.values() for result in sets]
        verdicts = [gain.verdict for gain in gains]
        values = [100 * gain.value for gain in gains]
        yield (
            f"- {TITLES[measure]}: gradients add to P(label is right) on {verdicts.count(ADDS)} of {len(gains)} sets "
            f"and hurt on {verdicts.count(HURTS)}, by the interval; from {min(values):+.2f} to {max(values):+.2f} "
            "points."
        )


def _method(results: Results) -> Iterator[str]:
    yield from (f"- {GROUPS[name].title}: {GROUPS[name].about}" for name in results)
    yield from _METHOD


_METHOD = (
    "- Rates are exact: 2, 5, 10 or 20 % of the labels, rounded to a label. The errors of a rate are among those of "
    "the higher ones.",
    "- Symmetric: any label may become any other one. Class-dependent: classes are confused as often as the network's "
    "mean probabilities say. Instance-dependent: an image is as likely to get a wrong label as a small network after "
    "two epochs gives it one, and the wrong label is drawn from that network's probabilities; these are the labels "
    "that a careless person would give.",
    "- The early networks learned other samples: for CIFAR-10 the other half of the test images, for digits 2,000 "
    "others, for texts the training texts, in one epoch.",
    "- Three draws of errors each. Digits and texts have a network for each draw; of two ResNets, the deeper or the "
    "shallower one has two.",
    f"- Intervals: 300 resamples of planted errors and of other labels, separately in each draw, the same for all "
    f"scores. They do not include the spread over networks. Precision among the first {FIRST}: equal scores count in "
    "proportion.",
    "- Every gradient is read once for each pair of a sample and a label, and used for all sets of labels.",
)
