"""Small classifiers of every shape that interventions meet."""

import torch
from torch import nn


def chain():
    """Convolution, normalisation, ReLU, overlapping pooling, flattening: a linear tail. 6 units, 5 classes."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6),
        nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1), nn.AvgPool2d(2, 1, padding=1), nn.Flatten(), nn.Dropout(),
        nn.Linear(6 * 25, 16), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(16, 5),
    )  # fmt: skip
    return settled(model)


class Block(nn.Module):
    """A ResNet's block, written as torchvision does."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        return self.relu(out)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 6, 3, padding=1), nn.Sequential(Block(6, 6), Block(6, 8), Block(8, 8))
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.qkv, self.project = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2, self.linear1, self.linear2 = nn.LayerNorm(width), nn.Linear(width, 16), nn.Linear(16, width)

    def forward(self, x):
        q, k, v = (part.unflatten(2, (2, -1)).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, 2))
        x = x + self.project(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.linear2(nn.functional.gelu(self.linear1(self.norm2(x))))


class Encoder(nn.Module):
    """torch's own layer, which has a fused kernel."""

    def __init__(self):
        super().__init__()
        self.patches, self.fc = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 5)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        return self.fc(self.layer(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


class Tokens(nn.Module):
    """A vision transformer in small; a hard-coded batch size where asked."""

    def __init__(self, batch=None):
        super().__init__()
        self.patches, self.batch = nn.Conv2d(3, 8, 4, 4), batch
        self.block = Attention(8)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = self.norm(self.block(tokens)).mean(1)
        return self.head(tokens.view(self.batch or len(tokens), 8))


class Choosing(nn.Module):
    """Values decide what is computed, which no fan-out can take."""

    def __init__(self):
        super().__init__()
        self.conv, self.choose, self.fc = nn.Conv2d(3, 4, 1), Choose(), nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.choose(self.conv(x)))


class Choose(nn.Module):
    def forward(self, x):
        x = x.mean((2, 3))
        return x * 2 if x.sum().item() > 0 else x


def settled(model):
    """In evaluation mode, with running statistics that do something."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return model.eval()


CLASSES = ("a", "b", "c")


def by_hand():
    """Unit u sees color u; class c's logit is unit c, and unit 3 counts for class "a" a little."""
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(4)[..., None, None])
        model[0].bias.zero_()
        model[4].weight.copy_(torch.tensor([[1.0, 0, 0, 0.25], [0, 1, 0, 0], [0, 0, 1, 0]]))
        model[4].bias.copy_(torch.tensor([0.0, 0.1, 0.2]))
    return model


def colors():
    """Two batches of nine images, each of the color of its class."""
    labels = torch.arange(9) % 3
    images = torch.eye(4)[labels][..., None, None].expand(9, 4, 2, 2) + torch.tensor([0, 0, 0, 1.0])[:, None, None]
    return [(images, labels), (images, labels)]
