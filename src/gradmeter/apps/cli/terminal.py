"""What is printed: one line for one line, whatever names stand in it."""

from __future__ import annotations

import io
import os
import shlex
import sys

from rich.console import Console
from rich.text import Text

from gradmeter.names import encode_name, printable


class Terminal(Console):
    """A console that takes nothing in a text for markup, an emoji code or a number to be coloured.

    Args:
        stderr: whether it is standard error.
        quiet: whether nothing is printed.
    """

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        super().__init__(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)

    def say(self, text: str, style: str | None = None) -> None:
        """Print one line, never broken; what is not printable in it is shown escaped."""
        self.print(Text(printable(text)), soft_wrap=True, style=style)


def encode_all() -> None:
    """Let no character stop the program that standard output cannot show: it is shown escaped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def require_width() -> None:
    """Leave out a width of zero that the environment claims: rich would print nothing, errors and results included."""
    if os.environ.get("COLUMNS") == "0":
        del os.environ["COLUMNS"]


def typed_command() -> str:
    """The command as it was typed, for reports."""
    return encode_name(shlex.join(["gradmeter", *sys.argv[1:]]))
