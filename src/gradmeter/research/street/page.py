"""street.md: what gradients add on the pixels and segments of a street, as tables and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradmeter.files import write_text
from gradmeter.report.markdown import counted
from gradmeter.research.street.others import others
from gradmeter.research.street.pixels import ANOMALIES, BLOCK, ERRORS, LEARNED
from gradmeter.research.street.quality import Quality
from gradmeter.research.street.results import TaskResults
from gradmeter.research.street.scenes import ALL, PART, TITLES
from gradmeter.research.street.segments import METHODS
from gradmeter.research.street.sentences import conclusion, segments_key
from gradmeter.research.street.tables import judge_table, quality_table, score_table, segment_table
from gradmeter.research.street.training import EPOCHS

PAGE = "street.md"


@dataclass(frozen=True)
class Made:
    """How the results were made: the commands, and sentences about the scenes, versions and the machine."""

    commands: tuple[str, ...]
    provenance: tuple[str, ...]


def write_page(
    results: Mapping[str, TaskResults], qualities: Mapping[str, Sequence[Quality]], made: Made, folder: Path
) -> Path:
    """Write street.md.

    Args:
        results: the results by task.
        qualities: how well the networks of each lesson segment.
        made: how the results were made.
        folder: of the page.

    Returns:
        The path of the page.
    """
    path = folder / PAGE
    write_text(path, "\n".join(_page(results, qualities, made)) + "\n")
    return path


def _page(results: Mapping[str, TaskResults], qualities: Mapping[str, Sequence[Quality]], made: Made) -> Iterator[str]:
    networks = len(qualities[ALL])
    yield from ("# Pixels and segments of a real street", "", _INTRODUCTION, "", "```sh", *made.commands, "```", "")
    yield from (f"- {sentence}" for sentence in made.provenance)
    seeded = counted(networks, "network", "networks with different seeds")
    yield from ("", "## The answer", "", _READING.format(networks=seeded), "", *conclusion(results))
    yield from ("", "## The networks", "", _NETWORKS.format(networks=seeded, epochs=EPOCHS), "")
    yield from quality_table(qualities)
    yield from ("", "## Wrong pixels", "", _sizes(results[ERRORS], "right", "wrong"), "")
    yield from (*score_table(results[ERRORS]), "", _SCORES, "", *judge_table(results[ERRORS]), "", _JUDGES)
    yield from ("", "## Anomalies", "", _sizes(results[ANOMALIES], "other", "anomalous"), "")
    yield from (*score_table(results[ANOMALIES]), "", _UNKNOWN, "", *judge_table(results[ANOMALIES]))
    yield from ("", _KNOWN, "", *judge_table(results[LEARNED]))
    yield from ("", "## Segments", "", _SEGMENTS)
    for lesson in (ALL, PART):
        result = results[segments_key(lesson)]
        yield from ("", f"### {TITLES[lesson].capitalize()}", "", _sizes(result, "hitting", "missing", "segments"), "")
        yield from (*segment_table(result), "", _estimators(result))
    yield from ("", "## How it was done", "", *(line.format(block=BLOCK, spread=_spread(networks)) for line in _METHOD))
    yield from ("", "## Results of others", "", *others())


def _sizes(result: TaskResults, inside: str, outside: str, things: str = "pixels") -> str:
    share = 100 * result.outside / (result.inside + result.outside)
    counts = f"{result.inside:,.0f} {inside} and {result.outside:,.0f} {outside} {things}"
    return f"{counts} ({share:.2f} %), mean over networks."


def _spread(networks: int) -> str:
    """Return what the intervals say of other networks."""
    if networks == 1:
        return "They say nothing of other networks."
    return f"The networks are resampled, too; {networks} of them show little of the spread over networks."


def _estimators(result: TaskResults) -> str:
    chosen = result.notes["estimators"]
    parts = []
    for method in METHODS:
        hits, ious = zip(*chosen[method], strict=True)
        parts.append(f"{method}: {_counted(hits)}; {_counted(ious)}")
    return f"What SegmentTrust chose for the classification; for the regression. {'. '.join(parts)}."


def _counted(names: Sequence[str]) -> str:
    return ", ".join(f"{name} ({names.count(name)})" for name in dict.fromkeys(names))


_INTRODUCTION = (
    "What do gradients say of a pixel that softmax, entropy and logits do not? Small segmentation networks are "
    "trained from scratch on CamVid (Brostow, Fauqueur and Cipolla 2009; split of SegNet), once on all 11 classes and "
    "once without pedestrians and bicyclists, which are void in training and anomalies in the test. Settings are "
    "chosen on validation scenes, with one exception. All numbers and sentences on this page are written by the "
    "command; DIR holds `camvid.npz`."
)

_READING = (
    "Numbers in percent, means over {networks} for each set of classes; differences in points, with bootstrap "
    "intervals of 95 %. A difference is called higher or lower if its interval excludes 0."
)

_NETWORKS = (
    "A convolutional network with 290,000 weights: an encoder of three stages, a decoder that adds their outputs, and "
    "logits at half the height and width, which are upsampled bilinearly to the images. Trained for {epochs} epochs "
    "with AdamW, a cosine schedule, horizontal flips and class weights, in about one and a half minutes of one core; "
    "{networks} for each set of classes. Share of right pixels and intersection over union, without void and "
    "unlearned pixels: mean (smallest to largest)."
)

_SCORES = (
    "Bold: the best score of the logits and the best gradient statistic for wrong pixels of validation scenes. A "
    "statistic has the name of its pseudo-label and its layer: head is the last layer, a 1 x 1 convolution, last.0 the "
    "3 x 3 convolution before it. The mean of the last layer's gradient is 0, apart from rounding, because the entries "
    "of p - e add up to 0. Differences in bold have an interval that excludes 0."
)

_JUDGES = (
    "Judges of one kind are fitted to the same pixels of validation scenes and differ in what they read. Forward: "
    "the logits, softmax, entropy, margin, energy. With inputs: also six statistics of the last layer's input at the "
    "pixel, which the forward pass shows as well, and which the gradient of the last layer multiplies with p - e. "
    "With noise: gradients of other pixels, drawn at random. Gradients beside inputs: the judge with inputs and "
    "gradients against that with inputs. Gradients against noise: the judge with gradients against that with noise, "
    "which has as many features."
)

_UNKNOWN = "Judges that have learned from wrong pixels of the learned classes, and have seen no anomaly:"
_KNOWN = (
    "Judges that have learned from anomalies of the same classes in validation scenes; they show whether the readings "
    "contain what is needed to tell anomalies:"
)

_SEGMENTS = (
    "A segment is a connected component of the predicted mask. Meta classification: does the segment hit anything of "
    "its class (IoU above 0)? AUROC, AUPR and FPR95 with missing segments as positive. Meta regression: its adjusted "
    "IoU, by R². `SegmentTrust` is fitted to the segments of validation scenes and chooses its estimators by "
    "cross-validation over scenes. Entropy: it reads the mean entropy only. Forward: MetaSeg's features (Rottmann et "
    "al. 2020) and what else `segments()` reads of the forward pass. With noise: gradients of other segments, drawn "
    "at random. Test segments over pedestrians and bicyclists count as missing where these are unlearned."
)

_METHOD = (
    "- Scores: maximum softmax as log(1 - p), entropy, negative maximum logit, energy; eight statistics of the "
    "gradient, for two layers and two pseudo-labels. For each network, a score that is lower for wrong pixels of "
    "validation scenes is turned round.",
    "- All pixels of the images count that have a class. Gradients are those of the upsampled logits' own losses. "
    "Scores are ranked in about 8,000 bins (`gradmeter.trust.evaluation.binned`); the rounding is far below the last "
    "digit of the intervals. Wrong or anomalous pixels are positive; FPR95 is the share of the others at a true "
    "positive rate of 95 %.",
    "- Judges learn from 400 random pixels of each validation scene. Logistic regression: standardised features, the "
    "penalty is the best of four on the last fifth of the scenes. Gradient boosting: 60 trees with 15 leaves. "
    "Gradient features are logarithms of sizes relative to the start vector, skewness and kurtosis.",
    "- Intervals: 1,000 resamples. Test scenes are frames of drives, and neighbours resemble each other: {block} "
    "consecutive scenes are resampled together, the same ones for all methods and networks. {spread}",
    "- The exception: the logistic regression was fitted by another solver, with other penalties, when test scores of "
    "the first two networks were seen; it had not converged, and judges with noise were better than those without.",
    "- Validation scenes are frames of one drive, test scenes of others: judges are tested under a shift.",
)
