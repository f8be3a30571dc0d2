"""benchmark.md: the tables, the targets, and how settings were chosen without the reported images."""

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
from gradmeter.research.ood_benchmark.cells import separation_cells
from gradmeter.research.ood_benchmark.controls import PIXELS, controls
from gradmeter.research.ood_benchmark.letters import letter_table
from gradmeter.research.ood_benchmark.plots import best_beside_ours, control_bars
from gradmeter.research.ood_benchmark.results import ALL, BASELINE, TaskResults, column_name
from gradmeter.research.ood_benchmark.run import FEW, LABELS, OURS, WHICH_LETTER, WRONG, few
from gradmeter.research.ood_benchmark.tasks import TASKS
from gradmeter.research.study.data.collection import KNOWN_UNKNOWN_ROLES
from gradmeter.trust.evaluation.intervals import PairedDifference
from gradmeter.trust.synthetic import KINDS

PAGE = "benchmark.md"
# The paper's best result on "All", AUROC and AUPR-Out in percent, trained with real unknown images (its Table 3).
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
# Smaller differences vanish when percentages are rounded to two digits.
_SHOWN = 5e-5
_POINTS = 12.0
_SEPARATION = {"auroc": "AUROC", "aupr_out": "AUPR-Out"}
_INTERVAL = "In brackets: Student's 95 % interval of the mean paired difference, if there are several networks."


@dataclass(frozen=True)
class Made:
    """How a comparison was made.

    Attributes:
        commands: the commands that reproduce the page.
        lines: lines about the machine and the versions.
    """

    commands: tuple[str, ...]
    lines: tuple[str, ...]


def write_page(results: Sequence[TaskResults], made: Made, folder: Path) -> Path:
    """Write benchmark.md and its figures into a folder; return the path of the page."""
    for task_results in results:
        name, control_names = task_results.task.name, _control_names(task_results)
        save(best_beside_ours(task_results), folder / "figures" / f"benchmark-{name}")
        if (controlled := task_results.controlled(control_names)) is not None:
            save(control_bars(controlled, control_names), folder / "figures" / f"controls-{name}")
    path = folder / PAGE
    write_text(path, "\n".join(_lines(results, made)) + "\n")
    return path


def _lines(results: Sequence[TaskResults], made: Made) -> Iterator[str]:
    yield from ("# Benchmark", "")
    yield (
        "`TrustModel(GradientMeter(model)).fit(validation_loader)` with default settings, compared with the post-hoc "
        "detectors of pytorch-ood on the same networks and images. gradmeter's score is -P(correct) in all columns. It "
        "is fitted to all validation images with their labels and to synthetic unknowns made from 500 of them; "
        "detectors are fitted as their papers say (see the last section). Uniform noise and images with normal noise "
        "added are kinds of synthetic unknowns, hence the column without noise. The last section also says which "
        "images were seen while settings were chosen: these are results of development. AUPR-Out is the area under the "
        "precision-recall curve with the images of the column as positives; it depends on their share, so compare it "
        "within a column only. Wrong predictions on known images have their own column; the other columns compare "
        "unknown images with right predictions only. MSP is the maximum softmax probability. The commands need "
        '`pip install ".[compare]"`; DIR holds the archives of [the study](study.md) and `cifar10_train20k.npz`.'
    )
    yield from ("", "```sh", *made.commands, "```", "")
    yield (
        "The networks here are trained by the command. `gradmeter compare --task cifar10` takes networks that others "
        "have trained ([real.md](real.md)), and `gradmeter gain` asks what gradients add to what the forward pass "
        "shows ([gradients.md](gradients.md))."
    )
    yield ""
    yield from (f"- {line}" for line in made.lines)
    for task_results in results:
        yield from ("", f"## {task_results.task.title}", "")
        yield from _task(task_results)
    yield from ("", "## How settings were chosen", "")
    yield from SETTINGS


_LETTERS = (
    "AUROC in percent of right predictions against each letter, with capitals on the left, for gradmeter, the softmax "
    "and the supervised network: a ResNet-8 that is trained on every other image of letters to distinguish letters "
    "from digits, and scored on the rest. gradmeter is weakest for letters that look like digits (O, l, I, S, Z); the "
    "supervised network, which has seen letters, recognises most of these as well. It is a reference, not an upper "
    "bound."
)


