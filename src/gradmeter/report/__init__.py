"""Figures, tables, HTML and Markdown of what was computed elsewhere."""
