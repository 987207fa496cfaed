"""Pages that people open or print: reports, a layer's units, what generators omit, and pages on which they judge."""

from dissect.report.changes import (
    ChangedUnitRow,
    ChangeRatings,
    ChangeTypeRow,
    ProxyAgreement,
    read_changes,
    write_changes,
)
from dissect.report.flagging import write_flagging
from dissect.report.html import write_report
from dissect.report.naming import NameRow, NamingRow, compare_names, read_names
from dissect.report.notebook import Framed, Shown, show
from dissect.report.omitted import write_omissions
from dissect.report.pairs import PreferenceRow, read_preferences, write_pairs
from dissect.report.rating import plain_label, write_naming, write_rating
from dissect.report.ratings import AgreementRow, LabelRow, RatedLabel, RatedLabelRow, Ratings, ValidityRow, read_ratings
from dissect.report.sheets import PairsPage
from dissect.report.unit_pages import write_unit_pages

__all__ = [
    "AgreementRow",
    "ChangeRatings",
    "ChangeTypeRow",
    "ChangedUnitRow",
    "LabelRow",
    "NameRow",
    "NamingRow",
    "PairsPage",
    "PreferenceRow",
    "ProxyAgreement",
    "RatedLabel",
    "RatedLabelRow",
    "Ratings",
    "Framed",
    "Shown",
    "ValidityRow",
    "compare_names",
    "plain_label",
    "read_changes",
    "read_names",
    "read_preferences",
    "read_ratings",
    "show",
    "write_changes",
    "write_flagging",
    "write_naming",
    "write_omissions",
    "write_pairs",
    "write_rating",
    "write_report",
    "write_unit_pages",
]