def _task(results: TaskResults) -> Iterator[str]:
    networks = len(results.runs)
    error = 100 * sum(float(wrong.mean()) for wrong in results.wrong) / networks
    images = {name: len(scores) for name, scores in results.scores(OURS)[0].values.items()}
    far, near = (
        ", ".join(f"{column_name(concept)} ({images[concept]:,})" for concept in concepts)
        for concepts in (results.far, results.task.near)
    )
    yield (
        f"{networks} network{'s' if networks > 1 else ''}, {error:.2f} % of {len(results.wrong[0]):,} test images "
        f'predicted wrong. "All" pools {far}; it does not include {near}. AUROC / AUPR-Out in percent of right test '
        "predictions against the column, mean over networks; the best of each column before rounding is in bold."
    )
    yield ""
    yield from _methods(results)
    yield from ("", _behind(results))
    yield from ("", "### gradmeter and the best detector of each column", "")
    yield from _beside_best(results)
    yield from ("", "### gradmeter and the softmax", "")
    yield from _paired(results, BASELINE)
    yield from ("", "### Few validation images", "")
    yield from _few(results)
    if results.task.name == "digits":
        yield from ("", "### Targets", "")
        yield from _targets(results)
        if results.has(WHICH_LETTER):
            yield from ("", "### Letters", "")
            yield from letter_table(results)
            yield from ("", _LETTERS)
    if (controlled := results.controlled(_control_names(results))) is not None:
        yield from ("", "### Controls", "")
        if len(controlled.runs) < networks:
            yield from (f"Measured on {len(controlled.runs)} of {networks} networks.", "")
        yield from _control_table(controlled, _control_names(results))
        yield from ("", f"![Controls](figures/controls-{results.task.name}.svg)", "")
        yield from ("### Kinds of synthetic unknowns left out", "")
        yield from _left_out(controlled)


def _behind(results: TaskResults) -> str:
    """Return a sentence that lists the columns where a detector is better than gradmeter."""
    ahead = []
    for column in results.columns:
        for measure, name in _SEPARATION.items():
            ours, best = results.mean(OURS, column, measure).mean, _best(results, column, measure)
            value = results.mean(best, column, measure).mean
            if value - ours >= _SHOWN:
                better = sum(results.mean(method, column, measure).mean > ours for method in results.detectors)
                ahead.append(
                    f"{column_name(column)} by {name} ({better} better; best: {best}, {100 * value:.2f} against "
                    f"{100 * ours:.2f})"
                )
    return f"Columns where detectors are better than gradmeter: {'; '.join(ahead) or 'none'}."


def _best(results: TaskResults, column: str, measure: str) -> str:
    """Return the detector with the best mean over networks."""
    return max(results.detectors, key=lambda method: results.mean(method, column, measure).mean)


def _beside_best(results: TaskResults) -> Iterator[str]:
    rows = []
    for column in results.columns:
        row = [column_name(column)]
        for measure in _SEPARATION:
            best = _best(results, column, measure)
            pairs = zip(results.quality(OURS, column), results.quality(best, column), strict=True)
            ahead = sum(getattr(a, measure) > getattr(b, measure) for a, b in pairs)
            row += [
                best,
                _difference(results.gain(OURS, best, column, measure), 100),
                f"{ahead} of {len(results.runs)}",
            ]
        rows.append(row)
    head = [""]
    for name in _SEPARATION.values():
        head += [f"best by {name}", f"{name}, gradmeter - best", "networks where gradmeter is better"]
    yield from markdown_table(head, rows)
    yield from (
        "",
        f"The best detector is the one with the highest mean, chosen after the fact for each column. {_INTERVAL}",
    )


_ERRORS = (
    "FPR95 in percent / AURC in 1e-4. FPR95 is the share of the column that is accepted if 95 % of the right "
    "predictions are. AURC is the share of errors among accepted images, averaged over all coverages; errors are wrong "
    "predictions and all images of the column."
)


