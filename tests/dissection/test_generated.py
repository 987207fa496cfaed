"""dissect() of generators: the segmenter sees what they make of z."""

import pytest
import torch
from torch import nn

import dissect
from dissect import tiny
from dissect.data.pictures import signed_pictures

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")


class Painter(nn.Module):
    """Units of `features` are drawn as they are: unit 0 makes red, unit 1 green, the others nothing."""

    z_shape = (6,)

    def __init__(self, noisy=False, scale=1.0, flat=False):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Linear(6, 4 * 4 * 4)
        self.features = nn.Conv2d(4, 4, 3, padding=1)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5)
        self.noisy, self.scale, self.flat = noisy, scale, flat

    def forward(self, z, noise=None):
        maps = self.features(self.first(z.flatten(1)).view(-1, 4, 4, 4))
        if noise is not None:
            maps = maps + 0.1 * noise.view(-1, 1, 1, 1).to(maps)
        if self.noisy:
            maps = maps + torch.randn_like(maps)
        shown = nn.functional.interpolate(maps, size=(16, 16), mode="bilinear", align_corners=False)
        red_and_green = torch.tanh(shown[:, :2])
        images = torch.cat([red_and_green, -torch.ones_like(red_and_green[:, :1])], 1) * self.scale
        return images.flatten(2) if self.flat else images


class Colours:
    concepts = ("red", "green")

    def __init__(self):
        self.seen = []

    def __call__(self, images):
        self.seen.append(images.clone())
        return torch.stack([(images[:, 0] > 0.5).long(), (images[:, 1] > 0.5).long() * 2], 1)


def dissected(model, images, **options):
    options = {"segmenter": Colours(), "segment": "output", "progress": False, "batch_size": 5} | options
    return dissect.dissect(model.eval(), "features", images, **options)


def differing(a, b):
    """Names of tensors of two layers that are not the same."""
    tensors = {name: value for name, value in vars(a).items() if isinstance(value, torch.Tensor)}
    assert len(tensors) > 5
    return [name for name, value in tensors.items() if not torch.equal(value, getattr(b, name))]


def test_counts_are_those_of_what_comes_out():
    model, z = Painter(), dissect.latents((6,), 33)
    segmenter = Colours()
    found = dissected(model, z, segmenter=segmenter)
    images = model(z).detach()
    layer = found["features"]
    fires = nn.functional.interpolate(maps_of(model, z), size=(16, 16), mode="bilinear", align_corners=False)
    fires = fires > layer.thresholds[:, None, None]
    for label, plane in enumerate((images[:, 0] > 0.5, images[:, 1] > 0.5), 1):
        expected = (fires & plane[:, None]).sum((0, 2, 3))
        assert (layer.intersection[:, label] - expected).abs().max() <= 2  # bilinear, in another order of rounding
        assert layer.label_area[label] == plane.sum()
    assert [row.concept for row in found.best("features")][:2] == ["red", "green"]
    assert found.settings["segment"] == "output"
    assert torch.equal(torch.cat(segmenter.seen)[:33], torch.cat([model(part).detach() for part in z.split(5)]))
    shown = {int(number): picture for number, picture in zip(found.image_numbers, found.images)}
    number = int(layer.peak_images[0, 0])
    assert torch.equal(shown[number], signed_pictures(model(z[number : number + 1]))[0])
    assert torch.equal(shown[number], ((model(z[number : number + 1]) + 1) / 2 * 255).round().to(torch.uint8)[0])


def maps_of(model, z):
    with dissect.Trace(model, "features") as trace:
        model(z)
    return trace["features"]


@pytest.mark.parametrize("budget", [0, 1 << 30])
def test_batches_memory_and_ways_to_give_z_change_nothing(budget):
    model, z = Painter(), dissect.latents((6,), 24)
    seeds = dissect.noise_seeds(24, seed=0)
    expected = dissected(model, (z, seeds))["features"]
    for images in ((z, seeds), list(zip(z.split(5), seeds.split(5))), torch.utils.data.TensorDataset(z, seeds)):
        assert not differing(dissected(model, images, memory_budget=budget)["features"], expected)
    assert differing(dissected(model, z)["features"], expected)  # without noise


