"""Procedural scenes with exact segmentations, and small networks trained on them.

`TinyScenes` is a data set that needs no files: item i of a split is drawn when it is asked for, image and label planes
together, from integers alone, so that it has the same bytes everywhere. `vgg()` is a network that names the scenes.

How it is drawn: `rng` hashes (split, index) into choices; a layout (`scenes_country`, `scenes_town`, `scenes_indoor`)
paints one scene from back to front with the objects of `objects_*`; each object paints its parts with a pen of the
`canvas`, which fills shapes in the image and in the planes at once; `textures` and `surfaces` say what a shape is made
of; `colors` names the colours of the finished image; `vocabulary` holds every concept's name. Units are 1024ths of a
side.

To add an object: add its name to `vocabulary.OBJECTS` (and new parts, materials or textures to their tuples); write a
function `thing(canvas, rng, x, base, size)` in the `objects_*` file it belongs to, which takes
`canvas.pen("thing", rng)` and paints the far parts first, naming surface and part of each shape; call it from more
than one layout, or add it to the list that a layout hands to `placing.scatter`.

To add a class: append its name to `vocabulary.SCENES`; write a layout `(canvas, rng) -> light`, and put it in
`scenes.LAYOUTS`; classes should share their objects, so that none gives its class away. Item i is of class
`i % len(classes)`, so a new class changes every item, as a new name changes the label numbers: the
networks must then be trained again (`python -m dissect.tiny.train`), and the hashes in the tests renewed.

All choices come from `Rng`, all geometry is in integers: no float, no other source of chance, or the bytes would depend
on the machine. A texture takes the canvas' coordinates, so that it looks alike at every size.
"""

from dissect.tiny.dataset import TinyScenes
from dissect.tiny.networks import vgg

__all__ = ["TinyScenes", "vgg"]
