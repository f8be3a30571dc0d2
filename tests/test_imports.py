"""Measuring, judging and serving do not import research; `lint-imports` checks the imports between packages."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


MODULES = ("gradmeter.trust.module", "gradmeter.apps.workflows.judge", "gradmeter.apps.serving")
PROGRAM = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
    print(module, [name for name in sys.modules if "gradmeter.research" in name])
"""


def test_research_is_not_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *MODULES], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{module} []" for module in MODULES]
