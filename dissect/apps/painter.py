"""A painter: a generator and a layer, whose images are made again from the layer on, with strokes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dissect import ops
from dissect.apps.brushes import Brush, default_number
from dissect.apps.session import MOST_IMAGES, MOST_STROKES, PaintSession
from dissect.apps.sources import Weights, lock_of, z_set
from dissect.apps.strokes import ACTIONS, Action, Mask, Pooling, Stroke, stroke_of
from dissect.arguments import integer, refusal, speaks
from dissect.data.pictures import signed_pictures
from dissect.generators.rendering import Renderer
from dissect.interventions.intervention import insert
from dissect.network.graph import edit_first
from dissect.network.hooks import Hooks
from dissect.network.layers import find_layers
from dissect.network.layouts import LayoutOption, from_maps
from dissect.network.outputs import first_tensor

#: Images of which what comes before the layer is kept, and paintings of which the layer's maps are.
KEPT = 16


class _KeptMaps(NamedTuple):
    """Of an image, the layer's maps [1, U, h, w], and what runs again from the layer on."""

    maps: Tensor
    run: Callable[[], Any]


@speaks
class Painter:
    """A generator and one of its layers to paint with, stroke by stroke.

    A stroke sets units of the layer to values where its mask says (`Stroke`): of r, the layer's maps, with a =
    alpha * mask, ``a * value + (1 - a) * r`` (`dissect.ops.blend_units`). Each stroke paints on what those before it
    left, which is, after strokes 1 and 2, the published composition ::

        a = 1 - (1 - a2)(1 - a1)        v = (v1 a1 (1 - a2) + v2 a2) / a

    What comes before the layer is computed once for each image and kept, so that a redraw costs what follows the layer.
    The generator's weights must stay what they are. Painters of one generator, in whatever threads, wait for each
    other.

    Bau et al. 2019, "Semantic Photo Manipulation with a Generative Image Prior"; 2020, "Understanding the Role of
    Individual Units in a Deep Neural Network", Fig. 6.

    Args:
        generator: from z to images [N, 3, H, W] in [-1, 1], in evaluation mode; one that takes `noise` gets seeds.
        layer: a layer's name.
        brushes: what `dissect.apps.brushes` gives; strokes that name their units need none.
        seed: of the z set.
        count: how many images it has.
        layout: of the layer's output where it is not certain, see `dissect.ablate`.

    Attributes:
        fingerprint: of the generator's weights.
        num_units: U of the layer.
        map_size: (h, w) of the layer.
        image_size: (H, W) of the images.

    Raises:
        KeyError: a layer that the generator does not have.
        TypeError, ValueError: see `dissect.dissect`; a brush with units that the layer does not have.

    Example:
        >>> from dissect import apps, tiny
        >>> street, segmenter = tiny.generator(), tiny.segmenter(signed=True)
        >>> z = dissect.latents(street, 8, seed=2)
        >>> d = dissect.dissect(street, "layer4", z, segmenter=segmenter, segment="output", decoys=0, progress=False)
        >>> painter = apps.Painter(street, "layer4", brushes=apps.brushes(d, "layer4"), count=20)
        >>> painting = apps.Painting(painter, number=3)
        >>> corner = torch.zeros(64, 64)
        >>> corner[:16, :16] = 1
        >>> stroke = painting.remove(painter.brushes[0].name, corner)
        >>> len(stroke.units), tuple(painting.image.shape), painting.undo()
        (5, (3, 64, 64), True)
        >>> torch.equal(painting.image, painting.before)
        True
    """

    def __init__(
        self,
        generator: nn.Module,
        layer: str,
        *,
        brushes: Sequence[Brush] = (),
        seed: int = 1,
        count: int = 1000,
        layout: LayoutOption | None = None,
    ) -> None:
        count, self.seed = integer("count", count, 1, MOST_IMAGES), integer("seed", seed, 0, 2**31 - 1)
        self.lock, z = lock_of(generator), z_set(generator, count, self.seed)
        with self.lock:
            self._renderer = Renderer(generator, layer, z, None, 1, layout)
        self.generator, self.layer = generator, layer
        self.num_units = self._renderer.num_units
        self.map_size, self.image_size = self._renderer.map_size, self._renderer.image_size
        self.brushes = tuple(brushes)
        for brush in self.brushes:
            if max(brush.units) >= self.num_units:
                raise refusal(
                    ValueError(
                        f"brushes must be of the {self.num_units} units of layer {layer!r}, but {brush.name!r} has "
                        f"unit {max(brush.units)}."
                    )
                )
        (self._module,) = find_layers(generator, [layer])
        self._weights = Weights(generator)
        self.fingerprint = self._weights.fingerprint
        self._kept: OrderedDict[int, _KeptMaps] = OrderedDict()
        self._composed: OrderedDict[tuple[int, tuple[Stroke, ...]], Tensor] = OrderedDict()

    def __len__(self) -> int:
        """How many images the z set has."""
        return len(self._renderer)

    def __repr__(self) -> str:
        return (
            f"<Painter of {type(self.generator).__name__}: {self.num_units} units of {self.layer!r}, "
            f"{len(self.brushes)} brushes, {len(self)} images>"
        )

    def brush(self, name: str) -> Brush:
        """A brush by its name, as "tree-iou", or by its concept, of which the first counts.

        Raises:
            KeyError: there is none; says which there are.
            ValueError: the name is that of several concepts, as of a material and an object; says their full names.
        """
        found = [brush for brush in self.brushes if name in (brush.name, brush.full_name, brush.concept, brush.short)]
        if len({brush.concept for brush in found}) > 1:
            names = " or ".join(brush.full_name for brush in found)
            raise refusal(ValueError(f"{name!r} is the name of several brushes; say {names}."))
        if not found:
            names = ", ".join(brush.name for brush in self.brushes) or "none"
            raise refusal(KeyError(f"there is no brush {name!r}; there are {names}."))
        return found[0]

    def stroke(
        self,
        action: Action,
        brush: str | Brush,
        mask: Tensor | Mask,
        *,
        units: int | None = None,
        neutral: float | Sequence[float] = 0.0,
        pooling: Pooling = "max",
    ) -> Stroke:
        """A stroke of a brush.

        Args:
            action: "draw" sets units to the brush's levels, "remove" to `neutral`.
            brush: or its name.
            mask: [H, W], of the image or of a coarser grid; all that is not 0 is painted.
            units: how many, those that rank highest; 3.9 % of the layer's by default.
            neutral: a number, or one for each of these units. Zero, as published, is not what a unit gives where it
                sees nothing if a leaky ReLU or a normalisation made it.
            pooling: how the mask becomes as small as the layer's map.

        Raises:
            KeyError: no such brush.
            ValueError: another action, more units than the brush has, a mask in which nothing is painted.
        """
        if action not in ACTIONS:
            raise refusal(ValueError(f"action must be one of {', '.join(ACTIONS)}, but got {action!r}."))
        chosen = self.brush(brush) if isinstance(brush, str) else brush
        default = min(default_number(self.num_units), len(chosen.units))
        number = default if units is None else integer("units", units, 1, len(chosen.units))
        where = mask if isinstance(mask, Mask) else Mask.of(mask)
        if "1" not in where.bits:
            raise refusal(ValueError("mask must be painted somewhere, but is 0 everywhere."))
        values = chosen.levels[:number]
        if action == "remove":
            each = [neutral] * number if isinstance(neutral, (int, float)) else list(neutral)
            values = tuple(float(value) for value in each)
        stroke = Stroke(action, chosen.name, chosen.units[:number], values, (1.0,) * number, where, pooling)
        return self.check([stroke])[0]

    def check(self, strokes: Sequence[Stroke]) -> tuple[Stroke, ...]:
        """The strokes, if they can be painted here.

        Raises:
            TypeError, ValueError: units that the layer does not have, values that are not finite; says which.
        """
        if len(strokes) > MOST_STROKES:
            raise refusal(ValueError(f"strokes must be at most {MOST_STROKES}, but are {len(strokes)}."))
        for number, stroke in enumerate(strokes, 1):
            if not isinstance(stroke, Stroke):
                raise refusal(TypeError(f"strokes must be Strokes, but one is a {type(stroke).__name__}."))
            try:
                stroke_of(stroke.as_json(), self.num_units, f"stroke {number}")
            except ValueError as error:
                raise refusal(error) from None
        return tuple(strokes)

    def maps(self, number: int, strokes: Sequence[Stroke] = ()) -> Tensor:
        """[1, U, h, w]: the layer's maps of an image, with strokes on them.

        Raises:
            ValueError: no such image, or strokes that cannot be painted here.
        """
        with self.lock:
            return self._painted(self._image(number), self.check(strokes)).clone()

    def render(self, number: int, strokes: Sequence[Stroke] = ()) -> Tensor:
        """[3, H, W] in [-1, 1]: an image with strokes, as the generator makes it of the layer's maps with them.

        The same strokes give the same bits, whatever was painted before.

        Raises:
            RuntimeError: the generator's weights have changed.
            ValueError: no such image, strokes that cannot be painted here, or that make an image which is not finite.
        """
        number = self._image(number)
        with self.lock:
            own = self._checked(number, tuple(strokes))
            self._weights.check("Painter")
            image: Tensor = first_tensor(self._run(number, own))[0]
        if not bool(image.isfinite().all()):
            raise refusal(
                ValueError(
                    f"strokes must leave an image finite, but number {number} is not; are the values ones that the "
                    "units can have?"
                )
            )
        return image.expand(3, -1, -1) if image.shape[0] == 1 else image

    def picture(self, number: int, strokes: Sequence[Stroke] = ()) -> Tensor:
        """[3, H, W] uint8 for people to look at; see `render`."""
        return signed_pictures(self.render(number, strokes)[None])[0].cpu()

    def pictures_of(self, z: Sequence[Sequence[float]], strokes: Sequence[Stroke] = ()) -> list[Tensor]:
        """Pictures [3, H, W] uint8 of z that are in no set; see `picture`.

        Raises:
            ValueError: z of another length, a generator that takes noise, strokes that cannot be painted here.
        """
        own = self.check(strokes)
        if self._renderer.seeds is not None:
            raise refusal(
                ValueError("z must be given by its number, as this generator takes noise, which goes with that.")
            )
        shape, found = self._renderer.z.shape[1:], []
        for row in z:
            if len(row) != shape.numel():
                raise refusal(ValueError(f"each z must have {shape.numel()} values, but one has {len(row)}."))
            with self.lock, torch.no_grad(), ExitStack() as blocks:
                for stroke in own:
                    blocks.enter_context(self._block(stroke))
                image = first_tensor(self.generator(torch.tensor(row).view(1, *shape).to(self._renderer.z)))
            found.append(signed_pictures(image)[0].cpu())
        return found

    def check_session(self, session: PaintSession) -> PaintSession:
        """The session, if it was painted with this generator, layer and z set.

        Raises:
            ValueError: it was not; says what differs.
        """
        for name, own, wanted in (
            ("generator", self.fingerprint, session.generator),
            ("layer", self.layer, session.layer),
            ("seed", self.seed, session.seed),
        ):
            if own != wanted:
                raise refusal(ValueError(f"the session is of {name} {wanted!r}, but this is {name} {own!r}."))
        self._image(session.number)
        self.check(session.strokes)
        return session

    def _checked(self, number: int, strokes: tuple[Stroke, ...]) -> tuple[Stroke, ...]:
        """The strokes; where all but the last were painted already, only that one is looked at."""
        known = all(isinstance(stroke, Stroke) for stroke in strokes) and (number, strokes[:-1]) in self._composed
        self.check(strokes[-1:] if known and len(strokes) <= MOST_STROKES else strokes)
        return strokes

    def _image(self, number: int) -> int:
        return integer("number", number, 0, len(self) - 1)

    def _run(self, number: int, strokes: tuple[Stroke, ...]) -> Any:
        kept, layout, edited = self._of(number), self._renderer.layout, []
        if not strokes:
            with torch.no_grad():
                return kept.run()
        maps = self._painted(number, strokes)

        def edit(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            edited.append(module)
            return edit_first(output, lambda _: from_maps(maps.clone(), layout))  # what follows may write into it

        # All units as they are painted: an intervention, which looks at each call where units are, costs a tenth more.
        with torch.no_grad(), Hooks() as hooks:
            hooks.after(self._module, edit, edits=True)
            image = kept.run()
        if not edited:
            raise refusal(RuntimeError(f"layer {self.layer!r} was not called when the generator ran again."))
        return image

    def _of(self, number: int) -> _KeptMaps:
        if number not in self._kept:
            rows = slice(number, number + 1)
            self._kept[number] = _KeptMaps(self._renderer.maps(rows).clone(), self._renderer.replay(rows))
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number]

    def _painted(self, number: int, strokes: tuple[Stroke, ...]) -> Tensor:
        """The maps with strokes; those before the last are, as a rule, there already."""
        if not strokes:
            return self._of(number).maps
        key = number, strokes
        if key not in self._composed:
            known = next(cut for cut in (len(strokes) - 1, 0) if not cut or (number, strokes[:cut]) in self._composed)
            maps = self._composed[number, strokes[:known]] if known else self._of(number).maps
            for stroke in strokes[known:]:
                maps = self._blended(maps, stroke)
            self._composed[key] = maps
            while len(self._composed) > KEPT:
                self._composed.popitem(last=False)
        self._composed.move_to_end(key)
        return self._composed[key]

    def _block(self, stroke: Stroke) -> Any:
        """The block within which a stroke is painted in whole runs."""
        device, layout = self._renderer.z.device, self._renderer.layout
        mask = None if stroke.mask is None else stroke.mask.pooled(self.map_size, stroke.pooling).to(device)
        return insert(
            self.generator, self.layer, stroke.units, value=stroke.values, alpha=stroke.alphas, mask=mask, layout=layout
        )

    def _blended(self, maps: Tensor, stroke: Stroke) -> Tensor:
        units = torch.tensor(stroke.units)
        alpha, value = (
            torch.zeros(self.num_units).index_put((units,), torch.tensor(each, dtype=torch.float32)).to(maps.device)
            for each in (stroke.alphas, stroke.values)
        )
        mask = None if stroke.mask is None else stroke.mask.pooled(self.map_size, stroke.pooling).to(maps.device)
        return ops.blend_units(maps, alpha, value, mask)
