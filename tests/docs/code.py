"""Code blocks of the documentation, and its scripts."""

import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Yield language and content of each code block of a page, in order; continued lines are joined."""
    text = (ROOT / page).read_text().replace("\\\n", " ")
    yield from re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run_script() -> None:
    """Run the script that the first argument names."""
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")


def example(line: str, monkeypatch: pytest.MonkeyPatch, *further: str) -> None:
    """Run a line like "python examples/NAME.py ..." in this process, which has imported the libraries already."""
    program, script, *arguments = shlex.split(line)
    assert program == "python"
    monkeypatch.setattr(sys, "argv", [script, *arguments, *further])
    runpy.run_path(str(ROOT / script), run_name="__main__")
