"""The page about what a generator leaves out: that it says what its parts say, and opens alone."""

import re

import pytest
import torch

import dissect
from dissect.omissions import OmissionPairs, SegmentationStatistics, fsd, omission_table
from dissect.report import write_omissions

from .reading import read

CONCEPTS = dissect.Concepts.of([("sky", "object"), ("<b>tram</b>", "object"), ("road", "object")])


def sample(tram, source, start=0, count=12):
    """Statistics of images with so many pixels of tram of 100, on the average."""
    stream = torch.Generator().manual_seed(tram + start)
    found = torch.zeros(count, 4, dtype=torch.int32)
    found[:, 2] = tram + torch.randint(-2, 3, (count,), generator=stream)
    found[:, 3] = 20 + torch.randint(-2, 3, (count,), generator=stream)
    found[:, 1] = 100 - found.sum(1)
    return SegmentationStatistics(
        CONCEPTS, (0,), 100, found, torch.arange(start, start + count), "s", source, {"seed": 1}
    )


@pytest.fixture
def pairs():
    images, planes = torch.rand(2, 3, 8, 8) * 2 - 1, torch.ones(2, 8, 8, dtype=torch.long)
    planes[:, :4] = 2
    made = {"f": planes.roll(2, 1)}
    return OmissionPairs(
        "object/<b>tram</b>", CONCEPTS, 2, torch.tensor([7, 3]), images, planes, {"f": images * 0.5}, made
    )


def test_the_page_says_what_its_parts_say(pairs, tmp_path):
    made, real, others = sample(4, "g"), sample(12, "r"), sample(12, "r", 50)
    path = write_omissions(made, real, tmp_path, others=others, pairs=pairs, name="street <i>")
    assert path == tmp_path / "omissions.html"
    text, page, distance = path.read_text(), read(path), fsd(made, real, others)
    assert "What street &lt;i&gt; leaves out" in text
    assert "<b>tram" not in text
    assert "<i>" not in text
    assert f"{distance.distance:.1f} <small>{distance.low:.1f} to {distance.high:.1f}</small>" in text
    assert [row.omitted for row in omission_table(made, real)] == [False, False, True]
    marked = [row for row in page.find("tr") if row.attributes.get("class") == "out"]
    assert len(marked) == 1
    assert "<b>tram</b>" in marked[0].find("th")[0].text
    assert "Not checked:" in text
    assert "a second segmenter agrees" in text
    sources = re.findall(r'<img src="data:image/\w+;base64,[^"]+" alt="([^"]+)"', text)
    names = ("real image", "made by (f)")
    assert sources[::2] == [f"{name}, image {number}" for name in names for number in (7, 3)]
    row = pairs.table[0]
    assert (row.real, row.made, row.survives) == (50, 50, 0.5)
    assert '<td class="num">50.00</td><td class="num">50.00</td>' in text
    assert "script-src 'none'" in text
    assert "<script" not in text
    assert "<svg" in text
    again = write_omissions(made, real, tmp_path / "x.html", others=others, pairs=[pairs], name="street <i>")
    assert again.read_text() == text


def test_what_is_checked_is_said(tmp_path):
    made, real = sample(12, "g"), sample(12, "r")
    text = write_omissions(made, real, tmp_path, truth=real, second=(made, real)).read_text()
    assert "Not checked:" not in text
    assert "less by a second segmenter too" in text
    assert "No class is left out" in text
    assert "<img" not in text


def test_what_makes_no_page(pairs, tmp_path):
    made, real = sample(4, "g"), sample(12, "r")
    with pytest.raises(TypeError, match=r"^write_omissions: pairs must be OmissionPairs, but one is str"):
        write_omissions(made, real, tmp_path, pairs=["f"])
    with pytest.raises(TypeError, match="samples must be SegmentationStatistics"):
        write_omissions(made, None, tmp_path)
    with pytest.raises(ValueError, match="same number of images"):
        write_omissions(made, real.first(5), tmp_path)
    assert not list(tmp_path.iterdir())
