"""Measures the five biases of dissection that Zhou, Bau et al. 2018 name, and writes docs/trust_biases.md.

python docs/scripts/trust_biases.py [--images N]
"""

from __future__ import annotations

import statistics
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from pages import command_line, folder, table
from torch.utils.data import DataLoader
from trust_plots import rarefaction_chart, size_chart
from trust_text import PAGE

from dissect import Dissection, DoubtfulResultWarning
from dissect.experiments.biases import (
    LayerMaps,
    Reach,
    Removed,
    finer,
    found,
    groups,
    mean_interval,
    only,
    placed,
    rarefied,
    reach,
    removed,
    separation,
    shifted,
    sizes,
)
from dissect.plots import save
from dissect.tiny import TinyScenes, vgg

#: The layers that are looked at: of each block the last, from the third on; the first one is the page's own.
LAYERS = ("features.conv5_3", "features.conv4_3", "features.conv3_3")
CUTOFF, FRACTION, BATCH = 0.04, 0.01, 86

#: Concepts that are taken away, None: all; shifts that are tried, in cells.
REMOVED: int | None = None
STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)
GROUP = 3
FRACTIONS = (0.002, 0.005, 0.01, 0.02, 0.05)
SHOWN = 12
COLUMNS = ("iou", "held_out", "margin", "precision", "recall", "shown")
UNIT_COUNTS = (16, 32, 48, 64, 96, 128, 160, 192)
#: By name in the chart and the table: layer, and whether it was trained.
NETWORKS = {
    "conv5_3": (LAYERS[0], True),
    "conv4_3": (LAYERS[1], True),
    "conv3_3": (LAYERS[2], True),
    "conv5_3, untrained": (LAYERS[0], False),
    "conv4_3, untrained": (LAYERS[1], False),
}


def absent(maps: LayerMaps, whole: Dissection) -> dict[str, str]:
    """Section 1."""
    taken = removed(maps, LAYERS[0], whole, REMOVED)
    before, after = ([row for each in taken for row in getattr(each, when)] for when in ("before", "after"))
    overlaps = [overlap for each in taken for overlap in each.overlaps]
    still = [row for row in after if row.iou > CUTOFF]
    far = [row for row, overlap in zip(after, overlaps) if row.iou > CUTOFF and overlap < 0.1]
    columns = [
        (
            f"`{name}`",
            *(f"{statistics.median(getattr(row, name) for row in rows):.3g}" for rows in (before, still, far)),
            *(f"{separation(_column(rows, name), _column(before, name)):.2f}" for rows in (still, far)),
        )
        for name in COLUMNS
    ]
    kinds = [
        (
            name,
            *(f"{sum(test(row) for row in rows)} of {len(rows)}" for rows in (before, still, far)),
        )
        for name, test in (
            ("`p` at most 0.05", lambda row: row.p is not None and row.p <= 0.05),
            ("`same_label`", lambda row: row.same_label),
        )
    ]
    return {
        "removed": table(
            ("without", "units", "IoU", "then", "still detectors", "called", "precision", "then", "shown", "then"),
            map(_removed_cells, taken[:SHOWN]),
        ),
        "kinds": table(("", "named with it", "without it", "of these, by something else"), kinds),
        "columns": table(
            ("median of", "named with it", "without it", "by something else", "tells", "by something else"), columns
        ),
        "absent_concepts": str(len(taken)),
        "absent_units": str(len(before)),
        "absent_still": str(len(still)),
        "absent_far": str(len(far)),
    }


def _column(rows: Iterable[Any], name: str) -> list[float]:
    return [float(getattr(row, name)) for row in rows]


