"""The text of docs/trust_biases.md, between the tables."""

from string import Template

PAGE = Template("""\
<!-- Written by docs/scripts/trust_biases.py; do not edit. -->
# Five biases of the method, measured

Zhou, Bau et al. 2018 (section 4) name five ways in which network dissection may mislead. Here each is measured, on
conv5_3 of the embedded VGG unless a table names another layer: $units units, of which $detectors detect one of
$concepts concepts among $labels labels, over the first $images validation scenes (units fire on 1 % of the pixels,
cut-off 0.04). It is one network, trained once, on drawn scenes: the figures show how large a bias can be, not how large
it is for your network. Where something is chosen (a group, a shift, a finer label), it is chosen on even images and
measured on odd ones. Intervals are 95 %, of 2,000 bootstrap resamples of the units or concepts (seed 0). "By chance" is
with the planes of other images, as in [trust.md](trust.md), which also explains the columns of a unit's row.

## 1. A concept that the vocabulary lacks

*A unit that sees what no label names gets another name, or none.* Each of the $absent_concepts concepts that have
detectors was taken out of the planes in turn, and everything dissected again. These are the twelve with the most units,
and medians over their units, with the concept and then without:

$removed
Of all $absent_units units $absent_still are still detectors, of another label. For $absent_far of these its mask and
that of the old concept have an IoU below 0.1: the name says where the thing is found, or something else altogether
("by something else" below). For the others it is a part of the thing, its material, or what it is a part of. What
tells?

$kinds
$columns
The last two columns are the probability that the figure is lower for a unit without its concept than for one that has
it: 0.5 would tell nothing, 1 would tell always.

**What it means.** A name is the nearest one in your vocabulary. Nothing in a unit's row gives away that a better one is
missing. Their p-values stay as low as before, since the unit does see something that goes with the label. The other
columns are lower, but overlap widely with those of units that have their concept; the IoU, held out or not, says most,
and a name that each half of the images gives alone is more often the right one. Before you rest an argument on a name,
look at the unit's top images, and dissect with a larger vocabulary.

## 2. A concept that is too fine

*A unit that sees something more special than any label has a low IoU with the general one.* Objects were combined with
another category ("road, downtown"), as one more plane, with all combinations on enough pixels for an IoU above the
cut-off. The control takes the other labels from another image, drawn at random: more combinations, which mean nothing.

$finer
The last two columns are the mean IoU, on odd images, with the label that even images give: for the units that prefer a
combination, without the combinations in the vocabulary and with them. Color gains nothing here. Some units prefer an
object of one material, which for trees and plants is nearly the object itself. Many prefer an object in one scene, as
may be expected of a network that names scenes: these are units that the vocabulary of objects undersells, and
some were no detectors without it.

*A small concept cannot have a high IoU.* If a unit fires on a share q of the pixels and a concept covers f, the IoU is
at most min(q, f) / max(q, f) (`attainable`).

![IoU of the best unit of each concept over its size](trust/sizes.png)

(The column at $scene of the pixels are the scenes, each of which fills one of $scenes images.) "Reachable" are labels
whose bound exceeds the cut-off:

$fractions
Nearly everything is reachable at 1 %. Of the $small concepts on less than 0.1 % of the pixels $small_found have a unit
above the cut-off, of the $others larger ones $others_found. A smaller share finds fewer concepts, and so does a larger
one, where chance alone passes the cut-off. Coarser planes (every second, every fourth pixel) change little:

$resolutions
**What it means.** "No detector" is not "not seen". Compare an IoU with `attainable`, not with 1. If precision is high
and recall low, try finer labels, and judge them on images that had no part in the choice.

## 3. Groups of units

*A concept may be seen by several units together, and by none alone.* For each label that is reachable
($group_concepts), units were added one at a time to the one with the best IoU, each time the one whose mask, joined to
those before, fits best. A group fires on more pixels than a unit, which suits large concepts; so beside it stands the
best single unit that fires on 2 or 3 % of the pixels. (Planes of every second pixel.)

$groups
The last column compares with the best single unit that fires on 1 %.

**What it means.** The bias is there: a pair fits better than one unit that fires as widely, a third unit adds less, and
some concepts have a pair above the cut-off but no unit. The number of detectors is a lower bound of what a layer knows.
`dissect.ablate` and `unit_sets` take groups.

## 4. Maps that are not where they seem to be

*The place of a cell is not quite where its unit looks.* First the geometry: three ways to place the cells of a map
in the image (`grid=`).

$kinds_of_grid
"Renamed" and "largest change" are against half_pixel. In a network of padded convolutions of odd size and poolings of
two the exact receptive fields are the half-pixel grid; NetDissect's whole pixels lie half a pixel beside them.

Then the units themselves: each unit's mask was shifted by up to a cell (16, 8 and 4 pixels) in steps of half a cell,
and the shift that suits its label best on even images was tried on odd ones.

$shifts
"Best unshifted" are the units that even images leave where they are; "best shift for all" is (rows, columns), in cells.
The deep layers as a whole are best left alone, so the geometry is right. But nearly every unit has a shift of its own
that suits it: it fires beside what it is named for, or at one side of it.

**What it means.** The choice of grid hardly matters for such a network, and can for others (unpadded, or with even
kernels): take `receptive_field` there. On coarse maps, as conv5_3's, IoUs are too low because units fire beside what
they are named for, some more than others, and on finer ones less so; do not read small differences of IoU between
units, or between layers, as differences in meaning. The library shifts nothing: a shift per unit is one more choice to
be made on the images that it is judged on.

## 5. Counts that favor large networks

*More units have more chances to detect something new.* Units were drawn at random from each layer, 200 times (seed 0);
in brackets where 95 % of the draws lie.

![Concepts over the number of units](trust/rarefaction.png)

$rarefied
Detectors grow with the number of units, concepts more slowly. At equal numbers conv5_3 has more concepts than conv4_3,
and that more than conv3_3, but by less than the counts of whole layers say. And at any number the trained layers have
several times the concepts of the untrained ones, of which half the units are "detectors", but of the same few concepts.

What chance gives is a share of the units too, so wide layers have more of it:

$chance
**What it means.** Compare layers and networks by concepts at equal numbers of units, or by the share of units; never by
the bare number of "unique detectors".
""")
