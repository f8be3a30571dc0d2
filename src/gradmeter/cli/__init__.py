"""The command line: one thin file per command."""

from gradmeter.cli.start import main

__all__ = ["main"]
