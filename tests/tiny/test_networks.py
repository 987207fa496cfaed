"""The shipped networks: they load, they were trained on these very scenes, and they know them."""

import pytest
import torch

from dissect.files.tensors import load_tensors
from dissect.models import latents
from dissect.tiny import TinyScenes, generator, segmenter, vgg
from dissect.tiny.networks import (
    FOLDER,
    GENERATORS,
    SEED,
    SEGMENTER_SEEDS,
    load_generator,
    load_network,
    load_segmenter,
)
from dissect.tiny.training.recipes import RECIPES, Recipe
from dissect.tiny.training.run import scenes_version
from dissect.tiny.weight_files import FORMAT
from dissect.tiny.world.vocabulary import CONCEPTS

CHECKED = 258
#: Scenes by which a segmentation network is tried.
FEW = 86


@pytest.fixture(scope="module")
def about():
    return load_tensors(FOLDER / "vgg.safetensors", *FORMAT)[1]


def test_weights_describe_themselves(about):
    assert (FOLDER / "vgg.safetensors").stat().st_size <= 8_000_000
    assert tuple(about["classes"]) == TinyScenes.classes
    assert about["channels"][-1] >= 128
    assert about["seed"] == SEED
    assert about["val_images"] == len(TinyScenes("val"))
    assert about["val_accuracy"] >= 0.9


def test_they_were_trained_on_these_scenes(about):
    """If this fails, the scenes have changed: train again, or take the change back."""
    assert about["scenes"] == scenes_version(about["size"])
    for name in GENERATORS:
        stated = load_tensors(FOLDER / f"{name}.safetensors", *FORMAT)[1]
        recipe = Recipe.of(stated["recipe"])
        assert stated["scenes"] == scenes_version(recipe.resolution, recipe.family, recipe.watermark)
    for seed in SEGMENTER_SEEDS:
        assert load_tensors(FOLDER / f"segmenter-{seed}.safetensors", *FORMAT)[1]["scenes"] == scenes_version(64)


def test_files_of_something_else_are_named():
    with pytest.raises(ValueError, match="must hold a ProGAN or a StyleGAN2, but holds a VGG"):
        load_generator(FOLDER / "vgg.safetensors")
    with pytest.raises(ValueError, match="must hold a UNet, but holds a ProGAN"):
        load_segmenter(FOLDER / "progan-street.safetensors")
    with pytest.raises(ValueError, match="must hold a VGG, but holds a UNet"):
        load_network(FOLDER / "segmenter-0.safetensors")


def test_the_twin_has_the_same_shape_and_other_weights():
    trained, twin = vgg(), vgg(trained=False)
    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in (trained, twin)]
    assert shapes[0] == shapes[1]
    assert not torch.equal(trained.features.conv5_3.weight, twin.features.conv5_3.weight)
    assert not trained.training
    assert not twin.training


@torch.inference_mode()
def test_accuracy_on_scenes_it_has_not_seen(about):
    scenes = TinyScenes("val", about["size"], CHECKED, target="class")
    model = vgg()
    right = 0
    for images, numbers in torch.utils.data.DataLoader(scenes, batch_size=50):
        right += int((model(images).argmax(1) == numbers).sum())
    assert right / CHECKED == pytest.approx(about["val_accuracy"], abs=0.035)


def test_missing_weights(monkeypatch, tmp_path):
    monkeypatch.setattr("dissect.tiny.networks.FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError):
        vgg()


def test_all_weights_are_small():
    sizes = {path.name: path.stat().st_size for path in FOLDER.glob("*.safetensors")}
    expected = {"vgg", *GENERATORS, *(f"segmenter-{seed}" for seed in SEGMENTER_SEEDS)}
    assert sizes.keys() == {f"{name}.safetensors" for name in expected}
    assert max(sizes.values()) <= 10_000_000
    assert sum(sizes.values()) <= 40_000_000


@pytest.mark.parametrize("name", GENERATORS)
def test_generators_are_of_their_recipes(name):
    about = load_tensors(FOLDER / f"{name}.safetensors", *FORMAT)[1]
    assert Recipe.of(about["recipe"]) == RECIPES[name]
    trained, twin = generator(name), generator(name, trained=False)
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (trained, twin)]
    shapes[0].pop("latent_avg", None)  # which an untrained StyleGAN2 does not know
    assert shapes[0] == shapes[1]
    assert not any(model.training for model in (trained, twin))
    middle = {"layer5.conv", "layer6.conv"}
    assert trained.resolution == 32 or all(trained.get_submodule(at).weight.shape[0] >= 128 for at in middle)


def test_generators_are_asked_for_by_name():
    with pytest.raises(ValueError, match=r"must be one of progan-street.*, but got 'progan'"):
        generator("progan")
    with pytest.raises(ValueError, match="but got 'progan-room'"):
        generator("progan-room")
    assert generator("progan-room", trained=False).resolution == 64


@pytest.mark.parametrize("seed", SEGMENTER_SEEDS)
def test_segmenters_know_scenes_that_they_have_not_seen(seed):
    stated = load_tensors(FOLDER / f"segmenter-{seed}.safetensors", *FORMAT)[1]["iou"]
    network, scenes = segmenter(seed), TinyScenes("val", 64, FEW)
    both, either = torch.zeros(2, len(CONCEPTS), dtype=torch.int64)
    for index in range(FEW):
        image, planes = (torch.from_numpy(part) for part in scenes.raw(index))
        said, true = network(image[None].float() / 255)[0, 0].long(), planes[0].long()
        both += torch.bincount(said[said == true], minlength=len(CONCEPTS))
        either += sum(torch.bincount(plane.flatten(), minlength=len(CONCEPTS)) for plane in (said, true))
    either -= both
    found, expected = [], []
    for name, value in stated.items():
        category, _, concept = name.partition("/")
        if category == "object" and both[label := CONCEPTS.number(concept, category)] > 0:
            found.append(float(both[label] / either[label]))
            expected.append(value)
    assert len(found) >= 50
    assert sum(found) / len(found) == pytest.approx(sum(expected) / len(expected), abs=0.06)
    assert sum(expected) / len(expected) >= 0.7


def test_segmenters_see_what_a_generator_made():
    street = generator()
    images = street(latents(street, 8))
    one, other = (segmenter(seed, signed=True)(images) for seed in SEGMENTER_SEEDS)
    assert 0.6 < (one[:, 0] == other[:, 0]).double().mean() < 1
    probability = segmenter(signed=True).scores(images, "object/sky")
    assert (probability > 0.5).sum() > 100
    assert (one[:, 0][probability > 0.5] == CONCEPTS.number("sky", "object")).all()
    (slope,) = torch.autograd.grad(probability.sum(), street.layer1.conv.weight)
    assert slope.abs().sum() > 0


def test_segmenters_are_asked_for_by_seed():
    with pytest.raises(ValueError, match="seed must be one of 0, 1, but got 2"):
        segmenter(2)
