"""dissect(): the whole way on a small network, against a plain loop; its result."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from small_dissection import CONCEPTS, Scenes, network, run, same
from torch import nn
from torch.utils.data import DataLoader

import dissect
from dissect.data.pictures import to_pictures
from dissect.files.tensors import save_tensors
from dissect.reference import upsample


@pytest.fixture(scope="module")
def result():
    return run()


def test_against_a_plain_loop(result):
    scenes, model = Scenes(), network()
    maps = torch.cat([model(scenes.images[i : i + 5]) for i in range(0, 21, 5)]).detach()
    grid = dissect.Grid.half_pixel((8, 8), (16, 16))
    values = upsample(maps, grid.rows, grid.columns)
    for unit in range(6):
        ranked = values[:, unit].flatten().sort(descending=True).values
        threshold = ranked[int(0.05 * ranked.numel())]
        assert result["3"].thresholds[unit] == threshold
        fires = values[:, unit] > threshold
        for label in range(1, 5):
            carries = (scenes.planes == label).any(1)
            expected = (fires & carries).sum().double() / (fires | carries).sum()
            assert result["3"].iou[unit, label] == expected
    peaks = maps.amax((2, 3))
    assert torch.equal(result["3"].peak_images, peaks.T.sort(1, descending=True).indices[:, :5])


def test_a_probed_layer_is_read_before_the_in_place_relu_that_follows():
    before = run(layers="0")["0"]
    assert (before.peak_maps < 0).any()
    assert (run(layers="1")["1"].peak_maps >= 0).all()


def test_the_memory_budget_changes_nothing(result):
    same(result, run(memory_budget=0))
    same(result, run(memory_budget=40_000))
    same(result, run(memory_budget=20_000, disk_budget=40_000))
    same(result, run(memory_budget=0, disk_budget=10**9))


def test_nothing_is_left_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run(memory_budget=0, disk_budget=10**9)
    scenes = Scenes()
    broken = [scenes.images[:5], scenes.images[5:10] * float("nan")]
    with pytest.raises(ValueError, match="unit 0"):
        run(images=[(part, scenes.planes[:5]) for part in broken], memory_budget=0, disk_budget=10**9)
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_images(result):
    scenes = Scenes()
    batches = [(scenes.images[i : i + 5], scenes.planes[i : i + 5]) for i in range(0, 21, 5)]
    same(result, run(images=batches, concepts=CONCEPTS))
    same(result, run(images=DataLoader(scenes, batch_size=5), concepts=CONCEPTS))
    same(result, run(images=(batch for batch in batches), concepts=CONCEPTS))

    class Segmenter:
        concepts = CONCEPTS

        def __call__(self, images):
            return scenes.planes[[int((scenes.images == image).flatten(1).all(1).nonzero()) for image in images]]

    same(result, run(images=scenes.images, segmenter=Segmenter()))


def test_names_are_numbers_where_there_are_none():
    scenes = Scenes()
    unnamed = run(images=[(scenes.images, scenes.planes)])
    assert unnamed.concepts.names == ("-", "1", "2", "3", "4")
    assert set(unnamed.concepts.categories) == {"", "concept"}


def test_tables(result):
    best = result.best("3")
    assert [row.unit for row in best] == list(range(6))
    for row in best:
        label = int(result["3"].best_label[row.unit])
        assert row.concept == CONCEPTS[label - 1][0]
        assert row.iou == float(result["3"].iou[row.unit, 1:].max())
        assert row.iou <= row.attainable <= 1
        assert row.firing <= 0.05
        assert row.state in ("ok", "sparse")
    assert len(result.best()) == 14
    assert "concept" in str(best).splitlines()[0]
    unique = result.unique_detectors("3")
    rows = result.detectors("3")
    assert [row.category for row in unique] == ["object", "color", "scene"]
    assert sum(row.units for row in unique) == len(rows)
    assert sum(row.concepts for row in unique) == len({(row.concept, row.category) for row in rows})


def test_dead_and_sparse_units_are_told():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()).eval()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[1, 0], model[0].weight[2, 0] = 1.0, 1.0
        model[0].bias.copy_(torch.tensor([-1.0, -0.99, -0.5]))  # never, rarely, half of the time
    found = dissect.dissect(model, "1", Scenes(), fraction=0.2, progress=False)
    assert found["1"].states() == ["dead", "sparse", "ok"]
    row = found.best()[0]
    assert (row.concept, row.category, row.iou, row.state) == ("-", "", 0.0, "dead")


def test_masks_are_where_the_unit_fires(result):
    layer = result["3"]
    masks = layer.masks(2)
    assert masks.shape == (5, 16, 16)
    maps = network()(Scenes().images)[layer.peak_images[2]][:, 2]
    values = upsample(maps, layer.grid.rows, layer.grid.columns)
    assert ((values > layer.thresholds[2]) == masks).float().mean() > 0.999  # another batch size may round otherwise


def test_pictures_are_those_of_the_top_images(result):
    wanted = sorted({n for layer in result.layers.values() for n in layer.peak_images.flatten().tolist()})
    assert result.image_numbers.tolist() == wanted
    assert torch.equal(result.image(wanted[0]), to_pictures(Scenes().images[wanted[0]][None])[0])
    with pytest.raises(KeyError, match="image 999 is no unit's top image"):
        result.image(999)


def test_shown_in_a_line(result):
    detectors, units = len(result.detectors("1")), result["1"].num_units
    assert repr(result).startswith("<Dissection of ")
    assert f"'1' ({units} units, {detectors} detectors)" in repr(result)
    assert repr(result).endswith(" over 21 images>")
    assert repr(result["1"]).startswith(f"<LayerDissection of '1': {units} units, ")
    assert len(repr(result)) < 200
    # Equality of tensors is no truth value: two results are the same only if they are one.
    assert result != dissect.Dissection(**{name: getattr(result, name) for name in ("layers", "concepts", "settings",
                                           "images", "image_numbers")})  # fmt: skip


def test_scopes_and_positions():
    scenes = Scenes()
    scenes.planes[:10, 1] = 0  # no colour in half of the images
    everywhere, category = run(images=scenes), run(images=scenes, scope="category")
    assert torch.equal(everywhere["3"].intersection, category["3"].intersection)
    assert (category["3"].iou[:, 3] > everywhere["3"].iou[:, 3]).all()
    assert torch.equal(category["3"].iou[:, 1], everywhere["3"].iou[:, 1])
    assert not torch.equal(run(positions="feature")["3"].thresholds, everywhere["3"].thresholds)


def test_save_and_load(result, tmp_path):
    path = result.save(tmp_path / "vgg16-conv5_3")
    assert path.name == "vgg16-conv5_3.dissection"
    for given in (tmp_path / "vgg16-conv5_3", path, str(path)):
        loaded = dissect.load(given)
        same(result, loaded)
        assert loaded.best() == result.best()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_files_that_are_no_results(result, tmp_path):
    path = result.save(tmp_path / "result")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        dissect.load(tmp_path / "other")
    whole = path.read_bytes()
    for cut in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="is damaged or no safetensors file"):
            dissect.load(path)
    save_tensors(path, "state", 1, {}, {})
    with pytest.raises(ValueError, match="must hold a dissection, but holds state"):
        dissect.Dissection.load(path)
    save_tensors(path, "dissection", 99, {}, {})
    with pytest.raises(ValueError, match="of version 99, newer than the 1 known here"):
        dissect.load(path)


def test_a_failed_save_leaves_the_old_file(result, tmp_path, monkeypatch):
    path = result.save(tmp_path / "result")
    before = path.read_bytes()

    def full_disk(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr("dissect.files.tensors.save_file", full_disk)
    with pytest.raises(OSError, match="no space left"):
        result.save(tmp_path / "result")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_follows_the_layers_need_not_fit_the_images(result):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(7, 2)).eval()
    found = dissect.dissect(model, "0", Scenes(), progress=False)
    assert torch.equal(found["0"].thresholds, dissect.dissect(model[:1], "0", Scenes(), progress=False)["0"].thresholds)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        dissect.dissect(model, ["0", "2"], Scenes(), progress=False)


class Pair(nn.Module):
    def forward(self, tokens):
        return tokens, None


class Transformer(nn.Module):
    """Maps as a vision transformer gives them: a class token, then the grid's; and in a tuple."""

    def __init__(self, model):
        super().__init__()
        self.model, self.last, self.pair = model, nn.Identity(), Pair()

    def forward(self, images):
        tokens = self.model(images).flatten(2).transpose(1, 2)
        return self.pair(self.last(torch.cat([torch.full_like(tokens[:, :1], 9.0), tokens], 1)))


