"""The report of a study: tables in the paper's layout, and an HTML page with all results."""

from gradmeter.research.study.report.documents import write_documents
from gradmeter.research.study.report.page import write_report
from gradmeter.research.study.report.tables import table_grid

__all__ = ["table_grid", "write_documents", "write_report"]
