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


def generator(name: str = "progan-street") -> ProGAN | StyleGAN2:
    """A shipped generator of scenes of one family, images in [-1, 1], in eval mode.

    Args:
        name: "progan-street"; `dissect.tiny.recipes.RECIPES` says how each is trained.

    Raises:
        FileNotFoundError: there is no generator of this name, or its file is missing from the installation.

    Example:
        >>> model = generator()
        >>> tuple(model(dissect.latents(model, 2)).shape)
        (2, 3, 64, 64)
    """
    return load_generator(FOLDER / f"{name}.safetensors")


def segmenter(seed: int = 0, *, signed: bool = False) -> Segmenter:
    """A segmentation network for images of scenes: planes of objects, parts, parts inside parts, and materials.

    Trained on scenes of 64x64, some of them blurred, noisy or coarse as generated images are. The two seeds are the
    same network trained twice; where they differ, neither should be trusted.

    Args:
        seed: 0 or 1, which of the two.
        signed: images come in [-1, 1], as generators give them, not in [0, 1].

    Raises:
        FileNotFoundError: there is no network of this seed, or its file is missing from the installation.

    Example:
        >>> planes = segmenter()(torch.zeros(1, 3, 64, 64))
        >>> tuple(planes.shape)
        (1, 4, 64, 64)
    """
    states, about = load_tensors(FOLDER / f"segmenter-{seed}.safetensors", *FORMAT)
    network = UNet(about["channels"], sum(len(group) for group in SEGMENTER_GROUPS))
    network.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in states.items()}
    )
    return Segmenter(network, CONCEPTS, SEGMENTER_GROUPS, signed=signed).eval()
