"""Layers read along directions in the place of their units."""

import pytest
import torch
from small_dissection import CONCEPTS, Scenes, network, same
from torch import nn

import dissect
from dissect.experiments import figures

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")


def run(directions, layers="3", **options):
    options = {"concepts": CONCEPTS, "progress": False, "batch_size": 5, "fraction": 0.05} | options
    model, images = options.pop("model", None) or network(), options.pop("images", Scenes())
    return dissect.dissect(model, layers, images, directions=directions, **options)


def rows(count=9, seed=1, units=6):
    return torch.randn(count, units, generator=torch.Generator().manual_seed(seed))


def appended(matrix, relu=False):
    """The network with a 1x1 convolution behind it, whose units are the directions."""
    layer = nn.Conv2d(matrix.shape[1], len(matrix), 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(matrix[:, :, None, None])
    return nn.Sequential(*network(), *([nn.ReLU()] if relu else []), layer).eval()


class Doubled(nn.Module):
    """Two features per unit, neither linear."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, maps):
        return torch.cat([(self.scale * maps).relu(), (-maps).relu() ** 2], 1)


def test_directions_of_single_units_give_the_units_bits():
    plain, along = run(None), run({"3": torch.eye(6)})
    assert along.settings.pop("directions")
    same(plain, along)
    flipped = run({"3": torch.eye(6)[[5, 0]] * 4})
    assert torch.equal(flipped["3"].intersection, plain["3"].intersection[[5, 0]])
    assert torch.equal(flipped["3"].thresholds, plain["3"].thresholds[[5, 0]] * 4)


@pytest.mark.parametrize("preset", ["default", "pnas2020", "tpami2018"])
def test_as_a_convolution_behind_the_layer(preset):
    matrix, relu = rows(), preset != "default"
    along = run({"3": matrix}, preset=preset, grid="half_pixel")
    model = appended(matrix, relu)
    conv = run(None, str(len(model) - 1), model=model, preset=preset, grid="half_pixel", relu=False)[
        str(len(model) - 1)
    ]
    assert torch.allclose(along["3"].thresholds, conv.thresholds, rtol=1e-5, atol=1e-6)
    assert torch.allclose(along["3"].iou, conv.iou, atol=0.02)
    assert torch.equal(along["3"].peak_images[:, 0], conv.peak_images[:, 0])


def test_the_most_informative_thresholds_too():
    other = Scenes()
    other.images = other.images.flip(3) * 0.9
    found = run({"3": rows(3)}, preset="iclr2019", grid="half_pixel", thresholds_from=other, fraction=None)
    assert found["3"].label_thresholds.shape == (3, len(CONCEPTS) + 1)


def test_some_layers_by_units_others_along_directions():
    both = run({"1": rows(4, units=8)}, ["1", "3"])
    plain = run(None, ["1", "3"])
    assert both["1"].num_units == 4
    assert torch.equal(both["3"].intersection, plain["3"].intersection)
    assert repr(both).startswith("<Dissection of '1' (4 directions, ")
    assert (both.word("1"), both.word("3")) == ("direction", "unit")
    assert "direction" in repr(both.best("1")).split("\n")[0]
    assert "direction" not in repr(both.best()).split("\n")[0]
    assert "direction" not in repr(both.best("3"))


def test_an_encoder_in_the_place_of_directions():
    along = run({"3": Doubled().eval()})
    rectified = run(None, "4", model=nn.Sequential(*network(), nn.ReLU()).eval())
    assert along["3"].num_units == 12
    assert torch.equal(along["3"].intersection[:6], rectified["4"].intersection)
    assert run({"3": lambda maps: maps[:, :2] * maps[:, 2:4]})["3"].num_units == 2


def test_kept_maps_and_computed_ones_give_the_same():
    same(run({"3": rows()}), run({"3": rows()}, memory_budget=0))


def test_results_say_which_and_are_read_again(tmp_path):
    found = run({"3": rows()})
    told = found.settings["directions"]["3"]
    assert (told["kind"], told["count"]) == ("directions", 9)
    assert run({"3": rows(seed=2)}).settings["directions"]["3"]["digest"] != told["digest"]
    again = dissect.load(found.save(tmp_path / "d"))
    same(found, again)
    assert again.word("3") == "direction"
    found.settings["directions"] = {"2": told}
    with pytest.raises(ValueError, match="directions are of layers that it has"):
        dissect.load(found.save(tmp_path / "e"))


def test_a_run_goes_on_along_the_same_directions_only(tmp_path):
    found = run({"3": rows()}, resume=tmp_path / "a")
    same(found, run({"3": rows()}, resume=tmp_path / "a"))
    with pytest.raises(ValueError, match="had the same options"):
        run({"3": rows(seed=2)}, resume=tmp_path / "a")
    run({"3": Doubled().eval()}, resume=tmp_path / "b")
    with pytest.raises(ValueError, match="had the same options"):
        run({"3": Doubled(2.0).eval()}, resume=tmp_path / "b")


def test_the_page_speaks_of_directions(tmp_path):
    page = dissect.write_report(run({"3": rows()}), tmp_path).read_text()
    assert "<h1>9 directions" in page
    assert 'data-word="direction"' in page
    assert "Directions of 3" in page
    mixed = dissect.write_report(run({"1": rows(4, units=8)}, ["1", "3"]), tmp_path).read_text()
    assert "<h1>10 units" in mixed
    assert "a <strong>direction</strong>" in mixed
    plain = dissect.write_report(run(None), tmp_path).read_text()
    assert "<h1>6 units" in plain
    assert "a <strong>direction</strong>" not in plain


def test_what_reads_the_layer_again_needs_them_too():
    model, found = network(), run({"3": rows()})
    searched = dissect.formulas(
        model, found, Scenes(), length=2, directions={"3": rows()}, batch_size=5, progress=False
    )
    assert len(searched.rows()) == 9
    unit = int((found["3"].unit_area > 0).nonzero()[0])
    sheet = dissect.unit_sheet(
        model, found, "3", unit, Scenes(), directions={"3": rows()}, batch_size=5, progress=False
    )
    assert int(sheet.counts.sum()) == 21
    for directions, state in ((None, "are not given"), ({"3": rows(seed=2)}, "are others")):
        with pytest.raises(ValueError, match=f"directions of layer '3' must be those of the dissection, but {state}"):
            dissect.formulas(model, found, Scenes(), directions=directions, progress=False)
    with pytest.raises(ValueError, match="must be left out: the dissection is of the layer's units, but are given"):
        dissect.formulas(model, run(None), Scenes(), directions={"3": rows()}, progress=False)
    assert dissect.sweep(model, "3", Scenes(), directions={"3": rows()}, progress=False)["3"].num_units == 9


def test_what_finds_units_again_by_their_numbers_refuses_directions():
    found = run({"3": rows(6)})
    with pytest.raises(
        ValueError, match="units_by_iou: dissection must be of the units of layer '3', but that was read"
    ):
        dissect.generators.units_by_iou(found, "3", "tree")
    with pytest.raises(ValueError, match="read along directions"):
        figures.unit_names(found, "3")


def test_they_stand_beside_the_units_in_a_comparison():
    rows_of = dissect.compare({"units": run(None), "rotated": run({"3": rows(6)})})
    assert len(rows_of.layers) == 2


@pytest.mark.parametrize(
    ("directions", "error", "message"),
    [
        (rows(), TypeError, "directions must be a mapping {layer: [V, U]}, but are Tensor"),
        ({"1": rows()}, ValueError, "directions must be of layers ['3'], but name '1'"),
        ({"3": [[1.0] * 6]}, TypeError, "directions of layer '3' must be a float32 tensor [V, U], or make maps"),
        ({"3": rows().double()}, TypeError, "must be float32, but are torch.float64"),
        ({"3": rows(units=5)}, ValueError, "must have shape [V, U] with U=6, its units, but got [9, 5]"),
        ({"3": rows()[0]}, ValueError, "must have shape [V, U], a row each, with one at least, but got [6]"),
        ({"3": rows()[:0]}, ValueError, "with one at least, but got [0, 6]"),
        ({"3": rows().index_fill(0, torch.tensor(4), torch.nan)}, ValueError, "must be finite, but number 4 is not"),
        ({"3": rows().index_fill(0, torch.tensor(4), 0)}, ValueError, "must not be 0, but number 4 is"),
        ({"3": Doubled()}, ValueError, "encoder of layer '3' must be in evaluation mode"),
        (
            {"3": lambda maps: maps[:, :, 0]},
            ValueError,
            "encoder of layer '3' must give maps [N, V, h, w] of maps [5, 6,",
        ),
        ({"3": lambda maps: maps.double()}, TypeError, "must give float32 maps, but gave torch.float64"),
        ({"3": lambda maps: maps * torch.nan}, ValueError, "layer '3'"),
    ],
)
def test_what_cannot_be_is_refused(directions, error, message):
    with pytest.raises(error) as caught:
        run(directions)
    assert str(caught.value).startswith("dissect: ")
    assert message in str(caught.value)


def test_more_than_have_room_are_refused(monkeypatch):
    monkeypatch.setattr("dissect.dissection.plan.ROOM", 128 * 5 * 8)
    assert run({"3": rows(8)}, memory_budget=0)["3"].num_units == 8
    with pytest.raises(
        ValueError, match=r"layer '3' has 9 directions and only 8 fit; .* \(directions\[:8\], encoder\[:8\]\)"
    ):
        run({"3": rows(9)}, memory_budget=0)
