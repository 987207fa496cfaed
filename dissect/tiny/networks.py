"""The shipped networks: their shapes and their files."""

from __future__ import annotations

from pathlib import Path

from dissect.arguments import refusal, speaks
from dissect.models import VGG, ProGAN, StyleGAN2, UNet
from dissect.segmentation import Segmenter
from dissect.tiny.training.recipes import RECIPES, Recipe
from dissect.tiny.weight_files import widened
from dissect.tiny.world.vocabulary import CONCEPTS, MATERIALS, OBJECTS, PARTS, SCENES, label

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

#: The generators, and the seeds of the segmentation networks, whose weights are shipped.
GENERATORS = (
    "progan-street",
    "stylegan2-street-watermark",
    "progan-room-small",
    "progan-street-small",
    "progan-street-small-no-pixelnorm",
    "progan-street-small-baseline",
    "wgangp-street-small",
)
SEGMENTER_SEEDS = (0, 1)

FOLDER = Path(__file__).parent / "weights"


def load_network(path: str | Path) -> VGG:
    """A network that `python -m dissect.tiny.train` wrote, in eval mode: its weights or one of its snapshots.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or holds something else.
    """
    states, about = widened(path, "VGG")
    model = VGG(about["channels"], len(about["classes"]), about["hidden"], about["pooled"], seed=about["seed"])
    model.load_state_dict(states)
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

    A snapshot is of the size to which the generator had grown.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or holds something else.
    """
    states, about = widened(path, "ProGAN", "StyleGAN2")
    model = Recipe.of(about["recipe"]).generator(about["seed"], about.get("resolution"))  # earlier files do not say it
    model.load_state_dict(states)
    return model.eval()


@speaks
def generator(name: str = GENERATORS[0], trained: bool = True) -> ProGAN | StyleGAN2:
    """A small generator of scenes, in eval mode.

    Args:
        name: "progan-street", a Progressive GAN of the scenes of `TinyScenes(family="street")` at 64x64;
            "stylegan2-street-watermark", a StyleGAN2 of the same with `watermark=True`: both were trained with a
            `FeatureCritic` beside their discriminator from some point on. Or, at 32x32 and trained for half an hour
            each, to be compared (docs/generators_compared.md): "progan-room-small", of rooms; "progan-street-small";
            "progan-street-small-no-pixelnorm", without pixel normalisation; "progan-street-small-baseline", without
            that and without minibatch standard deviation; "wgangp-street-small", a baseline that does not grow.
        trained: with the shipped weights; otherwise an untrained twin: the same layers, with the initial weights of the
            same seed. There is a twin of every recipe of `dissect.tiny.training.recipes.RECIPES`.

    Raises:
        FileNotFoundError: the weights' file is missing from the installation.
        ValueError: no such generator is shipped.

    Example:
        >>> model = generator()
        >>> images = model(dissect.latents(model, 2))
        >>> tuple(images.shape), model.layer5.conv.out_channels
        ((2, 3, 64, 64), 128)
    """
    names = GENERATORS if trained else tuple(RECIPES)
    if name not in names:
        raise refusal(ValueError(f"name must be one of {', '.join(names)}, but got {name!r}."))
    return load_generator(FOLDER / f"{name}.safetensors") if trained else RECIPES[name].generator(SEED).eval()


def load_segmenter(path: str | Path, *, signed: bool = False) -> Segmenter:
    """A segmenter that `python -m dissect.tiny.train_segmenter` wrote: objects, parts, parts inside parts, materials.

    Args:
        path: of the file.
        signed: images come in [-1, 1], as generators give them, not in [0, 1].

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or holds something else.
    """
    states, about = widened(path, "UNet")
    network = UNet(about["channels"], sum(len(group) for group in SEGMENTER_GROUPS))
    network.load_state_dict(states)
    return Segmenter(network, CONCEPTS, SEGMENTER_GROUPS, signed=signed).eval()


@speaks
def segmenter(seed: int = SEGMENTER_SEEDS[0], *, signed: bool = False) -> Segmenter:
    """A small segmentation network for the scenes: objects, parts, parts inside parts, materials; in eval mode.

    Args:
        seed: 0 or 1, that of its training: what both see is less likely to be the network's own doing.
        signed: images come in [-1, 1], as generators give them, not in [0, 1].

    Raises:
        FileNotFoundError: the weights' file is missing from the installation.
        ValueError: no network of this seed is shipped.

    Example:
        >>> street = dissect.tiny.generator()
        >>> planes = segmenter(signed=True)(street(dissect.latents(street, 2)))
        >>> tuple(planes.shape), planes.dtype
        ((2, 4, 64, 64), torch.int16)
    """
    if seed not in SEGMENTER_SEEDS:
        raise refusal(ValueError(f"seed must be one of {', '.join(map(str, SEGMENTER_SEEDS))}, but got {seed!r}."))
    return load_segmenter(FOLDER / f"segmenter-{seed}.safetensors", signed=signed)
