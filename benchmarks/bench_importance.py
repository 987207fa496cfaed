"""Ablating each unit alone, against running the network once per unit; equality asserted first.

The long way takes as many forward passes as there are units, so one pass is timed and multiplied: the row's ratio is
ours / one pass, and the speed-up is the number of units over that ratio (recorded as such).
"""

import torch
from torch import nn

import dissect
from dissect.interventions.fanout import FanOut
from dissect.interventions.flow import follow


def prepare(model, layer, images, num_sets):
    """Ours as a function, checked against ablating some of the units one by one."""
    flow = follow(model, layer, images[:1])
    fan = FanOut(model, layer, flow, torch.zeros(flow.num_units), images[:1], 2**30)
    alpha = torch.cat([torch.zeros(1, flow.num_units), torch.eye(flow.num_units)])[:num_sets]
    found = fan(images, alpha)
    for unit in (0, num_sets // 2, num_sets - 2):
        with torch.no_grad(), dissect.ablate(model, layer, [unit]):
            expected = model(images)
        assert (found[1 + unit] - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert (found[1:] - found[0]).abs().max() > 1e-3 * found[0].abs().max()
    return lambda: fan(images, alpha)


@torch.no_grad()
def test_importance_of_vgg16_conv5_3(compare):
    units, size, images = (512, 224, 4) if compare.enabled else (8, 64, 1)
    channels = (64, 128, 256, 512, 512) if compare.enabled else (4, 4, 8, 8, 8)
    hidden, classes, pooled = (4096, 365, 7) if compare.enabled else (16, 5, 2)
    model = dissect.models.VGG(channels, classes, hidden=hidden, pooled=pooled).eval()
    batch = torch.rand(images, 3, size, size)
    ours = prepare(model, "features.conv5_3", batch, units + 1)
    compare(ours, {"one forward pass": lambda: model(batch)}, per=images)
    record_speed_up(compare, "one forward pass", units)


class Bottleneck(nn.Module):
    """A ResNet-50's block."""

    def __init__(self, inputs, width, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.relu, self.shortcut = nn.ReLU(inplace=True), nn.Identity()
        if stride > 1 or inputs != 4 * width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x):
        out = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
        out = self.bn3(self.conv3(out))
        out += self.shortcut(x)
        return self.relu(out)


def resnet(width, depths, classes):
    """ResNet-50 with width 64 and depths 3, 4, 6, 3; its last stage is layers 4.0, 4.1, ..."""
    parts, inputs = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)], width
    parts.append(nn.MaxPool2d(3, 2, 1))
    for stage, depth in enumerate(depths):
        blocks = []
        for block in range(depth):
            blocks.append(Bottleneck(inputs, width * 2**stage, 2 if stage and not block else 1))
            inputs = 4 * width * 2**stage
        parts.append(nn.Sequential(*blocks))
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes)).eval()


@torch.no_grad()
def test_importance_of_a_resnet50_block(compare):
    images, sets, size = (4, 513, 224) if compare.enabled else (1, 5, 64)
    model = resnet(64, (3, 4, 6, 3), 365) if compare.enabled else resnet(4, (1, 1, 1, 3), 5)
    batch = torch.rand(images, 3, size, size)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    model.train()(batch.repeat(2, 1, 1, 1))  # running statistics that keep activations at their size
    model.eval()
    last, following = model[7][1], nn.Sequential(model[7][2], *model[8:])
    features = []
    with dissect.Trace(model, "7.1") as trace:
        model(batch)
        features.append(trace["7.1"])
    assert last.conv1.in_channels == features[0].shape[1]
    ours = prepare(model, "7.1", batch, sets)
    others = {"one forward pass": lambda: model(batch), "what follows": lambda: following(features[0])}
    compare(ours, others, per=images)
    record_speed_up(compare, "one forward pass", sets - 1)


def record_speed_up(compare, name, units):
    if compare.enabled:
        info = compare.benchmark.extra_info
        info["speed-up over one pass per unit"] = units / info["ratio"][name]
