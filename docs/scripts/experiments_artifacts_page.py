"""The text of docs/experiments_artifacts.md."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from pages import table

INTRO = """\
<!-- Written by docs/scripts/experiments_artifacts.py; do not edit. -->
# Units that draw what is wrong

Section 4.4.2 and appendices A.1 and A.3 of the thesis, Figure 4-7, and Figures 3E and 3G of PNAS 2020, on the embedded
generators. `progan-street`, layer `layer4`, {units} units. Seeds of z: {flagged} for the images that were flagged by
eye ({flagged_count}), {scored} for distances ({scored_count}), {repaired} for repairs ({repaired_count}); no z is in
two of these samples. Frechet distances are from {real} scenes of the training split, by the features of the tiny
classifier (192) where nothing else is said. **They are no FIDs**: other networks' features have other units, and the
generator was trained with a critic that sees through this very classifier, so that the features of a segmentation
network, which no generator was trained with (128), stand beside. All intervals are 95 %.
"""


def page(found: dict[str, Any], minutes: float) -> str:
    """The page."""
    samples, units = found["samples"], found["units"]
    parts = [
        INTRO.format(
            units=len(units.distances), flagged=7, scored=5, repaired=6, flagged_count=f"{samples[7]:,}",
            scored_count=f"{samples[5]:,}", repaired_count=f"{samples[6]:,}", real=f"{found['real']:,}",
        ),
        _flags(found), _distances(found), _repair(found), _styled(found), _unrealistic(found), _trainings(found),
        _sheet(found),
        f"`python docs/scripts/experiments_artifacts.py` makes this page anew, in {minutes:.0f} minutes of one core's "
        "time. It also writes\nthe page on which units are flagged, and one of blinded pairs "
        "(`dissect.report.write_pairs`), which nobody has answered yet:\nthe human preference of Table 4.1 (72.4 % and "
        "49.9 %) is not measured here.\n",
    ]  # fmt: skip
    return "\n\n".join(_filled(block) for block in re.split(r"\n\s*\n", "\n\n".join(parts).strip())) + "\n"


def _filled(block: str) -> str:
    """A block of Markdown with lines of at most 118 characters, if it is text."""
    if block[0] in "|#!<":
        return block
    return textwrap.fill(" ".join(block.split()), 118, break_on_hyphens=False, break_long_words=False)


def _flags(found: dict[str, Any]) -> str:
    flags, total = found["flags"], len(found["units"].distances)
    return f"""\
## Flagged by eye (Fig. 4-8a)

On the page of `dissect.report.write_flagging`, of the ten images that excite each unit most, one observer flagged
{len(flags)} of {total} units ({len(flags) / total:.1%}; published 20 of 512, 3.9%) before any distance of a unit was
known: {", ".join(map(str, flags))}. What was looked for: lens-shaped blobs, glaring colours, patches that are no thing.
One pair of eyes, once: no study.

![The images that excite the flagged units most](experiments_artifacts/flagged.png)
"""


def _distances(found: dict[str, Any]) -> str:
    units, second, flags = found["units"], found["second"], found["flags"]
    rows = [
        (row.units, row.flagged, f"{row.precision:.0%}", f"{row.recall:.0%}", f"{row.chance:.0%}")
        for row in units.agreement(flags)
    ]
    worst = set(units.worst(len(flags)))
    common = len(worst & set(second.worst(len(flags))))
    named = "; ".join(
        f"{name}: {float(each.distances.min()):.4g} to {float(each.distances.max()):.4g}, random images "
        f"{float(each.random.min()):.4g} to {float(each.random.max()):.4g}, real scenes {each.floor:.4g}, average "
        f"precision for the flags {each.average_precision(flags):.2f}"
        for name, each in (("classifier", units), ("segmentation network", second))
    )
    trees = len(worst & set(found["trees"]))
    below = int((units.distances < units.random.min()).sum())
    return f"""\
## By distance (A.1)

Of {units.num_images:,} images the {units.top} that maximise each unit, a twentieth as published (10,000 of 200,000).
The range over the units: {named}. {below} units lie below every sample of random images.

