"""Entry point of the command line."""

import os
import sys

from gradmeter.apps.cli.exit_codes import INTERRUPTED

_STANDARD_ERROR = 2


def main() -> None:
    """Run the command line; Ctrl-C ends it at any moment without a traceback."""
    try:
        _reserve_standard_descriptors()
        # Imported here because the import takes half a second, during which Ctrl-C must not show a traceback either.
        from gradmeter.apps.cli.commands import run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _reserve_standard_descriptors() -> None:
    """Open the null device in place of closed standard streams, for this process and those that it starts.

    The next file to be opened, such as a part of an output, would get the descriptor of a closed stream, and so what
    libraries in C print there.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
