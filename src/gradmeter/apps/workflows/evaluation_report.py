"""Write what came of an evaluation: report.html, tables, figures, every judgement."""

from __future__ import annotations

import base64
import csv
import datetime
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from gradmeter.apps.workflows.evaluate import RESULTS, Evaluation
from gradmeter.apps.workflows.extremes import Shown, extremes
from gradmeter.apps.workflows.fit import OURS
from gradmeter.apps.workflows.records import difference_records, estimate_records, guarantee_record, skipped_records
from gradmeter.apps.workflows.wording import answer
from gradmeter.files import atomic_write, sweep, write_text
from gradmeter.names import encode_name, printable
from gradmeter.report import figures
from gradmeter.report.comparison import difference_grid, estimate_grid
from gradmeter.report.figures.saving import drawings
from gradmeter.report.probabilities import compared
from gradmeter.report.templates import REPORT, environment
from gradmeter.report.writers import to_html
from gradmeter.trust.evaluation import Curve, reliability, risk_coverage
from gradmeter.trust.evaluation.comparison import ALL, MEASURES, WRONG
from gradmeter.version import __version__

_SHOWN = 10
_LAYERS = 15
_SETTLED = 50
# Pixels of the longer side of a picture in the report, and characters of a text.
_THUMBNAIL, _EXCERPT = 96, 200
# Where networks and their preprocessing come from.
_LIBRARIES = ("timm", "torchvision", "transformers")
_COLUMNS = {WRONG: "Known inputs", ALL: "Known and unknown inputs"}


def write_evaluation(evaluation: Evaluation, folder: Path, *, command: str, trust: Path | None = None) -> Path:
    """Write an evaluation into a folder, every file whole or not at all, results.json last.

    Args:
        evaluation: what came of it.
        folder: the output.
        command: that made it, to be shown.
        trust: folder of the TrustModel, to be shown.

    Returns:
        The path of report.html, a self-contained file without scripts or outside requests.

    Raises:
        OutputError: the folder cannot be written.
    """
    sweep(folder)
    _write_csv(folder / "estimates.csv", estimate_records(evaluation.comparison))
    _write_csv(folder / "differences.csv", difference_records(evaluation.comparison))
    # Opened by Python: Arrow takes no path that is not UTF-8.
    with atomic_write(folder / "judgements.parquet") as temporary, temporary.open("wb") as file:
        pq.write_table(evaluation.rows, file, compression="zstd")
    drawn: dict[str, str] = {}
    for stem, draw in _figures(evaluation):
        figures.save_for_screens(draw, folder / "figures" / stem)
        drawn |= drawings(folder / "figures", [stem])
    page = (
        environment("gradmeter.apps.workflows")
        .get_template("evaluation_report.html.jinja")
        .render(
            evaluation=evaluation,
            version=__version__,
            answer=list(map(printable, answer(evaluation))),
            figures=drawn,
            estimates=Markup(to_html(estimate_grid(evaluation.comparison))),
            differences=Markup(to_html(difference_grid(evaluation.comparison))),
            measures=MEASURES,
            extremes=[
                (printable(one.name), [("Least trusted", _cards(one.least)), ("Most trusted", _cards(one.most))])
                for one in extremes(evaluation, _SHOWN)
            ],
            skipped=[{key: printable(value) for key, value in one.items()} for one in skipped_records(evaluation.sets)],
            made=_made(evaluation, command, trust),
        )
    )
    write_text(folder / REPORT, page)
    write_text(folder / RESULTS, json.dumps(_results(evaluation, command), indent=1) + "\n")
    return folder / REPORT


def _made(evaluation: Evaluation, command: str, trust: Path | None) -> dict[str, str]:
    """Of what and by what, for those who want to make it again."""
    recipe = evaluation.recipe or {}
    made = {
        "command": command,
        "made": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "model": evaluation.model,
        "weights": recipe.get("weights") or "those published for the model, or its own",
        **({} if trust is None else {"TrustModel": encode_name(str(trust.resolve()))}),
        "known": evaluation.sets[0].identity["data"],
        "unknown": ", ".join(one.identity["data"] for one in evaluation.sets[1:]) or "none",
        "gradmeter": __version__,
        "torch": torch.__version__,
        # What nobody imported had no part in it.
        **{name: version(name) for name in _LIBRARIES if name in sys.modules},
    }
    return {key: printable(value) for key, value in made.items()}


def _results(evaluation: Evaluation, command: str) -> dict[str, Any]:
    return {
        "gradmeter": __version__,
        "command": command,
        "model": evaluation.model,
        "sets": [{"name": one.name, **one.identity} for one in evaluation.sets],
        "learned_from_before": evaluation.seen,
        "test_error": evaluation.test_error,
        "answer": answer(evaluation),
        "estimates": estimate_records(evaluation.comparison),
        "differences": difference_records(evaluation.comparison),
        "left_out": list(evaluation.constant),
        "promise": {
            column: {
                "samples": found.samples,
                "accepted": found.accepted,
                "errors": found.errors,
                "guarantee": guarantee_record(found.guarantee),
            }
            for column, found in evaluation.kept.items()
        },
        "layers": [{"layer": one.layer, "loss": one.loss, "spread": one.spread} for one in evaluation.importance],
        "skipped": skipped_records(evaluation.sets),
    }


def _write_csv(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_text(path, text.getvalue())


def _figures(evaluation: Evaluation) -> Iterator[tuple[str, Callable[..., Figure]]]:
    """Names of figures, and what draws them."""
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
                {method: _settled(curve, int(members.sum())) for method, curve in curves.items()},
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
    p_correct = judged.probability[OURS]
    groups = {"right": p_correct[judged.correct], WRONG: p_correct[judged.wrong]}
    groups |= {name: p_correct[judged.concept == number] for number, name in enumerate(judged.unknowns, start=1)}
    threshold = next((found.guarantee.threshold for found in evaluation.kept.values()), None)
    yield (
        "distributions",
        partial(figures.distributions, {name: values for name, values in groups.items() if values.size}, threshold),
    )
    if not evaluation.importance:
        return
    yield (
        "layers",
        partial(
            figures.bars,
            {one.layer: (100 * one.loss, 100 * one.spread) for one in evaluation.importance[:_LAYERS]},
            "points of AUROC that are lost",
        ),
    )


def _settled(curve: Curve, samples: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The points of a risk-coverage curve from where an error more or less no longer throws it up and down."""
    begun = curve.x * samples >= min(_SETTLED, samples)
    return curve.x[begun], curve.y[begun]


def _cards(samples: Sequence[Shown]) -> list[dict[str, Any]]:
    return [
        {
            "id": printable(one.id),
            "picture": _picture(one.content) if isinstance(one.content, Image.Image) else None,
            "text": _excerpt(one.content) if isinstance(one.content, str) else None,
            "prediction": printable(one.prediction),
            "label": None if one.label is None else printable(one.label),
            "p_correct": compared(one.p_correct).removeprefix("="),
        }
        for one in samples
    ]


def _excerpt(text: str) -> str:
    return text if len(text) <= _EXCERPT else text[:_EXCERPT].rstrip() + "…"


def _picture(image: Image.Image) -> str:
    small = image.copy()
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    encoded = io.BytesIO()
    small.save(encoded, "PNG")
    return f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"
