"""Checkpoints: each published layout goes through a file; every bad file is refused with its reason."""

import argparse
import math

import pytest
import torch
from safetensors.torch import save_file

from dissect import latents
from dissect.models import (
    PROGAN_VARIANTS,
    WGANGP,
    ProGAN,
    StyleGAN2,
    load_progan,
    load_stylegan2,
    load_wgangp,
    stylegan2_checkpoint,
)

from .layouts import ablation_tensors, normal, progan_tensors, stylegan2_tensors


def rewriting_name(key):
    """Where the paper on rewriting finds a tensor (layer{n}, to_rgb{j}), under the names of the steps here."""
    parts = key.split(".")
    block, rest = ".".join(parts[:2]), ".".join(parts[2:])
    if parts[0] == "convs":
        block = f"layer{int(parts[1]) + 3}"
    elif parts[0] == "to_rgbs":
        block = f"to_rgb{int(parts[1]) + 2}"
    else:
        block, rest = {"conv1": "layer2"}.get(parts[0], parts[0]), ".".join(parts[1:])
    return f"{block}.{rest}".replace("conv.modulation", "style").replace("conv.blur", "blur")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@torch.no_grad()
def test_progan_in_the_published_layout(tmp_path, suffix):
    tensors, path = progan_tensors(), tmp_path / f"progan{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    model = load_progan(path, resolution=16)
    state = model.state_dict()
    assert state.keys() == tensors.keys()
    assert all(torch.equal(state[key], value) for key, value in tensors.items())
    assert (model.channels, model.z_channels, model.pixel_norm, model.after_conv) == ((6, 5, 4), 3, "every", "wscale")
    assert not model.training
    assert model(latents(model, 2)).shape == (2, 3, 16, 16)


@pytest.mark.parametrize("levels", range(4, 10))
@torch.no_grad()
def test_every_resolution(tmp_path, levels):
    """Up to 1024x1024: layers and noises have numbers of two digits."""
    path, channels = tmp_path / "large.pt", (2,) * levels
    tensors = progan_tensors(channels)
    torch.save(tensors, path)
    model = load_progan(path, resolution=2 << levels)
    last = [name for name, _ in model.named_children()][-2:]
    assert last == [f"layer{2 * levels}", f"output_{2 << levels}x{2 << levels}"]
    assert all(torch.equal(value, tensors[key]) for key, value in model.state_dict().items())

    tensors = ablation_tensors("wscale", channels)
    torch.save(tensors, path)
    values = load_progan(path, resolution=2 << levels).state_dict().values()
    assert all(torch.equal(*pair) for pair in zip(values, tensors.values(), strict=True))

    tensors = stylegan2_tensors(channels, 4, mapping_layers=2)
    torch.save({"g_ema": tensors, "latent_avg": normal(4)}, path)
    back = stylegan2_checkpoint(load_stylegan2(path, resolution=2 << levels))["g_ema"]
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[key], value) for key, value in tensors.items())


@torch.no_grad()
def test_progan_under_state_dict_with_old_keys_and_in_the_format_before_pytorch_1_6(tmp_path):
    path, plain = tmp_path / "old.pth", tmp_path / "new.pth"
    old = ablation_tensors("wscale")
    torch.save({"epoch": 3, "state_dict": old}, path, _use_new_zipfile_serialization=False)
    renamed = {key.replace("output.", "output_8x8."): value for key, value in old.items()}
    for i in range(4):
        renamed = {key.replace(f"features.{i}.", f"layer{i + 1}."): value for key, value in renamed.items()}
    torch.save(renamed, plain)
    model, same = load_progan(path), load_progan(plain)
    z = latents(model, 2)
    assert torch.equal(model(z), same(z))


