"""dissect(..., grid=): any grid for each layer, its errors, and runs that go on."""

import pytest
import torch
from small_dissection import Scenes, run, same

import dissect
from dissect import Grid
from dissect.dissection import presets

HALF = {"1": Grid.half_pixel((16, 16), (16, 16)), "3": Grid.half_pixel((8, 8), (16, 16))}
CORNERS = {"1": HALF["1"], "3": Grid.align_corners((8, 8), (16, 16))}


def corners(layer, maps, planes):
    return Grid.align_corners(maps, planes)


def counts(one, other):
    for layer in one.layers:
        for field in ("thresholds", "intersection", "unit_area", "peak_maps"):
            assert torch.equal(getattr(one[layer], field), getattr(other[layer], field)), (layer, field)


@pytest.mark.parametrize("grid", [HALF, lambda layer, maps, planes: Grid.half_pixel(maps, planes)])
def test_the_defaults_own_grid_given(grid):
    counts(run(), run(grid=grid))


def test_each_way_to_give_the_same_grids():
    mapping, function = run(grid=CORNERS), run(grid=corners)
    same(mapping, function)
    same(run(layers="3", grid=CORNERS["3"]), run(layers="3", grid=corners))
    assert not torch.equal(mapping["3"].thresholds, run()["3"].thresholds)
    assert mapping["3"].grid.key == CORNERS["3"].key
    assert {name: mapping.settings[name] for name in ("grid", "border", "grids")} == {
        "grid": "given", "border": "given", "grids": {layer: grid.key[:16] for layer, grid in CORNERS.items()},
    }  # fmt: skip
    named = run(grid="receptive_field")
    assert (named.settings["grid"], "grids" in named.settings) == ("receptive_field", False)


def test_a_given_grid_is_kept_and_shown(tmp_path):
    found = run(grid=CORNERS)
    same(found, dissect.load(found.save(tmp_path / "found")))
    expected = dissect.reference.upsample(found["3"].peak_maps[2], CORNERS["3"].rows, CORNERS["3"].columns)
    assert torch.equal(found["3"].masks(2), expected > found["3"].thresholds[2])


@pytest.mark.parametrize(("cells", "first", "last"), [(13, -2.475, 14.475), (55, -11.1375, 65.1375)])
def test_the_grid_that_was_published_for_alexnet(cells, first, last):
    """FACTS 1.2: conv5 (13x13) was sampled at -2.48 ... 14.48, conv1 (55x55) at -11.1 ... 65.1."""
    scale, offset = 1.0, 0.0
    chain = [(11, 4, 0), (3, 2, 0), (5, 1, 2), (3, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1), (3, 2, 0)]  # pool5 too
    for kernel, stride, padding in reversed(chain):
        scale, offset = scale * stride, offset * stride + (kernel - 1) / 2 - padding
    shrink = 55 / 226
    at = (torch.arange(56, dtype=torch.float64) - offset * shrink) / (scale * shrink) * 2 / (6 - 1) - 1
    assert ((at[[0, -1]] + 1) / 2 * (cells - 1)).tolist() == pytest.approx([first, last])
    maps = torch.rand(1, 2, cells, cells)
    flow = torch.stack(torch.meshgrid(at, at, indexing="xy"), -1)[None]
    sampled = torch.nn.functional.grid_sample(maps.double(), flow, align_corners=True, padding_mode="zeros")

    shown = "\n".join(line[4:] for line in presets.__doc__.splitlines() if line.startswith((">>> ", "... ")))
    names = {}
    exec(shown, names)  # what the documentation says gives this
    grid = names["published"]("conv", (cells, cells), (56, 56))
    assert (dissect.reference.upsample(maps, grid.rows, grid.columns) - sampled).abs().max() < 1e-5


class Stopping(Scenes):
    """Fails when an image is asked for the n-th time."""

    def __init__(self, stop):
        super().__init__()
        self.left = stop

    def __getitem__(self, index):
        self.left -= 1
        if self.left < 0:
            raise OSError("stopped")
        return super().__getitem__(index)


@pytest.mark.parametrize("given", [CORNERS, corners])
@pytest.mark.parametrize("stop", [6, 30, 64])
def test_resumed(given, stop, tmp_path, monkeypatch):
    monkeypatch.setattr("dissect.files.progress.EVERY", 0.0)
    monkeypatch.setattr("dissect.files.progress.TIMES", 0)
    with pytest.raises(OSError, match="stopped"):
        run(images=Stopping(stop), resume=tmp_path, grid=given, memory_budget=0)
    for others in (HALF, lambda layer, maps, planes: HALF[layer]):
        with pytest.raises(ValueError, match="run had the same grid, but the one there had another for layer '3'"):
            run(resume=tmp_path, grid=others)
    with pytest.raises(ValueError, match="run had the same options"):
        run(resume=tmp_path)
    same(run(grid=given), run(resume=tmp_path, grid=given))
    with pytest.raises(ValueError, match="run had the same grid"):  # a finished one too
        run(resume=tmp_path, grid=HALF)


@pytest.mark.parametrize(
    ("grid", "error", "message"),
    [
        ("corners", ValueError, r"grid must be one of \('half_pixel', 'receptive_field', 'netdissect'\), but got 'c"),
        (3, TypeError, "grid must be one of .* a Grid, a mapping .* or a function .* but got int"),
        ({"1": HALF["1"]}, ValueError, r"grid must hold a Grid of each layer, \['1', '3'\], and .*\['1'\]"),
        ({**HALF, "4": HALF["3"]}, ValueError, r"and no more, but holds \['1', '3', '4'\]"),
        ({**HALF, "3": "half_pixel"}, TypeError, "grid of layer '3' must be a dissect.Grid, but is str"),
        (lambda *_: None, TypeError, "grid of layer '1' must be a dissect.Grid, but is NoneType"),
        (HALF["1"], ValueError, r"^dissect: layer '3': grid must be for feature maps of \(8, 8\), but got \(16, 16\)"),
        (
            {**HALF, "3": Grid.half_pixel((8, 8), (8, 8))}, ValueError,
            r"layer '3': grid must be for segmentations of \(16, 16\), but got \(8, 8\)",
        ),
    ],
)  # fmt: skip
def test_errors(grid, error, message):
    with pytest.raises(error, match=message):
        run(grid=grid)


def test_border_belongs_to_the_grid():
    with pytest.raises(ValueError, match="border must not be given beside a Grid, which has its own, but is 'edge'"):
        run(grid=HALF, border="edge")
    assert run(grid="half_pixel", border="zeros").settings["border"] == "zeros"


def test_netdissects_places_that_do_not_exist():
    with pytest.raises(ValueError, match=r"layer '1': NetDissect's whole pixels need .* use the exact geometry"):
        run(layers="1", preset="tpami2018")
    assert run(layers="1", preset="tpami2018", grid="receptive_field").settings["preset"] == "tpami2018"


def test_network_is_the_chain_that_is_expected():
    layers = [(3, 1, 1), (2, 2, 0), (3, 1, 1)]
    exact = Grid.receptive_field(layers, (8, 8), (16, 16))
    counts(run(layers="3", grid="receptive_field"), run(layers="3", grid=exact))
    whole = Grid.netdissect(layers, (8, 8), (16, 16))
    counts(run(layers="3", grid="netdissect"), run(layers="3", grid=whole))
    assert not torch.equal(run(layers="3", grid=exact)["3"].thresholds, run(layers="3", grid=whole)["3"].thresholds)
