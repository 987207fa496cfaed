"""Reports that people open."""

from dissect.report.html import write_report

__all__ = ["write_report"]