@pytest.mark.parametrize("variant", sorted(PROGAN_VARIANTS))
@torch.no_grad()
def test_progan_in_the_layout_of_the_ablations(tmp_path, variant):
    choices, path = PROGAN_VARIANTS[variant], tmp_path / f"{variant}.pth"
    tensors = ablation_tensors(choices["after_conv"])
    torch.save(tensors, path)
    stored = choices["after_conv"] == "stored_wscale"
    model = load_progan(path, **({"pixel_norm": choices["pixel_norm"]} if stored else {}))
    assert (model.pixel_norm, model.after_conv) == (choices["pixel_norm"], choices["after_conv"])
    assert torch.equal(model.layer4.conv.weight, tensors["features.3.conv.weight"])
    expected = ProGAN((6, 5), z_channels=3, **choices).eval()
    for name, value in expected.state_dict().items():
        layer, rest = name.split(".", 1)
        old = f"output.{rest}" if "output" in layer else f"features.{int(layer[5:]) - 1}.{rest}"
        value.copy_(tensors.get(old, torch.tensor(0)))
    z = latents(model, 2)
    assert torch.equal(model(z), expected(z))


def test_clamp_is_the_loaders_choice(tmp_path):
    path = tmp_path / "progan.pth"
    torch.save(progan_tensors(), path)
    plain, clamped = load_progan(path), load_progan(path, clamp=True)
    z = latents(plain, 4)
    assert torch.equal(clamped(z), plain(z).clamp(-1, 1))


@pytest.mark.parametrize("layers", [2, 8])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@torch.no_grad()
def test_stylegan2_in_the_layout_of_rosinality(tmp_path, layers, suffix):
    tensors, average, path = stylegan2_tensors(mapping_layers=layers), normal(8), tmp_path / f"style{suffix}"
    if suffix == ".pt":
        torch.save({"g_ema": tensors, "latent_avg": average}, path)
    else:
        save_file(tensors | {"latent_avg": average}, path)
    model = load_stylegan2(path, truncation=0.5)
    state = model.state_dict()
    assert len(state) == len(tensors) + 1
    assert torch.equal(model.latent_avg, average)
    for key, value in tensors.items():
        if key.startswith(("style.", "noises.", "input.")):
            number = key.split("_")[-1]
            name = f"layer{int(number) + 2}.noise.fixed" if key.startswith("noises") else key
            name = name.replace("style.", "mapping.fc").replace("input.input", "layer1.input")
        else:
            name = rewriting_name(key)
        assert torch.equal(state[name].flatten(), value.flatten()), key
    assert model(latents(model, 2)).shape == (2, 3, 16, 16)


@torch.no_grad()
def test_stylegan2_goes_back_into_the_layout_of_rosinality(tmp_path):
    tensors, average = stylegan2_tensors(mapping_layers=2), normal(8)
    path, again = tmp_path / "style.pt", tmp_path / "again.pt"
    torch.save({"g_ema": tensors, "latent_avg": average}, path)
    torch.save(stylegan2_checkpoint(load_stylegan2(path)), again)
    back = torch.load(again, weights_only=True)
    assert torch.equal(back["latent_avg"], average)
    assert back["g_ema"].keys() == tensors.keys()
    assert all(torch.equal(back["g_ema"][key], value) for key, value in tensors.items())


