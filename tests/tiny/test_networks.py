"""The shipped network: it loads, and it knows the scenes."""

import pytest
import torch

from dissect.cache import load_tensors
from dissect.tiny import TinyScenes, vgg
from dissect.tiny.networks import FOLDER, FORMAT, SEED

ACCURACY = 0.99


def test_weights_describe_themselves():
    path = FOLDER / "vgg.safetensors"
    _, about = load_tensors(path, *FORMAT)
    assert path.stat().st_size <= 8_000_000
    assert tuple(about["classes"]) == TinyScenes.classes
    assert about["channels"][-1] >= 128
    assert about["seed"] == SEED
    assert about["val_accuracy"] >= ACCURACY


def test_the_twin_has_the_same_shape_and_other_weights():
    trained, twin = vgg(), vgg(trained=False)
    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in (trained, twin)]
    assert shapes[0] == shapes[1]
    assert not torch.equal(trained.features.conv5_3.weight, twin.features.conv5_3.weight)
    assert not trained.training
    assert not twin.training


@torch.inference_mode()
def test_accuracy_on_scenes_it_has_not_seen():
    scenes = TinyScenes("val", count=320, target="class")
    model = vgg()
    right = 0
    for images, numbers in torch.utils.data.DataLoader(scenes, batch_size=64):
        right += int((model(images).argmax(1) == numbers).sum())
    assert right / len(scenes) >= ACCURACY - 0.03


def test_missing_weights(monkeypatch, tmp_path):
    monkeypatch.setattr("dissect.tiny.networks.FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError):
        vgg()
