"""Scores ways of labelling units by synthetic units whose truth is known, and writes docs/planted.md.

python docs/scripts/planted.py [--images N] [--formulas N]
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from pages import command_line, folder, table
from torch import Tensor

from dissect import plots, tiny
from dissect.concepts import Concepts
from dissect.dissection import HuggingFaceEmbedder
from dissect.experiments import (
    CORRUPTIONS,
    PlantedScores,
    by_formulas,
    by_iou,
    by_similarity,
    by_texts,
    plant,
    score_labels,
)
from dissect.experiments.planted import VERSION
from dissect.experiments.planted_result import ScoreRow
from dissect.version import __version__ as VERSION_OF_LIBRARY

SIZE = 64
#: In the tables alone: its line would lie on that of labels at random.
UNTRAINED = "CLIP, random weights"
FRACTIONS = (0.01, 0.04)

HEAD = """\
<!-- Written by docs/scripts/planted.py; do not edit. -->
# A benchmark with planted truth

What a unit of a real network detects is not known, so a method that labels units can only be compared with another, or
with people. Here units are made: each responds to a formula of concepts that was drawn, so that what a method ought to
say is known.

```python
made = dissect.experiments.plant(planes, concepts)  # of any images with label planes
methods = {"IoU": by_iou(0.01), "formulas": by_formulas(0.01), "mine": my_method}
methods["CLIP"] = by_texts(HuggingFaceEmbedder(model, processor), pictures)  # of transformers, with weights of yours
found = dissect.experiments.score_labels(made, methods)
found.summary(by_kind=True, by_corruption=True), found.rows("mine"), found.plot()
```

**A method** is a callable that gets activations [N, U, h, w], planes [N, K, H, W] and their concepts, and gives each
unit's label number (0 for none), or a `stats.Formula`. `dissect experiment planted --method MODULE:CALLABLE` scores it
beside those below.

**A unit's map** is the share of each cell where its formula holds, which is then blurred, moved by cells in a drawn
direction, and has normal noise added. Its formula is a concept, or two joined by OR (two meanings), AND or AND NOT;
they are drawn without replacement among those that hold on 0.2 % to 20 % of all pixels, and no formula of two is
overlapped by one label with an IoU above 0.75. Every formula comes under every corruption.

**Scores.** What is said is held against the truth on the planes, not on the maps: the IoU of the pixels where either
holds; exact, where these are the same pixels, however it is said; hit, where one of the labels said is one of the truth
(those after NOT left out). Intervals of the IoU draw formulas again.
"""

CITING = """\
## Citing it

