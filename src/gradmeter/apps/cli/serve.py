"""gradmeter serve: serve verdicts over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from gradmeter.apps.cli.command import end_without_ray, needs_extra
from gradmeter.apps.cli.parameters import Device, OtherModel, OtherWeights, Trust
from gradmeter.apps.cli.terminal import Terminal
from gradmeter.errors import InputError


def serve(
    trust: Trust,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 accepts requests from the whole network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Processes that hold the network.", min=1)] = 1,
    largest: Annotated[int, typer.Option(help="Largest request body in bytes.", min=1)] = 16 * 2**20,
    max_pixels: Annotated[
        int, typer.Option(help="Largest image in pixels; larger ones are refused by their header.", min=1)
    ] = 16 * 2**20,
    max_characters: Annotated[int, typer.Option(help="Longest text in characters.", min=1)] = 100_000,
    in_hand: Annotated[
        int,
        typer.Option(
            help="Memory in bytes for the content of all requests in progress, encoded and decoded; requests beyond it "
            "are refused.",
            min=1,
        ),
    ] = 256 * 2**20,
    queue: Annotated[int, typer.Option(help="Requests that may wait at the same time; more are refused.", min=1)] = 256,
    batch: Annotated[int, typer.Option(help="Largest batch.", min=1)] = 32,
    examples: Annotated[
        str | None,
        typer.Option(
            help="Images that the page offers to try: DATA, of which up to 24 are taken. Everyone who reaches the "
            "server sees them.",
            show_default=False,
        ),
    ] = None,
    model: OtherModel = None,
    weights: OtherWeights = None,
    device: Device = None,
) -> None:
    """Serve verdicts over HTTP: POST /judge takes an image and returns the verdict on it as JSON.

    GET / is a page to try it on: for a classifier of images, draw or drop them there. GET /docs shows the
    documentation, /openapi.json the API schema; /health and /metrics are for monitoring.
    """
    with needs_extra("serve", "a server"):
        from gradmeter.apps.serving import Limits, Page, application, read_examples, require_free_port
        from gradmeter.apps.serving import serve as run
    from gradmeter.apps.cli.progress import best_device, trial_device
    from gradmeter.apps.workflows.judge import reader_of
    from gradmeter.apps.workflows.open_trust import open_trust
    from gradmeter.sources.samples import decoder_for

    require_free_port(host, port)
    opened, classifier = open_trust(trust, model=model, weights=weights, device=trial_device(device))
    if classifier.arrays is not None:
        raise InputError(
            f"{classifier.name} takes arrays ({classifier.arrays}); a server takes images or texts: use gradmeter judge"
        )
    if examples is not None and classifier.image is None:
        raise InputError(f"--examples {examples} for a classifier of texts; expected one of images")
    shown = () if examples is None or classifier.image is None else read_examples(examples, classifier.image)
    app = application(
        reader_of(opened, classifier),
        decoder_for(classifier.image),
        device=device or best_device(),
        workers=workers,
        limits=Limits(
            largest=largest,
            queue=queue,
            batch=batch,
            pixels=max_pixels,
            characters=max_characters,
            in_hand=in_hand,
        ),
        page=Page.of(opened, classifier, shown),
    )
    terminal = Terminal()
    Terminal(stderr=True).say("Starting the server.")
    run(
        app,
        host,
        port,
        lambda address: terminal.say(
            f"Serving verdicts at {address}/judge (page: {address}, documentation: {address}/docs). "
            "Press Ctrl-C to stop."
        ),
        end_without_ray,
    )
