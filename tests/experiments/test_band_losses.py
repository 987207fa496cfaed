"""What classes lose within bands of activation, against the network written out."""

import json

import pytest
import torch
from torch import nn

import dissect
from dissect.cli import commands
from dissect.experiments import AblatedBands, ablated_bands, band_losses
from dissect.experiments.ablated_bands import Bands
from dissect.files import progress as files

from .conftest import BRIGHTEST_PROJECT, make_importance

UNITS = torch.tensor([[0, 3], [1, 2], [-1, -1]])


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(5)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    with torch.no_grad():
        model[0].bias[3] = -0.4  # 0 on most cells, so that its lower bands are empty
    return model, torch.rand(7, 3, 6, 6), torch.tensor([0, 1, 0, 0, 1, 2, 0])


def test_against_the_network_written_out(made):
    model, images, classes = made
    shares = [0.1, 0.5]
    rows = list(band_losses(model, "0", images, classes, UNITS, shares=shares, batch_size=3))
    with torch.no_grad():
        maps = model[0](images)

    def logits(maps):
        with torch.no_grad():
            return model[4](maps.clamp(min=0).mean((2, 3)))

    expected = []
    for number in (0, 1):
        own = classes == number
        for top, share in ((0.0, 0.1), (0.1, 0.5), (0.5, None), (None, None)):
            changed = maps.clone()
            for unit in UNITS[number].tolist():
                cells = maps[:, unit].flatten().sort(descending=True).values

                def level(share, cells=cells):
                    return max(0.0, float(cells[int(share * len(cells) + 1e-9)]))

                high = float("inf") if not top else level(top)
                low = 0.0 if share is None else level(share)
                inside = (maps[:, unit] > low) & (maps[:, unit] <= high)
                changed[:, unit][inside if top is not None else torch.ones_like(inside)] = 0
            before, after = logits(maps)[own], logits(changed)[own]
            recall, without = ((part.argmax(1) == number).double().mean() for part in (before, after))
            fall = float((before - after)[:, number].double().mean())
            expected.append((number, top, share, int(own.sum()), float(recall), float(without), fall))
    assert [row[:6] for row in rows] == [row[:6] for row in expected]
    for row, other in zip(rows, expected):
        assert row.fall == pytest.approx(other[6], abs=1e-6)
    assert any(row.fall != 0 for row in rows)


def test_refusals(made):
    model, images, classes = made
    with pytest.raises(ValueError, match=r"^band_losses: shares must rise within 0 and 1, but are \[0.5, 0.1\]"):
        band_losses(model, "0", images, classes, UNITS, shares=[0.5, 0.1])
    with pytest.raises(
        ValueError, match=r"units must be \[K=3, m\] below 4, the layer's units, but are \[3, 2\] up to 4"
    ):
        band_losses(model, "0", images, classes, UNITS + 1)
    with pytest.raises(ValueError, match=r"images must be \[N, 3, H, W\] and classes \[N\], but classes are \[2\]"):
        band_losses(model, "0", images, [0, 1], UNITS)
    with pytest.raises(ValueError, match="classes must be numbers below 3, the network's, but one is not"):
        band_losses(model, "0", images, classes + 1, UNITS)
    with pytest.raises(ValueError, match="units must be of a class that has images, but there is none"):
        band_losses(model, "0", images, classes, torch.full((3, 2), -1))
    with pytest.raises(ValueError, match="evaluation mode"):
        band_losses(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout()), "0", images, classes, UNITS)
    with pytest.raises(KeyError, match="no layer '9'"):
        band_losses(model, "9", images, classes, UNITS)


def pairs(made, size=3):
    return list(zip(made[1].split(size), made[2].split(size)))


def measured(made, **options):
    return ablated_bands(made[0], "0", pairs(made), UNITS, shares=[0.1, 0.5], controls=2, progress=False, **options)


