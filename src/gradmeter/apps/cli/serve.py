"""gradmeter serve: verdicts over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from gradmeter.apps.cli.parameters import Device, OtherModel, OtherWeights, Trust
from gradmeter.apps.cli.terminal import Terminal
from gradmeter.errors import InputError


def serve(
    trust: Trust,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 listens at all, reachable from the whole network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.", min=1, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Processes that hold MODEL.", min=1)] = 1,
    largest: Annotated[int, typer.Option(help="Largest request body that is read, in bytes.", min=1)] = 16 * 2**20,
    max_pixels: Annotated[
        int, typer.Option(help="Largest image that is decoded, in pixels, by its header.", min=1)
    ] = 16 * 2**20,
    max_characters: Annotated[int, typer.Option(help="Longest text, in characters.", min=1)] = 100_000,
    in_hand: Annotated[
        int,
        typer.Option(
            help="Largest memory of all requests in progress, sent and decoded, in bytes; more are refused.", min=1
        ),
    ] = 256 * 2**20,
    queue: Annotated[int, typer.Option(help="Longest queue of requests; more are refused.", min=1)] = 256,
    batch: Annotated[int, typer.Option(help="Largest batch that MODEL is given.", min=1)] = 32,
    model: OtherModel = None,
    weights: OtherWeights = None,
    device: Device = None,
) -> None:
    """Serve verdicts over HTTP: POST /judge with an image returns the verdict on it as JSON.

    GET /docs is a page about it, /openapi.json the same for programs, /health and /metrics are for whoever watches.
    """
    try:
        from gradmeter.apps.serving import Limits, application
        from gradmeter.apps.serving import serve as run
    except ModuleNotFoundError as error:
        raise InputError(
            f"a server needs the package {str(error.name).partition('.')[0]}, which is not installed; pip install "
            "'gradmeter[serve]'"
        ) from error
    from gradmeter.apps.cli.progress import best_device, trial_device
    from gradmeter.apps.workflows.judge import reader_of
    from gradmeter.apps.workflows.open_trust import open_trust
    from gradmeter.sources.samples import decoder_for

    opened, classifier = open_trust(trust, model=model, weights=weights, device=trial_device(device))
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
    )
    lines = Terminal()
    run(
        app,
        host,
        port,
        lambda address: lines.say(f"Judging at {address}/judge; {address}/docs says how. Ctrl-C stops."),
    )
