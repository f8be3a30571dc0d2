"""The entry point: commands, and what people see when something goes wrong."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console

import gradmeter
from gradmeter.cli.bench import bench
from gradmeter.cli.compare import compare
from gradmeter.cli.evaluate import evaluate
from gradmeter.cli.fit import fit
from gradmeter.cli.info import info
from gradmeter.cli.judge import judge
from gradmeter.cli.measure import measure
from gradmeter.cli.reproduce import reproduce
from gradmeter.cli.serve import serve
from gradmeter.errors import GradmeterError, SlowLayerWarning

_BAD_INPUT = 2

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Reads the gradient a prediction would cause if it were true, and tells how far to trust the prediction.",
)
app.command()(measure)
app.command()(fit)
app.command()(evaluate)
app.command()(judge)
app.command()(serve)
app.command()(reproduce)
app.command()(compare)
app.command()(bench)
app.command()(info)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gradmeter {gradmeter.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of every command."""


def _one_line_for_ours(show: Callable[..., None]) -> Callable[..., None]:
    """Warnings of the library's own as one line each, others as Python shows them."""

    def shown(message: Warning | str, category: type[Warning], *rest: Any, **options: Any) -> None:
        if issubclass(category, SlowLayerWarning):
            text = " ".join(str(message).split())
            Console(stderr=True, soft_wrap=True, highlight=False, emoji=False).print(f"gradmeter: {text}", markup=False)
        else:
            show(message, category, *rest, **options)

    return shown


def main() -> None:
    """Run a command; bad input is one clear line and exit code 2, never a traceback."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    warnings.showwarning = _one_line_for_ours(warnings.showwarning)
    try:
        sys.exit(app(standalone_mode=False))
    except (GradmeterError, typer.TyperException) as error:
        text = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        message = " ".join(text.split())  # it may quote another library's, of several lines
        if message:  # none where the help was shown instead
            errors.print(f"gradmeter: {message}", markup=False, style="red" if errors.is_terminal else None)
        sys.exit(_BAD_INPUT)
