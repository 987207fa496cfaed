"""Grids whose cells are of all kinds that the ops tell apart."""

from dissect import Grid

#: Maps, and the size of their enlargement: cells of 2x2, 2x4 and 3x3 pixels, of 8x8 and 40x70, in more columns than a
#: word of bits has; cells whose weights differ; own cells; the same at every border, and with corners that are aligned.
ENLARGED = {
    "2x2": ((9, 70), (18, 140)),
    "2x4": ((30, 30), (60, 120)),
    "3x3": ((5, 40), (15, 120)),
    "8x8": ((6, 6), (48, 48)),
    "40x70": ((3, 3), (120, 210)),
    "some small": ((7, 5), (25, 24)),
    "wide": ((2, 150), (10, 1500)),
    "fewer": ((20, 30), (9, 11)),
    "mixed": ((5, 5), (5, 20)),
}
BORDERS = ["edge", "zeros", "corners"]


def enlarging(name: str, border: str) -> Grid:
    """The grid of ENLARGED[name]; the border "corners" means aligned corners."""
    source, target = ENLARGED[name]
    if border == "corners":
        return Grid.align_corners(source, target)
    return Grid.half_pixel(source, target, border=border)
