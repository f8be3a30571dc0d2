"""Protect the working directory and standard output from the user's code."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Run the user's code: restore the working directory afterwards, and print to standard error."""
    with contextlib.chdir("."), contextlib.redirect_stdout(sys.stderr):
        yield
