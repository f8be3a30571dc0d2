"""The applications: the command line, its workflows, and the server."""
