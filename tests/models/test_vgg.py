"""The VGG's shape, names and initial weights."""

import pytest
import torch

from dissect.models import VGG

CHANNELS = (4, 5, 6, 7, 8)
FEATURES = (
    "conv1_1 relu1_1 conv1_2 relu1_2 pool1 conv2_1 relu2_1 conv2_2 relu2_2 pool2 "
    "conv3_1 relu3_1 conv3_2 relu3_2 conv3_3 relu3_3 pool3 conv4_1 relu4_1 conv4_2 relu4_2 conv4_3 relu4_3 pool4 "
    "conv5_1 relu5_1 conv5_2 relu5_2 conv5_3 relu5_3 pool5"
).split()
CLASSIFIER = "fc6 relu6 drop6 fc7 relu7 drop7 fc8".split()


def test_layers_are_called_as_in_the_published_network():
    model = VGG(CHANNELS, num_classes=3, hidden=10)
    assert [name for name, _ in model.features.named_children()] == FEATURES
    assert [name for name, _ in model.classifier.named_children()] == CLASSIFIER


def test_shapes():
    model = VGG(CHANNELS, num_classes=3, hidden=10, pooled=2)
    widths = [model.features.get_submodule(f"conv{block}_1").weight.shape for block in range(1, 6)]
    assert widths == [(4, 3, 3, 3), (5, 4, 3, 3), (6, 5, 3, 3), (7, 6, 3, 3), (8, 7, 3, 3)]
    assert model.classifier.fc6.weight.shape == (10, 32)
    assert model.classifier.fc8.weight.shape == (3, 10)


@pytest.mark.parametrize("size", [32, 61, 128])
def test_images_of_several_sizes(size):
    model = VGG(CHANNELS, num_classes=3, hidden=10).eval()
    assert model(torch.rand(2, 3, size, size)).shape == (2, 3)


def test_relus_work_in_place():
    model = VGG(CHANNELS, num_classes=3, hidden=10)
    assert all(layer.inplace for layer in model.modules() if isinstance(layer, torch.nn.ReLU))


def test_input_is_centred_without_being_changed():
    model = VGG(CHANNELS, num_classes=3, hidden=10).eval()
    images = torch.rand(2, 3, 32, 32)
    before = images.clone()
    seen = []
    model.features.conv1_1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model(images)
    assert torch.equal(seen[0], (images - 0.5) * 4)
    assert torch.equal(images, before)


def test_seed_decides_the_weights():
    state = torch.get_rng_state()
    first, same, other = (VGG(CHANNELS, 3, hidden=10, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.features.conv3_2.weight, same.features.conv3_2.weight)
    assert not torch.equal(first.features.conv3_2.weight, other.features.conv3_2.weight)
    VGG(CHANNELS, 3, hidden=10, seed=5)
    assert not first.features.conv3_2.bias.any()
    assert torch.equal(state, torch.get_rng_state())


def test_initial_weights_keep_the_signal():
    model = VGG((32, 32, 64, 64, 64), num_classes=3, hidden=64).eval()
    with torch.no_grad():
        cells = model.features((torch.rand(4, 3, 64, 64) - 0.5) * 4)
    assert 0.02 < float(cells.square().mean()) < 50


def test_number_of_channels_is_checked():
    with pytest.raises(ValueError, match=r"VGG: channels must have 5 entries, but got 4\."):
        VGG((1, 2, 3, 4), num_classes=3)


def test_widths_must_be_positive():
    with pytest.raises(ValueError, match=r"must be positive, but got \(4, 5, 6, 7, 8\), 0, 256 and 4\."):
        VGG(CHANNELS, num_classes=0)
