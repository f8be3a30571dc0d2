"""The report of a study: its tables laid out like the paper's, and one HTML page that shows everything."""

from gradmeter.report.documents import write_documents
from gradmeter.report.page import write_report
from gradmeter.report.tables import table_grid, to_html, to_latex, to_markdown

__all__ = ["table_grid", "to_html", "to_latex", "to_markdown", "write_documents", "write_report"]