![Distances of all units; precision over recall](experiments_artifacts/distances.png)

The worst units against those that were flagged (published: of the 20 worst 10 are flagged, 50 % and 50 %):

{table(("worst units", "flagged of them", "precision", "recall", "by chance"), rows)}
The {len(flags)} worst: {", ".join(map(str, units.worst(len(flags))))}; by the segmentation network's features
{", ".join(map(str, second.worst(len(flags))))}, of which {common} are the same. Correlation of the ranks of all units:
{_rank_correlation(units, second):.2f}. {trees} of the {len(flags)} worst are among the {len(found["trees"])} units with
the highest IoU with trees, which are rare: a distance from all scenes finds what is unusual, be it wrong or not.
"""


def _rank_correlation(one: Any, other: Any) -> float:
    import torch

    ranks = torch.stack([each.distances.argsort().argsort().double() for each in (one, other)])
    return float(torch.corrcoef(ranks)[0, 1])


def _repair(found: dict[str, Any]) -> str:
    repair = found["repair"]
    kept, any_z = (
        {row.ablated: row for row in repair.table if row.sampling == sampling} for sampling in ("maximising", "uniform")
    )
    told = [
        f"without {what} {_judged(kept[name])}"
        for name, what in {
            "flagged": "the flagged units", "worst": "the worst", "both": "both", "random": "random ones"
        }.items()
    ]  # fmt: skip
    return f"""\
## Without them (Table 4.1, A.1)

