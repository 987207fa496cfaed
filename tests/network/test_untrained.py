"""Untrained networks are told, trained ones never are."""

import copy
import time
import warnings

import pytest
import torch
from other_networks import of_transformers
from torch import nn
from torch.nn import functional

from dissect import tiny
from dissect.models import UNet
from dissect.network.untrained import looks_untrained
from dissect.tiny.networks import GENERATORS, SEGMENTER_SEEDS

WIDTHS = (32, 64, 64)
CLASSES = 10


def network(bias=True, normal=True, norm=False, seed=0):
    """Three convolutions and two linear layers, as torch draws them or as He et al. do."""
    torch.manual_seed(seed)
    layers, last = [], 3
    for width in WIDTHS:
        layers += [nn.Conv2d(last, width, 3, padding=1, bias=bias), *([nn.BatchNorm2d(width)] if norm else [])]
        layers, last = [*layers, nn.ReLU(), nn.MaxPool2d(2)], width
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * last, 128, bias=bias), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(128, CLASSES, bias=bias))
    for module in model.modules():
        if normal and isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            if bias:
                nn.init.zeros_(module.bias)
    return model


def vgg16(normal):
    """Of 138 million weights, as torchvision draws them or as torch does."""
    layers, last = [], 3
    for width in (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512):
        layers, last = [*layers, nn.Conv2d(last, width, 3, padding=1), nn.ReLU()], width
    model = nn.Sequential(*layers, nn.Linear(25088, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 1000))
    for module in model if normal else ():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
        if hasattr(module, "bias"):
            nn.init.zeros_(module.bias)
    return model


def train(model, steps, optimizer):
    """Learns ten noisy patterns."""
    stream = torch.Generator().manual_seed(1)
    patterns = torch.rand(CLASSES, 3, 8, 8, generator=stream)
    for _ in range(steps):
        labels = torch.randint(CLASSES, (32,), generator=stream)
        images = patterns[labels] + 0.3 * torch.randn(32, 3, 8, 8, generator=stream)
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model


def test_no_shipped_network_looks_untrained():
    models = [tiny.vgg(), *map(tiny.generator, GENERATORS), *map(tiny.segmenter, SEGMENTER_SEEDS)]
    assert len(models) == 10
    assert [looks_untrained(model) for model in models] == [None] * 10


@pytest.mark.parametrize("model", [lambda: tiny.vgg(False), lambda: network(), lambda: network(normal=False)])
def test_drawn_weights_look_untrained(model):
    assert "as drawn at random" in looks_untrained(model())


@pytest.mark.parametrize("normal", [True, False])
def test_vgg16_is_looked_at_in_no_time(normal):
    with torch.device("cpu"):
        model = vgg16(normal)
    times = []
    for _ in range(3):
        start = time.process_time()
        reason = looks_untrained(model)
        times.append(time.process_time() - start)
    kind = "(normal), all biases as first set" if normal else "(uniform)"
    assert reason == f"all 16 weights of 1,000 numbers or more are as drawn at random {kind}"
    assert min(times) < 0.2  # 0.03 s on a free core


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats(dtype):
    assert looks_untrained(network(normal=False).to(dtype))


def test_eight_bits_are_no_error():
    assert looks_untrained(tiny.vgg().to(torch.float8_e4m3fn)) is None
    assert looks_untrained(network().to(torch.float8_e4m3fn)) in (None, looks_untrained(network()))


def test_nearly_no_seed_is_missed():
    reasons = [looks_untrained(network(normal=bool(seed % 2), seed=seed)) for seed in range(100)]
    assert sum(reason is None for reason in reasons) <= 2


def test_networks_of_transformers(missing):
    try:
        import transformers
    except ImportError as error:
        missing("transformers", str(error))
    torch.manual_seed(0)
    small = of_transformers(transformers)
    assert all(looks_untrained(small[name]) for name in ("ViT", "CLIP's vision tower", "ResNet", "Swin"))
    config = transformers.SegformerConfig(hidden_sizes=[32, 64, 160, 256], depths=[1, 1, 1, 1])
    assert "normal" in looks_untrained(transformers.AutoModel.from_config(config))


