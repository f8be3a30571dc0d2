"""Where the command starts."""

import sys

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells report SIGINT."""


def main() -> None:
    """Run the command line; Ctrl-C ends it at any moment without a traceback."""
    try:
        from gradmeter.cli.commands import run  # takes half a second, in which people press Ctrl-C, too

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
