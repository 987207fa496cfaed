"""Pages that people open: reports, and two on which they judge images."""

from dissect.report.flagging import write_flagging
from dissect.report.html import write_report
from dissect.report.pairs import PreferenceRow, read_preferences, write_pairs
from dissect.report.sheets import PairsPage
from dissect.report.unit_pages import write_unit_pages

__all__ = [
    "PairsPage",
    "PreferenceRow",
    "read_preferences",
    "write_flagging",
    "write_pairs",
    "write_report",
    "write_unit_pages",
]
