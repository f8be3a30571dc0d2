"""The commands, and what people see when something goes wrong."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

from gradmeter.apps.cli.bench import bench
from gradmeter.apps.cli.compare import compare
from gradmeter.apps.cli.evaluate import evaluate
from gradmeter.apps.cli.fit import fit
from gradmeter.apps.cli.info import info
from gradmeter.apps.cli.judge import judge
from gradmeter.apps.cli.measure import measure
from gradmeter.apps.cli.reproduce import reproduce
from gradmeter.apps.cli.serve import serve
from gradmeter.apps.cli.terminal import Terminal, encode_all, require_width
from gradmeter.errors import TRACEBACK, GradmeterError, GradmeterWarning, one_line
from gradmeter.version import __version__

_BAD_INPUT, _DEFECT = 2, 3

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure how much a network would have to re-learn if its prediction were true, and whether to trust it.",
    epilog=f"{TRACEBACK}=1 in the environment shows where in the code an error occurred.",
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
        typer.echo(f"gradmeter {__version__}")
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
        if issubclass(category, GradmeterWarning):
            Terminal(stderr=True).say(f"gradmeter: {message}")
        else:
            show(message, category, *rest, **options)

    return shown


def run() -> None:
    """Run a command; bad input is one clear line and exit code 2, never a traceback.

    The code is 3 for an error that nobody foresaw, a defect of gradmeter's.
    """
    try:
        encode_all()
        require_width()
        warnings.showwarning = _one_line_for_ours(warnings.showwarning)
        sys.exit(app(standalone_mode=False))
    except typer.TyperException as error:
        if message := error.format_message():  # none where the help was shown instead
            _fail(message, _BAD_INPUT)
        sys.exit(_BAD_INPUT)
    except GradmeterError as error:
        _fail(str(error), _BAD_INPUT)
    except MemoryError as error:
        _fail(f"there is not enough memory ({one_line(error)}); give less data or a smaller network", _BAD_INPUT)
    except OSError as error:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        _fail(f"{where}{one_line(error)}", _BAD_INPUT)
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        _fail(f"a defect of gradmeter ({reason}); {TRACEBACK}=1 shows where, please report it", _DEFECT)


def _fail(message: str, code: int) -> NoReturn:
    errors = Terminal(stderr=True)
    if os.environ.get(TRACEBACK):
        traceback.print_exc()
    with suppress(OSError):  # standard error may be full
        errors.say(f"gradmeter: {message}", style="red" if errors.is_terminal else None)
    sys.exit(code)
