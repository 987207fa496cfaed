"""The text of docs/rewriting.md."""

from __future__ import annotations

import math
from string import Template
from typing import Any

from pages import table

from dissect.stats import wilson_interval

TEXT = Template(
    """# Rewriting a rule

Written by `docs/scripts/rewriting_rules.py`.

A layer of a network can be seen as a memory: each location's channels are a *key*, and the weight says which *value*
it draws (Bau et al. 2020; thesis, chapter 6). A rule is rewritten by a change of the weight of low rank, along
directions that only some keys have: `W1 = W0 + Lambda D^T`, with D made of `C^-1 k`, and C the second moment of all
keys, which are to keep their values.

```python
from dissect import rewriting

model = dissect.tiny.generator()
z = dissect.latents(model, 300)
memory = rewriting.Memory(model, "layer6")
memory.second_moment(z)

roofs, treetop = torch.zeros(4, 64, 64), torch.zeros(64, 64)  # masks, painted on images
roofs[:, 20:26, 24:40] = treetop[16:28, 8:20] = 1
copied = rewriting.copy(memory, z[7:8], treetop)
keys, values = rewriting.paste(memory, z[3:4], roofs[0], copied)
directions = memory.direction(memory.keys(z[:4]), rank=1, masks=roofs)

edit = rewriting.insert(memory, keys, values, directions)  # the network is as it was
edit.apply()  # now all its roofs are treetops
edit.undo()  # and now they are not, to the bit
edit.save("treetops")  # a small file; dissect.load(...).apply(model)
```

`rewriting.load_session("session.json").edit(memory, z)` replays a session in the published format, and so does
`dissect rewrite apply`; `rewriting.erase` unlearns what masks show. Convolutions, transposed ones and fully connected
layers of any network are linear memories, with a closed form (`mode="closed"`); a modulated convolution of StyleGAN2
is not linear, since it is demodulated by the changed weight. Without `mode=` the published descent is made: Adam over
the whole weight, brought back to rank every 10 steps.

## Three rules

They were fixed before any was tried, and are told whatever they say. `progan-street`, `$layer`, $steps steps. Nobody
painted: object and place are the largest squares, of 12 pixels at most, that a segmentation network (number 0) sees
filled in $samples images of z set 1, and the context is the four images with most of the class. What was changed is
told by another one (number 1), of the first $measured images of z set 2, and of the first $transferred where pixels are
copied or blended, which is slow; the paper has 10,000. In brackets intervals (95 %, bootstrap over images). A
Progressive GAN has no truncation, which is 0.5 in the paper's StyleGAN2.

- *became*: of the class's pixels those that show the target after, as the published code counts; a few show both
  before.
- *gone*: those that no longer show the class (thesis, section 6.5.1). Its B.2 has a third way, pixels that became one
  of two classes: both are targets then.
- *half*: in how many images, of those that show the class, at least half of its pixels show the target.
- *outside*: how far all other pixels moved, of 255, in the mean.
- *perceived*: how far the classifier's features moved, in % of their length, with the class's pixels as they were. It
  stands in for LPIPS (`rewriting.lpips_distance`), which is not installed here.
- *loss*: before and after; of one example, not of the images measured. Of all weights it is of pixels.

What the edit is compared with is what `rewriting.baselines` gives for a session: *all weights* by Adam (B.5: 2,001
steps at 0.0001; the published code: 20,001 at 0.01), *copying* and *blending* of the example's pixels along neural best
buddies (Aberman et al. 2018) of the embedded classifier's five blocks, warped by moving least squares.

$rules

## A watermark

`stylegan2-street-watermark` draws SAMPLE across the middle, and TINY SAMPLE at the bottom, as some scenes of its
training have it. The first images of z set 1 with the former, ten at most, were annotated by its rectangle; the change
of rank one aims at one success of ablating units (thesis, section 6.5.2; 30 and 60 units of 512, here as many in
proportion), with each step's gradient projected, as the published commands do. Counted by the detector of
`dissect.tiny.judge` in $count images of z set 2; in brackets 95 % (Wilson). The second moment is always of $count
images at truncation 1, as published.

$watermarks

## How long it takes

$times

For a convolution of 512 to 512 channels, 3x3, and a crop of 8x8 keys, on one thread of an AMD EPYC with all other work
stopped, a step of the projected descent took 2.5 ms of processor time, and 11.4 ms in a plain loop of torch: 4.6 times
as fast (4.3 to 4.7 in four pairs of 100 steps; where blocks of 20 steps alternate, so that each finds the other's
numbers in the cache, 4.0, and 3.7 to 4.3 in fifteen). All 2,001 steps took 5.7 s, and 24.7 s in the plain loop: 4.3
times (aim: 3). With two threads, on the clock, a step took 2.0 ms and 6.9 in 100 steps, 2.4 ms and 6.4 in alternating
blocks: 2.7 times there (1.8 to 3.6 in 25 pairs), since they share the memory. `ops.filter_step` takes 2.1 ms of a step,
the loss 0.2, the projections 0.1: the products with the keys take 16 multiplications where they had 36 (Winograd's
F(2x2, 3x3)), and each number of the weight and of Adam's moments is read and written once.

The loss was .4342 (plain: .4338), and other keys' values moved by 1.733 (1.732). So far does rounding alone go, as the
loss tells signs: after 100 steps the change of the weight is 3.4 % from that of the plain loop in float64, and that of
the plain loop itself 2.5 %. Of ten seeds, with 64 channels, the loss was 0.4 % lower than the plain loop's in the mean
(standard deviation 1.0 %), and other values moved 0.8 % less (2.1 %); with keys of which most are 0, 0.1 % lower
(0.2 %) and 0.1 % more (0.7 %). Where the layer is no 3x3 convolution in steps of one, or no compiled engine is there, a
step takes oneDNN's products and torch's Adam, 4.3 to 4.6 ms.

A step in Lambda took 0.36 ms, 33 times as fast as the plain loop beside it (11.9 ms; aim: 20). The second moment of 512
channels took 0.95 times the bare products in float64 (0.94 to 0.95 in five pairs of 64 images; aim: 1.1), since a
symmetric one is computed by half.

On a GPU the steps between two projections are recorded and replayed (`torch.cuda.CUDAGraph`), unless someone watches.
This has not been run on one yet, so whether 2,001 steps take at most 2 s there (the aim; the paper: about eight) is not
known; `benchmarks/gpu.py rewriting` measures it.

## What is seen

$seen
"""
)

