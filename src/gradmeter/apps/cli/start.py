"""Where the command starts."""

import sys

from gradmeter.apps.cli.exit_codes import INTERRUPTED


def main() -> None:
    """Run the command line; Ctrl-C ends it at any moment without a traceback."""
    try:
        from gradmeter.apps.cli.commands import run  # takes half a second, in which people press Ctrl-C, too

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
