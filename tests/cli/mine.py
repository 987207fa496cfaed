"""A user's own module, and how the tests of commands run it."""

from dissect.cli.commands import main

CODE = """
import torch
from torch import nn
from dissect.segmentation import ImageInput

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))

class Silent:
    concepts = [("bright", "color")]
    seen = []

    def __call__(self, images):
        self.seen.append(images)
        return (images.mean(1, keepdim=True) > 0).long()

class Segmenter(Silent):
    input = ImageInput(-1.0, 1.0)

class Closed:
    __slots__ = ()
    concepts = [("bright", "color")]

    def __call__(self, images):
        return (images.mean(1, keepdim=True) > 0).long()

class Module(nn.Module):
    concepts = [("bright", "color")]

    def __init__(self):
        super().__init__()
        self.input = nn.Identity()

    def forward(self, images):
        return (self.input(images).mean(1, keepdim=True) > 0).long()

def bound():
    return Closed().__call__

number = 3

def needy(size):
    return None

def text():
    return "no network"
"""


def run(*arguments):
    return main(["run", "--model", "mine:network", "--images", "images", "--size", "16", *map(str, arguments)])