def _methods(results: TaskResults) -> Iterator[str]:
    methods = [OURS, *results.detectors]
    order = sorted(methods, key=lambda method: -results.mean(method, ALL, "auroc").mean)
    cell = separation_cells(results, methods)
    rows = [
        [
            method,
            *(cell(method, column) for column in results.columns),
            f"{results.fit_seconds(method):.0f}",
            f"{results.milliseconds(method):.2f}",
        ]
        for method in order
    ]
    yield from markdown_table(["", *map(column_name, results.columns), "fit, s", "ms / image"], rows)
    yield from ("", f"![The best detectors of each column](figures/benchmark-{results.task.name}.svg)", "", _ERRORS, "")
    rows = [
        [
            method,
            *(
                f"{100 * results.mean(method, column, 'fpr95').mean:.2f} / "
                f"{1e4 * results.mean(method, column, 'aurc').mean:.2f}"
                for column in results.columns
            ),
        ]
        for method in order
    ]
    yield from markdown_table(["", *map(column_name, results.columns)], rows)


def _paired(results: TaskResults, other: str) -> Iterator[str]:
    measures = {**_SEPARATION, "aurc": "AURC, 1e-4"}
    rows = []
    for column in results.columns:
        row = [column_name(column)]
        for measure in measures:
            factor = 1e4 if measure == "aurc" else 100
            row.append(_difference(results.gain(OURS, other, column, measure), factor))
        signs = [
            a.auroc >= b.auroc
            for a, b in zip(results.quality(OURS, column), results.quality(other, column), strict=True)
        ]
        row.append(f"{sum(signs)} of {len(signs)}")
        rows.append(row)
    head = ["", *(f"{name}, gradmeter - softmax" for name in measures.values()), "networks where AUROC is not lower"]
    yield from markdown_table(head, rows)
    yield from ("", _INTERVAL)


def _few(results: TaskResults) -> Iterator[str]:
    """Yield the table of the default judge fitted to few validation images, compared with the softmax."""
    columns = (WRONG, *results.task.near, ALL)
    methods = {
        BASELINE: "softmax",
        **{few(size): f"{size:,} images" for size in FEW if results.has(few(size))},
        OURS: "all",
    }
    rows = [
        [
            name,
            *(_pair(results, method, column) for column in columns),
            f"{1e4 * results.mean(method, WRONG, 'aurc').mean:.2f}",
            "" if method == BASELINE else _difference(results.gain(method, BASELINE, WRONG, "auroc"), 100),
            "" if method == BASELINE else _difference(results.gain(method, BASELINE, WRONG, "aurc"), 1e4),
        ]
        for method, name in methods.items()
    ]
    head = ["fitted to", *map(column_name, columns), "wrong: AURC, 1e-4", "AUROC - softmax", "AURC - softmax"]
    yield from markdown_table(head, rows)


def _pair(results: TaskResults, method: str, column: str) -> str:
    """Return "AUROC / AUPR-Out" in percent."""
    return " / ".join(f"{100 * results.mean(method, column, measure).mean:.2f}" for measure in _SEPARATION)


def _difference(gain: PairedDifference, factor: float) -> str:
    text = f"{factor * gain.mean:+.2f}"
    if math.isnan(gain.low):
        return text
    return f"{text} [{factor * gain.low:+.2f}, {factor * gain.high:+.2f}]"


def _targets(results: TaskResults) -> Iterator[str]:
    rows = []

    def add(quantity: str, target: str, result: str, reached: bool) -> None:
        rows.append([quantity, target, result, "yes" if reached else "**no**"])

    for column, (auroc, aupr) in _TARGETS.items():
        if column not in results.columns:
            continue
        for (measure, name), target in zip(_SEPARATION.items(), (auroc, aupr), strict=True):
            if target is not None:
                # Compare the value as it is shown.
                value = round(100 * results.mean(OURS, column, measure).mean, 4)
                add(f"{column_name(column)}, {name}", f">= {target:g}", f"{value:.4f}", value >= target)
    if results.has(f"{CEILING} letters") and "letters" in results.columns:
        ceiling = 100 * results.mean(f"{CEILING} letters", "letters", "auroc").mean
        softmax = 100 * results.mean(BASELINE, "letters", "auroc").mean
        ours = 100 * results.mean(OURS, "letters", "auroc").mean
        share = (ours - softmax) / (ceiling - softmax)
        add(
            f"Letters: gap from the softmax ({softmax:.2f}) to the supervised network ({ceiling:.2f})",
            ">= 50 % closed",
            f"{100 * share:.0f} %",
            share >= _HALF,
        )
    for name, measure, sign in (("AUROC", "auroc", 1), ("AURC", "aurc", -1)):
        pairs = zip(results.quality(OURS, WRONG), results.quality(BASELINE, WRONG), strict=True)
        kept = sum(sign * (getattr(a, measure) - getattr(b, measure)) >= 0 for a, b in pairs)
        add(
            f"Wrong digits, {name} not worse than the softmax",
            f"{len(results.runs)} networks",
            f"{kept}",
            kept == len(results.runs),
        )
    gain = results.gain(OURS, BASELINE, WRONG, "aupr_out")
    add(
        "Wrong digits, AUPR-Out above the softmax",
        f">= {_POINTS:g} points, interval without 0",
        _difference(gain, 100),
        100 * gain.mean >= _POINTS and gain.low > 0,
    )
    yield from markdown_table(["", "target", "result", "reached"], rows)
    yield from (
        "",
        "The targets were set after prototypes on one network and before the judge was built. The paper's best result "
        "on All, with real unknown images in training and on its own networks and images, is "
        f"{_PAPER[0]} / {_PAPER[1]} (Table 3).",
    )


