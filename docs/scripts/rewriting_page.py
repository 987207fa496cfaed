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
told by another one (number 1), of $samples images of z set 2; in brackets intervals (95 %, bootstrap over images).

- *became*: of the class's pixels those that show the target after, as the published code counts.
- *gone*: those that no longer show the class (thesis, section 6.5.1).
- *outside*: how far all other pixels moved, of 255, in the mean.
- *perceived*: how far the classifier's features moved, in % of their length, with the class's pixels as they were. It
  stands in for LPIPS, which is not here.
- *loss*: of the insertion, before and after; of one example, not of the images measured.

$rules

## A watermark

`stylegan2-street-watermark` draws SAMPLE across the middle, and TINY SAMPLE at the bottom, as some scenes of its
training have it. The first $annotated images of z set 1 with the former were annotated by its rectangle; the change of
rank one aims at one success of ablating units (thesis, section 6.5.2; 30 and 60 units of 512, here as many in
proportion), with each step's gradient projected, as the published commands do. Counted by the detector of
`dissect.tiny.judge` in $count images of z set 2, at truncation 1 (the paper: 0.5); in brackets 95 % (Wilson).

$watermarks

![watermarks](rewriting/$picture)

## How long it takes

$times

For a convolution of 512 to 512 channels, 3x3, and a crop of 8x8 keys, on one thread of an AMD EPYC beside other work, a
step of the projected descent took 9.7 ms of processor time, and 12.1 ms in a plain loop of torch with the same result
(1.9e-8 apart after 40 steps): 1.25 times as fast. Three times was the aim, and it is not reached: the two products of a
step take 6.5 ms by themselves, and Adam has to see each number of the weight. A step in Lambda took 0.2 to 0.4 ms. The
second moment of 512 channels took 1.17 times the bare products in float64, which are 2.4 times as dear as in float32.

## What is seen

$seen
"""
)

#: What the author saw in the pictures.
SEEN = """\
*Roofs*: in most of the twelve images red and brown roofs have become crowns of leaves, darker below, and walls
stay where they were; in some the roof is green only in part, and a few houses lose their upper windows. By direct
Lambda the crowns are yellower, and fall apart into rows of spots. The segmentation network takes hardly any of them for
a tree (1.5 %), but 39 % no longer for a roof: they are as wide and flat as roofs, and have no trunk.

*Windows*: they fade into grey walls, and with them whole houses, and the windows of buses and trams. Direct Lambda
turns the street into dark bands, and moves other pixels twice as far. Neither is a success: a window is hardly more
than one cell of this layer's map.

*Roads*: in most images the road's upper part is a band of blue or teal with horizontal streaks, and the dashes of its
middle are gone; buses and cars on it are half gone too. The network calls 2 % of it water. The layer without a
direction does better by that measure (11 %), and changes as much elsewhere.

So the first example's success is seen by people more than by the network that measures. What the paper says of direct
Lambda, that it changes more than was asked for, is seen in one rule of three. By what is gone and what else moved
together, ablating units is no worse than an edit; but it puts nothing in their place. These are the first rules that
were tried, each with one example, at one layer, in 64 images; the paper measures 10,000.

*Watermark*: ablating units makes letters fade or break, and so does the edit of rank one that aims at it; what is left
is a trace of letters in most images. The edit removes as many marks, as far as so few can tell, and moves other images
as much: that it moves them less, as in the paper, is not seen here."""


def page(found: dict[str, Any], about: dict[str, Any]) -> str:
    """The page of what was measured."""
    rules, marks = found["rules"][0], found["watermarks"][0]
    seconds = {name: f"{found[name][1]:.0f}" for name in ("rules", "watermarks")}
    inserted = {row["name"]: row["seconds"] for row in rules[0]["rows"] if "seconds" in row}
    times = (
        f"The rules took {seconds['rules']} s of processor time in all, the watermarks {seconds['watermarks']} s. The\n"
        f"first rule's insertion took {inserted['projected descent']:.1f} s by projected descent, "
        f"{inserted['direct Lambda']:.1f} s in Lambda."
    )
    return TEXT.substitute(
        layer=about["layer"], steps=f"{about['steps']:,}", samples=about["samples"], seen=SEEN, times=times,
        rules="\n".join(map(_rule, rules)), annotated=marks["annotated"], count=marks["count"],
        watermarks=_marks(marks), picture=marks["picture"],
    )  # fmt: skip


def _rule(rule: dict[str, Any]) -> str:
    images = rule["images"]
    told = (
        f"### {rule['name'].capitalize()}\n\nRank {rule['rank']}. A square of {rule['object']} ({rule['sides'][0]} "
        f"pixels, image {images[0]}) onto one of {rule['source']} ({rule['sides'][1]} pixels, image {images[1]}); "
        f"context of images {', '.join(map(str, rule['context']))}. Target: {' or '.join(rule['targets'])}. "
        f"{rule['rows'][0]['images']} of the images show the class.\n"
    )
    head = ("", "rank", "became", "gone", "outside", "perceived", "loss")
    rows = [
        (
            row["name"], row.get("rank", ""), _share(row["share"]), _share(row["gone"]),
            _share(row["outside"], 127.5, "", 1), _share(row["perceived"], 100, "%", 1),
            "{:.3f}, {:.3f}".format(*row["losses"]) if "losses" in row else "",
        )
        for row in rule["rows"]
    ]  # fmt: skip
    rows.append(("unmodified", "", "0%", "0%", "0", "0%", ""))
    picture = (
        f"![{rule['name']}](rewriting/{rule['picture']})\n\nFrom the left, the images that match the direction best.\n"
    )
    return "\n".join((told, table(head, rows), picture))


def _marks(marks: dict[str, Any]) -> str:
    head = ("", "SAMPLE (middle)", "of those there before", "TINY SAMPLE (bottom)", "other images moved, of 255")
    before, rows = marks["rows"][0]["marks"][0], []
    for row in marks["rows"]:
        kept = row.get("kept", before)
        low, high = wilson_interval(kept, before)
        told = f"{kept} of {before} ({100 * low:.0f}% to {100 * high:.0f}%)" if "kept" in row else ""
        moved = f"{127.5 * row['apart']:.1f}" if "apart" in row else "0"
        rows.append((row["name"], row["marks"][0], told, row["marks"][1], moved))
    return table(head, rows)


def _share(values: list[float], scale: float = 100, unit: str = "%", digits: int = 1) -> str:
    value, low, high = (f"{scale * each:.{digits}f}{unit}" for each in values)
    return value if math.isnan(values[1]) else f"{value} ({low} to {high})"
