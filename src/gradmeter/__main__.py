"""`python -m gradmeter` is the command line."""

from gradmeter.apps.cli import main

main()
