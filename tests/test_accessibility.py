"""axe-core finds what it should: a picture without a description, and pale text."""

import shutil

import pytest

from accessibility import grave_faults

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the path")]


def test_faults_are_found(axe: str) -> None:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        page = browser.new_page()
        body = "<img src='data:,'><p style='color: #bbb; background: #fff'>pale</p>"
        page.set_content(f"<!doctype html><html lang='en'><title>Two faults</title><main>{body}</main></html>")
        faults = grave_faults(page, axe)
        assert [fault.partition(" ")[0] for fault in sorted(faults)] == ["color-contrast", "image-alt"]
        assert "pale" in "".join(faults)
        browser.close()
