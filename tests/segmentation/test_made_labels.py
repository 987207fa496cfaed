"""Labels of what a generator makes, segmented once: the same bits as anew; what is not the same is refused."""

import json

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import dissect
from dissect.segmentation import ImageInput, LabelStore, store_labels

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
TENSORS = ("thresholds", "intersection", "unit_area", "label_area", "peak_images", "peaks")


class Painter(nn.Module):
    """Red and green as units 0 and 1 of `features` have it."""

    def __init__(self, scale=1.0, repeats=True):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.features = nn.Linear(6, 64), nn.Conv2d(4, 4, 3, padding=1)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5 * scale)
        self.repeats, self.contrast = repeats, 1.0

    def forward(self, z, noise=None):
        maps = self.features(self.first(z.flatten(1)).view(-1, 4, 4, 4))
        maps = maps if noise is None else maps + 0.1 * noise.view(-1, 1, 1, 1).to(maps)
        maps = maps if self.repeats else maps + torch.randn_like(maps)
        shown = nn.functional.interpolate(maps, size=(16, 16), mode="bilinear", align_corners=False)
        return torch.tanh(torch.cat([shown[:, :2], -4 + 0 * shown[:, :1]], 1)) * self.contrast


class Colours(nn.Module):
    """A segmenter of images in [0, 1]; it counts what it has seen."""

    concepts, input = ("red", "green"), ImageInput()

    def __init__(self, cut=0.75):
        super().__init__()
        self.cut, self.seen = nn.Parameter(torch.tensor(cut)), 0

    def forward(self, images):
        self.seen += len(images)
        return torch.stack([(images[:, 0] > self.cut).long(), (images[:, 1] > self.cut).long() * 2], 1)


Z, SEEDS = dissect.latents((6,), 13), torch.arange(13) % 3


def stored(folder, images=Z, model=None, segmenter=None, **more):
    options = {"batch_size": 3, "shard": 2, "progress": False} | more
    return store_labels(segmenter or Colours(), images, folder, generator=(model or Painter()).eval(), **options)


def dissected(images, model=None, **more):
    options = {"segment": "output", "fraction": 0.1, "batch_size": 3, "decoys": 2, "progress": False} | more
    return dissect.dissect((model or Painter()).eval(), "features", images, **options)


def same(found, expected):
    layers = found["features"], expected["features"]
    evidence = [vars(layer.evidence) for layer in layers]
    assert all(torch.equal(getattr(layers[0], name), getattr(layers[1], name)) for name in TENSORS)
    assert all(torch.equal(evidence[0][name].nan_to_num(), evidence[1][name].nan_to_num()) for name in evidence[0])
    assert torch.equal(found.images, expected.images)
    assert found.concepts == expected.concepts


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("options", [{}, {"memory_budget": 0}, {"preset": "pnas2020", "relu": False}])
def test_a_dissection_of_stored_labels_has_the_bits_of_one_that_segments(tmp_path, noisy, options):
    images = (Z, SEEDS) if noisy else Z
    segmenter = Colours()
    store = stored(tmp_path, images, segmenter=segmenter)
    assert (len(store), store.made_size, store.size) == (13, (16, 16), (16, 16))
    expected, segmenter.seen = dissected(images, segmenter=Colours(), **options), 0
    found = dissected(store.beside(images), **options)
    same(found, expected)
    assert found.settings["segmenter_sees"] == expected.settings["segmenter_sees"] == "[-1, 1] to [0, 1]"
    same(dissected(store.beside(images), segmenter=segmenter, **options), expected)
    assert segmenter.seen == 0


def test_z_come_in_any_way_and_runs_go_on(tmp_path):
    store = stored(tmp_path / "store")
    of_batches = stored(tmp_path / "of-batches", list(Z.split(3)))
    for images, beside in (
        (TensorDataset(Z), store.beside(TensorDataset(Z))),
        (list(Z.split(3)), store.beside(list(Z.split(3)))),
        (TensorDataset(Z), DataLoader(store.beside(Z), batch_size=3)),
        (Z, of_batches.beside(Z)),
    ):
        same(dissected(beside), dissected(images, segmenter=Colours()))
    for _ in range(2):
        same(dissected(store.beside(Z), resume=tmp_path / "run"), dissected(Z, segmenter=Colours()))


