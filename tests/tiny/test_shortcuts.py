"""The scenes give their classes away to nothing simpler than objects, on one sample small enough for every run.

The limits are those of `dissect.tiny.survey.limits`, where a smaller sample moves a figure, tightened or loosened by
what it moves: a regression learns less from fewer scenes, and a maximum over pairs of concepts is larger on fewer.
`python docs/scripts/tiny_world.py --check` measures them on many more scenes.
"""

import pytest

from dissect.tiny import TinyScenes
from dissect.tiny.survey import limits, survey

TRAIN, VAL = 2000, 860

BOUNDS = {
    "logistic regression on colour histogram, 8x8x8 bins: accuracy": ("<=", 0.40),
    "logistic regression on colour names, shares of 11: accuracy": ("<=", 0.40),
    "logistic regression on thumbnail, 16x16: accuracy": ("<=", 0.40),
    "logistic regression on objects, presence: accuracy": (">=", 0.95),
    "one object's presence, best balanced accuracy": ("<=", 0.87),
    "two concepts' masks, largest IoU": ("<=", 0.8),
    "colors of an object, fewest": (">=", 3),
    "materials of an object, fewest": (">=", 3),
    "objects of a color, fewest": (">=", 3),
    "concepts on 0.1 to 5 % of pixels, in 1 % of images": (">=", 90),
    "classes": (">=", 40),
    "objects": (">=", 35),
    "concepts": (">=", 120),
}


@pytest.fixture(scope="module")
def measured():
    """The row of each limit."""
    rows = limits(survey(TinyScenes("train", count=TRAIN)), survey(TinyScenes("val", count=VAL)))
    return {row.figure: row for row in rows}


def test_every_limit_is_tested(measured):
    assert list(measured) == [*BOUNDS, "images per second of one core"]  # which depends on the machine


@pytest.mark.parametrize("figure", BOUNDS)
def test_limit(measured, figure):
    sign, bound = BOUNDS[figure]
    value, worst = measured[figure].value, measured[figure].worst
    assert value <= bound if sign == "<=" else value >= bound, worst
