"""Exit codes of the command line, besides 0 for success."""

NO_GUARANTEE = 1
"""`gradmeter fit` could not give the risk guarantee that was requested."""
RAY_KILLED = 1
"""Ray was killed on this machine."""
BAD_INPUT = 2
"""The input is invalid, or the machine lacks disk space or memory."""
DEFECT = 3
"""An unexpected error, which is a bug in gradmeter."""
INTERRUPTED = 130
"""Ctrl-C: the code that shells report for SIGINT."""
