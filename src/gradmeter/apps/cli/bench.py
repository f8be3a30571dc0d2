"""gradmeter bench: time and memory of the meter, compared with a training step and with other packages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradmeter.apps.cli.command import needs_extra
from gradmeter.apps.cli.parameters import Quiet
from gradmeter.apps.cli.terminal import Terminal, typed_command
from gradmeter.errors import InputError


def bench(
    models: Annotated[str, typer.Option(help='Networks, separated by commas, or "all".')] = "all",
    methods: Annotated[
        str, typer.Option(help='Methods, separated by commas, or "all". T0 is always included.')
    ] = "all",
    threads: Annotated[str, typer.Option(help="Numbers of PyTorch threads, separated by commas.")] = "1,2",
    repeats: Annotated[int, typer.Option(help="Rounds; every method runs once in each round.")] = 9,
    cap: Annotated[float, typer.Option(help="Seconds after which a slow method gets fewer rounds.")] = 30.0,
    quick: Annotated[bool, typer.Option("--quick", help="Stream 10,000 images instead of 1,000,000.")] = False,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("runs/bench"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, even if --out holds results.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure time, memory and agreement of per-sample gradients; write results.json, performance.md and figures.

    If the command is interrupted, run it again: it continues where it stopped.
    """
    # Imported here so that --help and the other commands do not need the packages of a benchmark.
    from gradmeter.apps.cli.progress import working

    with needs_extra("bench", "a benchmark"):
        from gradmeter.research.speed_benchmark.methods import ALL_METHODS
        from gradmeter.research.speed_benchmark.models import MODELS
        from gradmeter.research.speed_benchmark.options import BenchOptions
        from gradmeter.research.speed_benchmark.run import run_benchmark

    options = BenchOptions(
        models=tuple(MODELS) if models == "all" else _names(models),
        methods=ALL_METHODS if methods == "all" else _names(methods),
        threads=_numbers(threads),
        repeats=repeats,
        cap=cap,
        quick=quick,
    )
    with working(out):
        has_measured = run_benchmark(
            options, out, command=typed_command(), console=Terminal(stderr=True, quiet=quiet), fresh=fresh
        )
    outcome = "The benchmark is finished." if has_measured else "The benchmark was already finished."
    Terminal().say(f"{outcome} Results: {out / 'performance.md'}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise InputError(f"--threads {text}; expected integers separated by commas, as in 1,2") from error
