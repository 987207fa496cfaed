"""The page on which people sort changed units: what it asks and hides, the proxy in its key, and its tables."""

import json
import re

import numpy as np
import pytest
import torch

from dissect.dissection.histories import likenesses
from dissect.report import read_changes, write_changes
from dissect.stats import wilson_interval

from .browsing import FAINT
from .conftest import images_only, make_dissection, make_layer
from .test_judging import opened, told  # noqa: F401 - a fixture
from .test_rating import answers


def dissections():
    """Of 12 units number 2 keeps its concept, others change it; unit 5 has none after, and unit 7 stays green."""
    before = make_dissection([make_layer("a", 12, 6, 9)])
    before["a"].intersection[7] = torch.tensor([0, 95, 0, 0, 0, 90])
    later = make_layer("a", 12, 6, 9, seed=5)
    later.intersection = later.intersection.roll(1, 0)
    later.intersection[2] = before["a"].intersection[2]
    later.intersection[5] = 0
    later.intersection[7] = torch.tensor([0, 0, 95, 0, 0, 90])
    return before, make_dissection([later])


def asked(page):
    return json.loads(page.key.read_text())["units"]


def test_changed_units_are_asked_for_and_not_told(tmp_path):
    before, after = dissections()
    page = write_changes(before, after, tmp_path, seed=1, images=3)
    found = {each["unit"]: each for each in asked(page)}
    assert sorted(found) == [unit for unit in range(12) if unit not in (2, 5)]
    alike = likenesses(before["a"], after["a"], before.concepts)
    for unit, each in found.items():
        names = [before.concepts.names[int(d["a"].best_label[unit])] for d in (before, after)]
        assert [each["before"], each["after"]] == names
        expected = {None: "none", "object": "object", "material": "texture", "texture": "texture", "color": "color"}
        assert each["proxy"] == expected[alike[unit]]
    assert found[7] == {"layer": "a", "unit": 7, "before": "sky", "after": "tree", "proxy": "color"}
    text = page.page.read_text()
    written = re.sub(r'id="pictures">.*?</script>', "", text, flags=re.DOTALL)
    assert not any(word in written for word in ("sky", "wood", "striped", "proxy", '"layer"'))
    sheet = json.loads(re.search(r'id="sheet">(.*?)</script>', text, re.DOTALL)[1])
    pictures = json.loads(re.search(r'id="pictures">(.*?)</script>', text, re.DOTALL)[1])["data"]
    for each, at in zip(asked(page), sheet["items"]):
        for when, d in (("before", before), ("after", after)):
            numbers = [number for number, _ in sheet["units"][at][when]["pictures"]]
            assert numbers == [f"{when}-{number}" for number in d["a"].peak_images[each["unit"], :3].tolist()]
            assert all(number in pictures for number in numbers)
    again = write_changes(before, after, tmp_path / "b", seed=1, images=3)
    assert again.page.read_bytes() == page.page.read_bytes()
    assert asked(write_changes(before, after, tmp_path / "c", seed=2, units={"a": [3, 2]})) == [found[3]]


def test_tables_by_hand(tmp_path):
    before, after = dissections()
    page = write_changes(before, after, tmp_path, seed=1, units={"a": [0, 1, 3, 4]})
    units = json.loads(page.key.read_text())
    for each, proxy in zip(units["units"], ("color", "object", "none", "texture")):
        each["proxy"] = proxy
    page.key.write_text(json.dumps(units))
    given = (["color", "shape", "none", "color"], ["color", "shape", "none", "shape"], ["shape", "object", "none"])
    files = [answers(tmp_path / f"{at}.json", page.key, own, f"r{at}", "changes") for at, own in enumerate(given)]
    found = read_changes(page.key, *files)
    order = [each["unit"] for each in asked(page)]
    rows = {row.unit: row for row in found.units}
    assert [(rows[unit].people, rows[unit].votes, rows[unit].raters) for unit in order] == [
        ("color", 2, 3), ("shape", 2, 3), ("none", 3, 3), (None, 1, 2),
    ]  # fmt: skip
    assert [row.unit for row in found.units] == [0, 1, 3, 4]
    assert [tuple(row) for row in found.types()] == [
        ("shape", 1, 0, 0), ("texture", 0, 0, 0), ("color", 1, 1, 1), ("object", 0, 1, 0), ("none", 1, 1, 1),
    ]  # fmt: skip
    # By chance: "color" 1/3 of people's and 1/3 of the proxy's, "none" likewise.
    assert found.proxy_agreement() == (3, 2, *wilson_interval(2, 3), pytest.approx(2 / 9))
    same = np.array([1, 1, 3, 0]) / np.array([3, 3, 3, 1])
    assert found.raters.agreement == pytest.approx((same * [3, 3, 3, 1]).sum() / 10)
    assert found.raters.items == 4


