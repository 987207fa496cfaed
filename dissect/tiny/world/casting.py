"""Which objects a scene shows: signatures of its class, and others that leave no doubt about the class."""

from __future__ import annotations

from itertools import combinations

from dissect.tiny.world.rng import Rng
from dissect.tiny.world.vocabulary import FAMILIES, FAMILY_OF, SIGNATURES

#: The grounds of which a landscape has at most one.
LANDS = ("field", "sand", "snow")
_EXTRAS = (0, 1, 1, 2)
# What is never added to a scene: a boat, which would lie on dry land, and palms to snow or snow to palms.
_STRANGE = (frozenset(("boat",)), frozenset(("snow", "palm")))


def _own(split: str, scene: str, number: int) -> tuple[str, ...]:
    """The signatures that a scene shows: of ten in a row one shows all, the others show each pair equally often.

    Where there are four signatures it is one of seven.
    """
    pairs = list(combinations(SIGNATURES[scene], 2))
    plan = [*pairs * (9 // len(pairs)), SIGNATURES[scene]]
    block, place = divmod(number, len(plan))
    return Rng("cast", split, scene, block).shuffled(plan)[place]


def cast(rng: Rng, split: str, scene: str, number: int) -> frozenset[str]:
    """The objects that a scene shows, of those that tell classes of its family.

    Two of the class's signatures, or all; and up to two objects that are none of them. Of every other class of the
    family it shows at most one signature. Each signature shows in 7 of 10 scenes of its class (4 of 7 where there are
    four), whatever chance does, so that none tells the class alone.
    """
    own = SIGNATURES[scene]
    shown = set(_own(split, scene, number))
    others = [name for name in FAMILIES[FAMILY_OF[scene]] if name != scene]
    pool = sorted({name for other in others for name in SIGNATURES[other]} - set(own))
    wanted = len(shown) + rng.pick(_EXTRAS)
    for name in rng.shuffled(pool):
        if len(shown) >= wanted:
            break
        more = shown | {name}
        if any(strange <= more and name in strange for strange in _STRANGE):
            continue
        if len(more.intersection(LANDS)) < 2 and all(len(more.intersection(SIGNATURES[n])) < 2 for n in others):
            shown = more
    return frozenset(shown)