@torch.no_grad()
def test_a_training_checkpoint_has_no_average_and_it_is_measured(tmp_path):
    path, tensors = tmp_path / "550000.pt", stylegan2_tensors(mapping_layers=2)
    args = argparse.Namespace(size=16, n_mlp=2)
    state = {"step": torch.tensor(1.0), "exp_avg": normal(3)}
    optimizer = {"state": {0: state}, "param_groups": [{"lr": 0.002, "params": [0]}]}
    torch.save({"g": tensors, "d": {}, "g_ema": tensors, "g_optim": optimizer, "args": args, "ada_aug_p": 0.1}, path)
    model = load_stylegan2(path, latent_avg_samples=100)
    expected = model.mapping(latents(model, 100, seed=0)).mean(0)
    torch.testing.assert_close(model.latent_avg, expected)
    assert load_stylegan2(path).latent_avg.shape == (8,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_models_of_ours_go_through_files(tmp_path, dtype):
    models = (
        (ProGAN((6, 4), z_channels=5, after_conv="batch_norm", pixel_norm="none"), load_progan),
        (StyleGAN2((6, 4), w_channels=5, mapping_layers=3), load_stylegan2),
        (WGANGP((6, 4), z_channels=5), load_wgangp),
    )
    for model, load in models:
        state = model.to(dtype).state_dict()
        for suffix in (".pt", ".safetensors"):
            path = tmp_path / f"{type(model).__name__}{suffix}"
            save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
            loaded = load(path).state_dict()
            assert all(torch.equal(loaded[name], value) for name, value in state.items())
            assert loaded["layer1.input" if load is load_stylegan2 else "layer2.conv2.weight"
                          if load is load_wgangp else "layer1.conv.weight"].dtype == dtype  # fmt: skip


def test_loaded_weights_can_be_trained_and_leave_the_file_alone(tmp_path):
    path = tmp_path / "progan.pth"
    torch.save(progan_tensors(), path)
    before = path.read_bytes()
    model = load_progan(path)
    model(latents(model, 2)).sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(parameter.grad)
    assert path.read_bytes() == before


def test_missing_extra_and_misshapen_weights_are_named(tmp_path):
    path = tmp_path / "bad.pth"
    tensors = progan_tensors((4, 4, 4, 4, 4, 4))
    for i in range(2, 13):
        del tensors[f"layer{i}.wscale.b"]
    torch.save(tensors | {"layer99.conv.weight": normal(1)}, path)
    with pytest.raises(
        ValueError, match=r"11 keys are missing \(layer10.wscale.b, .* and 1 more\), 1 are extra \(layer99"
    ):
        load_progan(path)
    torch.save(progan_tensors() | {"layer3.conv.weight": normal(5, 6, 5, 5)}, path)
    with pytest.raises(
        ValueError, match=r"1 weights have another shape .*: layer3.conv.weight \[5, 6, 5, 5\] for \[5, 6,"
    ):
        load_progan(path)
    torch.save({key: value for key, value in stylegan2_tensors().items() if key != "noises.noise_3"}, path)
    with pytest.raises(
        ValueError, match=r"fit a StyleGAN2 generator of 16x16 images: 1 keys are missing \(noises.noise_3\)"
    ):
        load_stylegan2(path)


@pytest.mark.parametrize("own", [False, True])
def test_a_stylegan2_without_fixed_noise_gets_some_that_is_always_the_same(tmp_path, own):
    path = tmp_path / "550000.pt"
    model = StyleGAN2((4, 4), w_channels=4, mapping_layers=2)
    whole = {"state_dict": model.state_dict()} if own else stylegan2_checkpoint(model)
    section = "state_dict" if own else "g_ema"
    without = {key: value for key, value in whole[section].items() if "fixed" not in key and "noises" not in key}
    torch.save(whole | {section: without}, path)
    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with pytest.warns(UserWarning, match=r"550000\.pt holds no fixed noise.*new noise was drawn \(seed 0\)"):
            drawn.append(load_stylegan2(path).state_dict())
    fixed = {key: value for key, value in drawn[0].items() if key.endswith("noise.fixed")}
    assert {key: value.shape[2] for key, value in fixed.items()} == {
        f"layer{n}.noise.fixed": s for n, s in ((2, 4), (3, 8), (4, 8))
    }
    assert all(torch.equal(value, drawn[1][key]) and 0.5 < value.std() < 1.5 for key, value in fixed.items())
    assert all(torch.equal(drawn[0][key], value) for key, value in model.state_dict().items() if key not in fixed)


@pytest.mark.parametrize("load", [load_progan, load_wgangp])
def test_batch_normalisations_of_before_they_counted(tmp_path, load):
    model = (
        WGANGP((4, 4), z_channels=3)
        if load is load_wgangp
        else ProGAN((4, 4), z_channels=3, after_conv="batch_norm", pixel_norm="none")
    )
    state = model.state_dict()
    counts = [key for key in state if key.endswith("num_batches_tracked")]
    torch.save({key: value for key, value in state.items() if key not in counts}, tmp_path / "old.pt")
    assert load(tmp_path / "old.pt").state_dict().keys() == state.keys()
    torch.save({key: value for key, value in state.items() if key != counts[0]}, tmp_path / "damaged.pt")
    with pytest.raises(ValueError, match=rf"1 keys are missing \({counts[0]}\)"):
        load(tmp_path / "damaged.pt")


def test_pixel_norm_is_compared_with_what_the_keys_say(tmp_path):
    path = tmp_path / "progan.pt"
    torch.save(progan_tensors(), path)
    assert load_progan(path, pixel_norm="every").pixel_norm == "every"
    with pytest.warns(UserWarning, match=r"pixel_norm='none' is taken as given, but published .* have 'every'"):
        assert load_progan(path, pixel_norm="none").pixel_norm == "none"
    with pytest.raises(ValueError, match=r"load_progan: pixel_norm must be one of .* but got 'all'"):
        load_progan(path, pixel_norm="all")
    torch.save(ablation_tensors("batch_norm"), path)
    with pytest.raises(ValueError, match=r"progan\.pt has batch normalisation, beside which pixel_norm must be 'none'"):
        load_progan(path, pixel_norm="every")


def test_files_that_claim_to_be_huge_are_refused_at_once(tmp_path):
    path = tmp_path / "huge.pt"
    torch.save({"g_ema": stylegan2_tensors(), "args": argparse.Namespace(n_mlp=10**9)}, path)
    with pytest.raises(ValueError, match="of at most 64 mapping layers, but its arguments say n_mlp=1000000000"):
        load_stylegan2(path)
    torch.save({f"layer{n}.conv.weight": torch.ones(1) for n in range(1, 41)}, path)
    with pytest.raises(ValueError, match="Progressive GAN generator of at most 12 resolutions, but its keys are of 20"):
        load_progan(path)
    torch.save(progan_tensors() | {f"layer{'9' * 5000}.conv.weight": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="1 are extra"):
        load_progan(path)


def test_another_architecture_or_resolution_is_named(tmp_path):
    progan, style, wgan, other = (tmp_path / f"{name}.pt" for name in ("progan", "style", "wgan", "other"))
    torch.save(progan_tensors(), progan)
    torch.save({"g_ema": stylegan2_tensors()}, style)
    torch.save(WGANGP((4, 4), z_channels=3).state_dict(), wgan)
    torch.save({"fc.weight": normal(3)}, other)
    with pytest.raises(
        ValueError, match=r"must hold a StyleGAN2 generator, but holds a Progressive GAN .*: use load_progan"
    ):
        load_stylegan2(progan)
    with pytest.raises(ValueError, match=r"holds g_ema \(dict\); it looks like a StyleGAN2 .*load_stylegan2 reads"):
        load_progan(style)
    torch.save(stylegan2_tensors(), style)
    with pytest.raises(
        ValueError, match=r"must hold a Progressive GAN generator, but holds a StyleGAN2 .*load_stylegan2"
    ):
        load_progan(style)
    with pytest.raises(ValueError, match=r"must hold a Progressive GAN generator, but holds a WGAN-GP .*load_wgangp"):
        load_progan(wgan)
    with pytest.raises(ValueError, match=r"must hold a WGAN-GP generator, but its keys are fc.weight"):
        load_wgangp(other)
    for load, path in ((load_progan, progan), (load_stylegan2, style)):
        with pytest.raises(ValueError, match=r"must hold a generator of 256x256 images, but makes 16"):
            load(path, resolution=256)
    with pytest.raises(ValueError, match="of 64x64 images, but makes 8"):
        load_wgangp(wgan, resolution=64)


def test_where_pixels_are_normalised_must_be_said_where_no_key_tells(tmp_path):
    path = tmp_path / "equalized.pth"
    torch.save(ablation_tensors("stored_wscale"), path)
    with pytest.raises(ValueError, match=r"stores wscale.scale, and no key tells .* pass pixel_norm='every'"):
        load_progan(path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_named(tmp_path, value):
    path, tensors = tmp_path / "nan.pt", progan_tensors()
    tensors["layer3.wscale.b"][1] = value
    torch.save(tensors, path)
    with pytest.raises(ValueError, match=r"1 weights are NaN or infinite somewhere: layer3\.wscale\.b"):
        load_progan(path)
    torch.save({"g_ema": stylegan2_tensors(), "latent_avg": torch.full((8,), value)}, path)
    with pytest.raises(ValueError, match="latent_avg must be 8 finite floats"):
        load_stylegan2(path)
    torch.save({"g_ema": stylegan2_tensors(), "latent_avg": normal(9)}, path)
    with pytest.raises(ValueError, match=r"latent_avg must be 8 finite floats, as w has, but is \[9\] torch.float32"):
        load_stylegan2(path)


def test_weights_of_several_dtypes_are_refused(tmp_path):
    path, tensors = tmp_path / "mixed.pt", progan_tensors()
    tensors["layer3.wscale.b"] = tensors["layer3.wscale.b"].double()
    torch.save(tensors, path)
    with pytest.raises(ValueError, match=r"must have one dtype, but some are torch.float32 and some torch.float64"):
        load_progan(path)


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("zipped", [True, False])
def test_more_than_tensors_is_refused_and_does_not_run(tmp_path, capsys, zipped):
    path = tmp_path / "pickle.pt"
    for content in (progan_tensors() | {"payload": Payload()}, ProGAN((4,), z_channels=3)):
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(
            ValueError, match=r"holds more than tensors \(.*\) and is refused, .* save its state_dict\(\) alone\.$"
        ):
            load_progan(path)
    assert "code ran" not in capsys.readouterr().out
    torch.save(progan_tensors() | {"note": "text", "epoch": 3}, path)
    with pytest.raises(ValueError, match=r"must hold only tensors .* but also holds note \(str\), epoch \(int\)"):
        load_progan(path)
    torch.save([normal(3)], path)
    with pytest.raises(ValueError, match="must hold a dictionary of tensors, but holds a list"):
        load_progan(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"text, not weights", b"\x80\x02}q"])
@pytest.mark.parametrize("name", ["bad.pt", "bad.safetensors"])
def test_damaged_files(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged or no file of weights"):
        load_progan(path)


def test_torchs_advice_to_unpickle_is_not_passed_on(tmp_path):
    script, result = tmp_path / "draw.py", tmp_path / "result.dissection"
    script.write_text("import torch\n")
    with pytest.raises(ValueError, match=r"draw\.py is damaged or no file of weights\.$"):
        load_progan(script)
    save_file({"x": torch.zeros(1)}, result)
    with pytest.raises(ValueError, match=r"that of a safetensors file, but its name does not end in \.safetensors\.$"):
        load_progan(result)


def test_a_file_cut_short(tmp_path):
    path = tmp_path / "progan.pt"
    for zipped in (True, False):
        torch.save(progan_tensors(), path, _use_new_zipfile_serialization=zipped)
        path.write_bytes(path.read_bytes()[:-300])
        with pytest.raises(ValueError, match="is damaged or no file of weights"):
            load_progan(path)


def test_no_such_file(tmp_path):
    for load in (load_progan, load_stylegan2, load_wgangp):
        with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.pt"):
            load(tmp_path / "none.pt")
