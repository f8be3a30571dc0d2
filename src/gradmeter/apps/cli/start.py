"""Entry point of the command line."""

import sys

from gradmeter.apps.cli.exit_codes import INTERRUPTED


def main() -> None:
    """Run the command line; Ctrl-C ends it at any moment without a traceback."""
    try:
        # Imported here because the import takes half a second, during which Ctrl-C must not show a traceback either.
        from gradmeter.apps.cli.commands import run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
