"""The text of docs/omissions.md: what was measured, between the pictures."""

from __future__ import annotations

import re
from string import Template
from textwrap import wrap
from typing import Any

from omissions_inverted import (
    EACH,
    IMAGES,
    KIND_EACH,
    NAME,
    RATE_OF_IMAGES,
    SHEET_STEPS,
    STEPS,
    STYLE,
    STYLE_IMAGES,
    STYLE_LAYERS,
    STYLE_TRAINING,
)
from omissions_measured import COUNT, LOOKED, PATCHES
from pages import table

PAGE = Template("""\
<!-- Written by docs/scripts/omissions.py; do not edit. -->
# What the generators leave out

Chapter 5 of the thesis, on the embedded generators: which classes of objects come less often than in real scenes, and
what becomes of real images that show them when they are inverted through the generator's later layers.
`dissect omissions statistics|fsd|train-encoder|invert|pairs` do the same with a generator of yours. All figures are of
one run of each thing.

## The distribution (Table 5.1)

$count images of each generator (z of seed 1), segmented by segmentation network 0 at 64x64, objects and "no label"; as
many held-out scenes of the kind that it was trained on, drawn at its own size. FSD in squared percent of an image; its
interval is 95 %, images drawn again, and "real" is the distance of two halves of the real scenes, also $count each. A
distance falls as the sample grows, so these compare with each other and not with the thesis's (10,000 images: WGAN-GP
428.4, Progressive GAN 85.2, StyleGAN 22.6, of other scenes and 336 classes).

$distances
$order Network 1, trained from another seed, gives `$name` $second. The small generators make 32x32, and so were
scenes drawn for them; all are enlarged to 64x64 before they are segmented, which the network was not trained for.

Statistics of 256 images of `progan-street` take 1.09 times the processor time of a plain loop that renders and segments
the same images (one thread, beside other work; the middle of three pairs of 1.05 to 1.09, after one of 1.13:
`benchmarks/bench_omissions.py`). The first 32 are made and segmented twice, to see whether both repeat themselves: an
eighth of 256 images, and less of more.

Beside the FSD are two distances that know no segments, of the first $looked of these images and of two halves of the
first $scenes real scenes, since the classifier takes long; each stands with that of the halves. SWD is the sliced
Wasserstein distance times 1,000 (Karras et al. 2018), $patches patches of each image and level, the mean over levels;
"features" is the Frechet distance by the embedded classifier's first fully connected layer, as the FID's. Images of
64x64 have a level more, so compare what is of one size. More of both is in [generators
compared](generators_compared.md).

## What `$name` leaves out (Fig. 5-1a)

![Relative change and mean of every class](omissions/$name.png)

A class counts as left out ("yes") if it is less at a false discovery rate of 5 % over all classes, by a larger share
than the segmenter errs on the same real scenes, whose labels are known, and less by network 1 too. Classes of at least
0.05 % of the real scenes:

$classes
$verdict

![The same of two halves of the real scenes](omissions/halves.png)

Two halves of the real scenes, $count each, show what is noise (Fig. 5-4): the rare classes to the right of the chart
say nothing. The table takes both halves together.

## Inverting images whose z are known (section 5.4.4)

The first $images images of seed 1, as many as in the thesis, through layer1 to layer4 of `$name`, 128 units on 8x8.
$encoder; the ResNet-18 is a quarter as wide as published. (a) is Adam on z from a random start, (b) an encoder
trained on reconstruction alone, (c) z optimised from there, (d) encoders of the single layers, composed and trained
together for a while, (e) z optimised from there, (f) small changes of layer1 to layer3. "(d, not tuned)" is (d) as it
was composed. Each optimisation has $steps steps of Adam from a rate of $rate on (published 3,000 from 0.01 on), its
loss pixels and the embedded VGG's conv4_2. "Pooled" is one correlation over all values, as the published notebook has
it, "mean" the mean of each dimension's over the images.

$recovery
$inversion_verdict

![Images and their reconstructions](omissions/inverted.png)

![Found over true values](omissions/clouds.png)

$points points of each, drawn at random (Fig. 5-6).

**How long it was trained**, a small part of what is published (e_i 10,000 steps of 32 z, e_f 10,000, all together
100,000):

$training
The rates are not the published ones either: 3e-3 at the beginning, for single layers a tenth of it twice on the way,
halved three times in the first third of all together and of (b). Weights are not shipped (7.7 MB); this page's script
trains these encoders, in one go or in several, and makes the images anew. Their log tells steps and losses but no
time, so none is stated.

**The rate of an inversion counts more than its steps**, it seemed with far less trained encoders: a tenth of the steps
at ten times the published rate came closer to the image, and L-BFGS (`optimiser="lbfgs"`) less close in the time of
Adam. This page does not measure that.

**What keeps (f) below 99 %** is no few images: the median image's pixels correlate to $median, the worst one's to
$least, $below of $images images are below 0.95, and the worst three have $worst of the squared error. It is the
optimiser, and the loss. A delta_1 alone would give each image exactly, at a loss of $exact on average, all of it the
penalty of delta_1; (f) found $loss, and less than that in $higher of the $images images, so that the loss does not ask
for the image itself. Two other ways won nothing on the whole where they were tried, with encoders of an earlier
training, and this page does not measure them: a tenth of the penalty (`lambda_reg=0.1`), which should let images come
closer, made them worse; steps in units of each layer's size (`relative=True`) were better for some images and worse
for others. The better of both runs of each image was better than either, so where the optimiser ends is partly chance.

## A StyleGAN2

`$style`, whose layers each see w: what each of $style_layers hands on is its features, the image so far and w, and its
noise buffers are frozen noise; `LayerInverter` splits it so by itself. This shows that it works, no more: e_1 to
e_$style_depth had $style_steps steps of $style_batch z each, as had e_f, a ResNet-18 of width $style_width, and all
together none. The first $style_images images, $sheet_steps steps of Adam from $rate on; "$style_last" is all that it
hands on. From encoders that know so little (f) begins far away, and does not arrive.

$style_recovery
![Images of the StyleGAN2 and their reconstructions](omissions/style.png)

## Real images that show what is left out (section 5.4.3)

The $each of $drawn held-out scenes with most pixels of a class, by (d) and (f), $sheet_steps steps; two
classes that are left out, and one that is not. The range of (f) holds that of the whole generator, so what (f) cannot
make the generator cannot either, as far as (f) finds it: **here (f) is not exact on the generator's own images, so
that a part of what is lost is lost by the inversion.** "Kept" is the class's pixels
in the reconstruction over those in the scene, "survives" the share of its own pixels that still show it.

$pairs
## Other kinds of images (section 5.4.5)

![Scenes of four kinds and their reconstructions](omissions/domains.png)

The first $kind_each scenes of each kind, none chosen, by (f) with the same encoders, $sheet_steps steps
($domain_seconds seconds for all). Mean absolute difference of pixels, of a range of 2: $domains.

## Not done

The published number of steps and epochs; baselines at their best; a StyleGAN2's encoders trained for as long as
the others; real photographs.
Encoders in the published files' layout are read by `load_encoder`, which was tried on files that tests write in it.
""")


