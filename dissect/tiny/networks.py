"""The shipped network: its shape and its file."""

from __future__ import annotations

from pathlib import Path

from dissect.cache import load_tensors
from dissect.models import VGG
from dissect.tiny.vocabulary import SCENES

#: The widths of the shipped VGG's five blocks and of its hidden fully connected layers.
CHANNELS = (16, 32, 64, 128, 192)
HIDDEN = 256
#: Rows and columns that the first of those sees: one, so that an object means the same wherever it stands.
POOLED = 1
SEED = 0

#: What the files of networks say that they are.
FORMAT = ("network", 1)

FOLDER = Path(__file__).parent / "weights"


def load_network(path: str | Path) -> VGG:
    """A network that `python -m dissect.tiny.train` wrote, in eval mode: its weights or one of its snapshots.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or holds something else.
    """
    states, about = load_tensors(path, *FORMAT)
    model = VGG(about["channels"], len(about["classes"]), about["hidden"], about["pooled"], seed=about["seed"])
    model.load_state_dict({name: value.float() for name, value in states.items()})
    return model.eval()


def vgg(trained: bool = True) -> VGG:
    """The small VGG for the scenes' classes, in eval mode.

    Args:
        trained: with the shipped weights; otherwise the untrained twin, from which the training started.

    Raises:
        FileNotFoundError: the weights' file is missing from the installation.

    Example:
        >>> model = vgg(trained=False)
        >>> tuple(model(torch.zeros(1, 3, 128, 128)).shape) == (1, len(dissect.tiny.TinyScenes.classes))
        True
    """
    if trained:
        return load_network(FOLDER / "vgg.safetensors")
    return VGG(CHANNELS, len(SCENES), HIDDEN, POOLED, seed=SEED).eval()
