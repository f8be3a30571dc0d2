"""Writing an evaluation to files: report.html, tables, figures and all judgements."""

from __future__ import annotations

import csv
import datetime
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from gradmeter.apps.workflows.class_errors import class_grid
from gradmeter.apps.workflows.evaluate import RESULTS, Evaluation
from gradmeter.apps.workflows.exploration import contents_of, excerpt, promise_of, verdicts_of
from gradmeter.apps.workflows.extremes import Example, extremes
from gradmeter.apps.workflows.groups import given_scores, group_members, group_summaries, summary_grid
from gradmeter.apps.workflows.records import difference_records, estimate_records, guarantee_record, skipped_records
from gradmeter.apps.workflows.wording import SCORE_NAMES, answer
from gradmeter.files import remove_earlier, sweep, write_text
from gradmeter.names import encode_name, printable
from gradmeter.report import figures
from gradmeter.report.comparison import difference_grid, estimate_grid
from gradmeter.report.exploration import exploration
from gradmeter.report.figures.saving import drawings, files_of
from gradmeter.report.probabilities import compared, significant
from gradmeter.report.scripts import script
from gradmeter.report.templates import REPORT, environment
from gradmeter.report.thumbnails import data_uri, thumbnail
from gradmeter.report.writers import to_html
from gradmeter.tables import write_table
from gradmeter.trust.evaluation import Curve, reliability, risk_coverage
from gradmeter.trust.evaluation.comparison import ALL, MEASURES, WRONG
from gradmeter.trust.meta_classifier import P_CORRECT, P_CORRECT_IF_KNOWN, P_KNOWN
from gradmeter.trust.reads import FORWARD
from gradmeter.version import __version__

# Number of most and of least trusted samples in the report, and of layers.
_EXAMPLES, _LAYERS = 10, 15
# Risk-coverage curves start at this number of accepted samples.
_FIRST_ACCEPTED = 50
# Longer side of a picture of these in pixels.
_THUMBNAIL = 96
# Libraries of networks and preprocessing.
_LIBRARIES = ("timm", "torchvision", "transformers")
DISTRIBUTIONS = {
    P_KNOWN: "distributions_p_known",
    P_CORRECT_IF_KNOWN: "distributions_p_correct_if_known",
    P_CORRECT: "distributions",
}
"""Names of the figures of the probabilities of a verdict."""
_FIGURES = ("risk_coverage_known", "risk_coverage_all", "reliability", *DISTRIBUTIONS.values(), "layers")
_ABOUT = {
    P_KNOWN: "The probability that the network has learned this kind of input.",
    P_CORRECT_IF_KNOWN: "The probability that the prediction is correct if the network has learned this kind of input; "
    "it says nothing about unknown inputs, for which it may be high.",
    P_CORRECT: "The probability that the prediction is correct.",
}
_COLUMNS = {WRONG: "Known inputs", ALL: "Known and unknown inputs"}


def write_evaluation(evaluation: Evaluation, folder: Path, *, command: str, trust: Path | None = None) -> Path:
    """Write an evaluation to a folder; each file is written atomically, results.json last.

    Args:
        evaluation: the evaluation.
        folder: the output folder.
        command: the command line, to show in the report.
        trust: folder of the TrustModel, to show in the report.

    Returns:
        The path of report.html, a self-contained file without external resources. Its script adds a slider on the
        threshold and a browser of samples; everything else is there without it.

    Raises:
        OutputError: if the folder cannot be written.
    """
    start_writing(folder)
    write_csv(folder / "estimates.csv", estimate_records(evaluation.comparison))
    write_csv(folder / "differences.csv", difference_records(evaluation.comparison))
    write_table(folder / "judgements.parquet", evaluation.rows)
    svgs: dict[str, str] = {}
    for stem, draw in _figures(evaluation):
        figures.save_for_screens(draw, folder / "figures" / stem)
        svgs |= drawings(folder / "figures", [stem])
    explored = exploration(
        verdicts_of(evaluation),
        partial(contents_of, evaluation),
        promise_of(evaluation),
    )
    page = (
        environment("gradmeter.apps.workflows")
        .get_template("evaluation_report.html.jinja")
        .render(
            evaluation=evaluation,
            version=__version__,
            answer=list(map(printable, answer(evaluation))),
            figures=svgs,
            explored=explored,
            script=script("browser.js", "exploration.js"),
            groups=Markup(to_html(summary_grid(group_summaries(evaluation)))),
            classes=Markup(to_html(class_grid(evaluation.class_errors))),
            score_names=SCORE_NAMES,
            distributions=DISTRIBUTIONS,
            about=_ABOUT,
            estimates=Markup(to_html(estimate_grid(evaluation.comparison))),
            differences=Markup(to_html(difference_grid(evaluation.comparison))),
            measures=MEASURES,
            extremes=[
                (printable(data.name), [("Least trusted", _cards(data.least)), ("Most trusted", _cards(data.most))])
                for data in extremes(evaluation, _EXAMPLES)
            ],
            skipped=[
                {key: printable(value) for key, value in record.items()} for record in skipped_records(evaluation.sets)
            ],
            provenance=_provenance(evaluation, command, trust),
        )
    )
    write_text(folder / REPORT, page)
    write_text(folder / RESULTS, json.dumps(_results(evaluation, command), indent=1) + "\n")
    return folder / REPORT


