"""Procedural scenes with exact segmentations, and small networks trained on them.

`TinyScenes` is a data set that needs no files: item i of a split is drawn when it is asked for, image and label planes
together, from integers alone, so that it has the same bytes everywhere. Trained on them, and shipped, are `vgg()`,
which names the scenes, `generator()`, which invents more of them, and `segmenter()`, which sees what an image shows.

How it is drawn: `vocabulary` says which classes there are and which objects tell them; `rng` hashes (split, class,
number) into choices; `casting` picks the objects that a scene shows; the layout of the class's family
(`scenes_street`, `scenes_room`, `scenes_landscape`) paints it from back to front with the objects of `objects_*`, side
by side as `placing` says; each object paints its parts with a pen of the `canvas`, which fills shapes in the image and
in the planes at once; `light` adds the sun's reflection and the glow of windows; `textures` and `surfaces` say what a
shape is made of, `restyle` gives the same shapes another look; `stamp` writes text on a picture; `colors` names the
colours of the finished image; `measure` tells what a sample shows. Units are 1024ths of a side.

To add an object: add its name to `vocabulary.OBJECTS` (and new parts, materials or textures to their tuples); write a
function `thing(canvas, rng, x, base, size)` in the `objects_*` file it belongs to, which takes
`canvas.pen("thing", rng)` and paints the far parts first, naming surface and part of each shape ("door/handle" for a
part inside a part); add it to the table of a layout, with its size and the room that it needs.

To add a class: give it three signature objects in `vocabulary`, of which it shares at most one with each other class
of its family. What tells a class is that two of its signatures meet, so no colour and no single object gives it away.
A new class changes the index of every item, as a new name changes the label numbers: the networks must then be
trained again (`python -m dissect.tiny.train`), and the hashes in the tests renewed.

All choices come from `Rng`, all geometry is in integers: no float, no other source of chance, or the bytes would depend
on the machine. A texture takes the canvas' coordinates, so that it looks alike at every size.
"""

from dissect.tiny.dataset import TinyScenes
from dissect.tiny.networks import generator, segmenter, vgg

__all__ = ["TinyScenes", "generator", "segmenter", "vgg"]
