"""The shipped network: it loads, it was trained on these very scenes, and it knows them."""

import pytest
import torch

from dissect.cache import load_tensors
from dissect.tiny import TinyScenes, vgg
from dissect.tiny.networks import FOLDER, FORMAT, SEED
from dissect.tiny.train import fingerprint

CHECKED = 500


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


def test_it_was_trained_on_these_scenes(about):
    """If this fails, the scenes have changed: train again, or take the change back."""
    assert about["scenes"] == fingerprint(about["size"])


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
    stated = about["val_accuracy"]
    deviation = (stated * (1 - stated) / CHECKED) ** 0.5
    assert right / CHECKED == pytest.approx(stated, abs=3 * deviation + 1 / CHECKED)


def test_missing_weights(monkeypatch, tmp_path):
    monkeypatch.setattr("dissect.tiny.networks.FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError):
        vgg()
