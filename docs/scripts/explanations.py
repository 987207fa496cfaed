"""Explains predictions of scenes by units of the embedded classifier, and writes docs/explanations.md.

python docs/scripts/explanations.py [--images N] [--train N]
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from pages import command_line, folder, paragraph, table

import dissect
from dissect import plots, tiny
from dissect.experiments import Explanations, explain_by_svm
from dissect.stats import wilson_interval

LAYER = "features.conv5_3"
#: Of the SVM (Zhou et al. 2018, section 3.9).
C = 0.001
#: Images of each kind in the picture.
SHOWN = 3

HEAD = """\
<!-- Written by docs/scripts/explanations.py; do not edit. -->
# A prediction explained by its units

Which units made a classifier say what it says? Where a linear classifier sees the sums x of a layer's maps, its score
is a sum over units, and each unit's part is `w_n x_n` (Zhou et al., TPAMI 2018, section 3.10):

```python
found = dissect.experiments.explain_predictions(model, layer, images, weights, bias=bias, truth=truth, dissection=d)
found = dissect.experiments.explain_by_svm(model, layer, train, images, dissection=d)  # fits the classifier first
found.table(), found.plot()
```

`dissect experiment explanations` does the second from the command line, with a network and folders of yours.

Units are ranked by that, each with the concept that it detects, and lit where it is in the top 20 % of its own map in
this image. (The paper's "top 0.2 activation ... of the single instance" could also mean 20 % of its highest value.)
"""

INSIDE = """\
The paper shows pictures of this and prints no number that these could agree with, or differ from. What can be counted:
whether what the first unit detects is in the image at all. It is in {inside}. Intervals are Wilson's, of images as if
independent; the dissection saw these very scenes.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=86, help="validation scenes (default 86)")
    parser.add_argument("--train", type=int, default=430, help="training scenes of the SVM (default 430)")
    options = parser.parse_args(arguments)
    begin, pictures, model = time.process_time(), folder(options.out, "explanations"), tiny.vgg()
    d = dissect.dissect(model, LAYER, tiny.TinyScenes("val", count=options.images), relu=True, decoys=0, resamples=0,
                        progress=False)  # fmt: skip
    train, images = (
        tiny.TinyScenes(split, count=count, target="class")
        for split, count in (("train", options.train), ("val", options.images))
    )
    found = explain_by_svm(model, LAYER, train, images, penalty=C, dissection=d, progress=False)
    shown = found.examples(SHOWN)
    plots.save(found.plot(shown), pictures / "units.png")
    text = HEAD + page(found, options.train, shown, inside_images(found, options.images))
    text += f"\nOne thread computed for {(time.process_time() - begin) / 60:.1f} minutes.\n"
    (options.out / "explanations.md").write_text(text, encoding="utf-8")


def inside_images(found: Explanations, count: int) -> str:
    """In how many images what the first unit detects is there, and in how many others."""
    data = tiny.TinyScenes("val", count=count)
    there = [{data.concepts.names[label] for label in data[at][1].unique().tolist() if label}
             for at in range(count)]  # fmt: skip
    first = [row for row in found.table() if row.rank == 1]
    lines = []
    for told, correct in (("right", True), ("wrong", False)):
        rows = [row for row in first if row.correct is correct]
        if rows:
            hits = sum(row.concept in there[row.image] for row in rows)
            others = [row.concept in there[at] for row in rows for at in range(len(there)) if at != row.image]
            chance = f", and in {sum(others) / len(others):.0%} of the other images" if others else ""
            lines.append(f"{share(hits, len(rows))} of those predicted {told}{chance}")
    return "; ".join(lines)


def share(count: int, of: int) -> str:
    """So many of so many, with the share and its interval (Wilson)."""
    low, high = wilson_interval(count, of)
    return f"{count} of {of} ({count / of:.0%}, {low:.0%} to {high:.0%})"


def page(found: Explanations, train: int, shown: list[int], inside: str) -> str:
    """What follows the head."""
    rows = [row for row in found.table() if row.image in shown and row.rank == 1]
    lines = [
        [found.classes[row.predicted], "yes" if row.correct else "no", row.unit, row.concept, f"{row.weighs:.2f}",
         f"{row.score:.2f}"]
        for row in sorted(rows, key=lambda row: not row.correct)
    ]  # fmt: skip
    head = ["predicted", "right", "first unit", "detects", "adds", "score"]
    right = sum(row.correct is True for row in found.table() if row.rank == 1)
    told = paragraph(INSIDE.format(inside=inside))
    return f"""
## Right and wrong predictions

A linear SVM (C = {C:g}) on the sums of the units of {LAYER.removeprefix("features.")} after the ReLU, fitted to {train}
training scenes; it names {share(right, len(found.images))} validation scenes right. Below, images predicted right and
then wrong (every so many, none chosen by hand), each with the four units that add most to the score of the predicted
class. What they detect is from a dissection over the same scenes (top 1 % of the pixels, any IoU above 0).

{told}![Images, and where the units that weigh most for the prediction fire](explanations/units.png)

{table(head, lines)}"""


if __name__ == "__main__":
    main()
