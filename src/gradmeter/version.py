"""The version of gradmeter."""

__version__ = "0.2.0"
