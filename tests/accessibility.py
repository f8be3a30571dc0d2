"""Faults of accessibility in a page of Playwright, by axe-core from npm."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

GRAVE = ("serious", "critical")
"""The impacts of faults that a page must not have."""

_INSTALL = ("install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent")


def axe_source(folder: Path) -> str:
    """Install axe-core into a folder and return its script; skip the test without npm or a connection to its registry.

    Its license (MPL 2.0) allows this use; the repository holds no copy.
    """
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm, which fetches axe-core, is not installed")
    try:
        subprocess.run(
            [npm, *_INSTALL, "--prefix", str(folder), "axe-core@^4.10"], check=True, capture_output=True, timeout=120
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm cannot fetch axe-core: {str(error.stderr or error)[-200:]}")
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


def grave_faults(page: Any, axe: str) -> list[str]:
    """Return the rules that the page breaks gravely, with the elements that break them."""
    page.evaluate(axe)  # not as a script of the page, which its content security policy would refuse
    faults = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(results => results.violations)")
    return [
        f"{fault['id']} ({fault['impact']}): " + "; ".join(node["html"][:120] for node in fault["nodes"][:5])
        for fault in faults
        if fault["impact"] in GRAVE
    ]
