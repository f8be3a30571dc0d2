"""gradmeter demo: draw digits in the browser and watch the verdicts."""

from __future__ import annotations

import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from gradmeter.apps.cli.command import end_without_ray, needs_extra
from gradmeter.apps.cli.parameters import Quiet
from gradmeter.apps.cli.terminal import Terminal
from gradmeter.errors import DataError

_HOST = "127.0.0.1"
_STUDY = Path("runs/embedded")
_NAME = "The paper's network, trained on 3,000 MNIST digits"


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the demo's network and TrustModel.")] = Path(
        "runs/demo"
    ),
    port: Annotated[int, typer.Option(help="Port to listen on, on this machine only.", min=1, max=65535)] = 8000,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Whether to open the page in the browser.")
    ] = True,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, even if --out holds a demo.")] = False,
    quiet: Quiet = False,
) -> None:
    """Draw digits on a page in the browser, and watch whether the network's prediction is to be trusted.

    The first time, the command trains the paper's network on real digits that are installed with gradmeter, or takes
    the network of gradmeter reproduce from runs/embedded, and fits a TrustModel. This takes about a minute.
    """
    # Imported here so that --help is fast and the other commands do not need the packages of the demo.
    from gradmeter.apps.cli.progress import bars

    with needs_extra("demo", "the demo"):
        from gradmeter.apps.serving import Page, application, read_examples, require_free_port
        from gradmeter.apps.serving import serve as run
        from gradmeter.research.demo import MODEL, make_demo
    from gradmeter.apps.workflows.judge import reader_of
    from gradmeter.apps.workflows.open_trust import open_trust
    from gradmeter.sources.samples import decoder_for

    require_free_port(_HOST, port)
    with bars(out, quiet=quiet) as shown:
        store = make_demo(out, _STUDY, shown.work("cpu", 0, fresh=fresh))
    try:
        trust, classifier = open_trust(store.trust, model=MODEL, weights=store.network)
        assert classifier.image is not None
        examples = read_examples(str(store.examples), classifier.image)
    except DataError as error:
        raise DataError(f"the demo in {store.name} is damaged; give --fresh to make it again ({error})") from error
    page = replace(Page.of(trust, classifier, examples), model=_NAME)
    app = application(reader_of(trust, classifier), decoder_for(classifier.image), page=page)
    terminal = Terminal()
    if not quiet:
        Terminal(stderr=True).say("Starting the server.")

    def on_ready(address: str) -> None:
        terminal.say(f"The demo is at {address}. Press Ctrl-C to stop.")
        if browser and _opens_window():
            webbrowser.open(address)

    run(app, _HOST, port, on_ready, end_without_ray)


def _opens_window() -> bool:
    """Return whether the default browser opens a window; one in the terminal would take it over."""
    try:
        controller = webbrowser.get()
    except webbrowser.Error:
        return False
    is_in_terminal = isinstance(controller, webbrowser.GenericBrowser)
    return not is_in_terminal or isinstance(controller, webbrowser.BackgroundBrowser)
