"""Figures, tables, HTML and Markdown of results."""
