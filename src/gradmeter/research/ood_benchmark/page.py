"""benchmark.md: the tables, what was aimed at, and how settings were kept from what is reported."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradmeter.files import write_text
from gradmeter.report.figures.saving import save
from gradmeter.report.markdown import markdown_table
from gradmeter.research.ood_benchmark.account import SETTINGS
from gradmeter.research.ood_benchmark.ceiling import CEILING
from gradmeter.research.ood_benchmark.controls import PIXELS, controls
from gradmeter.research.ood_benchmark.letters import letter_table
from gradmeter.research.ood_benchmark.plots import best_beside_ours, control_bars
from gradmeter.research.ood_benchmark.results import ALL, BASELINE, TaskResults, column_name
from gradmeter.research.ood_benchmark.run import FEW, LABELS, OURS, WHICH_LETTER, WRONG, few
from gradmeter.research.study.data.collection import KNOWN_UNKNOWN_ROLES
from gradmeter.trust.evaluation.intervals import PairedDifference
from gradmeter.trust.synthetic import KINDS

PAGE = "benchmark.md"
# The paper's best on "All", with real unknown images in training (its Table 3, percent).
_PAPER = (96.64, 91.55)
_TARGETS = {
    ALL: (99.95, 99.9),
    "omniglot": (99.6, None),
    "notmnist": (99.95, None),
    "cifar10": (99.99, None),
    "uniform": (99.99, None),
    "normal": (99.99, None),
    "letters": (87.0, 80.0),
}
_HALF = 0.5
# A difference that two digits of a percentage show.
_SHOWN = 5e-5
_POINTS = 12.0
_SEPARATION = {"auroc": "AUROC", "aupr_out": "AUPR-Out"}
_INTERVAL = "In brackets Student's 95 % interval of the mean difference over networks, paired, if there are several."


@dataclass(frozen=True)
class Made:
    """How a comparison was made.

    Attributes:
        commands: that make the page again.
        lines: machine and versions.
    """

    commands: tuple[str, ...]
    lines: tuple[str, ...]


def write_page(results: Sequence[TaskResults], made: Made, folder: Path) -> Path:
    """Write benchmark.md and its figures into a folder."""
    for found in results:
        save(best_beside_ours(found), folder / "figures" / f"benchmark-{found.task.name}")
        if (controlled := found.controlled(_controls(found))) is not None:
            save(control_bars(controlled, _controls(found)), folder / "figures" / f"controls-{found.task.name}")
    path = folder / PAGE
    write_text(path, "\n".join(_lines(results, made)) + "\n")
    return path


def _lines(results: Sequence[TaskResults], made: Made) -> Iterator[str]:
    yield from ("# Benchmark", "")
    yield (
        "`TrustModel(GradientMeter(model)).fit(validation_loader)`, with no further argument, beside the post-hoc "
        "detectors of pytorch-ood, on the same networks and images. One score for everything: -P(correct). It has "
        "learned from all validation images with their labels, and from unknown images that it makes of 500 of them; "
        "detectors learn as their papers say (last section). Among those that it makes are uniform noise and images "
        "with normal noise added, hence the column without noise. The last section also tells which images were seen "
        "while settings were chosen: these are results of development. AUPR-Out is the area under the precision-recall"
        " curve, the column's images positive; it depends on their share, so compare within a column. Wrong "
        "predictions of known images are a column of their own, and not among those that are to be told from unknown "
        'ones. MSP is the softmax. The commands need `pip install ".[compare]"`; DIR holds the archives that '
        "[the study](study.md) reads, and `cifar10_train20k.npz`."
    )
    yield from ("", "```sh", *made.commands, "```", "")
    yield from (f"- {line}" for line in made.lines)
    for found in results:
        yield from ("", f"## {found.task.title}", "")
        yield from _task(found)
    yield from ("", "## How settings were kept from what is reported", "")
    yield from SETTINGS


_LETTERS = (
    "AUROC in percent of right predictions against each letter, capitals at the left: gradmeter, the softmax, and the "
    "supervised network, a ResNet-8 that learned from every other image of all letters what a letter is, and is judged"
    " on the rest. gradmeter is weakest where letters are digits to the eye (O, l, I, S, Z); the supervised network, "
    "which has seen letters, tells most of these apart, too. It is a reference, no upper bound."
)


def _task(found: TaskResults) -> Iterator[str]:
    networks = len(found.runs)
    error = 100 * sum(float(wrong.mean()) for wrong in found.wrong) / networks
    images = {name: len(scores) for name, scores in found.scores(OURS)[0].values.items()}
    far, near = (
        ", ".join(f"{column_name(one)} ({images[one]:,})" for one in names) for names in (found.far, found.task.near)
    )
    yield (
        f"{networks} network{'s' if networks > 1 else ''}, {error:.2f} % of {len(found.wrong[0]):,} test images wrong. "
        f'"All" pools {far}; apart from it come {near}. AUROC / AUPR-Out in percent, right '
        "test predictions against the column, mean over networks; the best of each column, before rounding, in bold."
    )
    yield ""
    yield from _methods(found)
    yield from ("", _behind(found))
    yield from ("", "### Beside the best detector of each column, network by network", "")
    yield from _beside_best(found)
    yield from ("", "### Beside the softmax, network by network", "")
    yield from _paired(found, BASELINE)
    yield from ("", "### Few validation images", "")
    yield from _few(found)
    if found.task.name == "digits":
        yield from ("", "### What was aimed at", "")
        yield from _targets(found)
        if found.has(WHICH_LETTER):
            yield from ("", "### Letter by letter", "")
            yield from letter_table(found)
            yield from ("", _LETTERS)
    if (controlled := found.controlled(_controls(found))) is not None:
        yield from ("", "### Controls", "")
        if len(controlled.runs) < networks:
            yield from (f"On {len(controlled.runs)} of the {networks} networks.", "")
        yield from _control_table(controlled, _controls(found))
        yield from ("", f"![Controls](figures/controls-{found.task.name}.svg)", "")
        yield from ("### Kinds of synthetic unknowns left out", "")
        yield from _left_out(controlled)


def _behind(found: TaskResults) -> str:
    """Where a detector is better."""
    ahead = []
    for column in found.columns:
        for measure, name in _SEPARATION.items():
            ours, best = found.mean(OURS, column, measure).mean, _best(found, column, measure)
            value = found.mean(best, column, measure).mean
            if value - ours >= _SHOWN:
                better = sum(found.mean(method, column, measure).mean > ours for method in found.detectors)
                ahead.append(
                    f"{column_name(column)} by {name} ({better} better, {best} {100 * value:.2f} against "
                    f"{100 * ours:.2f})"
                )
    return f"Where a detector is ahead of gradmeter: {'; '.join(ahead) or 'nowhere'}."


def _best(found: TaskResults, column: str, measure: str) -> str:
    """The detector with the best mean over networks."""
    return max(found.detectors, key=lambda method: found.mean(method, column, measure).mean)


def _beside_best(found: TaskResults) -> Iterator[str]:
    rows = []
    for column in found.columns:
        row = [column_name(column)]
        for measure in _SEPARATION:
            best = _best(found, column, measure)
            pairs = zip(found.quality(OURS, column), found.quality(best, column), strict=True)
            ahead = sum(getattr(a, measure) > getattr(b, measure) for a, b in pairs)
            row += [best, _difference(found.gain(OURS, best, column, measure), 100), f"{ahead} of {len(found.runs)}"]
        rows.append(row)
    head = [""]
    for name in _SEPARATION.values():
        head += [f"best by {name}", f"{name}, gradmeter - that", "networks where gradmeter is ahead"]
    yield from markdown_table(head, rows)
    yield from ("", f"The best is chosen by the mean, after the fact and for each column anew. {_INTERVAL}")


_ERRORS = (
    "FPR95 in percent, the share of the column that is accepted where 95 % of the right predictions are, and AURC in "
    "1e-4, the share of errors among what is accepted, averaged over all coverages: wrong predictions, and whatever is "
    "of the column."
)


def _methods(found: TaskResults) -> Iterator[str]:
    methods = [OURS, *found.detectors]
    order = sorted(methods, key=lambda method: -found.mean(method, ALL, "auroc").mean)
    best = {
        (column, measure): max(found.mean(method, column, measure).mean for method in methods)
        for column in found.columns
        for measure in _SEPARATION
    }

    def cell(method: str, column: str) -> str:
        parts = []
        for measure in _SEPARATION:
            value = found.mean(method, column, measure).mean
            text = f"{100 * value:.2f}"
            parts.append(f"**{text}**" if value >= best[column, measure] - 5e-7 else text)
        return " / ".join(parts)

    rows = [
        [
            method,
            *(cell(method, column) for column in found.columns),
            f"{found.fit_seconds(method):.0f}",
            f"{found.milliseconds(method):.2f}",
        ]
        for method in order
    ]
    yield from markdown_table(["", *map(column_name, found.columns), "fit, s", "ms / image"], rows)
    yield from ("", f"![The best detectors of each column](figures/benchmark-{found.task.name}.svg)", "", _ERRORS, "")
    rows = [
        [
            method,
            *(
                f"{100 * found.mean(method, column, 'fpr95').mean:.2f} / "
                f"{1e4 * found.mean(method, column, 'aurc').mean:.2f}"
                for column in found.columns
            ),
        ]
        for method in order
    ]
    yield from markdown_table(["", *map(column_name, found.columns)], rows)


def _paired(found: TaskResults, other: str) -> Iterator[str]:
    measures = {**_SEPARATION, "aurc": "AURC, 1e-4"}
    rows = []
    for column in found.columns:
        row = [column_name(column)]
        for measure in measures:
            factor = 1e4 if measure == "aurc" else 100
            row.append(_difference(found.gain(OURS, other, column, measure), factor))
        signs = [
            a.auroc >= b.auroc for a, b in zip(found.quality(OURS, column), found.quality(other, column), strict=True)
        ]
        row.append(f"{sum(signs)} of {len(signs)}")
        rows.append(row)
    head = ["", *(f"{name}, gradmeter - softmax" for name in measures.values()), "networks where AUROC is not below"]
    yield from markdown_table(head, rows)
    yield from ("", _INTERVAL)


def _few(found: TaskResults) -> Iterator[str]:
    """The default judge of small data, beside the softmax."""
    columns = (WRONG, *found.task.near, ALL)
    methods = {
        BASELINE: "softmax",
        **{few(size): f"{size:,} images" for size in FEW if found.has(few(size))},
        OURS: "all",
    }
    rows = [
        [
            name,
            *(_pair(found, method, column) for column in columns),
            f"{1e4 * found.mean(method, WRONG, 'aurc').mean:.2f}",
            "" if method == BASELINE else _difference(found.gain(method, BASELINE, WRONG, "auroc"), 100),
            "" if method == BASELINE else _difference(found.gain(method, BASELINE, WRONG, "aurc"), 1e4),
        ]
        for method, name in methods.items()
    ]
    head = ["fitted to", *map(column_name, columns), "wrong: AURC, 1e-4", "AUROC - softmax", "AURC - softmax"]
    yield from markdown_table(head, rows)


def _pair(found: TaskResults, method: str, column: str) -> str:
    """AUROC / AUPR-Out."""
    return " / ".join(f"{100 * found.mean(method, column, measure).mean:.2f}" for measure in _SEPARATION)


def _difference(gain: PairedDifference, factor: float) -> str:
    text = f"{factor * gain.mean:+.2f}"
    if math.isnan(gain.low):
        return text
    return f"{text} [{factor * gain.low:+.2f}, {factor * gain.high:+.2f}]"


def _targets(found: TaskResults) -> Iterator[str]:
    rows = []

    def row(what: str, aim: str, got: str, reached: bool) -> None:
        rows.append([what, aim, got, "yes" if reached else "**no**"])

    for column, (auroc, aupr) in _TARGETS.items():
        if column not in found.columns:
            continue
        for (measure, name), aim in zip(_SEPARATION.items(), (auroc, aupr), strict=True):
            if aim is not None:
                # What is compared is what is shown.
                value = round(100 * found.mean(OURS, column, measure).mean, 4)
                row(f"{column_name(column)}, {name}", f">= {aim:g}", f"{value:.4f}", value >= aim)
    if found.has(f"{CEILING} letters") and "letters" in found.columns:
        ceiling = 100 * found.mean(f"{CEILING} letters", "letters", "auroc").mean
        softmax = 100 * found.mean(BASELINE, "letters", "auroc").mean
        ours = 100 * found.mean(OURS, "letters", "auroc").mean
        share = (ours - softmax) / (ceiling - softmax)
        row(
            f"Letters: gap from softmax ({softmax:.2f}) to a supervised digit-versus-letter network ({ceiling:.2f})",
            ">= 50 % closed",
            f"{100 * share:.0f} %",
            share >= _HALF,
        )
    for name, measure, sign in (("AUROC", "auroc", 1), ("AURC", "aurc", -1)):
        pairs = zip(found.quality(OURS, WRONG), found.quality(BASELINE, WRONG), strict=True)
        kept = sum(sign * (getattr(a, measure) - getattr(b, measure)) >= 0 for a, b in pairs)
        row(
            f"Wrong digits, {name} not worse than softmax",
            f"{len(found.runs)} networks",
            f"{kept}",
            kept == len(found.runs),
        )
    gain = found.gain(OURS, BASELINE, WRONG, "aupr_out")
    row(
        "Wrong digits, AUPR-Out above softmax",
        f">= {_POINTS:g} points, interval without 0",
        _difference(gain, 100),
        100 * gain.mean >= _POINTS and gain.low > 0,
    )
    yield from markdown_table(["", "aim", "reached", ""], rows)
    yield from (
        "",
        "The aims were set before the judge was built, after prototypes on one network. The paper's best on All, with "
        f"real unknown images in training, on its own networks and images, is {_PAPER[0]} / {_PAPER[1]} (Table 3).",
    )


def _controls(found: TaskResults) -> list[str]:
    """Those of the table; synthetic unknowns left out have one of their own."""
    names = controls(found.task.layers, LABELS, tuple(KINDS), KNOWN_UNKNOWN_ROLES)
    kinds = {f"without {kind}" for kind in KINDS}
    return [PIXELS, *(name for name in names if name not in kinds)]


def _control_table(found: TaskResults, names: Iterable[str]) -> Iterator[str]:
    present = [OURS, *(name for name in names if found.has(name))]
    columns = [name for name in (WRONG, *found.task.near, "omniglot", "notmnist", ALL) if name in found.columns]
    rows = []
    for name in present:
        row = [name, *(_pair(found, name, column) for column in columns)]
        row.append(f"{100 * found.mean(name, ALL, 'matched').mean:.2f}")
        row += [
            "" if name == OURS else _difference(found.gain(OURS, name, column, "auroc"), 100)
            for column in (WRONG, *found.task.near, ALL)
        ]
        rows.append(row)
    head = ["", *map(column_name, columns), "All, AUPR-Out at half and half"]
    head += [f"{column_name(column)}: AUROC lost" for column in (WRONG, *found.task.near, ALL)]
    yield from markdown_table(head, rows)
    yield ""
    yield (
        '"Only" and "alone" read nothing else, also not the logits, but to know the predicted class; "class-aware'
        ' logits only" reads nothing but the logits. "All pseudo-labels" adds all-ones, counterfactual and expected'
        ' to the two of the default; "with 200 known" adds 200 real images to the unknown ones it learns from. "At '
        'half and half" is AUPR-Out as if unknown images were half of all. Pixel statistics (mean, deviation and '
        "variation of each image) never see the network: where they do well, a column is easy. Lost is the default's "
        "AUROC less the control's, in points, with Student's 95 % interval over networks. An interval around 0 means "
        "that the difference adds nothing that these networks could show."
    )
    gradients = "without gradients"
    if found.has(gradients):
        yield from ("", _about_gradients(found, gradients))


def _about_gradients(found: TaskResults, control: str) -> str:
    gains = {column_name(column): found.gain(OURS, control, column, "auroc") for column in found.columns}
    said = {
        "Gradients add to outputs, activations and embedding for": [n for n, gain in gains.items() if gain.low > 0],
        "They cost something for": [n for n, gain in gains.items() if gain.high < 0],
        "They add nothing that these networks could show for": [
            name for name, gain in gains.items() if not (gain.low > 0 or gain.high < 0)
        ],
    }
    return " ".join(f"{what}: {', '.join(names) or 'nothing'}." for what, names in said.items())


def _left_out(found: TaskResults) -> Iterator[str]:
    rows = []
    for kind in KINDS:
        control = f"without {kind}"
        if not found.has(control):
            continue
        unseen = found.left_out(kind)
        rows.append(
            [
                kind,
                f"{100 * unseen.mean:.2f} ({100 * unseen.sem:.2f})",
                *(
                    f"{100 * found.mean(control, column, 'auroc').mean:.2f}"
                    for column in (WRONG, *found.task.near, ALL)
                ),
            ]
        )
    head = ["left out", "AUROC on that kind (standard error)", *map(column_name, (WRONG, *found.task.near, ALL))]
    yield from markdown_table(head, rows)
