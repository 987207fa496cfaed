"""A page of two thousand units: its size, and what a browser makes of it."""

from pathlib import Path

import pytest

from dissect import write_report

from .conftest import make_dissection, make_layer
from .reading import cards, read


@pytest.fixture(scope="module")
def wide_report(tmp_path_factory) -> Path:
    """The page of 2,000 units with 1,200 different top images."""
    images = 1200
    layer = make_layer("wide", 2000, 6, images, size=112)
    return write_report(make_dissection([layer], images=images, side=128), tmp_path_factory.mktemp("wide"))


def test_two_thousand_units_stay_small(wide_report):
    shown = cards(read(wide_report))
    assert len(shown) == 2000
    assert sum(len(card.find("canvas")) for card in shown) > 9900
    assert wide_report.stat().st_size < 25e6


def test_two_thousand_units(page, wide_report):
    paints = []
    for _ in range(3):
        page.open(wide_report)
        paints.append(page.js("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    assert min(paints) < 2000
    drawn = "[...document.querySelectorAll('.card canvas')].filter((canvas) => canvas.width > 1).length"
    page.js("document.getElementById('units').scrollIntoView()")
    page.wait(f"{drawn} > 10")
    assert page.js(drawn) < 200, "only what is near the window is drawn"
    page.js("dispatchEvent(new Event('beforeprint'))")
    assert page.js("document.querySelectorAll('.unprinted').length") == 1800
    page.js("dispatchEvent(new Event('afterprint'))")
    assert page.js("document.querySelectorAll('.unprinted').length") == 0
