"""The numbers printed in the paper's Tables 1, 2 and 3 (Oberdiek, Rottmann and Gottschalk 2018), as data.

`paper_cells.csv` holds one line per cell. `scanned` is the number in the scanned text, `value` the likely true number.
They differ in eleven cells that the scan misread; the same cell in another table, the cell printed in bold as the best,
or the cells around it give the true number (for the three letters cells of AUPR-In in Table 1 only approximately).
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from gradmeter.errors import InputError

PAPER_TABLES = (1, 2, 3)

# The tables imply 1.3 % errors on 200,000 test digits, and the CIFAR-10 cells of Table 1 at most 5,400 images.
_WRONG = 2_600
_CORRECT = 200_000 - _WRONG
PAPER_BASE_RATES: Mapping[str, float] = MappingProxyType(
    {
        "wrong": _WRONG / (_WRONG + _CORRECT),
        "letters": 20_000 / (20_000 + _CORRECT),
        "cifar10": 5_400 / (5_400 + _CORRECT),
        "uniform": 20_000 / (20_000 + _CORRECT),
    }
)
"""Share of wrong or unknown images among the images compared, for each column of the paper's Tables 1 and 2."""


@dataclass(frozen=True)
class PaperCell:
    """A cell of a table of the paper, in percent; `sem` is None except in Table 2, which prints standard errors."""

    table: int
    measure: str
    row: str
    column: str
    value: float
    scanned: float
    sem: float | None


def paper_table(table: int) -> tuple[PaperCell, ...]:
    """Return all cells of Table 1, 2 or 3 in the paper's order.

    Raises:
        InputError: the paper has no such table.
    """
    if table not in PAPER_TABLES:
        raise InputError(f"table={table!r}; expected one of {PAPER_TABLES}")
    return tuple(cell for cell in _cells().values() if cell.table == table)


def paper_cell(table: int, measure: str, row: str, column: str) -> PaperCell | None:
    """Return the cell of a measure (auroc, aupr_in, aupr_out) at a row and column, or None if the paper has none."""
    return _cells().get((table, measure, row, column))


@cache
def _cells() -> dict[tuple[int, str, str, str], PaperCell]:
    with files("gradmeter.research.study").joinpath("paper_cells.csv").open(encoding="utf-8") as file:
        cells = [
            PaperCell(
                table=int(line["table"]),
                measure=line["measure"],
                row=line["row"],
                column=line["column"],
                value=float(line["value"]),
                scanned=float(line["scanned"]),
                sem=float(line["sem"]) if line["sem"] else None,
            )
            for line in csv.DictReader(file)
        ]
    return {(cell.table, cell.measure, cell.row, cell.column): cell for cell in cells}
