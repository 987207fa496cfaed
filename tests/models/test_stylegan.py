"""StyleGAN (v1) against its two published codes written out, layer by layer; files, noise, dissection and edits."""

import math

import pytest
import torch

import dissect
from dissect import Trace, latents, noise_seeds
from dissect.models import StyleGAN, load_stylegan, load_stylegan2, stylegan_channels
from dissect.models.noise import seeded_noise

from . import stylegan_transcription as published
from .stylegan_transcription import normal, nvidia_tensors, rosinality_tensors

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
#: To 128x128, where convolutions that double the rows are fused.
DEEP = (5, 4, 4, 3, 3, 2)


def saved(tensors, path, **beside):
    torch.save({**tensors, **beside}, path)
    return path


def double(tensors):
    return {name: value.double() for name, value in tensors.items()}


@pytest.mark.parametrize("seeded", [False, True])
@pytest.mark.parametrize("epsilon", [None, 1e-5])
@torch.no_grad()
def test_every_layer_is_that_of_nvidias_code(tmp_path, seeded, epsilon):
    torch.manual_seed(0)
    tensors = double(nvidia_tensors(DEEP, mapping_layers=3))
    average = normal(7).double()
    path = saved(tensors, tmp_path / "style.pt", latent_avg=average)
    model = load_stylegan(path, truncation=0.7, epsilon=epsilon, resolution=128, mapping_layers=3)
    z, seeds = latents(model, 2), noise_seeds(2)
    layers = [(tensors[f"g_mapping.dense{n}.weight"], tensors[f"g_mapping.dense{n}.bias"]) for n in range(3)]
    w = published.mapping(z, layers, math.sqrt(2), 0.01)
    torch.testing.assert_close(model.g_mapping(z), w)
    ws = w[:, None].repeat(1, 12, 1)
    ws[:, :8] = average + 0.7 * (ws[:, :8] - average)

    def noise_of(number):
        side = 4 << number // 2
        return seeded_noise(seeds if seeded else torch.zeros(1, dtype=torch.int64), number, side, side).double()

    expected = published.nvidia(tensors, ws, noise_of, epsilon or 1e-8)
    with Trace(model, list(expected)) as trace:
        images = model(z, noise=seeds if seeded else None)
    for name, values in expected.items():
        torch.testing.assert_close(trace[name], values, msg=lambda text, name=name: f"{name}: {text}")
    assert images.shape == (2, 3, 128, 128)
    assert torch.equal(images, trace["g_synthesis.torgb"])


@pytest.mark.parametrize("wrapped", [False, True])
@torch.no_grad()
def test_the_image_is_that_of_rosinalitys_code(tmp_path, wrapped):
    torch.manual_seed(0)
    tensors = double(rosinality_tensors((*DEEP, 2), mapping_layers=3))
    file = {"g_running": tensors, "generator": tensors, "g_optimizer": {"state": {}}} if wrapped else tensors
    path = saved(file, tmp_path / "100000.model.pt")
    for resolution in (16, 128):
        model = load_stylegan(path, resolution=resolution, latent_avg_samples=64)
        z, seeds, step = latents(model, 2), noise_seeds(2), int(math.log2(resolution)) - 2
        layers = [(tensors[f"style.{n}.linear.weight_orig"], tensors[f"style.{n}.linear.bias"]) for n in (1, 3, 5)]
        w = published.mapping(z, layers, math.sqrt(2), 1.0)

        def noise_of(level, seeds=seeds):
            return seeded_noise(seeds, 2 * level, 4 << level, 4 << level).double()

        torch.testing.assert_close(model(z, noise=seeds), published.rosinality(tensors, w, noise_of, step))
        average = model.latent_avg + 0.5 * (w - model.latent_avg)
        every = load_stylegan(path, resolution=resolution, latent_avg_samples=64, truncation_layers=None)
        expected = published.rosinality(tensors, average, noise_of, step)
        torch.testing.assert_close(every(z, truncation=0.5, noise=seeds), expected)


@torch.no_grad()
def test_files_of_ones_own_go_back_and_forth(tmp_path):
    torch.manual_seed(0)
    for tensors, more in ((nvidia_tensors(), {}), (rosinality_tensors(), {"resolution": 16})):
        model = load_stylegan(saved(tensors, tmp_path / "a.pt"), latent_avg_samples=32, **more)
        again = load_stylegan(saved({"state_dict": model.state_dict()}, tmp_path / "b.pt"), form=model.form)
        z = latents(model, 3)
        assert torch.equal(again(z, truncation=0.3), model(z, truncation=0.3))
        assert model.channels == (6, 5, 4)
    with pytest.raises(ValueError, match=r"1 keys are missing \(g_synthesis.blocks.4x4.bias\)"):
        load_stylegan(tmp_path / "b.pt")  # without a word whose form it is, NVIDIA's


@torch.no_grad()
def test_an_image_does_not_depend_on_its_place_and_noise_is_explicit():
    model = StyleGAN((8, 6, 4), 5, mapping_layers=2).eval()
    for name, value in model.named_parameters():
        if "noise" in name:
            value.fill_(0.5)
    z, seeds = latents(model, 5), noise_seeds(5)
    whole = model(z, noise=seeds)
    torch.testing.assert_close(whole[3:4], model(z[3:4], noise=seeds[3:4]))
    torch.testing.assert_close(whole.flip(0), model(z.flip(0), noise=seeds.flip(0)))
    same = model(z[:1].repeat(2, 1))
    torch.testing.assert_close(same[0], same[1])
    torch.testing.assert_close(same[:1], model(z[:1], noise=torch.zeros(1, dtype=torch.int64)))
    varied = model(z[:1].repeat(2, 1), noise=seeds[:2])
    assert (varied[0] - varied[1]).abs().max() > 0.01
    state = torch.get_rng_state()
    assert torch.equal(StyleGAN((8, 6, 4), 5, mapping_layers=2)(z), StyleGAN((8, 6, 4), 5, mapping_layers=2)(z))
    assert torch.equal(state, torch.get_rng_state())