def _control_names(results: TaskResults) -> list[str]:
    """Return the controls of the main table; kinds of synthetic unknowns left out have their own table."""
    names = controls(TASKS[results.task.name].layers, LABELS, tuple(KINDS), KNOWN_UNKNOWN_ROLES)
    kinds = {f"without {kind}" for kind in KINDS}
    return [PIXELS, *(name for name in names if name not in kinds)]


def _control_table(results: TaskResults, names: Iterable[str]) -> Iterator[str]:
    present = [OURS, *(name for name in names if results.has(name))]
    columns = [name for name in (WRONG, *results.task.near, "omniglot", "notmnist", ALL) if name in results.columns]
    rows = []
    for name in present:
        row = [name, *(_pair(results, name, column) for column in columns)]
        row.append(f"{100 * results.mean(name, ALL, 'matched').mean:.2f}")
        row += [
            "" if name == OURS else _difference(results.gain(OURS, name, column, "auroc"), 100)
            for column in (WRONG, *results.task.near, ALL)
        ]
        rows.append(row)
    head = ["", *map(column_name, columns), "All, AUPR-Out at half and half"]
    head += [f"{column_name(column)}: AUROC lost" for column in (WRONG, *results.task.near, ALL)]
    yield from markdown_table(head, rows)
    yield ""
    yield (
        'Controls with "only" or "alone" in their name read no other features; they use the logits only to know the '
        'predicted class. "Class-aware logits only" reads only the logits. "All pseudo-labels" adds all-ones, '
        'counterfactual and expected to the two pseudo-labels of the default judge; "with 200 known" adds 200 real '
        'images to the unknown ones that it learns from. "At half and half" is AUPR-Out as if unknown images were half '
        "of all images. Pixel statistics (mean, deviation and variation of each image) do not use the network: a "
        'column on which they do well is easy. "AUROC lost" is the AUROC of the default judge minus that of the '
        "control, in points, with Student's 95 % interval over networks. If the interval contains 0, these networks "
        "show no difference."
    )
    gradients = "without gradients"
    if results.has(gradients):
        yield from ("", _about_gradients(results, gradients))


def _about_gradients(results: TaskResults, control: str) -> str:
    gains = {column_name(column): results.gain(OURS, control, column, "auroc") for column in results.columns}
    effects = {
        "Columns where gradients improve on outputs, activations and embedding": [
            name for name, gain in gains.items() if gain.low > 0
        ],
        "Columns where they make it worse": [name for name, gain in gains.items() if gain.high < 0],
        "Columns where these networks show no difference": [
            name for name, gain in gains.items() if not (gain.low > 0 or gain.high < 0)
        ],
    }
    return " ".join(f"{effect}: {', '.join(names) or 'none'}." for effect, names in effects.items())


def _left_out(results: TaskResults) -> Iterator[str]:
    rows = []
    for kind in KINDS:
        control = f"without {kind}"
        if not results.has(control):
            continue
        unseen = results.left_out(kind)
        rows.append(
            [
                kind,
                f"{100 * unseen.mean:.2f} ({100 * unseen.sem:.2f})",
                *(
                    f"{100 * results.mean(control, column, 'auroc').mean:.2f}"
                    for column in (WRONG, *results.task.near, ALL)
                ),
            ]
        )
    head = ["kind left out", "AUROC on that kind (standard error)", *map(column_name, (WRONG, *results.task.near, ALL))]
    yield from markdown_table(head, rows)
