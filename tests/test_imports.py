"""Measuring, judging and serving do not import research; `lint-imports` checks the imports between packages."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "module", ["gradmeter.trust.module", "gradmeter.apps.workflows.judge", "gradmeter.apps.serving"]
)
def test_research_is_not_loaded(module: str) -> None:
    program = f"import sys, {module}; print([name for name in sys.modules if 'gradmeter.research' in name])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