#: What the author saw in the pictures.
SEEN = """\
*Roofs*: in most of the twelve images red and brown roofs have become rows of green tufts with dark gaps below, and
walls stay where they were; houses lose some upper windows, and an awning or a bus grows leaves too. By direct Lambda
the crowns are flatter and olive. The segmentation network takes hardly any of them for a tree (*became*, which is not
0 in the unmodified model either), but many no longer for a roof (*gone*): they are as wide and flat as roofs, and have
no trunk. With all weights fine-tuned roofs turn dark green or brown, and stay roofs; blending leaves a blurred green
tuft somewhere near the houses, at times in the sky.

*Windows*: houses behind fade, and trams and buses, which the direction matches best, become dark grey bands. Direct
Lambda turns the middle of the street into black ones, and moves other pixels twice as far. Neither is a success: a
window is hardly more than one cell of this layer's map. All weights change next to nothing to see; blending leaves a
grey smear.

*Roads*: in all twelve images the upper two thirds of the road are a band of teal with horizontal streaks, over the
dashes and most of the cars; by direct Lambda nearly all of the road is. The network calls few of these bands water
(the projected descent's fewer than those of the layer without a direction). All weights leave single bluish spots on
the road, and so does blending.

So the first and the third example's success is seen by people more than by the network that measures. What the paper
says of direct Lambda, that it changes more than was asked for, is seen in one rule of three. Of the layer without a
direction it is seen in two: it moves other pixels further than the projected descent does for roofs and roads, but
changes more of the class too. Fine-tuning all weights, which in the paper moves other pixels most (LPIPS .31 to .36),
here learns its one image (the loss falls to a quarter) and changes others less than any other change of weights does,
in the class (*gone*) and around it. Copied and blended pixels change a small part of the class: there is one object in
them, and images have many roofs. By what is gone and what else moved together, ablating units is no
worse than an edit; but it puts nothing in their place. These are the first rules that were tried, each with one
example, at one layer.

*Watermark*: ablating units makes letters fade or break, and so does the edit of rank one that aims at it; what is
left is a trace of letters in most images. The edit removes fewer marks of the middle than the ablation it aims at,
within the intervals, and moves other images as much: that it does better, as in the paper (none left of 64 and 26),
is not seen here. The rectangle in the middle alone was annotated, and TINY SAMPLE at the bottom mostly stays; the
edit aimed at 15 units takes some of it along, which ablating them does not. At truncation 0.5 there are few marks to
begin with, also to annotate; the four in the middle go in each way, with faint traces where units are ablated."""