def page(found: dict[str, Any]) -> str:
    """The page."""
    distances, rows = found["distances"], found["table"]
    order = sorted(distances, key=lambda name: distances[name].distance)
    shown = [row for row in rows if row.real >= 0.05]
    out = [row.concept for row in shown if row.omitted]
    return _wrapped(PAGE.substitute(
        name=NAME, count=f"{COUNT:,}", looked=LOOKED, scenes=f"{2 * LOOKED:,}", drawn=f"{2 * COUNT:,}", images=IMAGES,
        steps=STEPS, each=EACH, kind_each=KIND_EACH, sheet_steps=SHEET_STEPS, points="2,000", rate=RATE_OF_IMAGES,
        patches=PATCHES,
        distances=_distances(distances, found["scenes"], found["looks"]), order=_order(order, found["looks"]),
        second=_distance(found["second"]), classes=_classes(shown),
        verdict=f"Left out are **{', '.join(out)}**." if out else "None is left out by that rule.",
        style=STYLE, style_layers=", ".join(STYLE_LAYERS), style_depth=len(STYLE_LAYERS), style_images=STYLE_IMAGES,
        style_last=STYLE_LAYERS[-1], style_steps=100 * STYLE_TRAINING["epochs"],
        style_batch=STYLE_TRAINING["batch_size"], style_width=STYLE_TRAINING["width"],
        style_recovery=_recovery(found["style"], None, STYLE_LAYERS[-1]),
        **_spread(found["spread"]),
        recovery=_recovery(found["recovery"], found["inversion_seconds"], "layer4"),
        inversion_verdict=_verdict(found["recovery"]), training=_training(found["logs"]),
        encoder=found["encoder"].strip("<>").replace("LayerInverter", "The encoder"), pairs=_pairs(found["pairs"]),
        domain_seconds=f"{found['domain_seconds']:.0f}",
        domains=", ".join(f"{name} {value:.3f}" for name, value in found["domains"].items()),
    ))  # fmt: skip


def _wrapped(text: str) -> str:
    """Paragraphs in lines of 120 signs; tables, pictures and headings as they are."""
    blocks = text.split("\n\n")
    return "\n\n".join(
        block if re.match(r"[|!#<\n]", block) else "\n".join(wrap(block, 120)) for block in blocks
    ).rstrip("\n") + "\n"  # fmt: skip


def _distance(found: Any) -> str:
    sure = f" ({found.low:.1f} to {found.high:.1f})" if found.low == found.low else ""
    return f"{found.distance:.1f}{sure}"


