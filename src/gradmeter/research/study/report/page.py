"""The HTML report of a study: one self-contained file."""

from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

from jinja2 import Environment
from markupsafe import Markup

from gradmeter.files import write_text
from gradmeter.report.grid import Grid
from gradmeter.report.scripts import script
from gradmeter.report.templates import REPORT, environment
from gradmeter.report.writers import to_html
from gradmeter.research.study.names import FAILS, HOLDS, MEASURES, UNTESTED
from gradmeter.research.study.report.answer import answer
from gradmeter.research.study.report.records import Record, number
from gradmeter.research.study.report.results import StudyResults, read_results
from gradmeter.research.study.report.tables import SUBJECTS, ablation_grid, difference_grid, matched_grid, table_grid
from gradmeter.research.study.report.weights import weight_map

VERDICTS = {HOLDS: ("holds", "✓"), FAILS: ("fails", "✗"), UNTESTED: ("untested", "○")}


def write_report(folder: Path) -> Path:
    """Write report.html into the output folder of a finished study, atomically.

    Args:
        folder: output folder with manifest.json and, if they exist, tables/*.csv, claims.csv and figures/*.svg.

    Returns:
        The path of the report, a self-contained HTML file without external requests. Its script adds a slider on the
        threshold and a browser of images; everything else is there without it.

    Raises:
        DataError: the folder has no manifest, or a file has an unexpected format.
        OutputError: the report cannot be written.
    """
    results = read_results(folder)
    summary = answer(results)
    template = study_templates().get_template("report.html.jinja")
    page = template.render(
        manifest=results.manifest,
        names=results.names,
        rows=results.rows,
        figures=results.figures,
        answer=summary,
        answer_table=None if summary.grid is None else _html(summary.grid),
        test_error=_mean_of(results.rows["networks"], "test_error"),
        tables=[_html(table_grid(table, rows, results.names)) for table, rows in _paper_rows(results)],
        differences=[_html(grid) for grid in _differences(results)],
        matched=_optional(matched_grid(results.rows["matched_base_rate"], results.names)),
        ablation=[
            _html(ablation_grid(measure, results.rows["ablation"], results.names))
            for measure in MEASURES
            if any(row["measure"] == measure for row in results.rows["ablation"])
        ],
        weights=weight_map(results.rows["lasso_weights"]),
        verdicts=VERDICTS,
        explored=results.explored,
        script=script("browser.js", "exploration.js"),
    )
    path = folder / REPORT
    write_text(path, page)
    return path


def study_templates() -> Environment:
    """Return the Jinja environment of the study's pages."""
    templates = environment("gradmeter.research.study.report")
    templates.filters["mean_of"] = _mean_of
    return templates


def _paper_rows(results: StudyResults) -> list[tuple[int, Sequence[Record]]]:
    return [(table, results.rows[f"table{table}"]) for table in SUBJECTS if results.rows[f"table{table}"]]


def _differences(results: StudyResults) -> list[Grid]:
    grids = [difference_grid(table, results.rows["differences"], results.names) for table in SUBJECTS]
    return [grid for grid in grids if grid.blocks]


def _html(grid: Grid) -> Markup:
    # Safe, because to_html escapes the texts of the grid.
    return Markup(to_html(grid))


def _optional(grid: Grid) -> Markup | None:
    return _html(grid) if grid.blocks else None


def _mean_of(records: Sequence[Record], column: str) -> str:
    """Format the mean of a column and, for several runs, its standard error: "1.43 (0.02)"."""
    values = [value for record in records if (value := number(record, column)) is not None]
    if len(values) < 2:
        return f"{values[0]:.2f}" if values else ""
    return f"{fmean(values):.2f} ({stdev(values) / sqrt(len(values)):.2f})"
