"""The training script of generators, on a handful of small images."""

import json
import re
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from dissect import Trace
from dissect.files.tensors import load_tensors
from dissect.models import latents
from dissect.models.latent import BLOCK
from dissect.tiny import train_gan
from dissect.tiny.networks import load_generator
from dissect.tiny.training import feature_critic
from dissect.tiny.training.recipes import RECIPES, Recipe
from dissect.tiny.training.run import Training, scenes_version
from dissect.tiny.weight_files import FORMAT

#: Its stages are of 200 images each, its average forgets within few.
SMALL = Recipe(
    channels=(8, 8, 4), critic=(8, 8, 4), z_channels=6, stages=((4, 0.2), (8, 0.2), (16, 0.2)), half_life=2000,
    scenes=40, watermark=True,
)  # fmt: skip
#: Of a step: 25 of them are all 500 images, and an epoch two.
BATCH = 20


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setitem(RECIPES, "small", SMALL)
    monkeypatch.setitem(RECIPES, "small-style", replace(SMALL, kind="stylegan2"))
    monkeypatch.setitem(RECIPES, "small-wgan", replace(SMALL, loss="wgan"))
    batch_norm = replace(SMALL, pixel_norm="none", after_conv="batch_norm", rate=0.001, stages=((16, 0.4),))
    monkeypatch.setitem(RECIPES, "small-batch-norm", batch_norm)
    monkeypatch.setitem(RECIPES, "small-critic", replace(SMALL, feature_critic=True, cooldown=0.2))
    monkeypatch.setattr(feature_critic, "SMALLEST", 16)
    monkeypatch.setattr(train_gan, "SNAPSHOT_EVERY", 200)
    monkeypatch.setattr(train_gan, "STATISTICS", 4 * BLOCK)
    monkeypatch.setattr(Recipe, "images", property(lambda _: 500))  # into the last of the stages


