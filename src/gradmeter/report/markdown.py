"""Markdown tables and counts for the pages that commands write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> Iterator[str]:
    """The lines of a Markdown table.

    Args:
        head: the headings of the columns.
        rows: the rows, one text for each column.
        texts: the number of columns at the left that are left-aligned; the others are right-aligned.
    """
    yield f"| {' | '.join(head)} |"
    yield "|" + ":--|" * texts + "--:|" * (len(head) - texts)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: "1 thread", "2 threads"."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"
