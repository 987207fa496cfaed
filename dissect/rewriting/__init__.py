"""Rewriting a network: a layer is a memory of keys and values, and one rule in it is changed (Bau et al. 2020)."""

from dissect.rewriting.baselines import Ablated, baselines
from dissect.rewriting.buddies import Buddies, best_buddies
from dissect.rewriting.directions import Directions, directions
from dissect.rewriting.edit import Edit, combined
from dissect.rewriting.finetuning import FineTuned, fine_tune
from dissect.rewriting.insertion import insert
from dissect.rewriting.inverting import RuleEffect, invert_rule, rule_effects
from dissect.rewriting.keys import Keys
from dissect.rewriting.matching import Matches, matches
from dissect.rewriting.measuring import RuleChange, rule_changes
from dissect.rewriting.memory import Memory
from dissect.rewriting.moment import SecondMoment, second_moment
from dissect.rewriting.patches import PatchDistance, draw_patches, draw_values, patch_distances
from dissect.rewriting.perceptual import lpips_distance
from dissect.rewriting.selection import Copied, copy, erase, paste, render
from dissect.rewriting.session import Selection, Session, load_session
from dissect.rewriting.showing import changed_images, sheet
from dissect.rewriting.tables import ChangeRow, RuleChangeRow, change_table
from dissect.rewriting.transfer import Transfer, laplace_blend

__all__ = [
    "Ablated",
    "Buddies",
    "ChangeRow",
    "Copied",
    "Directions",
    "Edit",
    "FineTuned",
    "Keys",
    "Matches",
    "Memory",
    "PatchDistance",
    "RuleChange",
    "RuleChangeRow",
    "RuleEffect",
    "SecondMoment",
    "Selection",
    "Session",
    "Transfer",
    "baselines",
    "best_buddies",
    "change_table",
    "changed_images",
    "combined",
    "copy",
    "directions",
    "draw_patches",
    "draw_values",
    "erase",
    "fine_tune",
    "insert",
    "invert_rule",
    "laplace_blend",
    "load_session",
    "lpips_distance",
    "matches",
    "paste",
    "patch_distances",
    "render",
    "rule_changes",
    "rule_effects",
    "second_moment",
    "sheet",
]
