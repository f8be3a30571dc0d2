"""Adapters of gradmeter to the interfaces of other libraries, one module for each library."""
