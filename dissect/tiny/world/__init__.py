"""The world that `dissect.tiny.TinyScenes` draws: what there is in it, and how it is painted.

`vocabulary` says which classes there are and which objects tell them; `rng` hashes (split, class, number) into choices;
`casting` picks the objects that a scene shows; the layout of the class's family (`layouts`) paints it from back to
front with `objects`, side by side as `placing` says; each object paints its parts with a pen of the `canvas`, which
fills shapes in the image and in the planes at once; `light` adds the sun's reflection and the glow of windows;
`textures` and `surfaces` say what a shape is made of, `restyle` gives the same shapes another look; `stamp` writes text
on a picture; `colors` names the colours of the finished image. `scenes` is all of it, one call a scene. Units are
1024ths of a side.

To add an object: add its name to `vocabulary.OBJECTS` (and new parts, materials or textures to their tuples); write a
function `thing(canvas, rng, x, base, size)` in the file of `objects` it belongs to, which takes
`canvas.pen("thing", rng)` and paints the far parts first, naming surface and part of each shape ("door/handle" for a
part inside a part); add it to the table of a layout, with its size and the room that it needs.

To add a class: give it three signature objects in `vocabulary`, of which it shares at most one with each other class
of its family. What tells a class is that two of its signatures meet, so no colour and no single object gives it away.
A new class changes the index of every item, as a new name changes the label numbers: the networks must then be
trained again (`python -m dissect.tiny.train`), and the hashes in the tests renewed.

All choices come from `Rng`, all geometry is in integers: no float, no other source of chance, or the bytes would depend
on the machine. A texture takes the canvas' coordinates, so that it looks alike at every size.
"""
