"""Code blocks of the documentation, and its scripts."""

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Yield language and content of each code block of a page, in order; continued lines are joined."""
    text = (ROOT / page).read_text().replace("\\\n", " ")
    yield from re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run_script() -> None:
    """Run the script that the first argument names."""
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