def test_batch_norms_that_saw_no_batch():
    reason = "all 10 batch norms hold the mean 0 and the variance 1 of before the first batch"
    model = UNet((10, 12, 20), 5)
    assert looks_untrained(model) == reason
    model.train()(torch.rand(2, 3, 32, 32))
    assert looks_untrained(model) != reason
    model = network(norm=True)
    with torch.no_grad():
        model[0].weight.mul_(torch.rand(32, 1, 1, 1))  # no initialiser draws this
        assert "3 batch norms" in looks_untrained(model)
        model[0].bias.normal_()  # as when the norms were folded into the convolutions
    assert looks_untrained(model) is None


def test_gains_of_norms_that_were_trained():
    model = network(norm=True)
    with torch.no_grad():
        model[1].weight[3] += 0.01
    assert looks_untrained(model) is None


@pytest.mark.parametrize(("bias", "normal", "norm"), [(True, True, False), (True, False, False), (False, True, False),
                                                      (False, False, False), (False, False, True)])  # fmt: skip
@pytest.mark.parametrize("kind", ["sgd", "adam", "slow"])
def test_a_hundred_steps_are_seen(bias, normal, norm, kind):
    model = network(bias, normal, norm)
    assert bool(looks_untrained(model)) == (bias or norm or not normal)  # without biases normal weights say nothing
    optimizers = {
        "sgd": lambda: torch.optim.SGD(model.parameters(), 0.01, 0.9),
        "adam": lambda: torch.optim.Adam(model.parameters(), 1e-3),
        "slow": lambda: torch.optim.Adam(model.parameters(), 1e-5),
    }
    assert looks_untrained(train(model, 100, optimizers[kind]())) is None


def test_one_step_is_seen_by_the_biases():
    model = network()
    assert looks_untrained(train(model, 1, torch.optim.SGD(model.parameters(), 0.01))) is None


@pytest.mark.parametrize("normal", [True, False])
def test_a_trained_head_on_random_features(normal):
    model = network(normal=normal)
    assert looks_untrained(train(model, 100, torch.optim.Adam(model[-1].parameters(), 1e-3))) is None


def test_a_new_head_on_trained_layers():
    model = tiny.vgg()
    head = nn.Sequential(nn.Linear(43, 256), nn.BatchNorm1d(256), nn.Linear(256, 100))
    assert looks_untrained(head)
    assert looks_untrained(nn.Sequential(model, head)) is None


class Own(nn.Module):
    """A layer of no known kind, with weights that are not independent draws."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(64, 1) * torch.randn(1, 64))


def test_weights_of_unknown_layers_count_too():
    assert looks_untrained(nn.Sequential(nn.Linear(64, 256)))
    assert looks_untrained(nn.Sequential(Own(), nn.Linear(64, 256))) is None
    assert looks_untrained(nn.Sequential(Own())) is None


def test_what_cannot_be_judged():
    assert looks_untrained(nn.Sequential(nn.Linear(8, 8))) is None  # too few weights
    assert looks_untrained(nn.Sequential(nn.ReLU())) is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about weights of no elements
        assert looks_untrained(nn.Sequential(nn.Linear(0, 64), nn.Linear(64, 256)))
    assert looks_untrained(network().to("meta")) is None
    assert looks_untrained(nn.Sequential(nn.Linear(64, 256, dtype=torch.complex64))) is None
    assert looks_untrained(nn.Sequential(network(), nn.LazyLinear(10))) is None
    model = network()
    torch.nn.utils.parametrizations.weight_norm(model[0])
    assert looks_untrained(model) is None
    zeros, broken = network(), network()
    with torch.no_grad():
        broken[3].weight[0, 0, 0, 0] = float("nan")
        for value in zeros.parameters():
            value.zero_()
    assert looks_untrained(broken) is None
    assert looks_untrained(zeros) is None


def test_a_quantized_part():
    model = nn.Sequential(nn.Linear(64, 256), nn.Linear(256, 64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        half = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {"0"}, dtype=torch.qint8)
    assert looks_untrained(model)
    assert looks_untrained(half) is None


def test_nothing_is_changed():
    model = network(norm=True).train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    looks_untrained(model)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
