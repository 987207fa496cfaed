"""Published classifiers: sizes, layers, and files in the publishing groups', torchvision's and timm's layouts."""

import re
import subprocess
import sys
from fractions import Fraction

import pytest
import torch
from torch import nn

from dissect.models import CLASSIFIERS, AlexNet, EfficientNetLite0, Preprocessing, load_classifier

SMALL = Fraction(1, 16)

#: Weights and biases of the networks with 1,000 classes, as published.
SIZES = {
    "alexnet": 60_965_224, "alexnet-torchvision": 61_100_840, "vgg16": 138_357_544, "googlenet": 6_624_904,
    "resnet18": 11_689_512, "resnet50": 25_557_032, "resnet152": 60_192_808, "densenet161": 28_681_000,
    "squeezenet1_1": 1_235_496, "efficientnet-lite0": 4_652_008,
}  # fmt: skip

#: A layer as the papers call it, and its output of one image of the published size.
LAYERS = {
    "alexnet": ("conv5", (256, 13, 13)), "alexnet-torchvision": ("conv5", (256, 13, 13)),
    "vgg16": ("features.conv5_3", (512, 14, 14)), "googlenet": ("inception4e", (832, 14, 14)),
    "resnet18": ("layer4", (512, 7, 7)), "resnet50": ("layer4", (2048, 7, 7)), "resnet152": ("layer3", (1024, 14, 14)),
    "densenet161": ("features.denseblock4", (2208, 7, 7)), "squeezenet1_1": ("fire9", (512, 13, 13)),
    "efficientnet-lite0": ("head", (1280, 7, 7)),
}  # fmt: skip


def small(name, num_classes=5, width=SMALL):
    """With weights that all matter."""
    torch.manual_seed(0)
    model = CLASSIFIERS[name].build(num_classes, width=width).eval()
    for value in model.buffers():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5)
    return model


@pytest.mark.parametrize("name", [*CLASSIFIERS])
def test_the_published_sizes_and_layers(name):
    with torch.device("meta"):
        model = CLASSIFIERS[name].build(1000).eval()
        assert sum(value.numel() for value in model.parameters()) == SIZES[name]
        layer, shape = LAYERS[name]
        seen = []
        model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1:]))
        side = 227 if name == "alexnet" else 224
        assert model(torch.zeros(1, 3, side, side)).shape == (1, 1000)
        assert seen == [shape]


def torchvision_vgg(state):
    convolutions = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    names = [f"conv{block}_{layer}" for block, depth in enumerate((2, 2, 3, 3, 3), 1) for layer in range(1, depth + 1)]
    numbers = dict(zip(names, map(str, convolutions))) | {"fc6": "0", "fc7": "3", "fc8": "6"}
    return {".".join(numbers.get(part, part) for part in key.split(".")): value for key, value in state.items()}


def timm_vgg(state):
    renamed = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
    found = {}
    for key, value in torchvision_vgg(state).items():
        layer, _, kind = key.rpartition(".")
        if layer == "classifier.0" and kind == "weight":
            value = value.view(len(value), -1, 7, 7)
        if layer == "classifier.3" and kind == "weight":
            value = value[:, :, None, None]
        found[f"{renamed.get(layer, layer)}.{kind}"] = value
    return found


def torch7(state):
    """Nested tables: a block is (table of (convolutions, shortcut), sum, ReLU)."""
    places = {"conv1": 0, "bn1": 1, "conv2": 3, "bn2": 4, "conv3": 6, "bn3": 7}
    found = {}
    for key, value in state.items():
        layer, *rest = key.split(".")
        if layer.startswith("layer"):
            block, part, *last = rest
            inner = f"1.{last[0]}.{last[1]}" if part == "downsample" else f"0.{places[part]}.{last[0]}"
            found[f"{int(layer[5:]) + 3}.{block}.0.{inner}"] = value
        else:
            found[".".join([{"conv1": "0", "bn1": "1", "fc": "10.1"}[layer], *rest])] = value
    return {key: value for key, value in found.items() if "num_batches" not in key}


def old_densenet(state):
    return {re.sub(r"(layer\d+\.(?:norm|conv))([12])", r"\1.\2", key): value for key, value in state.items()}


