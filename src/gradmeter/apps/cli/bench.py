"""gradmeter bench: what the meter costs beside a training step and beside other packages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradmeter.apps.cli.parameters import Quiet
from gradmeter.apps.cli.terminal import Terminal, typed_command
from gradmeter.errors import InputError


def bench(
    models: Annotated[str, typer.Option(help='Names of networks, separated by commas; "all" for every one.')] = "all",
    methods: Annotated[
        str, typer.Option(help='Names of methods, separated by commas; "all" for every one. T0 is always included.')
    ] = "all",
    threads: Annotated[str, typer.Option(help="Numbers of PyTorch's threads, separated by commas.")] = "1,2",
    repeats: Annotated[int, typer.Option(help="Rounds; the methods take turns in each.")] = 9,
    cap: Annotated[float, typer.Option(help="Seconds after which a slower method gets fewer rounds.")] = 30.0,
    quick: Annotated[bool, typer.Option("--quick", help="Stream 10,000 images at most, not 1,000,000.")] = False,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("runs/bench"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, even if --out holds results.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure time, memory and agreement; write results.json, performance.md and figures.

    If it is killed, run the same command again: it continues where it stopped.
    """
    # What only a benchmark needs is loaded here: the library and --help do without it.
    from gradmeter.apps.cli.progress import working

    try:
        from gradmeter.research.speed_benchmark.methods import METHODS
        from gradmeter.research.speed_benchmark.models import MODELS
        from gradmeter.research.speed_benchmark.options import BenchOptions
        from gradmeter.research.speed_benchmark.run import run_benchmark
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise InputError(
            f'a benchmark needs the package {package}, which is not installed; pip install "gradmeter[bench]"'
        ) from error

    options = BenchOptions(
        models=tuple(MODELS) if models == "all" else _names(models),
        methods=tuple(METHODS) if methods == "all" else _names(methods),
        threads=_numbers(threads),
        repeats=repeats,
        cap=cap,
        quick=quick,
    )
    with working(out):
        measured = run_benchmark(
            options, out, command=typed_command(), console=Terminal(stderr=True, quiet=quiet), fresh=fresh
        )
    page = out / "performance.md"
    Terminal().say(f"{'Finished' if measured else 'Finished before; nothing to do'}. Page: {page}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise InputError(f"--threads {text}; expected whole numbers separated by commas, as in 1,2") from error
