"""The table of commands, and how they are run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gradmeter.apps.cli.command import Command, errors_in_one_line, warnings_in_one_line
from gradmeter.apps.cli.terminal import escape_unencodable, ignore_zero_width
from gradmeter.errors import TRACEBACK, InputError
from gradmeter.version import __version__

COMMANDS = {
    "measure": "gradmeter.apps.cli.measure",
    "fit": "gradmeter.apps.cli.fit",
    "evaluate": "gradmeter.apps.cli.evaluate",
    "judge": "gradmeter.apps.cli.judge",
    "labels": "gradmeter.apps.cli.labels",
    "export": "gradmeter.apps.cli.export",
    "heatmap": "gradmeter.apps.cli.heatmap",
    "pixels": "gradmeter.apps.cli.pixels",
    "serve": "gradmeter.apps.cli.serve",
    "demo": "gradmeter.apps.cli.demo",
    "reproduce": "gradmeter.apps.cli.reproduce",
    "compare": "gradmeter.apps.cli.compare",
    "gain": "gradmeter.apps.cli.gain",
    "label-study": "gradmeter.apps.cli.label_study",
    "bench": "gradmeter.apps.cli.bench",
    "info": "gradmeter.apps.cli.info",
}
"""The name of each command, and the module that holds a function or group of that name, with `_` for `-`; imported when
the command is used."""


class _LazyCommands(Mapping[str, Any]):
    """The commands of `COMMANDS`; a module is imported when its command is looked up."""

    def __getitem__(self, name: str) -> Any:
        found = getattr(import_module(COMMANDS[name]), name.replace("-", "_"))
        app = found
        if not isinstance(found, typer.Typer):  # not a group of commands
            app = typer.Typer(add_completion=False)
            app.command(name, cls=Command)(found)
        command = typer.main.get_command(app)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Group(TyperGroup):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "commands": {}})
        self.commands = _LazyCommands()  # type: ignore[assignment]  # read-only


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Estimate how likely each prediction of a classifier is correct.",
    epilog=f"Set {TRACEBACK}=1 in the environment to see the traceback of an error.",
)


def _show_version(is_given: bool) -> None:
    if is_given:
        typer.echo(f"gradmeter {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the command line itself.

    Raises:
        InputError: if the current folder does not exist, in which PyTorch ends the process with a message of its own.
    """
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise InputError("the current folder was deleted; change to another one") from error


def run() -> None:
    """Run the command that `sys.argv` names and end the process; an error is one line on standard error."""
    with errors_in_one_line():
        escape_unencodable()
        ignore_zero_width()
        warnings_in_one_line()
        sys.exit(app(standalone_mode=False))
