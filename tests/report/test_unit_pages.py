"""All units of a layer on pages: what they say and show, and that the same bytes come of the same dissection."""

import re
import zlib

import pytest
import torch
from PIL import Image

from dissect import plots
from dissect.cli import commands
from dissect.report import unit_pages, write_unit_pages

from .conftest import images_only, make_dissection, make_layer


@pytest.fixture
def drawn(monkeypatch):
    """Of each page that is written: its texts, and the extents and pixels of its pictures."""
    pages = []

    def saving(figures, path, dpi):
        for figure in figures:
            axes = figure.axes[0]
            shown = [(image.get_extent(), image.get_array()) for image in axes.images]
            pages.append(([(text.get_text(), text.get_fontweight()) for text in axes.texts], shown))
        return [path]

    monkeypatch.setattr(plots, "save_pages", saving)
    return pages


def test_every_unit_is_there_once_the_highest_iou_first(drawn, tmp_path, monkeypatch):
    d = make_dissection([make_layer("wide", 100, 6, 9, top=1, size=8)])
    monkeypatch.setattr(unit_pages, "COLUMNS", 1)
    d["wide"].intersection[7] = 0
    d["wide"].intersection[7, 2] = 90
    write_unit_pages(d, tmp_path)
    titles = [page[0][0][0] for page in drawn]
    assert titles == [
        f"wide: units {first} to {min(first + 7, 100)} of 100, by IoU, the highest first" for first in range(1, 100, 8)
    ]
    told = [text for page in drawn for text in page[0][2:]]
    assert [int(text.split()[0]) for text, _ in told] == [7, *(unit for unit in range(100) if unit != 7)]
    assert told[0] == ("7  tree  0.818", "bold")
    assert all(text == f"{row.unit}  {row.concept}  {row.iou:.3f}" for (text, _), row in zip(told[1:7], d.best()))


def test_pictures_are_pale_where_the_unit_does_not_fire(drawn, tmp_path):
    d = make_dissection([make_layer("one", 1, 6, 9)])
    write_unit_pages(d, tmp_path, images=3)
    layer = d["one"]
    pictures = [pixels for _, pixels in drawn[0][1]]
    assert len(pictures) == 3
    for number, mask, shown in zip(layer.peak_images[0].tolist(), layer.masks(0), pictures):
        expected = plots.lit(d.image(number) / 255, mask)
        assert torch.equal(torch.as_tensor(shown), (expected * 255).round().byte().permute(1, 2, 0))


@pytest.mark.parametrize("images", range(1, 21))
@pytest.mark.parametrize("ratio", [1.0, 0.4, 2.5])
def test_all_is_on_the_page(images, ratio):
    page, inside = unit_pages._layout(images, ratio, 2), 2 * unit_pages.MARGIN
    assert page.columns * page.width + (page.columns - 1) * unit_pages.GUTTER <= unit_pages.PAGE[0] - inside + 1e-9
    assert page.rows * page.height + unit_pages.HEAD <= unit_pages.PAGE[1] - inside
    assert images * (page.tile[0] + unit_pages.GAP) <= page.width + 1e-9
    assert page.tile[1] + 2 * unit_pages.LINE < page.height
    assert page.tile[1] == pytest.approx(page.tile[0] * ratio)
    assert max(page.tile) <= 1


def test_nothing_overlaps(drawn, tmp_path):
    d = make_dissection([make_layer("wide", 20, 6, 9)])
    d.images = torch.nn.functional.interpolate(d.images, (12, 32))
    write_unit_pages(d, tmp_path, images=3)
    boxes = [extent for extent, _ in drawn[0][1]]
    assert len(boxes) == 60
    for at, (left, right, bottom, top) in enumerate(boxes):
        assert (bottom - top) / (right - left) == pytest.approx(12 / 32, rel=0.1)
        assert not any(one[0] < right and left < one[1] and one[3] < bottom and top < one[2] for one in boxes[at + 1 :])