def torchvision_alexnet(state):
    numbers = {f"conv{n}": f"features.{m}" for n, m in enumerate((0, 3, 6, 8, 10), 1)}
    numbers |= {"fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}
    return {f"{numbers[key.split('.')[0]]}.{key.split('.')[1]}": value for key, value in state.items()}


def torchvision_squeezenet(state):
    numbers = dict(zip(range(2, 10), (3, 4, 6, 7, 9, 10, 11, 12)))
    names = {"conv1": "features.0", "conv10": "classifier.1"} | {
        f"fire{n}": f"features.{m}" for n, m in numbers.items()
    }
    return {
        ".".join([names[key.split(".")[0]], *key.split(".")[1:]]).replace("squeeze1x1", "squeeze"): value
        for key, value in state.items()
    }


def numbered_efficientnet(state):
    """As lukemelas's EfficientNet-PyTorch: _conv_stem, _bn0, _blocks.1._expand_conv, _blocks.1._bn0, ..., _fc."""
    places = {"expand": 0, "depthwise": 1, "project": 2}
    found = {}
    for key, value in state.items():
        layer, *rest = key.split(".")
        if layer == "blocks":
            block, part, kind, last = rest
            inner = f"_{part}_conv" if kind == "conv" else f"_bn{places[part]}"
            found[f"_blocks.{block}.{inner}.{last}"] = value
        elif layer == "fc":
            found[f"_{key}"] = value
        else:
            found[f"{f'_conv_{layer}' if rest[0] == 'conv' else {'stem': '_bn0', 'head': '_bn1'}[layer]}.{rest[1]}"] = (
                value
            )
    return found


def with_auxiliaries(state):
    return state | {"aux1.conv.conv.weight": torch.ones(2, 2, 1, 1), "aux2.fc2.bias": torch.ones(3)}


LAYOUTS = [
    ("alexnet", dict), ("alexnet-torchvision", torchvision_alexnet), ("vgg16", torchvision_vgg), ("vgg16", timm_vgg),
    ("vgg16", lambda state: {key.replace("fc8", "fc8a"): value for key, value in state.items()}),
    ("googlenet", with_auxiliaries), ("resnet18", dict), ("resnet50", torch7), ("resnet152", torch7),
    ("densenet161", dict), ("densenet161", old_densenet), ("squeezenet1_1", dict),
    ("squeezenet1_1", torchvision_squeezenet), ("efficientnet-lite0", numbered_efficientnet),
]  # fmt: skip


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_files_in_the_published_layouts(tmp_path, name, layout):
    model = small(name)
    torch.save(layout(model.state_dict()), tmp_path / "weights.pth")
    loaded = load_classifier(name, tmp_path / "weights.pth")
    assert not loaded.training
    assert {name: value.shape for name, value in loaded.named_parameters()} == {
        name: value.shape for name, value in model.named_parameters()
    }
    images = torch.randn(2, 3, *[227 if name.startswith("alexnet") else 64] * 2)
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))


def test_a_training_scripts_checkpoint_of_places(tmp_path):
    """As Places365's .pth.tar files: module. prefixes, counters missing, and what training needs beside."""
    model = small("resnet18", num_classes=365)
    state = {f"module.{key}": value for key, value in model.state_dict().items() if "num_batches" not in key}
    path = tmp_path / "resnet18_places365.pth.tar"
    torch.save({"epoch": 90, "arch": "resnet18", "state_dict": state, "best_prec1": torch.tensor(54.7)}, path,
               _use_new_zipfile_serialization=False)  # fmt: skip
    loaded = load_classifier("resnet18", path)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
    assert loaded.preprocessing == Preprocessing((256, 256), 224)


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("alexnet", 365, Preprocessing((256, 256), 227)),
        ("alexnet", 1000, Preprocessing(256, 227)),
        ("googlenet", 1000, Preprocessing(256, 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))),
        ("efficientnet-lite0", 1000, Preprocessing(256, 224, (127 / 255,) * 3, (128 / 255,) * 3)),
    ],
)
def test_preprocessing_comes_with_the_network(tmp_path, name, classes, expected):
    torch.save(small(name, classes).state_dict(), tmp_path / "weights.pth")
    assert load_classifier(name, tmp_path / "weights.pth").preprocessing == expected
    own = Preprocessing(64, 64)
    assert load_classifier(name, tmp_path / "weights.pth", preprocessing=own).preprocessing is own


