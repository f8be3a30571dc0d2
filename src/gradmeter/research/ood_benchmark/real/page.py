"""real.md: the tables, the targets, and what was chosen on which images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from gradmeter.files import write_text
from gradmeter.report.figures.saving import save
from gradmeter.research.ood_benchmark.page import Made
from gradmeter.research.ood_benchmark.plots import best_beside_ours
from gradmeter.research.ood_benchmark.real.account import COLUMNS, SETTINGS
from gradmeter.research.ood_benchmark.real.images import CIFAR100, DRAWS
from gradmeter.research.ood_benchmark.real.results import CHOSEN_ON, REPORTED, RealResults
from gradmeter.research.ood_benchmark.real.run import CONTROLLED_READS, networks_found, reading, runs_of
from gradmeter.research.ood_benchmark.real.tables import (
    calibration_table,
    column_sizes,
    error_table,
    few_table,
    gain_table,
    in_order,
    leading_detectors,
    network_table,
    rank_table,
    reads_table,
    separation_table,
    target_table,
)
from gradmeter.research.ood_benchmark.run import OURS

PAGE = "real.md"

_INTRODUCTION = (
    "`TrustModel(GradientMeter(model)).fit(validation_loader)` with default settings on networks that others have "
    "trained: the residual networks with 20, 32, 44 and 56 layers for CIFAR-10 (He et al. 2016, weights of "
    "akamaster/pytorch_resnet_cifar10). It is compared with the post-hoc detectors of pytorch-ood and with baselines "
    "that pytorch-ood lacks, on the same networks and images. A verdict has three probabilities: P(correct | known), "
    "that the prediction is right if the input is of the kind that the network learned; P(known), that it is; and "
    "P(correct), made of both, on which decisions rest. ResNet-44 and 56 are only reported; ResNet-20 and 32 served to "
    "choose settings (see the last section)."
)
_MEASURES = (
    "AUROC / AUPR-Out in percent of right predictions against the column, means over networks and draws. AUPR-Out is "
    "the area under the precision-recall curve with the images of the column as positives; it depends on their share, "
    "so compare it within a column only."
)
_BOLD = "The best of each column before rounding is in bold."
_ERRORS = (
    "FPR95 in percent / AURC in 1e-4 / AUGRC in 1e-4; the lower, the better. FPR95 is the share of the column that is "
    "accepted if 95 % of the right predictions are. AURC is the share of errors among accepted images, AUGRC (Traub et "
    "al. 2024) the share of accepted errors among all images, averaged over all coverages; errors are wrong "
    "predictions and all images of the column."
)


def write_page(folder: Path, made: Made) -> Path | None:
    """Write real.md and its figure into a folder; return the path of the page, or None if there are no results."""
    depths = networks_found(folder)
    if not depths:
        return None
    results = RealResults(folder, [run for depth in depths for run in runs_of(depth)])
    if results.of(REPORTED).runs:
        save(best_beside_ours(results.of(REPORTED)), folder / "figures" / "real")
    path = folder / PAGE
    write_text(path, "\n".join(_lines(results, made)) + "\n")
    return path


def _lines(results: RealResults, made: Made) -> Iterator[str]:
    yield from ("# On networks that others have trained", "", _INTRODUCTION, "")
    yield from ("```sh", *made.commands, "```", "")
    yield 'The command needs `pip install ".[compare]"`; NETWORKS holds the weights, DIR the archives of images.'
    yield from ("", *(f"- {line}" for line in made.lines), "")
    yield from (_images(results), "", *COLUMNS)
    reported, chosen_on = results.of(REPORTED), results.of(CHOSEN_ON)
    if len(reported.depths) == len(REPORTED):
        yield from ("", "## Targets", "")
        yield (
            f"Means over {_names(reported)} and {DRAWS} draws, computed from the scores. AUROC and AUPR-Out are in "
            "percent. The targets were set before the judge was built."
        )
        yield from ("", *target_table(reported), *_reference(reported))
    if reported.depths:
        yield from ("", f"## Only reported: {_names(reported)}", "", f"{_MEASURES} {_BOLD}", "")
        yield from separation_table(reported, in_order(reported))
        yield from ("", "![The best detectors of each column](figures/real.svg)", "", _ERRORS, "")
        yield from error_table(reported, in_order(reported))
        yield from ("", "### Mean ranks", "")
        yield (
            "P(correct) and the detectors are ranked by AUROC on every network and in every column except the pooled "
            "one; rank 1 is the best. p: Conover's post hoc test of the difference to P(correct), adjusted by Holm's "
            "method."
        )
        yield from ("", *rank_table(reported))
    if chosen_on.depths:
        yield from ("", f"## Settings were chosen on: {_names(chosen_on)}", "", f"{_MEASURES} {_BOLD}", "")
        yield from separation_table(chosen_on, in_order(chosen_on))
    yield from ("", "## Wrong predictions, beside the softmax", "")
    yield "Mean over draws (smallest to largest). A negative difference of AURC is better."
    yield from ("", *gain_table(results))
    yield from _calibration_and_few(reported if reported.depths else results)
    yield from _reads(results)
    yield from ("", "## Every network", "")
    yield "The three probabilities, the softmax, and the detectors that are first in the mean rank over these networks."
    leading = leading_detectors(results)
    for network in results.networks:
        error = 100 * sum(float(wrong.mean()) for wrong in network.wrong) / len(network.runs)
        yield from ("", f"### {_names(network)}", "", f"{error:.2f} % of the test images are predicted wrong.", "")
        yield from network_table(network, leading)
    yield from ("", "## What was chosen on which images", "", *SETTINGS)


def _images(results: RealResults) -> str:
    tests = len(results.wrong[0])
    return (
        f"In each of {DRAWS} draws, CIFAR-10's test images are split at random into two halves for validation and "
        f"test; {tests:,} test images are scored. Unknown and changed images: {column_sizes(results)}."
    )


def _reference(results: RealResults) -> Iterator[str]:
    """Return how well images of CIFAR-100 can be told by a classifier that learned some of them."""
    if (reference := results.reference()) is None:
        return
    ours = results.mean(OURS, CIFAR100, "auroc").mean
    yield ""
    yield (
        "What examples of CIFAR-100 would bring: boosted trees on what the judge reads, which learn from right "
        "predictions of the validation half and from CIFAR-100's first 1,000 images, separate its other images with an "
        f"AUROC of {100 * reference:.2f}. P(correct) has seen no image of CIFAR-100, and reaches {100 * ours:.2f}."
    )


def _calibration_and_few(results: RealResults) -> Iterator[str]:
    yield from ("", "## Calibration", "")
    yield (
        f"{_names(results)}: expected calibration error over 15 bins, and Brier score, of the probability that a known "
        "test image is predicted right, means over networks and draws."
    )
    yield from ("", *calibration_table(results))
    yield from ("", "## Few validation images", "", f"{_names(results)}. {_MEASURES}", "")
    yield from few_table(results)


def _reads(results: RealResults) -> Iterator[str]:
    controlled = results.controlled([reading(reads) for reads in CONTROLLED_READS])
    if controlled is None:
        return
    yield from ("", "## What is read", "")
    yield (
        f"{_names(controlled)}, first draw only: the default judge, which compares both on held-out images, and "
        "judges that read the forward pass only, or gradients too."
    )
    yield from ("", *reads_table(controlled))


def _names(results: RealResults) -> str:
    return "ResNet-" + _and([str(depth) for depth in results.depths])


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
