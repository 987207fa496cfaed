"""Rewriting a network: a layer is a memory of keys and values, and one rule in it is changed (Bau et al. 2020)."""

from dissect.rewriting.directions import Directions, directions
from dissect.rewriting.edit import Edit, combined
from dissect.rewriting.insertion import insert
from dissect.rewriting.matching import Matches, matches
from dissect.rewriting.measuring import RuleChange, rule_changes
from dissect.rewriting.memory import Keys, Memory
from dissect.rewriting.moment import SecondMoment, second_moment
from dissect.rewriting.selection import Copied, copy, erase, paste
from dissect.rewriting.session import Selection, Session, load_session

__all__ = [
    "Copied",
    "Directions",
    "Edit",
    "Keys",
    "Matches",
    "Memory",
    "RuleChange",
    "SecondMoment",
    "Selection",
    "Session",
    "combined",
    "copy",
    "directions",
    "erase",
    "insert",
    "load_session",
    "matches",
    "paste",
    "rule_changes",
    "second_moment",
]