def test_preprocessing_by_hand():
    images = torch.rand(1, 3, 300, 403)
    shown = Preprocessing(256, 224)(images)
    whole = nn.functional.interpolate(images, (256, 343), mode="bilinear", antialias=True)  # 256 * 403 // 300
    mean, std = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    torch.testing.assert_close(shown, (whole[:, :, 16:240, 60:284] - mean) / std)  # round(59.5) is 60
    with pytest.raises(ValueError, match=r"crop must lie in \[1, 200\], what is resized to, but is 224"):
        Preprocessing((200, 256), 224)


def test_efficientnets_padding_is_tensorflows():
    """Written out: the first cell of a stride of 2 sits at the corner where sides are even, one place in where odd."""
    layer = EfficientNetLite0(5, width=SMALL).stem.conv
    for side, before in ((8, 0), (7, 1)):
        images = torch.randn(1, 3, side, side)
        padded = nn.functional.pad(images, (before, 1, before, 1))
        expected = nn.functional.conv2d(padded, layer.weight, stride=2)
        torch.testing.assert_close(layer(images), expected)
        assert expected.shape[2:] == (4, 4)


def test_alexnets_normalisation_follows_the_pooling():
    model = AlexNet(5, width=SMALL)
    assert [name for name, _ in model.named_children()][:8] == [
        "conv1", "relu1", "pool1", "lrn1", "conv2", "relu2", "pool2", "lrn2"
    ]  # fmt: skip
    maps = torch.randn(1, 7, 2, 2, dtype=torch.float64) * 100
    padded = nn.functional.pad(maps.square(), (0, 0, 0, 0, 2, 2))
    power = sum(padded[:, shift : shift + 7] for shift in range(5)) / 5
    torch.testing.assert_close(model.lrn1(maps), maps / (1 + 1e-4 * power) ** 0.75)
    assert [model.get_submodule(f"conv{n}").groups for n in range(1, 6)] == [1, 2, 1, 2, 2]


def test_other_architectures_are_refused_and_all_keys_named(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(small("resnet18").state_dict(), path)
    with pytest.raises(ValueError, match="must hold resnet50; it seems to be resnet18, but") as refused:
        load_classifier("resnet50", path)
    own = {*small("resnet50").state_dict()}
    assert all(key in str(refused.value) for key in own - {*small("resnet18").state_dict()})
    with pytest.raises(
        ValueError, match=r"load_classifier: .* must hold vgg16; it seems to be resnet18, but its keys are"
    ):
        load_classifier("vgg16", path)
    torch.save(torchvision_alexnet(small("alexnet-torchvision").state_dict()), path)
    with pytest.raises(ValueError, match="must hold alexnet; it seems to be alexnet-torchvision, but its keys are"):
        load_classifier("alexnet", path)
    state = small("resnet18").state_dict()
    torch.save({**state, "layer1.0.conv1.weight": torch.zeros(2, 4, 3, 3)}, path)
    with pytest.raises(ValueError, match=r"layer1.0.conv1.weight \[2, 4, 3, 3\] for \[4, 4, 3, 3\]"):
        load_classifier("resnet18", path)
    torch.save({**state, "10.1.weight": state["fc.weight"]}, path)
    with pytest.raises(ValueError, match="each weight of resnet18 once, but holds some under two names"):
        load_classifier("resnet18", path)
    with pytest.raises(ValueError, match=r"architecture must be one of alexnet, .*, but is 'resnet34'"):
        load_classifier("resnet34", path)


def test_a_pickled_network_is_refused(tmp_path):
    torch.save(small("resnet18"), tmp_path / "whole.pth")
    with pytest.raises(ValueError, match=r"holds more than tensors \(dissect.models.resnet.ResNet\) and is refused"):
        load_classifier("resnet18", tmp_path / "whole.pth")


MEASURED = """
import resource, sys
import torch
from dissect.models import load_classifier
import numpy

def read():
    return int(open("/proc/self/io").read().split()[1])

before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, read()
model = load_classifier("alexnet", sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, read() - begun)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory and reads are measured on Linux")
def test_a_file_is_read_once_and_its_weights_are_not_copied(tmp_path):
    with torch.device("meta"):
        state = AlexNet(1000, width=Fraction(1, 2)).state_dict()
    path = tmp_path / "alexnet.pth"
    torch.save({name: torch.full(value.shape, 0.01) for name, value in state.items()}, path)  # 65 MB
    size = path.stat().st_size
    done = subprocess.run([sys.executable, "-c", MEASURED, path], capture_output=True, text=True, check=True)
    kilobytes, read = map(int, done.stdout.split())
    assert kilobytes * 1024 <= 1.2 * size
    assert read <= 1.02 * size
