"""The shipped networks: their shapes and their files."""

from __future__ import annotations

from pathlib import Path

from dissect.cache import load_tensors
from dissect.models import VGG, ProGAN, StyleGAN2, UNet
from dissect.segmentation import Segmenter
from dissect.tiny.recipes import Recipe
from dissect.tiny.vocabulary import CONCEPTS, MATERIALS, OBJECTS, PARTS, SCENES, label

#: The widths of the shipped VGG's five blocks and of its hidden fully connected layers.
CHANNELS = (16, 32, 64, 128, 192)
HIDDEN = 256
#: Rows and columns that the first of those sees: one, so that an object means the same wherever it stands.
POOLED = 1
SEED = 0

#: The widths of the segmentation networks, and the label planes that they give: objects, parts, parts inside others or
#: in none, materials.
SEGMENTER_CHANNELS = (24, 32, 64, 96, 128)
SEGMENTER_PLANES = (0, 1, 2, 3)
_INNER_ONLY = ("face", "hub", "spot", "book", "goods", "reflection", "glow")
_INNER = ("pane", "handle", *_INNER_ONLY, "stripe")
#: The labels that each of those planes can show, "no label" first.
SEGMENTER_GROUPS = tuple(
    (0, *(label(category, name) for name in names))
    for category, names in (
        ("object", OBJECTS),
        ("part", [name for name in PARTS if name not in _INNER_ONLY]),
        ("part", [name for name in PARTS if name in _INNER]),
        ("material", MATERIALS),
    )
)

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


def load_generator(path: str | Path) -> ProGAN | StyleGAN2:
    """A generator that `python -m dissect.tiny.train_gan` wrote, in eval mode: its weights or one of its snapshots.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or holds something else.
    """
    states, about = load_tensors(path, *FORMAT)
    model = Recipe.of(about["recipe"]).generator(about["seed"])
    if "latent_avg" in states:
        model.latent_avg = states["latent_avg"].float()
    model.load_state_dict({name: value.float() for name, value in states.items()})
    return model.eval()


def load_segmenter(path: str | Path, *, signed: bool = False) -> Segmenter:
    """A segmenter that `python -m dissect.tiny.train_segmenter` wrote: objects, parts, parts inside parts, materials.

    Args:
        path: of the file.
        signed: images come in [-1, 1], as generators give them, not in [0, 1].

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or holds something else.
    """
    states, about = load_tensors(path, *FORMAT)
    network = UNet(about["channels"], sum(len(group) for group in SEGMENTER_GROUPS))
    network.load_state_dict({
        name: value.float() if value.is_floating_point() else value for name, value in states.items()
    })  # fmt: skip
    return Segmenter(network, CONCEPTS, SEGMENTER_GROUPS, signed=signed).eval()
