"""A table in the layout of the report and the paper: blocks of rows with common columns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: our number, formatted; empty if there is none.
        paper: the second number, such as the paper's number or our interval; empty if there is none.
        bold: whether our number is bold (the best of its row, or an interval that excludes zero).
        mark: a mark after the second number, such as a dagger, that refers to a note.
    """

    text: str
    paper: str = ""
    bold: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Block:
    """Rows under one heading; each row is (name, one cell for each column)."""

    title: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        caption: the caption.
        corner: the heading of the column of row names.
        columns: the headings of the other columns.
        blocks: the blocks of rows.
        notes: notes below the table.
    """

    caption: str
    corner: str
    columns: tuple[str, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()