def test_tokens_are_read_as_maps(result):
    model, options = Transformer(network()).eval(), {"batch_size": 5, "fraction": 0.05, "progress": False}
    for layer in ("last", "pair"):
        found = dissect.dissect(model, layer, Scenes(), tokens=(8, 8), **options)
        for field in ("thresholds", "intersection", "peak_maps"):
            assert torch.equal(getattr(found[layer], field), getattr(result["3"], field))
    with pytest.raises(ValueError, match=r"gave \[5, 65, 6\]; give tokens=\(h, w\)"):
        dissect.dissect(model, "last", Scenes(), **options)
    for grid, others in (((9, 9), -16), ((7, 8), 9)):
        with pytest.raises(ValueError, match=rf"the grid of the 65 tokens of layer 'last', .* leaves {others}"):
            dissect.dissect(model, "last", Scenes(), tokens=grid, **options)


def test_attainable_is_a_bound_under_every_scope():
    for scope in ("all", "category"):
        for row in run(scope=scope).best():
            assert row.iou <= row.attainable <= 1, scope
    # Half of the images show the category; a unit that fires on all of them everywhere meets the concept there.
    images, planes = torch.ones(4, 1, 4, 4), torch.zeros(4, 1, 4, 4, dtype=torch.int64)
    images[:, :, 0, 0], planes[:2] = 0, 1
    found = dissect.dissect(nn.Sequential(nn.ReLU()), "0", [(images, planes)], fraction=0.99, scope="category",
                            positions="feature", concepts=["a"], progress=False)  # fmt: skip
    (row,) = found.best()
    assert row.iou <= row.attainable