def start_writing(folder: Path) -> None:
    """Remove an earlier report, results and figures: an interruption must not leave them beside tables of other data.

    The new evaluation may also have fewer figures.

    Raises:
        OutputError: if they cannot be removed.
    """
    sweep(folder)
    figures_before = [path for stem in _FIGURES for path in files_of(folder / "figures" / stem)]
    remove_earlier([folder / REPORT, folder / RESULTS, *figures_before])


def _provenance(evaluation: Evaluation, command: str, trust: Path | None) -> dict[str, str]:
    """Return what is needed to reproduce the evaluation: inputs, command and versions."""
    recipe = evaluation.recipe or {}
    facts = {
        "command": command,
        "made": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "model": evaluation.model,
        "reads": "the forward pass only" if evaluation.reads == FORWARD else "gradients and the forward pass",
        "threshold": "none, because the TrustModel has no risk guarantee"
        if evaluation.guarantee is None
        else f"{SCORE_NAMES[evaluation.score]} at least {significant(evaluation.guarantee.threshold, 6)}",
        "weights": recipe.get("weights") or "those published for the model, or its own",
        **({} if trust is None else {"TrustModel": encode_name(str(trust.resolve()))}),
        "known": evaluation.sets[0].identity["data"],
        "unknown": ", ".join(data.identity["data"] for data in evaluation.sets[1:]) or "none",
        "gradmeter": __version__,
        "torch": torch.__version__,
        # Libraries that were not imported had no influence.
        **{name: version(name) for name in _LIBRARIES if name in sys.modules},
    }
    return {key: printable(value) for key, value in facts.items()}


def _results(evaluation: Evaluation, command: str) -> dict[str, Any]:
    return {
        "gradmeter": __version__,
        "command": command,
        "model": evaluation.model,
        "reads": evaluation.reads,
        "score": evaluation.score,
        "sets": [{"name": data.name, **data.identity} for data in evaluation.sets],
        "learned_from_before": evaluation.seen,
        "test_error": evaluation.test_error,
        "answer": answer(evaluation),
        "estimates": estimate_records(evaluation.comparison),
        "differences": difference_records(evaluation.comparison),
        "left_out": list(evaluation.constant),
        "promise": {
            column: {
                "samples": check.samples,
                "accepted": check.accepted,
                "errors": check.errors,
                "covered": check.is_covered,
                "guarantee": guarantee_record(check.guarantee),
            }
            for column, check in evaluation.guarantee_checks.items()
        },
        "classes": [asdict(errors) for errors in evaluation.class_errors],
        "groups": [summary.to_json() for summary in group_summaries(evaluation)],
        "layers": [
            {"layer": layer.layer, "loss": layer.loss, "spread": layer.spread} for layer in evaluation.importance
        ],
        "skipped": skipped_records(evaluation.sets),
    }


def write_csv(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write records with the same keys, at least one, as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_text(path, text.getvalue())


def _figures(evaluation: Evaluation) -> Iterator[tuple[str, Callable[..., Figure]]]:
    """Yield the name of each figure and the function that draws it."""
    judged = evaluation.judged
    known = judged.concept == 0
    populations = {WRONG: known, ALL: np.ones_like(known)} if judged.unknowns else {WRONG: known}
    for column, members in populations.items():
        curves = {
            method: risk_coverage(uncertainty[members], ~judged.correct[members])
            for method, uncertainty in judged.uncertainty.items()
        }
        yield (
            "risk_coverage_known" if column == WRONG else "risk_coverage_all",
            partial(
                figures.risk_coverage,
                {method: stable_part(curve, int(members.sum())) for method, curve in curves.items()},
            ),
        )
    yield (
        "reliability",
        partial(
            figures.reliability,
            {
                _COLUMNS[column]: {
                    method: reliability(probability[members], judged.correct[members])
                    for method, probability in judged.probability.items()
                }
                for column, members in populations.items()
            },
        ),
    )
    members_of = group_members(evaluation)
    for score, values in given_scores(evaluation).items():
        guarantee = evaluation.guarantee
        yield (
            DISTRIBUTIONS[score],
            partial(
                figures.distributions,
                {name: values[members] for name, members in members_of.items()},
                # A threshold on another probability has no place in the figure.
                guarantee.threshold if guarantee is not None and guarantee.score == score else None,
                probability=SCORE_NAMES[score],
            ),
        )
    if not evaluation.importance:
        return
    yield (
        "layers",
        partial(
            figures.bars,
            {layer.layer: (100 * layer.loss, 100 * layer.spread) for layer in evaluation.importance[:_LAYERS]},
            "loss of AUROC in percentage points",
        ),
    )


def stable_part(curve: Curve, samples: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a risk-coverage curve without its noisy start, where a single error changes the risk a lot."""
    is_stable = curve.x * samples >= min(_FIRST_ACCEPTED, samples)
    return curve.x[is_stable], curve.y[is_stable]


def _cards(examples: Sequence[Example]) -> list[dict[str, Any]]:
    return [
        {
            "id": printable(example.id),
            "picture": data_uri(thumbnail(example.content, _THUMBNAIL))
            if isinstance(example.content, Image.Image)
            else None,
            "text": excerpt(example.content) if isinstance(example.content, str) else None,
            "prediction": printable(example.prediction),
            "label": None if example.label is None else printable(example.label),
            "scores": {
                SCORE_NAMES[score]: compared(value).removeprefix("=") for score, value in example.scores.items()
            },
            "accepted": example.accepted,
            "reason": None if example.reason is None else printable(example.reason),
        }
        for example in examples
    ]
