"""The report of a study: its tables laid out like the paper's, and one HTML page that shows everything."""

from gradmeter.research.study.report.documents import write_documents
from gradmeter.research.study.report.page import write_report
from gradmeter.research.study.report.tables import table_grid

__all__ = ["table_grid", "write_documents", "write_report"]
