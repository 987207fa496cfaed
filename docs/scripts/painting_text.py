"""The text of docs/painting_measured.md: what was measured, and the movies as they looked."""

from __future__ import annotations

from string import Template

PAGE = Template("""\
<!-- Written by docs/scripts/painting.py; do not edit. -->
# Strokes measured

How often does a stroke do what it says, and what else does it change? The shipped generator of streets,
$layer, the brushes of `dissect paint` ($units units, found by segmentation network 0 in $found images), on
$images images of another seed. What is there is told by network 1, which did not find the brushes. No unit has
as its best concept: $lacking; there the units with the highest IoU were taken, which the page does not offer.

A stroke covers ${cells}x${cells} cells of the layer's map, ${side}x${side} pixels. In each image it lies once, where
most of those pixels show the context (at least $context %, by the plane of objects; "house" counts churches, too).
"Other units": as many at random, others in each image, at the same place, set to the same values. "$many units": the
brush at that strength. Intervals are of 95 %, images drawn again; a row is of the first $most images
with such a place, and left empty if fewer than $fewest have one.

## Drawn

"Shows it now" is the share of the stroke's own pixels that show the concept and did not before; in the untouched image
it is 0, and "showed it before" is what is there already. The last column: strokes in
which that share is at least half, of $units units and of $many.

$drawings
$verdict

## Removed

One stroke an image, where most pixels show the concept (at least $removed % of the stroke's), sets the units
to zero. "Of that gone" is the share of the pixels that showed the concept and no longer do, in the mean over strokes.
The last column is what most strokes leave there, by the plane of objects ("-": no label).

$removals
A pixel at the edge of two labels goes easily whatever is done to it; this is why the other units stand beside it.

## What changes beside it

The mean absolute change of a pixel, of 255: inside the stroke's cells, outside, and beyond a ring of one cell around
them. The ratio is of the first two. Then the share of pixels outside whose object is another one.

$places
## Movies

Three sessions, $many units a stroke, replayed from their files as Movies S1 to S3 of Bau et al. (PNAS 2020). Image
and places were chosen by rule, where network 1 saw most of what the strokes were to lie on, not by how they came out.

**Trees erased** ([movie](painting/trees_erased.gif)). One stroke takes the crown, and the generator puts a tower there
that nobody asked for. A stump stays that network 1 does not call a tree, so the rule stops here.

![A tree removed in a stroke](painting/trees_erased.png)

**Where doors can go** ([movie](painting/doors.gif)): nowhere here. On a house, a road and the sky the units with the
highest IoU leave white strips, a red stain and something dark, and no door. Of the last two strokes, trees at such
places, the one on the house looks like a hedge at least; on the road it is a green block.

![Three doors that did not come, and two trees](painting/doors.png)

**A picture composed** ([movie](painting/composed.gif)). Something like a building stands in the sky, and a tree before
the house; the cloud hardly came, and the road did not become grass.

![A skyscraper, a tree, a cloud and grass drawn in turn](painting/composed.png)
""")