{found["kept"]} images that maximise the flagged units, of {repair.num_images:,}, as published ("10,000 images with
high activations on these units"), and the first {found["kept"]} of the same z, which are any; each before and after the
units are set to 0, against {found["fewer"]:,} scenes. "Random" is the mean of 3 draws of as many units as were flagged.

{_repaired(repair)}
![Distances before and after](experiments_artifacts/repair.png)

Published: 43.16 before, 27.14 without the manual units, 27.6 without the worst, 26.1 without both, 43.17 without random
ones. Here, on the maximising images: {"; ".join(told)}. ("Lower" and "higher" where the interval of the change leaves
out 0.) Of any z the images are farther from scenes without the worst units ({_judged(any_z["worst"])}): these draw
trees, which then are missing.

![The same z as generated, without flagged, worst, and random units](experiments_artifacts/repaired.png)
"""


def _repaired(repair: Any) -> str:
    """The table of a repair."""
    rows = [
        (
            row.sampling, row.ablated if row.ablated != "-" else "as generated", row.units or "", f"{row.distance:.1f}",
            _ends(row.low, row.high), "" if row.change is None else f"{row.change:+.1f}",
            _ends(row.change_low, row.change_high),
        )
        for row in repair.table
    ]  # fmt: skip
    return table(("z", "ablated", "units", "distance", "95 %", "change", "95 %"), rows)


def _styled(found: dict[str, Any]) -> str:
    units, second, repair = found["styled"]
    kept = {(row.sampling, row.ablated): row for row in repair.table}
    told = "; ".join(
        f"of {name} z without the worst units {_judged(kept[sampling, 'worst'])}, without random ones "
        f"{_judged(kept[sampling, 'random'])}"
        for sampling, name in (("maximising", "maximising"), ("uniform", "any"))
    )
    worst = units.worst(len(repair.sets[0]))
    common = len({*worst} & {*second.worst(len(worst))})
    ends, random, others, by_chance = (
        f"{float(each.min()):.4g} to {float(each.max()):.4g}"
        for each in (units.distances, units.random, second.distances, second.random)
    )
    return f"""\
## The StyleGAN2

`stylegan2-street-watermark`, `layer4`, {len(units.distances)} units, by the same seeds, {found["styled count"]:,} z
and noise seeds for distances and as many others for the repair, against {found["styled count"]:,} scenes with
watermarks: a quarter to a half of the samples above, so that distances are larger for that alone, and cannot be
compared with those above. Of {units.num_images:,} images the {units.top} that maximise each unit: {ends}, random
images {random}, real scenes {units.floor:.4g}; by the segmentation network's features {others}, random {by_chance}.
Nobody flagged its units by eye, so the {len(worst)} worst are taken alone: {", ".join(map(str, worst))}, of which
{common} are among as many worst by the segmentation network's; the ranks of all units correlate by
{_rank_correlation(units, second):.2f}.

Without them, {found["styled kept"]} images that maximise the worst units, and as many of any z:

{_repaired(repair)}
That is: {told}.
"""


def _judged(row: Any) -> str:
    if row.change_low is None:
        return f"{row.change:+.1f}"
    sure = "lower" if row.change_high < 0 else "higher" if row.change_low > 0 else "no sure change"
    return f"{sure} ({row.change:+.1f})"


def _ends(low: float | None, high: float | None) -> str:
    return "" if low is None else f"{low:.1f} to {high:.1f}"


def _unrealistic(found: dict[str, Any]) -> str:
    before, after, units = found["wgan"], found["withheld"], found["wgan-units"]
    rows = []
    for one, other in zip(before.unique_detectors(), after.unique_detectors()):
        rows.append((one.category, f"{one.units} ({one.concepts})", f"{other.units} ({other.concepts})"))
    gone = sorted({row.concept for row in before.detectors()} - {row.concept for row in after.detectors()})
    return f"""\
## Segmentation withheld (A.3, Fig. A-5)

`wgangp-street-small`, the least realistic of the embedded generators: the quarter of its {len(units.distances)} units
whose images are farthest from scenes (at least {found["limit"]:.0f}; all: {float(units.distances.min()):.0f} to
{float(units.distances.max()):.0f}; {units.top} of {units.num_images:,} images each) get no concept
(`ArtifactUnits.withhold`). Detectors (IoU above 0.04), and in brackets how many different concepts:

{table(("category", "all units", "realistic units"), rows)}
Concepts without a detector then: {", ".join(gone) or "none"}. In the thesis spurious ones ("sky", "ground", "building"
in bedrooms) go; here every class is one that street scenes can show, so that the filter can only be seen to cost.
"""


def _trainings(found: dict[str, Any]) -> str:
    rows = []
    for each in found["trainings"]:
        sides = list(each["distance"])
        rows.append((each["name"], *(f"{each['distance'][side]:.1f}" for side in sides), *each["units"]))
    first = found["trainings"][0]
    sides = list(first["distance"])
    floor = " and ".join(f"{first['floor'][side]:.1f}" for side in sides)
    mean = [sum(each["distance"].values()) for each in found["trainings"]]
    ordered = mean == sorted(mean, reverse=True)
    verdict = "falls from row to row, as published" if ordered else "does not fall from row to row, unlike the paper's"
    heads = [f"SWD at {side}x{side}" for side in sides]
    return f"""\
## Distance beside units (Fig. 4-7)

The three small generators of [the comparison](generators_compared.md): the sliced Wasserstein distance of 7x7 patches
(`stats.pyramid_patches`, `stats.sliced_wasserstein`; times 1,000, as it is printed) of {found["small"]:,} images from
as many scenes, beside the units that match a class there. Between training and held-out scenes: {floor}.

{table(("", *heads, "units that match", "objects", "parts", "materials", "mean IoU"), rows)}
The distance {verdict}. It lies hardly above what two samples of scenes are apart, so that so few small images tell
little. One training each, so no more than that.
"""


def _sheet(found: dict[str, Any]) -> str:
    sheet = found["sheet"]
    (none, _, silent), (alone, _, both) = sheet.counts.tolist()
    return f"""\
## One unit, all of its range (PNAS 3E, 3G)

Unit {sheet.unit}, the one with the highest IoU with trees, in {int(sheet.counts.sum())} images of seed 1
(`dissect.unit_sheet`). From its threshold to its highest peak the range is cut into {len(sheet.level_images)}, and of
each level images are drawn; below are counterexamples. Of {silent + both} images with trees on at least
{sheet.least:.0%} of the pixels it fires in {both} and is silent in {silent}; of {none + alone} images without any tree
it fires in {alone}.

![The unit at all levels, and counterexamples](experiments_artifacts/sheet.png)
"""
