"""Every source and test file that a page names exists."""

import re

import pytest

from docs.code import ROOT

PAGES = [
    "docs/guide.md",
    "docs/architecture.md",
    "docs/engine.md",
    "docs/many.md",
    "docs/serving.md",
    "docs/safety.md",
    "CONTRIBUTING.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page: str) -> None:
    folders = ("src", "tests", "examples", "docs")
    files = [path.as_posix() for folder in folders for path in (ROOT / folder).rglob("*.py")]
    text = (ROOT / page).read_text()
    # In code spans, and plain paths of tests; `from gradmeter.x import y` and the like have no .py.
    names = {*re.findall(r"`([\w/]+\.py)`", text), *re.findall(r"\btests/[\w/]+\.py\b", text)}
    assert [name for name in sorted(names) if not any(file.endswith(f"/{name}") for file in files)] == []
