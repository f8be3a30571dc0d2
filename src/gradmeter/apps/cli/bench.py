"""gradmeter bench: time and memory of the meter, compared with a training step and with other packages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradmeter.apps.cli.command import needs_extra
from gradmeter.apps.cli.parameters import Quiet
from gradmeter.apps.cli.terminal import Terminal, typed_command
from gradmeter.errors import InputError

_CAP = 30.0


def bench(
    models: Annotated[str, typer.Option(help='Networks, separated by commas, or "all".')] = "all",
    methods: Annotated[
        str, typer.Option(help='Methods, separated by commas, or "all". "plain", which is T0, is always included.')
    ] = "all",
    threads: Annotated[str, typer.Option(help="Numbers of PyTorch threads, separated by commas.")] = "1,2",
    repeats: Annotated[int, typer.Option(help="Rounds; every method runs once in each round.")] = 9,
    cap: Annotated[float, typer.Option(help="Seconds after which a slow method gets fewer rounds.")] = _CAP,
    quick: Annotated[bool, typer.Option("--quick", help="Stream 10,000 images instead of 1,000,000.")] = False,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Measure PixelMeter on a segmentation network instead; with one thread.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Output folder; by default runs/bench, with --pixels runs/bench-pixels.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, even if --out holds results.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure time, memory and agreement of per-sample gradients; write results.json, performance.md and figures.

    With --pixels, measure the gradients of every pixel, and write results.json and pixels.md.

    If the command is interrupted, run it again: it continues where it stopped.
    """
    # Imported here so that --help and the other commands do not need the packages of a benchmark.
    from gradmeter.apps.cli.progress import working

    with needs_extra("bench", "a benchmark"):
        from gradmeter.research.speed_benchmark.methods import ALL_METHODS
        from gradmeter.research.speed_benchmark.models import MODELS
        from gradmeter.research.speed_benchmark.options import BenchOptions
        from gradmeter.research.speed_benchmark.pixel_run import PAGE as PIXEL_PAGE
        from gradmeter.research.speed_benchmark.pixel_run import run_pixel_benchmark
        from gradmeter.research.speed_benchmark.run import run_benchmark

        if pixels:
            import torchvision  # noqa: F401

    if pixels:
        given = {"--models": models != "all", "--methods": methods != "all", "--threads": threads != "1,2"}
        given |= {"--cap": cap != _CAP, "--quick": quick}
        if useless := [name for name, is_given in given.items() if is_given]:
            raise InputError(f"{useless[0]} has no meaning with --pixels; give only --repeats, --out or --fresh")
        folder = out or Path("runs/bench-pixels")
        with working(folder):
            has_measured = run_pixel_benchmark(
                repeats, folder, command=typed_command(), console=Terminal(stderr=True, quiet=quiet), fresh=fresh
            )
        _say(has_measured, folder / PIXEL_PAGE)
        return
    folder = out or Path("runs/bench")
    options = BenchOptions(
        models=tuple(MODELS) if models == "all" else _names(models),
        methods=ALL_METHODS if methods == "all" else _names(methods),
        threads=_numbers(threads),
        repeats=repeats,
        cap=cap,
        quick=quick,
    )
    with working(folder):
        has_measured = run_benchmark(
            options, folder, command=typed_command(), console=Terminal(stderr=True, quiet=quiet), fresh=fresh
        )
    _say(has_measured, folder / "performance.md")


def _say(has_measured: bool, page: Path) -> None:
    outcome = "The benchmark is finished." if has_measured else "The benchmark was already finished."
    Terminal().say(f"{outcome} Results: {page}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise InputError(f"--threads {text}; expected integers separated by commas, as in 1,2") from error
