"""Output on the terminal: each message is one line, also if it holds names with control characters."""

from __future__ import annotations

import io
import os
import shlex
import stat
import sys

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.table import Table
from rich.text import Text

from gradmeter.names import encode_name, printable

# Width in characters that a table gets if it is not shown on a terminal, and the least on one.
_UNLIMITED, _LEAST = 1_000, 80


class Terminal(Console):
    """A console that prints text as it is, without markup, emoji codes or highlighting.

    Args:
        stderr: print to standard error.
        quiet: print nothing.
    """

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        super().__init__(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)

    @property
    def is_file(self) -> bool:
        """Whether the output goes to a file, neither to a terminal nor to another program, which may print it."""
        try:
            return stat.S_ISREG(os.fstat(self.file.fileno()).st_mode)
        except OSError:  # a stream of Python's, or none
            return False

    def say(self, text: str, style: str | None = None) -> None:
        """Print one line without wrapping; characters that are not printable are escaped."""
        if self.stderr and isinstance(sys.stderr, FileProxy):
            # Bars are shown, by another console. It prints the line above them; behind them they would erase it.
            sys.stderr.write(f"{printable(text)}\n")
            return
        self.print(Text(printable(text)), soft_wrap=True, style=style)

    def show(self, table: Table) -> None:
        """Print a table: a terminal folds its names, and a narrow one wraps its lines instead of cutting numbers."""
        self.width = max(self.width, _LEAST) if self.is_terminal else _UNLIMITED
        self.print(table)


def escape_unencodable() -> None:
    """Escape characters that the encoding of standard output lacks; otherwise they would raise an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def ignore_zero_width() -> None:
    """Remove COLUMNS=0 from the environment, with which rich prints nothing, not even errors and results."""
    if os.environ.get("COLUMNS") == "0":
        del os.environ["COLUMNS"]


def typed_command() -> str:
    """Return the command line as typed, for reports."""
    return encode_name(shlex.join(["gradmeter", *sys.argv[1:]]))