These units are version {version} of the benchmark, digest `{digest}` (`Planted.digest`: of the planes, the concepts,
the formulas, the conditions, the size and the seed): `plant(planes, scenes.concepts, count={formulas})` with the
planes of `TinyScenes("val", size=64, count={images})`. Scores can stand beside these where the digest is the same. Cite
the library as its CITATION.cff says (dissect-units {library}), with both.
"""


def segmented(images: Tensor, concepts: Concepts) -> Tensor:
    """[N, C] of each image, how much of it the embedded segmentation network says is each concept."""
    network = tiny.segmenter()
    order = [0] * len(network.concepts)
    known = {pair: at for at, pair in enumerate(zip(concepts.names, concepts.categories))}
    for at, pair in enumerate(zip(network.concepts.names, network.concepts.categories)):
        order[at] = known.get(pair, 0)
    shares = torch.zeros(len(images), len(concepts), dtype=torch.float64)
    for at, image in enumerate(images):
        planes = network(image[None]).long()[0]
        for plane in planes:
            counts = torch.bincount(plane.flatten(), minlength=len(order)).double() / plane.numel()
            shares[at].index_add_(0, torch.tensor(order), counts)
    return shares


def untrained_clip(concepts: Concepts) -> HuggingFaceEmbedder:
    """CLIP as transformers builds it, small and of random weights, with a token for each word."""
    import tokenizers
    import transformers

    words = ["<s>", "</s>", "<pad>", "<unk>", *sorted({word for name in concepts.names for word in name.split()})]
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: at for at, word in enumerate(words)}, "<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        "<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    tower = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    text = tower | ends | {"vocab_size": len(words), "max_position_embeddings": 16}
    vision = tower | {"image_size": SIZE, "patch_size": 16}
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=64)
    # Without torchvision, where this transformers has one such.
    name = "CLIPImageProcessorPil" if hasattr(transformers, "CLIPImageProcessorPil") else "CLIPImageProcessor"
    kind = getattr(transformers, name)
    shown = kind(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    model = transformers.CLIPModel(config).eval()
    return HuggingFaceEmbedder(model, image_processor=shown, tokenizer=tokenizer, template="{}")


def without(found: PlantedScores, method: str) -> PlantedScores:
    """The scores of all other methods."""
    kept = [at for at, name in enumerate(found.methods) if name != method]
    parts = {name: getattr(found, name)[kept] for name in ("iou", "exact", "hits")}
    return replace(found, methods=[found.methods[at] for at in kept], said=[found.said[at] for at in kept], **parts)


def line(row: ScoreRow, *names: str) -> list[str]:
    """A row of a table."""
    iou = f"{row.iou:.3f}"
    if row.iou_low is not None and row.iou_high is not None:
        iou += f" ({row.iou_low:.3f} to {row.iou_high:.3f})"
    return [*names, str(row.units), iou, f"{row.exact:.0%}", f"{row.hit:.0%}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=430, help="validation scenes (default 430)")
    parser.add_argument("--formulas", type=int, default=25, help="of each kind (default 25)")
    options = parser.parse_args(arguments)
    begin, pictures = time.process_time(), folder(options.out, "planted")
    scenes = tiny.TinyScenes("val", size=SIZE, count=options.images)
    planes = torch.stack([scenes[at][1] for at in range(options.images)])
    made = plant(planes, scenes.concepts, count=options.formulas)
    larger = tiny.TinyScenes("val", count=options.images)  # as the segmentation network has learned them
    similarity = segmented(torch.stack([larger[at][0] for at in range(options.images)]), scenes.concepts)
    drawn = torch.randint(1, len(scenes.concepts), (len(made.truth),), generator=torch.Generator().manual_seed(0))
    methods = {f"IoU, top {fraction:.0%}": by_iou(fraction) for fraction in FRACTIONS}
    methods |= {f"formulas, top {fraction:.0%}": by_formulas(fraction) for fraction in FRACTIONS}
    methods["image similarity"] = by_similarity(similarity)
    shown = [(255 * scenes[at][0]).round().byte() for at in range(options.images)]
    methods[UNTRAINED] = by_texts(untrained_clip(scenes.concepts), shown)
    methods["at random"] = lambda maps, planes, concepts: drawn.tolist()
    found = score_labels(made, methods)
    plots.save(without(found, UNTRAINED).plot(), pictures / "scores.png")
    text = (
        HEAD
        + page(found, options.images, made.activations.shape[1])
        + CITING.format(
            version=VERSION,
            digest=made.digest,
            library=VERSION_OF_LIBRARY,
            images=options.images,
            formulas=options.formulas,
        )
    )
    text += f"\nOne thread computed for {(time.process_time() - begin) / 60:.1f} minutes.\n"
    (options.out / "planted.md").write_text(text, encoding="utf-8")


def page(found: PlantedScores, images: int, units: int) -> str:
    """What follows the head."""
    formulas = len(set(zip(found.kinds, found.truth)))
    conditions = [[one.name, f"{one.noise:g}", one.shift, one.blur] for one in CORRUPTIONS]
    kinds = [line(row, row.method, row.kind) for row in found.summary(by_kind=True)]
    corruptions = [line(row, row.method, row.corruption) for row in found.summary(by_corruption=True)]
    columns = ["units", "mean IoU with the truth", "exact", "hit"]
    return f"""
## The scores of the methods that are here

{units} units of {formulas} formulas on {images} validation scenes of the embedded world, planes {SIZE}x{SIZE}, maps
16x16 (`plant(planes, concepts, count=...)`, seed 0). The methods: the label with the highest IoU, as `dissect.dissect`
gives it, at two top fractions; formulas of up to three labels, as `dissect.formulas` finds them (beam 5), at the same;
and **image similarity**, a text labeller in the way of CLIP-Dissect: it knows each image's similarity to each concept's
name and no planes. No trained CLIP was at hand, so a stand-in of the embedded world embeds: the share of each image
that the shipped segmentation network gives to the concept, which knows no scenes. So its row says how far image-level
similarities can go, and nothing about CLIP. **CLIP, random weights** is transformers' CLIPModel, small and untrained,
with its own image preparation and a token for each word: it shows that CLIP's way runs from end to end, and where it
stands when it knows nothing (in the tables, not in the chart).

{table(["method", *columns], [line(row, row.method) for row in found.summary()])}
![Mean IoU with the truth by corruption, for each kind of formula](planted/scores.png)

A label alone cannot be a formula of two, so that IoU and similarity have a ceiling below 1 there; and a search of
formulas can say more than there is, which costs it single concepts. The top fraction decides which of the two happens.

By kind of formula:

{table(["method", "kind", *columns], kinds)}
By corruption:

{table(["method", "corruption", *columns], corruptions)}
The corruptions:

{table(["name", "noise", "shift, cells", "blur, cells on each side"], conditions)}
"""


if __name__ == "__main__":
    main()
