"""The shipped network: its shape, its file, and reading and writing such files."""

from __future__ import annotations

from pathlib import Path

from dissect.cache import load_tensors
from dissect.models import VGG
from dissect.tiny.vocabulary import SCENES

#: The widths of the shipped VGG's five blocks and of its hidden fully connected layers.
CHANNELS = (16, 32, 64, 128, 192)
HIDDEN = 256
SEED = 0

#: What the files of networks say that they are.
FORMAT = ("network", 1)

FOLDER = Path(__file__).parent / "weights"


def vgg(trained: bool = True) -> VGG:
    """The small VGG for the scenes' classes, in eval mode.

    Args:
        trained: with the shipped weights; otherwise the untrained twin, from which the training started.

    Raises:
        FileNotFoundError: the weights' file is missing from the installation.

    Example:
        >>> model = vgg(trained=False)
        >>> tuple(model(torch.zeros(1, 3, 128, 128)).shape)
        (1, 20)
    """
    if not trained:
        return VGG(CHANNELS, len(SCENES), HIDDEN, seed=SEED).eval()
    states, about = load_tensors(FOLDER / "vgg.safetensors", *FORMAT)
    model = VGG(about["channels"], len(about["classes"]), about["hidden"], seed=SEED)
    model.load_state_dict({name: value.float() for name, value in states.items()})
    return model.eval()