def test_other_methods_take_stored_labels(tmp_path):
    model, segmenter, store = Painter().eval(), Colours(), stored(tmp_path)
    options = {"segment": "output", "batch_size": 3, "progress": False}
    swept = dissect.sweep(model, "features", store.beside(Z), **options)
    assert swept.units() == dissect.sweep(model, "features", Z, segmenter=segmenter, **options).units()
    d = dissected(Z, segmenter=segmenter)
    more = {"batch_size": 3, "progress": False}
    found = dissect.formulas(model, d, store.beside(Z), **more)
    assert found.rows() == dissect.formulas(model, d, Z, segmenter=segmenter, **more).rows()
    unit = int(d["features"].best_iou.argmax())
    sheet = dissect.unit_sheet(model, d, "features", unit, store.beside(Z), **more)
    assert torch.equal(
        sheet.counts, dissect.unit_sheet(model, d, "features", unit, Z, segmenter=segmenter, **more).counts
    )


def test_it_goes_on_where_it_was(tmp_path):
    assert stored(tmp_path / "parts", part=(1, 2)) is None
    segmenter = Colours()
    whole, parts = stored(tmp_path / "whole"), stored(tmp_path / "parts", segmenter=segmenter)
    assert segmenter.seen == 7  # batches 0, 1 and 4; the others' shard was there
    assert parts.digest() == whole.digest()


def test_another_generator_other_z_or_another_segmenter_are_refused(tmp_path):
    store, other = stored(tmp_path / "store"), Z.clone()
    other[7] += 1e-6
    for images, model, options, told in (
        (Z, Painter(1.001), {}, "labels of this generator's images, but is of another"),
        (other, None, {}, "z and noise seeds must be those .* images 6 to 8 are others"),
        ((Z, SEEDS), None, {}, "z and noise seeds must be those"),
        (Z, None, {"segmenter": Colours(0.7)}, "labels of this segmenter, but is of another"),
        (Z, None, {"segment": "input"}, 'say segment="output"'),
    ):
        with pytest.raises(ValueError, match=told):
            dissected(store.beside(images), model, **options)
    with pytest.raises(ValueError, match="z and noise seeds must be those"):
        dissected(Subset(store.beside(Z), range(1, 13)))
    model = Painter()
    with dissect.ablate(model, "features", units=[0]), pytest.raises(ValueError, match="otherwise edited"):
        dissected(store.beside(Z), model)
    model.contrast = 0.9  # what no weight tells
    with pytest.raises(ValueError, match="must make the images whose labels"):
        dissected(store.beside(Z), model)
    for images in (Z[:12], torch.cat([Z, Z])):
        with pytest.raises(ValueError, match="must be the 13 z of the store"):
            store.beside(images)
    for images in (Z[:12].split(3), [*Z.split(3), Z[:3]]):
        with pytest.raises(ValueError, match="must be the 13 z of the store"):
            dissected(store.beside(list(images)))
    with pytest.raises(ValueError, match="must hold labels of this generator's images, but is of another"):
        store.check_generator(Painter(2.0))


def test_a_store_of_another_is_not_written_on(tmp_path):
    stored(tmp_path)
    for options, names in (
        ({"images": Z + 1}, "first, z"),
        ({"model": Painter(1.5)}, "generator"),
        ({"segmenter": Colours(0.6)}, "segmenter"),
        ({"images": (Z, SEEDS)}, "z"),
    ):
        with pytest.raises(ValueError, match=f"of the same {names}, but .* is a store of another"):
            stored(tmp_path, **options)


def test_what_cannot_be_stored_of_a_generator_is_refused(tmp_path):
    with pytest.raises(ValueError, match="segmenter must see what the generator makes"):
        store_labels(None, Z, tmp_path, generator=Painter().eval(), concepts=["red"])
    with pytest.raises(ValueError, match="must be in evaluation mode"):
        store_labels(Colours(), Z, tmp_path, generator=Painter().train())
    with pytest.raises(ValueError, match="must make the same images of the same z"):
        stored(tmp_path / "noise", model=Painter(repeats=False))


def test_a_manifest_must_tell_all_of_a_generator(tmp_path):
    stored(tmp_path)
    manifest = json.loads((tmp_path / "labels.json").read_text())
    for change in ({"version": 1}, {"generator": None}, {"made": None}):
        (tmp_path / "labels.json").write_text(json.dumps(manifest | change))
        with pytest.raises(ValueError, match="version 2 is of what a generator made"):
            LabelStore(tmp_path)