def stopped_at(run, step):
    """Trains up to a step, and leaves the run's checkpoint there."""
    while run.step < step:
        run._train_step()
    run._save()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder and the run of a recipe that was trained at a stretch, for all tests that look at it."""
    found = {}

    def trained(name):
        if name not in found:
            folder = tmp_path_factory.mktemp(name)
            run = train_gan.GanTraining(name, folder, 3, "cpu", BATCH)
            assert run.train(10)
            found[name] = folder, run
        return found[name]

    return trained


def weights(path):
    return load_tensors(path, *FORMAT)[0]


@pytest.mark.parametrize("name", ["small", "small-style", "small-wgan", "small-batch-norm", "small-critic"])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, name, whole):
    folder, run = whole(name)
    assert not train_gan.GanTraining(name, tmp_path, 3, "cpu", BATCH).train(0)
    early = train_gan.GanTraining(name, tmp_path, 3, "cpu", BATCH)
    assert early.step == 1
    stopped_at(early, 21)  # where the largest size fades in, and all that learns has learned
    stopped = train_gan.GanTraining(name, tmp_path, 3, "cpu", BATCH)
    assert stopped.step == 21
    for one, other in zip(early._checkpoint.networks.values(), stopped._checkpoint.networks.values(), strict=True):
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())
    assert stopped.train(10)
    for optimizer in stopped.adversaries.optimizers:
        assert optimizer.param_groups[0]["lr"] == optimizer.defaults["lr"] * stopped.recipe.pace(stopped.seen - BATCH)
    one, other = (weights(place / f"{name}.safetensors") for place in (folder, tmp_path))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert {value.dtype for key, value in one.items() if "num_batches" not in key} == {torch.float16}
    batches = {int(value) for key, value in one.items() if "num_batches" in key}
    assert batches <= {train_gan.STATISTICS // BLOCK}

    model = load_generator(folder / f"{name}.safetensors")
    z = latents(model, 2)
    with torch.no_grad():
        written, trained = model(z), run.averaged(16).eval()(z)
    assert written.shape == (2, 3, 16, 16)
    assert torch.allclose(written, trained, atol=0.05)
    assert not torch.allclose(written, Recipe.of(run.about["recipe"]).generator(3)(z), atol=0.05)


def test_it_leaves_snapshots_and_a_log(whole):
    folder, _ = whole("small")
    assert sorted(path.name for path in (folder / "snapshots" / "small").iterdir()) == [
        "000000200.safetensors", "000000400.safetensors", "000000500.safetensors",
    ]  # fmt: skip
    lines = [json.loads(line) for line in (folder / "small.log").read_text().splitlines()]
    assert [(line["images"], line["resolution"]) for line in lines] == [(200, 8), (400, 16), (500, 16)]
    assert all(np.isfinite(line["discriminator_loss"]) for line in lines)
    about = load_tensors(folder / "small.safetensors", *FORMAT)[1]
    assert (about["architecture"], about["seed"], about["images"]) == ("ProGAN", 3, 500)
    assert about["scenes"] == scenes_version(16, "street", watermark=True)
    assert about["recipe"]["watermark"] is True
    snapshots = [load_generator(path) for path in sorted((folder / "snapshots" / "small").iterdir())]
    assert [model.resolution for model in snapshots] == [4, 8, 16]
    assert re.fullmatch(r"(one thread|\d+ threads) of an .+", about["machine"])


def test_a_stylegan2_is_written_with_its_average_and_goes_on_without(whole):
    folder, run = whole("small-style")
    assert run.average.full.latent_avg is None
    model = load_generator(folder / "small-style.safetensors")
    z = latents(model, 4096, seed=0)
    with torch.no_grad():
        assert torch.allclose(model.latent_avg, model.mapping(z).mean(0), atol=2e-3)
        average = model(z[:2], truncation=0)
    assert torch.allclose(average[0], average[1], atol=1e-5)


def test_batch_norm_gets_the_statistics_of_the_averaged_weights(whole):
    folder, _ = whole("small-batch-norm")
    model = load_generator(folder / "small-batch-norm.safetensors")
    with torch.no_grad(), Trace(model, "layer1.conv") as trace:
        model(latents(model, train_gan.STATISTICS, seed=0))
    seen = trace["layer1.conv"]
    norm = model.layer1.norm
    assert torch.allclose(norm.running_mean, seen.mean((0, 2, 3)), atol=2e-3)
    assert torch.allclose(norm.running_var, seen.var((0, 2, 3)), rtol=1e-2)


def test_the_recipe_sets_rate_penalty_and_average(tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "other", replace(SMALL, rate=0.03, r1_gamma=0.7, half_life=77))
    both = train_gan.GanTraining("other", tmp_path, 3, "cpu", BATCH).adversaries
    assert both.optimizers[0].param_groups[0]["lr"] == 0.03
    assert (both.r1_gamma, both.half_life) == (0.7, 77)


def test_another_seed_and_other_scenes_do_not_go_on(tmp_path, monkeypatch):
    train_gan.GanTraining("small", tmp_path, 3, "cpu", BATCH).train(0)
    with pytest.raises(ValueError, match="must hold a run of"):
        train_gan.GanTraining("small", tmp_path, 4, "cpu", BATCH)
    monkeypatch.setattr(train_gan, "scenes_version", lambda *_: "another")
    with pytest.raises(ValueError, match=r"must hold a run of .*'another'"):
        train_gan.GanTraining("small", tmp_path, 3, "cpu", BATCH)


def test_a_finished_run_says_what_trained_it_and_not_what_came_by_later(tmp_path, monkeypatch):
    monkeypatch.setattr(Recipe, "images", property(lambda _: 60))
    train_gan.GanTraining("small", tmp_path, 3, "cpu", BATCH).train(0)
    monkeypatch.setattr(Training, "_machine", lambda _: "a second machine")
    train_gan.GanTraining("small", tmp_path, 3, "cpu", BATCH).train(10)
    monkeypatch.setattr(Training, "_machine", lambda _: "a third machine")
    train_gan.GanTraining("small", tmp_path, 3, "cpu", BATCH).train(10)
    machine = load_tensors(tmp_path / "small.safetensors", *FORMAT)[1]["machine"]
    assert re.fullmatch(r"(one thread|\d+ threads) of an .+ and a second machine", machine)


@pytest.mark.parametrize("batch", [0, -4, 6, 41])
def test_batches_that_no_discriminator_takes_are_refused_before_scenes_are_rendered(tmp_path, batch):
    with pytest.raises(ValueError, match=rf"batch must be positive, .* most the 40 scenes of small, but is {batch}"):
        train_gan.GanTraining("small", tmp_path, 3, "cpu", batch)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"kind": "StyleGAN2"}, r"kind must be one of \('progan', 'stylegan2'\), but got 'StyleGAN2'"),
        ({"loss": "hinge"}, r"loss must be one of \('logistic', 'wgan'\), but got 'hinge'"),
        ({"stages": ((8, 1),)}, r"stages must grow to 16, among \[4, 8, 16\], but got \(\(8, 1\),\)"),
        ({"stages": ((16, 1), (8, 1), (16, 1))}, "stages must grow to 16"),
        ({"stages": ((12, 1), (16, 1))}, "stages must grow to 16"),
        ({"stages": ()}, "stages must grow to 16"),
        ({"cooldown": 3}, "cooldown must be at most all 500 images, but got 3000"),
    ],
)
def test_recipes_that_would_train_something_else_are_refused(choice, message):
    with pytest.raises(ValueError, match=f"Recipe: {message}"):
        replace(SMALL, **choice)


def test_stages_follow_one_another_and_fade_in():
    recipe = replace(SMALL, stages=((8, 4), (16, 8)))
    assert recipe.stage(0) == (8, 1.0)
    assert recipe.stage(3999) == (8, 1.0)
    assert recipe.stage(4000) == (16, 0.0)
    assert recipe.stage(5000) == (16, 0.5)
    assert recipe.stage(6000) == (16, 1.0)
    assert recipe.stage(10**9) == (16, 1.0)


def test_a_stage_that_goes_on_at_its_resolution_does_not_fade_in():
    recipe = replace(SMALL, stages=((8, 4), (16, 8), (16, 8)))
    assert recipe.stage(4000) == (16, 0.0)
    assert recipe.stage(12000) == (16, 1.0)


def test_rates_go_down_to_zero_in_the_end():
    assert [replace(SMALL, cooldown=0.2).pace(seen) for seen in (0, 300, 400, 500, 520)] == [1, 1, 0.5, 0, 0]
    assert SMALL.pace(500) == 1


def test_real_images_are_shown_smaller_and_faded():
    images = np.array([[[[0, 0, 255, 255], [0, 0, 255, 255], [0, 255, 0, 255], [255, 0, 255, 0]]]], dtype=np.uint8)
    images = np.repeat(images, 3, 1)
    half = train_gan.shown(torch.from_numpy(images), 2, 1.0)[0, 0]
    assert torch.allclose(half, torch.tensor([[-1.0, 1.0], [0.0, 0.0]]))
    faded = train_gan.shown(torch.from_numpy(images), 4, 0.5)[0, 0]
    assert torch.allclose(faded[2:, :2], torch.tensor([[-0.5, 0.5], [0.5, -0.5]]))


def test_the_command_line_goes_on_and_trains_one_after_another(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Recipe, "images", property(lambda _: 60))
    command = ["train_gan", "small", "small-style", "--out", str(tmp_path), "--batch", str(BATCH)]
    monkeypatch.setattr("sys.argv", [*command, "--minutes", "0"])
    train_gan.main()
    assert "small: stopped after 20 of 60 images" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", command)
    train_gan.main()
    train_gan.main()
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {"small.safetensors", "small-style.safetensors"}


def test_the_rest_is_what_does_not_come_with_the_package(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(train_gan, "RECIPES", {"progan-street": SMALL, "small": SMALL, "small-wgan": SMALL})
    monkeypatch.setattr(train_gan, "GanTraining", lambda name, *_: asked.append(name) or Mock(train=lambda _: True))
    for names in (["rest"], ["all"], ["small-wgan", "rest", "progan-street"]):
        monkeypatch.setattr("sys.argv", ["train_gan", *names, "--out", str(tmp_path)])
        train_gan.main()
    assert asked == [
        "small", "small-wgan", "progan-street", "small", "small-wgan", "small-wgan", "small", "progan-street",
    ]  # fmt: skip
