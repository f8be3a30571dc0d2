"""The version of gradmeter."""

__version__ = "0.1.0"