def test_what_cannot_be_compared_is_refused(tmp_path):
    before, after = dissections()
    own = make_layer("a", 12, 6, 9)
    own.label_thresholds = torch.zeros(12, 6)
    for one, other, message in (
        (before, before, "units must have one whose concept changed"),
        (before, make_dissection([make_layer("b", 12, 6, 9)]), "must have the same layers, but have units"),
        (before, make_dissection([make_layer("a", 12, 6, 9)], pairs=[("x", "color")] * 5), "the same concepts"),
        (before, make_dissection([make_layer("a", 12, 6, 9)], side=16), "images of one size"),
        (make_dissection([own]), after, "layers of two units or more, whose labels share a threshold"),
        (before, images_only(make_dissection([make_layer("a", 12, 6, 9)])), "must have labels"),
    ):
        with pytest.raises(ValueError, match=f"^write_changes: .*{message}"):
            write_changes(one, other, tmp_path, seed=0)
    page = write_changes(before, after, tmp_path, seed=0)
    with pytest.raises(ValueError, match=r"^read_changes: answers must have at least one answer"):
        read_changes(page.key, answers(tmp_path / "none.json", page.key, [], name="changes"))
    with pytest.raises(ValueError, match="shape"):
        read_changes(page.key, answers(tmp_path / "other.json", page.key, ["size"], name="changes"))


def test_units_are_sorted_with_keys_and_buttons_and_saved(tmp_path, opened):  # noqa: F811
    before, after = dissections()
    page_path, key = write_changes(before, after, tmp_path, seed=1, images=4)
    page = opened(page_path)
    shown = json.loads(re.search(r'id="sheet">(.*?)</script>', page_path.read_text(), re.DOTALL)[1])["units"]
    pictures = "[...document.querySelectorAll('[data-when={}] canvas')].map((one) => one.dataset.picture)"
    for at, press in enumerate(("3", "1", "5")):  # the first question is number 0
        assert page.js("document.querySelector('.score output').value") == f"{at} of 10"
        for when in ("before", "after"):
            assert page.js(pictures.format(when)) == [name for name, _ in shown[at][when]["pictures"]]
        page.press(press)
    page.wait("document.querySelector('[data-when=after] canvas').width > 1")
    page.js("document.querySelector('[data-answer=object]').click()")
    page.js("document.querySelector('[name=save]').click()")
    (tmp_path / "mine.json").write_text(told(page))
    found = {row.unit: row.people for row in read_changes(key, tmp_path / "mine.json").units}
    units = [each["unit"] for each in asked(write_changes(before, after, tmp_path / "b", seed=1))]
    assert found == dict(zip(units, ("color", "shape", "none", "object")))
    for _ in range(6):
        page.press("2")
    assert page.js("document.querySelector('.item').checkVisibility()") is False
    assert page.js("document.querySelector('.done').checkVisibility()")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_fits_and_can_be_read(tmp_path, opened, width, scheme):  # noqa: F811
    page = opened(write_changes(*dissections(), tmp_path, seed=1).page, width, scheme)
    assert page.js(FAINT) == []
    assert page.js("document.documentElement.scrollWidth") <= width