def test_a_run_goes_on_and_refuses_other_z(tmp_path):
    model, z = Painter(), dissect.latents((6,), 24)
    expected = dissected(model, z)["features"]
    calls = []

    class Stops(Colours):
        def __call__(self, images):
            calls.append(len(images))
            if len(calls) == 4:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        dissected(model, z, segmenter=Stops(), resume=tmp_path)
    other = z.clone()
    other[7] += 1
    with pytest.raises(ValueError, match="batch 1 have changed"):
        dissected(model, other, segmenter=Stops(), resume=tmp_path, memory_budget=0)
    assert not differing(dissected(model, z, segmenter=Stops(), resume=tmp_path)["features"], expected)
    with pytest.raises(ValueError, match=r"had the same .*options"):
        dissected(model, z, segmenter=Stops(), resume=tmp_path, top_images=3)


def test_without_a_segmenter_there_are_pictures_and_thresholds():
    model, z = Painter(), dissect.latents((6,), 24)
    found = dissected(model, z, segmenter=None)
    assert found.images_only
    assert found.images.shape[1:] == (3, 16, 16)


@pytest.mark.parametrize(
    ("model", "images", "options", "error", "message"),
    [
        (Painter(noisy=True), None, {}, ValueError, "must make the same images of the same z"),
        (Painter(scale=100.0), None, {}, ValueError, r"must be in \[-1, 1\], as generators give them, but"),
        (Painter(scale=float("nan")), None, {}, ValueError, "must be in .* but those of batch 0 are in .nan"),
        (Painter(), torch.zeros(3, 6, dtype=torch.long), {}, TypeError, "must be batches of z, floats"),
        (Painter(), None, {"segment": "both"}, ValueError, "segment must be one of"),
        (Painter(), None, {"preset": "tpami2018"}, ValueError, 'grid must be "half_pixel" or a Grid'),
        (Painter(), None, {"segmenter": None, "concepts": ["red"]}, ValueError, "segmenter must be given"),
        (Painter(), [(torch.randn(2, 6), torch.zeros(3, dtype=torch.long))], {}, ValueError, r"integers \[N=2\]"),
        (Painter(), (torch.randn(2, 6), torch.zeros(3, dtype=torch.long)), {}, ValueError, "but are 2 and 3"),
        (Painter(flat=True), None, {}, ValueError, r"must make images \[N=5, 3, H, W\] of z, but made \[5, 3, 256\]"),
    ],
)  # fmt: skip
def test_what_is_no_generator_is_refused(model, images, options, error, message):
    images = dissect.latents((6,), 12) if images is None else images
    with pytest.raises(error, match=message):
        dissected(model, images, **options)


def test_noise_needs_a_generator_that_takes_it():
    model = tiny.generator("progan-street-small")
    z = dissect.latents(model, 4)
    with pytest.raises(TypeError, match="must take noise seeds as its argument noise"):
        dissect.dissect(model, "layer3", (z, dissect.noise_seeds(4)), segment="output", progress=False)
    with pytest.raises(ValueError, match='To dissect a generator, say segment="output"'):
        dissect.dissect(model, "layer3", z[..., None, None] if z.ndim == 2 else z, progress=False)


def test_stylegan2s_images_do_not_depend_on_their_place_in_a_batch():
    model, z, seeds = tiny.generator("stylegan2-street-watermark"), None, dissect.noise_seeds(7)
    z = dissect.latents(model, 7)
    options = {"segmenter": tiny.segmenter(signed=True), "segment": "output", "progress": False}
    whole, parts = (
        dissect.dissect(model, "layer3", (z, seeds), batch_size=size, **options)["layer3"] for size in (7, 2)
    )
    assert (whole.intersection - parts.intersection).abs().sum() <= whole.intersection.sum() // 1000
