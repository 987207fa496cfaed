"""The published checkpoints' layout of encoders, against the same networks written out with torch's own modules."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn.functional import leaky_relu

import dissect
from dissect.models import ProGAN
from dissect.omissions import load_encoder

LAYERS = ["layer1", "layer2", "layer3", "layer4"]
WIDTH, UNITS, Z = 2, 6, 8


@pytest.fixture(scope="module")
def model():
    return ProGAN((UNITS, UNITS, 4), z_channels=Z, seed=3).eval()


class Published:
    """Keys and weights as ganseeing has them, and the encoders' function of them, step by step."""

    def __init__(self):
        stream = torch.Generator().manual_seed(4)
        self.state = OrderedDict()

        def conv(name, outputs, inputs, size, bias=True):
            self.state[f"{name}.weight"] = torch.randn(outputs, inputs, size, size, generator=stream) / 3
            if bias:
                self.state[f"{name}.bias"] = torch.randn(outputs, generator=stream) / 5

        def norm(name, count):
            for part in ("weight", "bias", "running_mean", "running_var"):
                self.state[f"{name}.{part}"] = torch.rand(count, generator=stream) + 0.2
            self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)

        conv("resnet.conv1", WIDTH, 3, 7, bias=False)
        norm("resnet.bn1", WIDTH)
        widths = [WIDTH, WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH]
        for layer in range(1, 5):
            for block, inputs in ((0, widths[layer - 1]), (1, widths[layer])):
                at = f"resnet.layer{layer}.{block}"
                conv(f"{at}.conv1", widths[layer], inputs, 3, bias=False)
                norm(f"{at}.bn1", widths[layer])
                conv(f"{at}.conv2", widths[layer], widths[layer], 3, bias=False)
                norm(f"{at}.bn2", widths[layer])
                if inputs != widths[layer]:
                    conv(f"{at}.downsample.0", widths[layer], inputs, 1, bias=False)
                    norm(f"{at}.downsample.1", widths[layer])
        conv("resnet.layer5.conv5", UNITS, widths[4], 1)
        for number in (4, 3, 2):
            for part in (1, 2):
                conv(f"inv{number}.conv{part}", UNITS, UNITS, 3)
                norm(f"inv{number}.bn{part}", UNITS)
            if number != 2:
                conv(f"inv{number}.conv3", UNITS, UNITS, 1)
        conv("inv1.conv1", UNITS, UNITS, 4)
        norm("inv1.bn1", UNITS)
        conv("inv1.conv2", Z, UNITS, 1)

    def layers(self, x):
        """z of r_4."""
        for number, stride in ((4, 1), (3, 2), (2, 0)):
            x = self._normed(x)
            for part in (1, 2):
                x = self._conv(x, f"inv{number}.conv{part}", padding=1)
                x = leaky_relu(self._bn(x, f"inv{number}.bn{part}"), 0.2)
            x = self._conv(x, f"inv{number}.conv3", stride=stride) if stride else x
        x = leaky_relu(self._bn(self._conv(self._normed(x), "inv1.conv1"), "inv1.bn1"), 0.2)
        return self._normed(self._conv(x, "inv1.conv2"))[:, :, 0, 0]

    def _normed(self, x):
        return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()

    def _conv(self, x, name, **options):
        return nn.functional.conv2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], **options)

    def _bn(self, x, name):
        mean, var, weight, bias = (self.state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight",
                                                                             "bias"))  # fmt: skip
        return nn.functional.batch_norm(x, mean, var, weight, bias)


@pytest.mark.parametrize("kind", ["plain", "prefixed", "snapshot"])
def test_encoders_are_those_of_the_file(model, tmp_path, kind):
    published = Published()
    held = published.state if kind == "plain" else {f"model.{name}": part for name, part in published.state.items()}
    if kind == "snapshot":
        held = {"epoch": 1000, "state_dict": held, "lr": 1e-5, "optimizer": {"state": {}, "param_groups": []}}
    path = tmp_path / "epoch_1000.pth.tar"
    torch.save(held, path)
    found = load_encoder(path, model, LAYERS)
    r = torch.randn(3, UNITS, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(found.encoder.layers_of(r)[0], published.layers(r), atol=1e-5)
    own = found.encoder.state_dict()
    assert torch.equal(
        own["image.layer2.0.downsample.0.weight"], published.state["resnet.layer2.0.downsample.0.weight"]
    )
    assert torch.equal(own["image.conv5.bias"], published.state["resnet.layer5.conv5.bias"])
    images = model(dissect.latents(model, 2)).detach()
    again = dissect.load(found.save(tmp_path / "found"))
    assert torch.equal(again.encode(images), found.encode(images))
    assert again.settings == [{"stage": "published", "file": "epoch_1000.pth.tar"}]


def test_other_files_are_refused(model, tmp_path):
    state = dict(Published().state)

    def refused(held, text, of=model, layers=LAYERS):
        torch.save(held, tmp_path / "x.pth")
        with pytest.raises(ValueError, match=rf"^load_encoder: .*{text}"):
            load_encoder(tmp_path / "x.pth", of, layers)

    refused({}, "x.pth")
    refused({"conv1.weight": torch.ones(2, 3, 7, 7)}, "encoders with a weight resnet.conv1.weight")
    refused({name: part for name, part in state.items() if name != "inv3.conv3.bias"}, r"1 keys are missing \(inv3")
    refused(state | {"inv2.conv3.weight": torch.ones(6, 6, 1, 1)}, r"1 are extra \(inv2.conv3.weight\)")
    refused(state | {"inv1.conv2.weight": torch.ones(9, 6, 1, 1)}, "1 weights have another shape .*inv1.conv2.weight")
    refused(state | {"inv1.bn1.bias": torch.full((6,), torch.nan)}, "NaN or infinite somewhere: inv1.bn1.bias")
    refused(state, "keys are missing|extra", layers=LAYERS[:3])
    other = ProGAN((4, 4, 4), z_channels=Z).eval()
    refused(state, "weights have another shape", of=other)
    refused(state, "second one whose output is of the first one's shape", layers=["layer1", "layer3"])
    with pytest.raises(FileNotFoundError):
        load_encoder(tmp_path / "none.pth", model, LAYERS)