def test_controls_are_rows_of_other_units(made):
    """Each control is what band_losses says of its units, which are none of the class's."""
    found = measured(made)
    assert list(found.rows()) == list(band_losses(*made[:1], "0", *made[1:], UNITS, shares=[0.1, 0.5], batch_size=3))
    for control in (0, 1):
        units = found.units[1 + control]
        assert [{*units[at].tolist()} & {*UNITS[at].tolist()} for at in (0, 1)] == [set(), set()]
        assert units[2].tolist() == [-1, -1]
        other = band_losses(made[0], "0", made[1], made[2], units, shares=[0.1, 0.5])
        assert [row[:6] for row in found.rows(control)] == [row[:6] for row in other]
        assert [row.fall for row in found.rows(control)] == pytest.approx([row.fall for row in other], abs=1e-6)
    drawn_otherwise = measured(made, seed=1)
    assert torch.equal(drawn_otherwise.fall[0], found.fall[0])
    with pytest.raises(IndexError, match="control must be below 2, but is 2"):
        found.rows(2)
    with pytest.raises(ValueError, match=r"^ablated_bands: controls must be 0 where a class's 3 units leave fewer"):
        ablated_bands(made[0], "0", pairs(made), torch.tensor([[0, 1, 2]] * 3), progress=False)
    with pytest.raises(ValueError, match="images must come with class numbers"):
        ablated_bands(made[0], "0", [made[1]], UNITS, progress=False)


def test_the_average_class(made):
    """By band the mean over classes, of their units and of all controls; no interval of two classes."""
    found = measured(made)
    rows = {control: list(found.rows(control)) for control in (None, 0, 1)}
    for row in found.summary():
        own = {control: [one for one in part if (one.top, one.share) == (row.top, row.share)]
               for control, part in rows.items()}  # fmt: skip
        lost = {control: sum(one.recall - one.without for one in part) / 2 for control, part in own.items()}
        assert (row.classes, row.lost) == (2, pytest.approx(lost[None]))
        assert row.control == pytest.approx((lost[0] + lost[1]) / 2)
        assert row.fall == pytest.approx(sum(one.fall for one in own[None]) / 2)
        assert row.control_fall == pytest.approx(sum(one.fall for one in [*own[0], *own[1]]) / 4)
        assert row.lost_low is row.beyond_low is None
    parts = torch.zeros(3, 1), torch.zeros(2, 12, 1).long(), torch.arange(12).repeat(2), torch.ones(24).bool()
    many = AblatedBands("a", [0.5], *parts, torch.arange(144).view(2, 3, 24) % 5 > 0, torch.rand(2, 3, 24), {})
    for row in many.summary():
        assert row.lost_low <= row.lost <= row.lost_high
        assert row.beyond_low <= row.lost - row.control <= row.beyond_high


def same(one, other):
    parts = one.contents()[0], other.contents()[0]
    return all(torch.equal(value, parts[1][name]) for name, value in parts[0].items())


def test_interrupted_anywhere_and_files(made, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "EVERY", 0)
    monkeypatch.setattr(files, "TIMES", 0)
    expected = measured(made)
    assert same(expected, dissect.load(expected.save(tmp_path / "a")))
    assert "2 classes" in repr(expected)
    assert expected.plot().axes[0].get_xticklabels()[-1].get_text() == "whole units"
    for stop in (2, 5, 8):
        seen, compute = [0], Bands.compute

        def stopping(self, step, seen=seen, stop=stop, compute=compute):
            seen[0] += 1
            if seen[0] == stop:
                raise KeyboardInterrupt
            return compute(self, step)

        with monkeypatch.context() as patched:
            patched.setattr(Bands, "compute", stopping)
            with pytest.raises(KeyboardInterrupt):
                measured(made, resume=tmp_path / str(stop))
        if stop == 5:
            with pytest.raises(ValueError, match="options"):
                measured(made, resume=tmp_path / "5", seed=3)
        assert same(expected, measured(made, resume=tmp_path / str(stop)))


def test_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "banded_project.py").write_text(BRIGHTEST_PROJECT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    make_importance(torch.eye(3) * 0.4, layer="0").save("mine")
    more = ["mine.importance", "--model", "banded_project:model", "--val", "banded_project:Scenes", "--most", "1"]
    more += ["--shares", "0.5"]
    assert commands.main(["experiment", "bands", *more, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["top"] for row in told["bands"]] == [0.0, 0.5, None]
    assert told["bands"][-1]["lost"] == 1.0
    assert (tmp_path / "out" / "chart.png").stat().st_size > 1000
    assert commands.main(["experiment", "bands", *more]) == 0
    assert "points of recall lost" in capsys.readouterr().out
    assert commands.main(["experiment", "bands", *more, "--most", "4"]) == 2
    assert "--most must be at most 3, the layer's units, but is 4" in capsys.readouterr().err