def page(rules: list[dict[str, Any]], marks: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """The page of what was measured."""
    measured = [row["measured"] for row in rules[0]["rows"]]
    seconds = [f"{each:.0f}" for each in about["times"]]
    times = (
        f"The rules took {seconds[0]} s of processor time in all, of which most is the measurement; the watermarks\n"
        f"{seconds[1]} s."
    )
    return TEXT.substitute(
        layer=about["layer"], steps=about["steps"], samples=about["samples"], seen=SEEN, times=times,
        measured=f"{max(measured):,}", transferred=min(measured), count=f"{marks[0]['count']:,}",
        rules="\n".join(_rule(rule, about) for rule in rules), watermarks="\n".join(map(_marks, marks)),
    )  # fmt: skip


def _rule(rule: dict[str, Any], about: dict[str, Any]) -> str:
    images = rule["images"]
    told = (
        f"### {rule['name'].capitalize()}\n\nRank {rule['rank']}. A square of {rule['object']} ({rule['sides'][0]} "
        f"pixels, image {images[0]}) onto one of {rule['source']} ({rule['sides'][1]} pixels, image {images[1]}); "
        f"context of images {', '.join(map(str, rule['context']))}. Target: {' or '.join(rule['targets'])}.\n"
    )
    head = ("", "rank", "became", "gone", "half", "outside", "perceived", "loss")
    rows = [
        (
            row["name"], row.get("rank", ""), _share(row["share"]), _share(row["gone"]),
            "{} of {}".format(*row["with"]), _share(row["outside"], 127.5, "", 1),
            _share(row["perceived"], 100, "%", 1),
            "{:.3g}, {:.3g}".format(*row["losses"]) if "losses" in row else "",
        )
        for row in rule["rows"]
    ]  # fmt: skip
    picture = (
        f"![{rule['name']}](rewriting/{rule['picture']})\n\nFrom the left, the {about['shown']} of {about['ranked']} "
        "images of z set 2 that match the direction best.\n"
    )
    return "\n".join((told, table(head, rows), picture))


def _marks(marks: dict[str, Any]) -> str:
    head = ("", "SAMPLE (middle)", "of those there before", "TINY SAMPLE (bottom)", "of those there before", "moved")
    before, rows = marks["rows"][0]["marks"], []
    for row in marks["rows"]:
        kept = [_kept(*each) if "kept" in row else "" for each in zip(row.get("kept", before), before)]
        moved = f"{127.5 * row['apart']:.1f}" if "apart" in row else "0"
        rows.append((row["name"], row["marks"][0], kept[0], row["marks"][1], kept[1], moved))
    told = (
        f"Truncation {marks['truncation']:g}, {marks['annotated']} annotated images; *moved*: other images, of 255, in "
        "the mean.\n"
    )
    return "\n".join((told, table(head, rows), f"![watermarks](rewriting/{marks['picture']})\n"))


def _kept(kept: int, before: int) -> str:
    low, high = wilson_interval(kept, before)
    return f"{kept} of {before} ({100 * low:.0f}% to {100 * high:.0f}%)"


def _share(values: list[float], scale: float = 100, unit: str = "%", digits: int = 1) -> str:
    value, low, high = (f"{scale * each:.{digits}f}{unit}" for each in values)
    return value if math.isnan(values[1]) else f"{value} ({low} to {high})"
