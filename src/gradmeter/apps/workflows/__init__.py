"""Workflows behind the commands: they read files, call the library, and write files."""
