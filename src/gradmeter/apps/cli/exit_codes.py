"""Exit codes of the commands beyond 0 (done), 1 (no guarantee) and 2 (bad input)."""

INTERRUPTED = 130
"""After Ctrl-C, as shells report SIGINT."""
