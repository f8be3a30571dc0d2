"""What every command shares: single-valued options, missing packages, and errors and warnings in one line."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperOption

from gradmeter.apps.cli.exit_codes import BAD_INPUT, DEFECT, RAY_KILLED
from gradmeter.apps.cli.terminal import Terminal
from gradmeter.errors import (
    NO_THREAD,
    NOT_MAPPED,
    TRACEBACK,
    GradmeterError,
    GradmeterWarning,
    InputError,
    is_out_of_memory,
    one_line,
)


class Command(TyperCommand):
    """A command that refuses empty values, and an option with a single value if it is given more than once."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            InputError: if an option that takes one value is repeated, or a value is empty.
        """
        values, _, given = self.make_parser(ctx).parse_args(list(args))
        for parameter in self.get_params(ctx):
            value = values.get(parameter.name)
            if "" in (value if isinstance(value, list | tuple) else [value]):  # such as a variable that is not set
                name = max(parameter.opts, key=len)
                shown = name if isinstance(parameter, TyperOption) else f"the argument {name.upper()}"
                raise InputError(f"{shown} is empty; expected a value")
        for option in dict.fromkeys(given):
            is_single = isinstance(option, TyperOption) and not (option.multiple or option.is_flag or option.count)
            if is_single and given.count(option) > 1:
                name = max(option.opts, key=len)
                raise InputError(f"{name} is given {given.count(option)} times; give it once")
        return super().parse_args(ctx, args)


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Say which extra to install if an import in the block fails.

    Args:
        extra: name of the extra of gradmeter that holds the package.
        purpose: subject of the message, e.g. "a benchmark".

    Raises:
        InputError: if a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package == "gradmeter":  # a bug, not a missing package
            raise
        raise InputError(
            f'{purpose} needs the package {package}, which is not installed; pip install "gradmeter[{extra}]"'
        ) from error


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """End the process with one line on standard error and an exit code if the block raises an exception.

    The exit code is 2 for bad input and for a lack of disk space or memory, and 3 for unexpected errors.
    """
    try:
        yield
    except typer.TyperException as error:
        if message := error.format_message():  # empty if the help was shown instead
            # typer passes on the start of a message of its library.
            _fail(message.replace(": Value error, ", ": "), BAD_INPUT)
        sys.exit(BAD_INPUT)
    except GradmeterError as error:
        _fail(str(error), BAD_INPUT)
    except OSError as error:
        prefix = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        _fail(f"{prefix}{one_line(error)}", BAD_INPUT)
    except Exception as error:
        if isinstance(error, RuntimeError) and NO_THREAD in str(error):
            _fail(
                f"another thread cannot be started ({one_line(error)}); raise the limit of processes (ulimit -u) or of "
                "memory (ulimit -v)",
                BAD_INPUT,
            )
        if isinstance(error, ImportError) and NOT_MAPPED in str(error):
            _fail(
                f"a library cannot be loaded ({one_line(error)}); give more memory, as with a higher ulimit -v, or "
                "install it on a disk from which programs may be run",
                BAD_INPUT,
            )
        if is_out_of_memory(error):
            _fail(f"not enough memory ({one_line(error)}); use less data or a smaller network", BAD_INPUT)
        reason = f"{type(error).__name__}: {one_line(error)}"
        _fail(f"unexpected error ({reason}); please report it with the traceback that {TRACEBACK}=1 shows", DEFECT)


def end_without_ray() -> NoReturn:
    """End the process with one line after Ray was killed, from any thread and at once: Ray might never return."""
    try:
        _fail(
            "Ray was killed on this machine (its process raylet): memory may have run out, or a signal was sent to all "
            "processes of the group; free memory, or send the signal to gradmeter alone, and run the command again",
            RAY_KILLED,
        )
    finally:
        os._exit(RAY_KILLED)


def warnings_in_one_line() -> None:
    """Show gradmeter's warnings in one line each, once, and other warnings as before."""
    show = warnings.showwarning
    warnings.showwarning = _shown_in_one_line(show)


def _shown_in_one_line(show: Callable[..., None]) -> Callable[..., None]:
    # Python forgets which warnings it has shown whenever a block catches warnings, as for each image that is decoded.
    shown: set[str] = set()

    def show_warning(message: Warning | str, category: type[Warning], *rest: Any, **options: Any) -> None:
        if not issubclass(category, GradmeterWarning):
            show(message, category, *rest, **options)
        elif (line := f"gradmeter: {message}") not in shown:
            shown.add(line)
            Terminal(stderr=True).say(line)

    return show_warning


def _fail(message: str, code: int) -> NoReturn:
    terminal = Terminal(stderr=True)
    if os.environ.get(TRACEBACK):
        traceback.print_exc()
    with suppress(OSError):  # standard error may be closed, or its disk full
        terminal.say(f"gradmeter: {message}", style="red" if terminal.is_terminal else None)
    sys.exit(code)
