"""Chromium for tests of pages that must open offline without a complaint or a request to elsewhere."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def running(sync_api: Any) -> Iterator[Any]:
    """Yield a browser."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@contextmanager
def offline(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Yield a function that opens a page; at the end, nothing may have been reported or requested."""
    contexts, messages, requests = [], [], []

    def open_page(width: int = 1280, *, scripts: bool = True, colours: str = "light") -> Any:
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, offline=True, java_script_enabled=scripts, color_scheme=colours)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)  # two browsers on two busy cores have needed more than half a minute
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []
    assert {url for url in requests if not url.startswith("data:")} == {address}
