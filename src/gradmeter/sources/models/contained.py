"""Code of the user's may do what it likes with the current folder and with standard output."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Code of the user's runs in this block: paths stay as they are, and what it prints goes to standard error."""
    with contextlib.chdir("."), contextlib.redirect_stdout(sys.stderr):
        yield
