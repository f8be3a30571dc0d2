"""The command line: one thin file per command."""

from gradmeter.apps.cli.start import main

__all__ = ["main"]
