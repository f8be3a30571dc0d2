"""Blocks of code in the documentation."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Language and content of each block of a page, in order; lines that go on are joined."""
    text = (ROOT / page).read_text().replace("\\\n", " ")
    yield from re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
