"""The command line, with one short module for each command."""

from gradmeter.apps.cli.start import main

__all__ = ["main"]
