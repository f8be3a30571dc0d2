"""A table as the report and the paper lay it out: blocks of rows under common columns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: our number, ready to print; empty where there is none.
        paper: the paper's number beside it; empty where the paper has none.
        bold: whether our number stands out (the best of its kind, or an interval that excludes zero).
        mark: a dagger or the like that leads to the notes, set behind the paper's number.
    """

    text: str
    paper: str = ""
    bold: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Block:
    """Rows under one heading: (row name, one cell per column)."""

    title: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class Grid:
    """A whole table: caption, name of the row column, column names, blocks, and notes below."""

    caption: str
    corner: str
    columns: tuple[str, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()