def test_numbers_of_any_kind_are_options(result):
    options = {"fraction": Fraction(1, 20), "top_images": np.int64(5), "batch_size": np.int64(5)}
    same(result, run(**options))
    assert run(**options).settings == result.settings


def test_pictures_are_made_by_the_data_set_or_as_asked(result):
    def dark(images):
        return (images[:, :3] * 10).to(torch.uint8)

    class Normalised(Scenes):
        def to_pictures(self, images):
            return dark(images)

    expected = dark(Scenes().images)[result.image_numbers]
    for found in (run(pictures=dark), run(images=Normalised())):
        assert torch.equal(found.images, expected)


def test_settings_are_kept(result):
    settings = json.loads(json.dumps(result.settings))
    assert set(settings.pop("provenance")) == {"network", "weights", "images", "dissect", "torch", "date"}
    assert settings == {
        "preset": "default",
        "fraction": 0.05,
        "positions": "pixel",
        "grid": "half_pixel",
        "border": "edge",
        "step": None,
        "scope": "all",
        "detector_iou": 0.04,
        "relu": False,
        "levels": "fraction",
        "match": "iou",
        "tokens": None,
        "layouts": {"1": ["NUHW", "module"], "3": ["NUHW", "module"]},
        "num_images": 21,
        "images_only": False,
        "decoys": 4,
        "resamples": 200,
        "seed": 0,
    }


def test_units_of_channels_that_come_last_are_those_of_interventions():
    class Last(nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1)

    torch.manual_seed(0)
    last = nn.Sequential(Last(), nn.Linear(3, 6), nn.ReLU()).eval()
    first = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU()).eval()
    with torch.no_grad():
        first[0].weight.copy_(last[1].weight[..., None, None])
        first[0].bias.copy_(last[1].bias)
    options = {"batch_size": 5, "fraction": 0.05, "progress": False}
    one, other = (dissect.dissect(model, layer, Scenes(), **options) for model, layer in ((last, "2"), (first, "1")))
    assert one["2"].num_units == 6
    assert torch.allclose(one["2"].thresholds, other["1"].thresholds, atol=1e-6)
    with dissect.ablate(last, "2", [0, 1, 2]):
        found = dissect.dissect(last, "1", Scenes(), **options)
    assert found["1"].num_units == 6


def test_a_dissection_is_looked_through_like_a_dict(result):
    assert [result[name] for name in result] == list(result.layers.values())
    assert len(result) == len(result.layers)
    assert "3" in result
    assert "4" not in result
