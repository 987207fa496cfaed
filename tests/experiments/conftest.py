"""Importances made by hand."""

import pytest
import torch

from dissect.classifiers import ClassTally, UnitImportance
from dissect.experiments.carlini_wagner import load_foolbox

IMAGES = 1000

#: A module with a network that names an image by its brightest channel, and images for it, as commands take them.
BRIGHTEST_PROJECT = """
import torch

class Scenes(torch.utils.data.Dataset):
    classes = ("class 0", "class 1", "class 2")
    def __len__(self):
        return 6
    def __getitem__(self, index):
        image = torch.full((3, 6, 6), 0.3)
        image[index % 3] = 0.34
        return image, index % 3

def model():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    with torch.no_grad():
        net[0].weight.copy_(4 * torch.eye(3)[:, :, None, None])
        net[0].bias.zero_()
    return net
"""


def make_importance(drop, layer="conv", images=None) -> UnitImportance:
    """Each class loses `drop` [U, C] of balanced accuracy without a unit; all from recall, in both splits.

    Of 1,000 images a class (or `images` [C]) the whole network names each, and nothing is named wrongly, so that a
    loss of `d` is one of 2 * d of the hits.
    """
    drop = torch.as_tensor(drop, dtype=torch.float64)
    units, classes = drop.shape
    count = torch.full((classes,), IMAGES) if images is None else torch.as_tensor(images)
    hits = torch.cat([count[None], (count * (1 - 2 * drop)).round().long()])
    tallies = []
    for _ in range(2):
        tally = ClassTally(units + 1, classes)
        state = tally.state_dict()
        state["hits"][0], state["predicted"][0], state["images"][0] = hits, hits, count
        tally.load_state_dict(state)
        tallies.append(tally)
    names = tuple(f"class {number}" for number in range(classes))
    return UnitImportance(layer, names, torch.zeros(units), *tallies)


@pytest.fixture
def importance():
    """Four classes, five units; the two most important of each class have drops of 0.1 or more."""
    return make_importance(
        [
            [0.30, 0.20, 0.00, 0.00],
            [0.20, 0.00, 0.10, 0.00],
            [0.00, 0.10, 0.20, 0.00],
            [0.01, 0.01, 0.01, 0.40],
            [0.02, 0.02, 0.02, 0.20],
        ]
    )


@pytest.fixture(scope="session")
def foolbox(missing):
    """Skips, with the reason, where foolbox is not installed."""
    try:
        load_foolbox()
    except ImportError as error:
        missing("foolbox", str(error))