def _distances(
    distances: dict[str, Any], scenes: dict[str, tuple[str, bool, int]], looks: dict[str, list[float]]
) -> str:
    looked = [f"SWD of {LOOKED}", "real", f"features of {LOOKED}", "real"]
    head = ["generator", "scenes", "FSD", "of means", "of covariances", "real", *looked]
    return table(head, [
        [name, f"{scenes[name][0]}{', watermarks' * scenes[name][1]}, {scenes[name][2]}x{scenes[name][2]}",
         _distance(found), f"{found.mean_part:.1f}", f"{found.covariance_part:.1f}", f"{found.floor:.1f}",
         *(f"{value:.1f}" for value in looks[name])]
        for name, found in distances.items()
    ])  # fmt: skip


def _order(order: list[str], looks: dict[str, list[float]]) -> str:
    """From the nearest to the farthest by FSD, and by the other two."""
    others = [", ".join(sorted(order, key=lambda name: looks[name][at])) for at in (0, 2)]
    return f"In the order of FSD: {', '.join(order)}; of SWD: {others[0]}; by features: {others[1]}."


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.0%}"


def _classes(rows: Any) -> str:
    head = ["class", "real, %", "generated, %", "change", "z", "q", "segmenter's error", "by network 1", "left out"]
    return table(head, [
        [row.concept, f"{row.real:.2f}", f"{row.generated:.2f}", _percent(row.change), f"{row.z:.1f}", f"{row.q:.2g}",
         _percent(row.segmenter_error), _percent(row.second_change), "yes" if row.omitted else ""] for row in rows
    ])  # fmt: skip


def _recovery(rows: dict[str, Any], seconds: dict[str, float] | None, last: str) -> str:
    head = ["method", "z pooled", "mean", f"{last} pooled", "mean", "pixels pooled", "mean", "L1", "PSNR, dB",
            "same label", *["seconds"] * (seconds is not None)]  # fmt: skip
    return table(head, [
        [f"({name})", *(f"{value:.3f}" for value in row[2:9]), f"{row.psnr:.1f}", f"{row.agreement:.1%}",
         *([] if seconds is None else [f"{seconds[name]:.0f}"])] for name, row in rows.items()
    ])  # fmt: skip


def _spread(found: dict[str, float]) -> dict[str, str]:
    shown = {name: f"{found[name]:.3f}" for name in ("median", "least", "exact", "loss")}
    return {**shown, "worst": f"{found['worst']:.0%}", "below": f"{found['below']}", "higher": f"{found['higher']}"}


def _verdict(rows: dict[str, Any]) -> str:
    """Whether a < d < f, and what (f) reaches, whatever that is."""
    a, d, f = (rows[name] for name in "adf")
    parts = []
    for what, key in (("layer4", "r"), ("pixels", "pixels")):
        values = [getattr(row, key) for row in (a, d, f)]
        holds = "holds" if values[0] < values[1] < values[2] else "does not hold"
        parts.append(f"in {what} the order (a) < (d) < (f) {holds} ({', '.join(f'{value:.3f}' for value in values)})")
    reached = "reaches" if min(f.r, f.pixels) > 0.99 else "does not reach"
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}. (f) {reached} the thesis's 99 % (pooled)."


def _training(logs: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]]) -> str:
    rows = []
    for name, (settings, log) in logs.items():
        last = {line["stage"]: line for line in log}
        for line in last.values():
            if name != "joint" or line["stage"] == "joint":
                steps = _steps(settings, line["stage"])
                rows.append([name, line["stage"], f"{steps:,}", f"{line['loss']:.3f}"])
    return table(["encoder", "stage", "steps", "last loss"], rows)


def _steps(settings: list[dict[str, Any]], stage: str) -> int:
    """How many steps a stage had: its log may end before."""
    if stage == "e_f":
        return next(int(part["image_steps"]) for part in settings if "image_steps" in part)
    return sum(int(part["steps"]) for part in settings if stage == part["stage"]) or int(settings[0]["steps"])


def _pairs(pairs: dict[str, Any]) -> str:
    parts = []
    for concept, rows in pairs.items():
        name = concept.partition("/")[2]
        parts.append(f"![{name}: scenes and reconstructions](omissions/pairs-{name}.png)\n\n")
        sums = []
        for method in dict.fromkeys(row.method for row in rows):
            own = [row for row in rows if row.method == method]
            real, made = sum(row.real for row in own), sum(row.made for row in own)
            survives = sum(row.real * (row.survives or 0) for row in own) / real if real else float("nan")
            sums.append([f"({method})", f"{real / len(own):.2f}", f"{made / len(own):.2f}", f"{made / real:.0%}",
                         f"{survives:.0%}"])  # fmt: skip
        parts.append(table([f"{name}, all {len(own)}", "scene, %", "reconstruction, %", "kept", "survives"], sums))
        parts.append("\n")
    return "".join(parts)