def _removed_cells(each: Removed) -> tuple[str, ...]:
    def medians(name: str) -> tuple[str, str]:
        first, then = (statistics.median(_column(rows, name)) for rows in (each.before, each.after))
        return (f"{first:.3g}", f"{then:.3g}") if name == "shown" else (f"{first:.2f}", f"{then:.2f}")

    called = Counter(f"{row.category} {row.concept}" for row in each.after).most_common(2)
    names = ", ".join(f"{name} ({count})" for name, count in called)
    still = str(sum(row.iou > CUTOFF for row in each.after))
    return (
        f"{each.category} {each.concept}", str(len(each.before)), *medians("iou"), still, names,
        *medians("precision"), *medians("shown"),
    )  # fmt: skip


def fine(maps: LayerMaps, whole: Dissection, pictures: Path) -> dict[str, str]:
    """Section 2."""
    rows = [reach(f"{share:.1%} of the pixels", maps.dissected(LAYERS[0], fraction=share, resamples=0))
            for share in FRACTIONS]  # fmt: skip
    planes = [maps.planes[:, :, step // 2 :: step, step // 2 :: step].contiguous() for step in (1, 2, 4)]
    smaller = [maps.dissected(LAYERS[0], planes=each, resamples=0) for each in planes]
    labels = [only(each).best_label for each in smaller]
    size_rows = [
        (
            *_reach_cells(reach(f"{each.shape[-1]}x{each.shape[-1]}", result)),
            str(int((own != labels[0]).sum())),
        )
        for each, result, own in zip(planes, smaller, labels)
    ]
    combined = [
        (category, elsewhere, finer(maps, LAYERS[0], whole, category, elsewhere=elsewhere))
        for category in ("color", "material", "scene")
        for elsewhere in (False, True)
    ]
    head = ("labels there", "reachable", "detectors", "concepts", "detectors by chance")
    concepts = sizes(whole)
    small = [each for each in concepts if each.share < 0.001]
    save(size_chart(concepts, FRACTION, CUTOFF), pictures / "sizes.png")
    return {
        "fractions": table(("units fire on", *head), map(_reach_cells, rows)),
        "resolutions": table(("planes", *head, "units renamed"), size_rows),
        "finer": table(
            ("objects by", "labels more", "units that prefer one", "detectors", "new ones", "held-out IoU", "then"),
            (
                (
                    f"{category} of another image" if elsewhere else category, str(each.labels), str(each.units),
                    str(each.detectors), str(each.new),
                    *(f"{score:.3f}" if each.units else "-" for score in (each.before, each.after)),
                )
                for category, elsewhere, each in combined
            ),
        ),
        "small": str(len(small)),
        "small_found": str(sum(each.best > CUTOFF for each in small)),
        "others": str(len(concepts) - len(small)),
        "others_found": str(sum(each.best > CUTOFF for each in concepts if each.share >= 0.001)),
    }  # fmt: skip


def _reach_cells(row: Reach) -> tuple[str, ...]:
    return (row.setting, *map(str, row[1:5]), f"{row.by_chance:.1f}")


def grouped(maps: LayerMaps) -> dict[str, str]:
    """Section 3."""
    result = groups(maps, LAYERS[0], GROUP, fraction=FRACTION, cutoff=CUTOFF)
    there = result.reachable
    rows = []
    for count, (group, single) in enumerate(zip(result.groups, result.singles), start=1):
        gain = (group - single)[there]
        rows.append((
            str(count), _interval(mean_interval(group[there])), str(int((group > CUTOFF)[there].sum())),
            _interval(mean_interval(single[there])), str(int((single > CUTOFF)[there].sum())),
            _interval(mean_interval(gain)), f"{float((group - result.groups[0] > 0.01)[there].double().mean()):.0%}",
        ))  # fmt: skip
    head = ("units", "mean IoU", "concepts above the cut-off", "one unit as large", "concepts above the cut-off",
            "gain over it", "concepts that gain 0.01 over one unit")  # fmt: skip
    return {"groups": table(head, rows), "group_concepts": str(int(there.sum()))}


def _short(layer: str) -> str:
    return layer.removeprefix("features.")


def _interval(values: tuple[float, float, float]) -> str:
    return "{:.3f} [{:.3f}, {:.3f}]".format(*values)


def misaligned(maps: LayerMaps) -> dict[str, str]:
    """Section 4."""
    kinds = [
        (_short(layer), row.kind, str(row.detectors), str(row.concepts), f"{row.mean:.4f}", str(row.renamed),
         f"{row.largest:.3f}")
        for layer in LAYERS
        for row in placed(maps, layer)
    ]  # fmt: skip
    moves = []
    for each in (shifted(maps, layer, STEPS) for layer in LAYERS):
        gain = each.after - each.before
        moves.append((
            _short(each.layer), str(len(gain)),
            *(_interval(mean_interval(part)) for part in (each.before, each.after, gain)),
            *(str(int((part > CUTOFF).sum())) for part in (each.before, each.after)),
            str(each.unmoved), "({:g}, {:g})".format(*each.common),
        ))  # fmt: skip
    return {
        "kinds_of_grid": table(
            ("layer", "grid", "detectors", "concepts", "mean best IoU", "units renamed", "largest change"), kinds
        ),
        "shifts": table(
            ("layer", "units", "IoU", "shifted", "gain", "above the cut-off", "shifted", "best unshifted",
             "best shift for all"), moves
        ),
    }  # fmt: skip


def widths(networks: dict[bool, LayerMaps], pictures: Path) -> dict[str, str]:
    """Section 5."""
    results = {name: networks[trained].dissected(layer, resamples=0) for name, (layer, trained) in NETWORKS.items()}
    curves = {
        name: rarefied(result, [count for count in UNIT_COUNTS if count <= only(result).num_units])
        for name, result in results.items()
    }
    save(rarefaction_chart(curves), pictures / "rarefaction.png")
    rows, chance = [], []
    for name, result in results.items():
        layer, own = only(result), {row.units: row for row in curves[name]}
        detectors, concepts = found(result)
        rows.append((
            name, str(layer.num_units), str(detectors), str(concepts),
            *("{:.1f} [{:.0f}, {:.0f}]".format(*own[count].concepts) for count in (16, 32, 64)),
        ))  # fmt: skip
        null = layer.evidence.null
        shares = [float((null > cutoff).double().mean()) for cutoff in (0.02, 0.03, CUTOFF)]
        chance.append((
            name, *(f"{share:.1%}" for share in shares),
            *(f"{share * count:.1f}" for share in shares[1:2] for count in (64, layer.num_units)),
        ))  # fmt: skip
    return {
        "rarefied": table(("layer", "units", "detectors", "concepts", "of 16 units", "of 32", "of 64"), rows),
        "chance": table(
            ("layer", "above 0.02", "above 0.03", "above 0.04", "units of 64 above 0.03", "of all"), chance
        ),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=860, help="validation scenes (default 860)")
    options = parser.parse_args(arguments)
    images, pictures = options.images, folder(options.out, "trust")
    warnings.simplefilter("ignore", DoubtfulResultWarning)  # of shares of pixels at which chance finds all
    torch.manual_seed(0)
    scenes = TinyScenes("val", count=images)
    batches = list(DataLoader(scenes, BATCH))
    networks = {trained: LayerMaps(vgg(trained), LAYERS, batches, scenes.concepts) for trained in (True, False)}
    maps = networks[True]
    whole = maps.dissected(LAYERS[0])
    detectors, concepts = found(whole)
    parts = {
        "images": str(images), "units": str(only(whole).num_units), "detectors": str(detectors),
        "concepts": str(concepts), "labels": str(len(maps.concepts) - 1),
        "scenes": str(len(TinyScenes.classes)), "scene": f"{1 / len(TinyScenes.classes):.1%}",
        **absent(maps, whole), **fine(maps, whole, pictures), **grouped(maps), **misaligned(maps),
        **widths(networks, pictures),
    }  # fmt: skip
    (options.out / "trust_biases.md").write_text(PAGE.substitute(parts))


if __name__ == "__main__":
    main()
