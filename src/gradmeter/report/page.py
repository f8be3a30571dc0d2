"""Write report.html: one file that shows a whole study, opens offline and needs no script."""

from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gradmeter.files import write_text
from gradmeter.names import printable
from gradmeter.pipeline.probabilities import percent
from gradmeter.report.answer import FAILS, HOLDS, PERCENT, UNTESTED, answer
from gradmeter.report.grid import Grid
from gradmeter.report.records import Record, number
from gradmeter.report.results import Results, read_results
from gradmeter.report.tables import SUBJECTS, ablation_grid, difference_grid, matched_grid, table_grid
from gradmeter.report.weights import weight_map
from gradmeter.report.writers import to_html
from gradmeter.study.names import MEASURES

REPORT = "report.html"
VERDICTS = {HOLDS: ("holds", "✓"), FAILS: ("fails", "✗"), UNTESTED: ("untested", "○")}


def write_report(folder: Path) -> Path:
    """Write report.html into the output folder of a finished study, whole or not at all.

    Args:
        folder: holds manifest.json, and as far as the study made them tables/*.csv, claims.csv and figures/*.svg.

    Returns:
        The path of the report: one self-contained HTML file without scripts or outside requests.

    Raises:
        DataError: there is no manifest, or a file is not of the expected form.
        OutputError: the folder cannot be written.
    """
    results = read_results(folder)
    summary = answer(results)
    template = environment().get_template("study.html.jinja")
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
    )
    path = folder / REPORT
    write_text(path, page)
    return path


def environment() -> Environment:
    """The templates of the report, and the filters that show a manifest's values as a reader would write them."""
    environment = Environment(
        loader=PackageLoader("gradmeter", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "plain": _plain,
        "printable": printable,
        "unbroken": unbroken,
        "duration": _duration,
        "decimals": _decimals,
        "mean_of": _mean_of,
        "percent": percent,
    }
    return environment


def unbroken(text: str) -> str:
    """A sentence whose percent signs stay on the lines of their numbers."""
    return text.replace(" %", PERCENT)


def _paper_rows(results: Results) -> list[tuple[int, Sequence[Record]]]:
    return [(table, results.rows[f"table{table}"]) for table in SUBJECTS if results.rows[f"table{table}"]]


def _differences(results: Results) -> list[Grid]:
    grids = [difference_grid(table, results.rows["differences"], results.names) for table in SUBJECTS]
    return [grid for grid in grids if grid.blocks]


def _html(grid: Grid) -> Markup:
    # Safe: the writer escapes every text of the grid.
    return Markup(to_html(grid))


def _optional(grid: Grid) -> Markup | None:
    return _html(grid) if grid.blocks else None


def _mean_of(records: Sequence[Record], column: str) -> str:
    """Return "1.43 (0.02)": mean and, of several runs, its standard deviation."""
    values = [value for record in records if (value := number(record, column)) is not None]
    if len(values) < 2:
        return f"{values[0]:.2f}" if values else ""
    return f"{fmean(values):.2f} ({stdev(values) / sqrt(len(values)):.2f})"


def _plain(value: object) -> str:
    """Show a manifest's value as a reader would write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_plain, value))
    return str(value)


def _duration(seconds: object) -> str:
    total = float(str(seconds))
    if total < 60:
        return f"{total:.1f} s"
    hours, rest = divmod(round(total), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def _decimals(value: str) -> str:
    """Show a number from a CSV file with two decimals; anything else as it is."""
    try:
        return f"{float(value):.2f}"
    except ValueError:
        return value
