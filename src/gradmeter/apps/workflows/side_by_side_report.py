"""Writing a comparison of two TrustModels to files: report.html, tables and figures, and the reports of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from gradmeter.apps.workflows.evaluate import RESULTS
from gradmeter.apps.workflows.evaluation_report import stable_part, start_writing, write_csv, write_evaluation
from gradmeter.apps.workflows.records import difference_records, estimate_records, guarantee_record
from gradmeter.apps.workflows.side_by_side import TRUST_MODELS, Share, SideBySide
from gradmeter.apps.workflows.wording import above_risk, compared, guarantee_checked, seen_before
from gradmeter.files import write_text
from gradmeter.names import encode_name, printable
from gradmeter.report import figures
from gradmeter.report.comparison import difference_grid, estimate_grid
from gradmeter.report.figures.saving import drawings
from gradmeter.report.grid import Block, Cell, Grid
from gradmeter.report.probabilities import percent
from gradmeter.report.templates import REPORT, environment
from gradmeter.report.writers import to_html
from gradmeter.trust.evaluation import risk_coverage
from gradmeter.trust.evaluation.comparison import ALL, LEAST_INPUTS, WRONG
from gradmeter.version import __version__


def write_side_by_side(
    result: SideBySide, folder: Path, *, command: str, trusts: Mapping[str, Path] | None = None
) -> Path:
    """Write a comparison to a folder, and the evaluation of each TrustModel to a subfolder with its name.

    Args:
        result: the comparison.
        folder: the output folder.
        command: the command line, to show in the reports.
        trusts: folders of the TrustModels by name, to show in the reports.

    Returns:
        The path of report.html, a self-contained file that links to the reports of both.

    Raises:
        OutputError: if the folder cannot be written.
    """
    start_writing(folder)
    for name, evaluation in zip(result.names, result.evaluations, strict=True):
        write_evaluation(evaluation, folder / name, command=command, trust=(trusts or {}).get(name))
    write_csv(folder / "estimates.csv", estimate_records(result.comparison))
    write_csv(folder / "differences.csv", difference_records(result.comparison))
    svgs: dict[str, str] = {}
    for stem, draw in _figures(result):
        figures.save_for_screens(draw, folder / "figures" / stem)
        svgs |= drawings(folder / "figures", [stem])
    first, _ = map(printable, result.names)
    page = (
        environment("gradmeter.apps.workflows")
        .get_template("side_by_side_report.html.jinja")
        .render(
            result=result,
            version=__version__,
            command=printable(command),
            answer=list(map(printable, answer(result))),
            figures=svgs,
            shares=Markup(to_html(_share_grid(result))),
            estimates=Markup(to_html(estimate_grid(result.comparison))),
            differences=Markup(to_html(difference_grid(result.comparison, first))),
            links=[(printable(name), f"{quote(encode_name(name))}/{REPORT}") for name in result.names],
        )
    )
    write_text(folder / REPORT, page)
    write_text(folder / RESULTS, json.dumps(_results(result, command), indent=1) + "\n")
    return folder / REPORT


def answer(result: SideBySide) -> list[str]:
    """Summarise a comparison of two TrustModels in sentences."""
    first, second = result.names
    sentences = [] if result.same_network else [_share_sentence(result.shares[0], result.names)]
    columns = dict.fromkeys(column for _, column, _ in result.comparison.differences)
    sentences += compared(result.comparison, columns, ours=first, other=second)
    if not result.same_network:
        sentences.append(
            "The AUROC says how each TrustModel ranks the predictions of its own network; the fewer errors a network "
            "makes, the harder they are to tell. AURC also counts how many there are."
        )
    for name, evaluation in zip(result.names, result.evaluations, strict=True):
        if (check := evaluation.guarantee_checks.get(WRONG)) is not None:
            above = above_risk(evaluation.class_errors, check.guarantee.risk)
            sentences.append(" ".join([f"{name}. {guarantee_checked(WRONG, check)}", *above]))
        else:
            sentences.append(f"{name} has no risk guarantee.")
    if result.left_out:
        sentences.append(f"{result.left_out:,} inputs are left out, because only one of the networks can read them.")
    for name, evaluation in zip(result.names, result.evaluations, strict=True):
        sentences += seen_before(evaluation, name)
    return sentences


def _share_sentence(share: Share, names: tuple[str, str]) -> str:
    gap = share.difference
    return (
        f"{share.name}: {percent(share.first.value, 2)} % of {names[0]} against {percent(share.second.value, 2)} % of "
        f"{names[1]} (interval of the difference: {100 * gap.low:+z.2f} to {100 * gap.high:+z.2f})."
    )


def _share_grid(result: SideBySide) -> Grid:
    def cell(share: Share, which: str) -> Cell:
        interval, sign = getattr(share, which), "+" if which == "difference" else ""
        value, low, high = (f"{100 * number:{sign}z.2f}" for number in (interval.value, interval.low, interval.high))
        return Cell(value, f"[{low}, {high}]", bold=which == "difference" and share.is_clear)

    rows = tuple(
        (printable(share.name), tuple(cell(share, which) for which in ("first", "second", "difference")))
        for share in result.shares
    )
    return Grid(
        "Shares in percent, with paired intervals",
        "share",
        (*map(printable, result.names), "difference"),
        (Block("", rows),),
        (
            "Bold: the interval of the difference excludes zero, and the TrustModels differ on at least "
            f"{LEAST_INPUTS} inputs. Each TrustModel accepts by its own threshold.",
        ),
    )


def _figures(result: SideBySide) -> Iterator[tuple[str, Callable[..., Figure]]]:
    known = result.judged[0].concept == 0
    populations = {WRONG: known, ALL: np.ones_like(known)} if result.judged[0].unknowns else {WRONG: known}
    for column, members in populations.items():
        curves = {
            printable(name): stable_part(
                risk_coverage(judged.uncertainty[name][members], ~judged.correct[members]), int(members.sum())
            )
            for name, judged in zip(result.names, result.judged, strict=True)
        }
        stem = "risk_coverage_known" if column == WRONG else "risk_coverage_all"
        yield stem, partial(figures.risk_coverage, curves)


def _results(result: SideBySide, command: str) -> dict[str, Any]:
    return {
        "gradmeter": __version__,
        "command": command,
        TRUST_MODELS: [
            {
                "name": name,
                "model": evaluation.model,
                "reads": evaluation.reads,
                "learned_from_before": evaluation.seen,
                "guarantee": guarantee_record(evaluation.guarantee),
            }
            for name, evaluation in zip(result.names, result.evaluations, strict=True)
        ],
        "data": [data.identity for data in result.evaluations[0].sets],
        "samples": len(result.judged[0].correct),
        "left_out": result.left_out,
        "same_network": result.same_network,
        "answer": answer(result),
        "shares": [asdict(share) for share in result.shares],
        "estimates": estimate_records(result.comparison),
        "differences": difference_records(result.comparison),
    }
