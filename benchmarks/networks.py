"""Networks to measure with: ResNet-152 with random weights, from torch alone, and one that repeats a layer's maps."""

from torch import Tensor, nn


class Replayed(nn.Module):
    """Gives maps [N, U, h, w] of another network again, so that devices whose convolutions differ see the same bits.

    Its layer is "maps"; the first value of image i says which map: i.
    """

    def __init__(self, maps: Tensor) -> None:
        super().__init__()
        self.register_buffer("kept", maps)
        self.maps = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(self.kept[images[:, 0, 0, 0].long()])


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.body = nn.Sequential(
            *(nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        return (self.body(maps) + self.shortcut(maps)).relu()


def resnet152() -> nn.Sequential:
    """He et al. 2016, table 1: layers "stem", "layer1" to "layer4", "pool", "flat" and "fc"."""
    network = nn.Sequential()
    stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    network.add_module("stem", stem)
    inputs = 64
    for number, (depth, width) in enumerate(((3, 64), (8, 128), (36, 256), (3, 512)), 1):
        strides = [1 if number == 1 else 2] + [1] * (depth - 1)
        blocks = []
        for stride in strides:
            blocks.append(Bottleneck(inputs, width, stride))
            inputs = 4 * width
        network.add_module(f"layer{number}", nn.Sequential(*blocks))
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flat", nn.Flatten())
    network.add_module("fc", nn.Linear(inputs, 1000))
    return network
