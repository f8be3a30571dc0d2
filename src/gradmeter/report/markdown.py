"""Tables in Markdown, for the pages that commands write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> Iterator[str]:
    """The lines of a table whose first columns are texts, the others numbers."""
    yield f"| {' | '.join(head)} |"
    yield "|" + ":--|" * texts + "--:|" * (len(head) - texts)
    for row in rows:
        yield f"| {' | '.join(row)} |"