@torch.no_grad()
def test_a_w_for_every_layer_and_coarse_layers_alone_are_truncated():
    model = StyleGAN((8, 6, 4), 5, mapping_layers=2, truncation_layers=3).eval()
    model.measure_latent_avg(64)
    z = latents(model, 2)
    w = model.mapped(z)[:, None].repeat(1, 6, 1)
    assert torch.equal(model(w, latent="w"), model(z))
    w[:, :3] = model.latent_avg + 0.4 * (w[:, :3] - model.latent_avg)
    torch.testing.assert_close(model(z, truncation=0.4), model(w, latent="w"))
    assert "truncation=0.4 of 3 layers" in repr(StyleGAN((4, 4), 4, truncation=0.4, truncation_layers=3))


def test_the_published_networks_have_the_published_sizes():
    with torch.device("meta"):
        model = StyleGAN(stylegan_channels(1024))
    assert stylegan_channels(1024) == (512, 512, 512, 512, 256, 128, 64, 32, 16)
    assert sum(value.numel() for value in model.g_mapping.parameters()) == 8 * (512 * 512 + 512)
    assert model.get_parameter("g_synthesis.blocks.1024x1024.epi2.style_mod.lin.weight").shape == (32, 512)
    assert model.get_parameter("g_synthesis.torgb.weight").shape == (3, 16, 1, 1)


def test_gradients_reach_every_parameter_and_initial_weights_keep_the_signal():
    model = StyleGAN((16, 16, 16), 16)
    images = model(latents(model, 4), noise=noise_seeds(4))
    images.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert 0.1 < float(images.detach().square().mean()) < 10


def test_units_are_dissected_and_edited():
    torch.manual_seed(0)
    model = StyleGAN((8, 8, 6), 8, mapping_layers=2).eval()
    with torch.no_grad():
        model.g_synthesis.torgb.weight.mul_(0.2)  # as no training has done: images about [-1, 1]
    inputs, layer = (latents(model, 24), noise_seeds(24)), "g_synthesis.blocks.8x8.epi2"

    def bright(images):
        return (images.mean(1, keepdim=True) > 0).long()

    options = {"segmenter": bright, "concepts": ["bright"], "segment": "output", "fraction": 0.1, "progress": False}
    found = dissect.dissect(model, layer, inputs, **options)
    assert found[layer].intersection.shape == (8, 2)
    before = model(inputs[0][:2], noise=inputs[1][:2])
    with dissect.ablate(model, layer, units=[0, 3]), Trace(model, layer) as trace:
        after = model(inputs[0][:2], noise=inputs[1][:2])
    assert not trace[layer][:, [0, 3]].any()
    assert not torch.equal(before, after)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"g_synthesis.blocks.8x8.epi1.style_mod.lin.bias": None}, {}, "1 keys are missing .*epi1.style_mod"),
        ({"g_synthesis.blocks.8x8.epi3.bias": normal(3)}, {}, r"1 are extra \(g_synthesis.blocks.8x8.epi3.bias\)"),
        ({"g_synthesis.blocks.16x16.conv1.weight": normal(4, 4, 1, 1)}, {}, r"\[4, 4, 1, 1\] for \[4, 4, 3, 3\]"),
        ({"g_mapping.dense1.bias": torch.full((7,), math.nan)}, {}, "NaN or infinite somewhere: g_mapping.dense1.bias"),
        ({"g_mapping.dense1.bias": normal(7).half()}, {}, "all weights must have one dtype"),
        ({"latent_avg": normal(6)}, {}, "latent_avg must be 7 finite floats"),
        ({}, {"resolution": 32}, "of 32x32 images, but makes 16"),
        ({}, {"mapping_layers": 4}, "of 4 mapping layers, but holds 8"),
        ({}, {"form": "other"}, "form must be one of"),
        ({}, {"epsilon": 0.0}, "epsilon must be a positive number"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_refused(tmp_path, change, options, message):
    tensors = {name: value for name, value in (nvidia_tensors() | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        load_stylegan(saved(tensors, tmp_path / "a.pt"), **options)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {}, r"resolution must say for which of \[8, 16\] .* but is not given"),
        ({}, {"resolution": 32}, "but is 32"),
        ({}, {"resolution": 16, "form": "nvidia"}, "form must be 'rosinality'"),
        ({"generator.progression.1.conv1.2.weight": torch.ones(5, 1, 3, 3)}, {"resolution": 16}, "taps 1 2 1"),
        ({"generator.progression.1.noise2.weight_orig": None}, {"resolution": 16}, "progression.1.noise2.weight_orig"),
    ],
)  # fmt: skip
def test_files_of_rosinalitys_that_do_not_fit_are_refused(tmp_path, change, options, message):
    tensors = {name: value for name, value in (rosinality_tensors() | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        load_stylegan(saved(tensors, tmp_path / "a.pt"), **options)


def test_other_generators_are_told_apart(tmp_path):
    path = saved(nvidia_tensors(), tmp_path / "a.pt")
    with pytest.raises(ValueError, match="holds a StyleGAN generator: use load_stylegan"):
        load_stylegan2(path)
    torch.save(dissect.models.ProGAN((4, 4), 3).state_dict(), path)
    with pytest.raises(ValueError, match="must hold a StyleGAN generator, but holds a Progressive GAN"):
        load_stylegan(path)
    with pytest.raises(ValueError, match="form must be one of"):
        StyleGAN((4, 4), 4, form="tensorflow")
