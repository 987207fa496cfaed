"""Sheets of a unit, against all images looked at one by one."""

from functools import partial

import pytest
import torch
from altered import altered
from generators.painter import Colours, Painter
from torch import nn
from torch.nn.functional import interpolate

import dissect
from dissect.chosen import rank_keys
from dissect.files.progress import FILE

OPTIONS = {"progress": False}


class Shuffled(nn.Module):
    """Two units on maps of half the image's size: the means of red, and of red less green."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Conv2d(3, 2, 2, stride=2, bias=False)
        with torch.no_grad():
            self.maps.weight.copy_(torch.tensor([[1.0, 0, 0], [1, -1, 0]])[:, :, None, None].expand(-1, -1, 2, 2) / 4)

    def forward(self, images):
        return self.maps(images)


@pytest.fixture(scope="module")
def data():
    """40 images and a plane that is 1 where red is high, for half of the images."""
    chance = torch.Generator().manual_seed(0)
    images = interpolate(torch.rand(40, 3, 4, 4, generator=chance), size=8, mode="bilinear")
    planes = (images[:, :1] > 0.7).long() * (torch.arange(40) % 2)[:, None, None, None]
    return images, planes


def dissected(data, **options):
    images, planes = data
    pairs = list(zip(images.split(16), planes.split(16)))
    model = Shuffled().eval()
    found = dissect.dissect(model, "maps", pairs, concepts=["red"], fraction=0.05, decoys=0, **OPTIONS, **options)
    return model, found, pairs


def by_hand(data, found, unit, least):
    images, planes = data
    layer = found["maps"]
    maps = Shuffled()(images)[:, unit].detach()
    fires = (interpolate(maps[:, None], size=(8, 8), mode="bilinear")[:, 0] > layer.thresholds[unit]).flatten(1).any(1)
    return maps.flatten(1).amax(1), fires, (planes == 1).flatten(1).double().mean(1), least


def test_every_group_is_what_all_images_say(data):
    model, found, pairs = dissected(data)
    sheet = dissect.unit_sheet(model, found, "maps", 1, pairs, levels=3, each=4, least=0.1, concept="red", **OPTIONS)
    peaks, fires, shares, least = by_hand(data, found, 1, 0.1)
    low, high = float(found["maps"].thresholds[1]), float(peaks.max())
    assert sheet.edges.tolist() == pytest.approx([low + (high - low) * at / 3 for at in range(4)])
    assert 0 < int(fires.sum()) < 40
    columns = (shares == 0, (shares > 0) & (shares < least), shares >= least)
    assert sheet.counts.tolist() == [[int((own & column).sum()) for column in columns] for own in (~fires, fires)]
    for at, places in enumerate(sheet.levels):
        above, below = sheet.edges[at], sheet.edges[at + 1] if at < 2 else torch.inf
        own = (fires & (peaks > above if at else fires) & (peaks <= below)).nonzero().flatten()
        assert int(sheet.level_images[at]) == len(own)
        expected = sorted(own.tolist(), key=lambda number: int(rank_keys(torch.tensor([number]))))[:4]
        assert sheet.numbers[places].tolist() == expected
    silent = sorted((~fires & columns[2]).nonzero().flatten().tolist(), key=lambda n: (-shares[n], n))[:4]
    alone = sorted((fires & columns[0]).nonzero().flatten().tolist(), key=lambda n: (-peaks[n], n))[:4]
    assert silent
    assert alone
    assert sheet.numbers[sheet.without_unit].tolist() == silent
    assert sheet.numbers[sheet.without_concept].tolist() == alone
    assert torch.equal(sheet.peaks, peaks[sheet.numbers])
    assert torch.equal(sheet.shares, shares[sheet.numbers])
    assert torch.equal(sheet.pictures, data[0][sheet.numbers].mul(255).round().byte())
    planes = data[1][sheet.numbers, 0] == 1
    for at in range(len(sheet.numbers)):
        if at in sheet.without_unit:
            assert torch.equal(sheet.masks[at], planes[at])
        else:
            assert bool(sheet.masks[at].any())


def test_batches_change_nothing_and_any_moment_can_be_resumed(data, tmp_path):
    model, found, pairs = dissected(data)
    one = dissect.unit_sheet(model, found, "maps", 0, pairs, **OPTIONS)
    other = list(zip(data[0].split(7), data[1].split(7)))
    again = dissect.unit_sheet(model, found, "maps", 0, other, **OPTIONS)
    assert one.save(tmp_path / "a").read_bytes() == again.save(tmp_path / "b").read_bytes()

    class Stopping(list):
        left = 3

        def __iter__(self):
            for at, pair in enumerate(list.__iter__(self)):
                if at == self.left:
                    raise KeyboardInterrupt
                yield pair

    stopping = Stopping(other)
    with pytest.raises(KeyboardInterrupt):
        dissect.unit_sheet(model, found, "maps", 0, stopping, resume=tmp_path / "run", **OPTIONS)
    stopping.left = 99
    stopped = (tmp_path / "run" / FILE).read_bytes()
    resumed = dissect.unit_sheet(model, found, "maps", 0, stopping, resume=tmp_path / "run", **OPTIONS)
    assert one.save(tmp_path / "a").read_bytes() == resumed.save(tmp_path / "c").read_bytes()
    with pytest.raises(ValueError, match="had the same edges, unit"):
        dissect.unit_sheet(model, found, "maps", 1, stopping, resume=tmp_path / "run", **OPTIONS)

    def narrower(tensors, meta, groups):
        names = [name for name in tensors if name.endswith("/pictures")]
        assert len(names) > 2
        tensors.update({name: tensors[name][..., 1:].clone() for name in names[:groups]})

    for groups, message in (
        (1, r"group \d must hold pictures as uint8 \[K, 3, h, w\]"),
        (99, "to resume, whose pictures"),
    ):
        (tmp_path / "run" / FILE).write_bytes(stopped)
        altered(tmp_path / "run" / FILE, partial(narrower, groups=groups))
        with pytest.raises(ValueError, match=message):
            dissect.unit_sheet(model, found, "maps", 0, stopping, resume=tmp_path / "run", **OPTIONS)


def test_it_is_saved_loaded_and_drawn(data, tmp_path):
    model, found, pairs = dissected(data)
    sheet = dissect.unit_sheet(model, found, "maps", 1, pairs, **OPTIONS)
    loaded = dissect.load(sheet.save(tmp_path / "x"))
    assert isinstance(loaded, dissect.UnitSheet)
    assert (loaded.concept, loaded.unit, repr(loaded)) == ("red", 1, repr(sheet))
    assert torch.equal(loaded.without_unit, sheet.without_unit)
    figure = loaded.plot(columns=3)
    assert len(figure.subfigs) == 6
    titles = [part.get_suptitle() for part in figure.subfigs]
    assert titles[0].startswith("peak above")
    assert "the unit silent" in titles[4]
    assert "no red" in titles[5]
    assert all(len(part.axes) == 3 for part, own in zip(figure.subfigs[4:], (sheet.without_unit, [])) if len(own))


def test_without_labels_there_are_levels_alone(data):
    model, images = Shuffled().eval(), list(data[0].split(16))
    found = dissect.dissect(model, "maps", images, fraction=0.05, **OPTIONS)
    sheet = dissect.unit_sheet(model, found, "maps", 0, images, levels=2, **OPTIONS)
    assert sheet.concept is None
    assert sheet.counts[:, 1:].sum() == 0
    assert int(sheet.level_images.sum()) == int(sheet.counts[1, 0])
    assert len(sheet.plot().subfigs) == 2


def test_a_generator_is_asked_for_what_it_draws():
    model, z = Painter().eval(), dissect.latents((5,), 30, seed=1)
    found = dissect.dissect(
        model, "features", z, segmenter=Colours(), segment="output", fraction=0.2, decoys=0, **OPTIONS
    )
    sheet = dissect.unit_sheet(model, found, "features", 0, z, segmenter=Colours(), concept="color/red", **OPTIONS)
    images = model(z).detach()
    assert torch.equal(sheet.shares, (images[:, 0] > 0.5).flatten(1).double().mean(1)[sheet.numbers])
    pictures = images.add(1).div(2).clamp(0, 1).mul(255).round().byte()
    assert torch.equal(sheet.pictures, pictures[sheet.numbers])


def blank(width):
    return [(torch.zeros(3, 3, 8, width), torch.zeros(3, 1, 8, width, dtype=torch.int64))]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"unit": 2}, ValueError, "unit must be below 2"),
        ({"unit": -1}, ValueError, "unit_sheet: unit must be at least 0"),
        ({"layer": "x"}, KeyError, "was not dissected"),
        ({"concept": "tree"}, KeyError, "tree"),
        ({"levels": 0}, ValueError, "levels must be at least 1"),
        ({"least": 0}, ValueError, "least must be a share"),
        ({"model": nn.Sequential(nn.Conv2d(3, 2, 2, stride=2, bias=False)).eval()}, ValueError, "has other weights"),
        ({"images": torch.zeros(3, 3, 8, 8)}, ValueError, "label planes must come with"),
        (
            {"images": [(torch.zeros(3, 3, 8, 8), torch.zeros(3, 1, 8, 8, dtype=torch.int64))]},
            ValueError,
            "fires in none",
        ),
        (
            {"images": [(torch.zeros(3, 3, 8, 10), torch.zeros(3, 1, 8, 10, dtype=torch.int64))]},
            ValueError,
            "grid must",
        ),
    ],
)
def test_what_is_wrong_is_said(data, change, error, text):
    model, found, pairs = dissected(data)
    arguments = {"model": model, "dissection": found, "layer": "maps", "unit": 0, "images": pairs, "concept": "red"}
    with pytest.raises(error, match=text):
        dissect.unit_sheet(**{**arguments, **change}, **OPTIONS)


def test_a_unit_that_never_fires_is_refused(data):
    images, planes = data
    model = nn.Sequential(Shuffled(), nn.Threshold(9.0, 0.0)).eval()
    pairs = list(zip(images.split(16), planes.split(16)))
    found = dissect.dissect(model, "1", pairs, concepts=["red"], decoys=0, **OPTIONS)
    with pytest.raises(ValueError, match="unit must fire"):
        dissect.unit_sheet(model, found, "1", 0, pairs, **OPTIONS)


def test_a_label_with_a_level_of_its_own_is_shown_at_it(data):
    model, found, pairs = dissected(data)
    low = found["maps"].thresholds
    levels = {"maps": torch.stack([torch.full((2,), torch.nan), low + 0.1], 1)}
    own = dissect.dissect(model, "maps", pairs, concepts=["red"], thresholds=levels, decoys=0, **OPTIONS)
    sheet = dissect.unit_sheet(model, own, "maps", 0, pairs, concept="red", **OPTIONS)
    assert sheet.threshold == pytest.approx(float(low[0]) + 0.1)


def test_a_file_that_says_nothing_of_a_concept_has_none(data):
    model, images = Shuffled().eval(), list(data[0].split(16))
    found = dissect.dissect(model, "maps", images, fraction=0.05, **OPTIONS)
    tensors, meta = dissect.unit_sheet(model, found, "maps", 0, images, **OPTIONS).contents()
    without = {name: value for name, value in meta.items() if name not in ("concept", "category")}
    assert dissect.UnitSheet.from_contents("x", tensors, without).concept is None
    with pytest.raises(ValueError, match="a concept has a category"):
        dissect.UnitSheet.from_contents("x", tensors, {**without, "concept": "red"})
