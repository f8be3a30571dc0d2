"""The tables and results of a study as Markdown and LaTeX files."""

from __future__ import annotations

from pathlib import Path

from gradmeter.files import write_text
from gradmeter.report.writers import to_latex, to_markdown
from gradmeter.research.study.paper import PAPER_TABLES
from gradmeter.research.study.report.answer import answer
from gradmeter.research.study.report.page import study_templates
from gradmeter.research.study.report.results import read_results
from gradmeter.research.study.report.tables import SUBJECTS, departure_grid, matched_grid, penalty_grid, table_grid

RESULTS = "results.md"


def write_documents(folder: Path) -> Path:
    """Write tables/tableN.md, tables/tableN.tex and results.md into the output folder of a finished study.

    Args:
        folder: output folder of the study, as for `write_report`.

    Returns:
        The path of results.md.

    Raises:
        DataError: the folder has no manifest, or a file has an unexpected format.
    """
    results = read_results(folder)
    grids = {
        table: table_grid(table, results.rows[f"table{table}"], results.names)
        for table in SUBJECTS
        if results.rows[f"table{table}"]
    }
    for table, grid in grids.items():
        write_text(folder / "tables" / f"table{table}.md", to_markdown(grid))
        write_text(folder / "tables" / f"table{table}.tex", to_latex(grid))
    summary = answer(results)
    page = (
        study_templates()
        .get_template("results.md.jinja")
        .render(
            answer=summary.parts,
            answer_table="" if summary.grid is None else to_markdown(summary.grid),
            manifest=results.manifest,
            names=results.names,
            networks=results.rows["networks"],
            claims=results.rows["claims"],
            tables=[to_markdown(grid) for grid in grids.values()],
            departures=[
                to_markdown(departure_grid(table, results.rows[f"table{table}"], results.names))
                for table in PAPER_TABLES
                if table in grids
            ],
            penalties=to_markdown(penalty_grid(results.rows["penalties"], results.names)),
            matched=to_markdown(matched_grid(results.rows["matched_base_rate"], results.names)),
        )
    )
    path = folder / RESULTS
    write_text(path, page)
    return path
