"""The command line: one thin file per command."""

from gradmeter.cli.main import main

__all__ = ["main"]
