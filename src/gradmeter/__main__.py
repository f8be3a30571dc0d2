"""`python -m gradmeter` is the command line."""

from gradmeter.cli import main

main()