def test_dead_and_nameless_units_say_so(drawn, tmp_path):
    names = ["$x^2$\n", "b" * 300, "c", "d", "e"]
    d = make_dissection([make_layer("a", 4, 6, 9)], pairs=[(name, "part") for name in names])
    layer = d["a"]
    layer.thresholds[2] = 0.0
    for counts in (layer.intersection, layer.unit_area, layer.union_area):
        counts[3] = 0
    layer.intersection[0, 1:] = 0
    layer.intersection[0, 1] = 4
    write_unit_pages(d, tmp_path)
    told = {int(text.split()[0]): (text, weight) for text, weight in drawn[0][0][2:]}
    assert told[3] == ("3  no concept  (dead)", "normal")
    assert told[0] == ("0  $x^2$\\n  0.020", "normal")
    assert told[2][0].endswith("(sparse)")
    assert told[1][0].endswith("bbb...")
    assert len(drawn[0][1]) == 15


def test_without_concepts_units_are_in_their_order(drawn, tmp_path):
    d = images_only(make_dissection([make_layer("a", 6, 6, 9)]))
    d["a"].sample.peaks[3] = d["a"].peaks[3] = 0
    d["a"].thresholds.fill_(2)
    write_unit_pages(d, tmp_path)
    assert [text for text, _ in drawn[0][0][2:]] == [f"{unit}  threshold 2" for unit in range(6)]
    assert len(drawn[0][1]) == 25  # all images are the same to unit 3


def size(path):
    with Image.open(path) as picture:
        return picture.size


def test_files_have_the_same_bytes_and_no_date(dissection, tmp_path):
    for name in ("a", "b"):
        (path,) = write_unit_pages(dissection, tmp_path / name, layer="features.a")
        pages = write_unit_pages(dissection, tmp_path / name / "units.png", layer="features.a", images=2)
        assert path.name == "units.pdf"
        assert [page.name for page in pages] == ["units-001.png"]
    first, second = ((tmp_path / name / "units.pdf").read_bytes() for name in ("a", "b"))
    assert first == second
    assert b"Date" not in first
    packed = re.findall(rb"FlateDecode[^>]*>>\s*stream\r?\n(.*?)\r?\nendstream", first, re.DOTALL)
    streams = [zlib.decompress(part) for part in packed]
    assert any(b"Tj" in stream or b"TJ" in stream for stream in streams)  # its words can be searched
    assert first.count(b"/Type /Page\n") + first.count(b"/Type /Page ") == 1
    assert len({(tmp_path / name / "units-001.png").read_bytes() for name in ("a", "b")}) == 1
    assert size(tmp_path / "a" / "units-001.png") == (1240, 1753)


def test_what_cannot_be_printed_is_refused(dissection, tmp_path):
    with pytest.raises(ValueError, match="write_unit_pages: layer must be one of the dissection's layers"):
        write_unit_pages(dissection, tmp_path)
    with pytest.raises(KeyError, match="was not dissected"):
        write_unit_pages(dissection, tmp_path, layer="x")
    with pytest.raises(TypeError, match="write_unit_pages: dissection must be a Dissection"):
        write_unit_pages("result", tmp_path)
    with pytest.raises(ValueError, match="write_unit_pages: images must be at least 1"):
        write_unit_pages(dissection, tmp_path, layer="features.a", images=0)
    bare = make_dissection([make_layer("a", 2, 6, 9, top=0)])
    with pytest.raises(ValueError, match="write_unit_pages: dissection must have top images"):
        write_unit_pages(bare, tmp_path)
    assert not list(tmp_path.iterdir())


def test_on_the_command_line(dissection, tmp_path, capsys):
    dissection.save(tmp_path / "result")
    out = tmp_path / "some" / "all.png"
    assert commands.main(["unit-pages", str(tmp_path / "result"), "--layer", "features.b", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"pages: {out.with_name('all-001.png')}\n"
    assert size(out.with_name("all-001.png")) == (1240, 1753)
    assert commands.main(["unit-pages", str(tmp_path / "result"), "--out", str(out)]) == 2
    assert "unit-pages: layer must be one of" in capsys.readouterr().err


def test_classes_of_important_units_are_a_second_line(drawn, tmp_path, monkeypatch):
    d = make_dissection([make_layer("a", 2, 6, 9)])
    monkeypatch.setattr(unit_pages, "important_classes", lambda *_: {"a": [["ski resort", "alley"], []]})
    write_unit_pages(d, tmp_path)
    assert [text for text, _ in drawn[0][0][3:5]] == ["ski resort, alley", "1  tree  0.333"]


def test_long_text_is_cut_to_its_width():
    assert plots.fitting("tree", 100, 6.5) == "tree"
    assert plots.fitting("W" * 50, 40, 6.5) == "WWWWW..."
    assert plots.fitting("i" * 50, 40, 6.5).count("i") > 10
