"""Dissects the image encoders of captioning networks that are not trained, as an example: writes docs/captioning.md.

python docs/scripts/captioning.py [--images N]
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from pages import command_line, table
from torch import Tensor, nn

import dissect
from dissect import tiny

SIZE, PATCH, WIDTH = 128, 16, 48
#: Of the embedded classifier, for comparison: after its ReLU, as a module of its own.
CLASSIFIER = "features.relu5_3"

HEAD = """\
<!-- Written by docs/scripts/captioning.py; do not edit. -->
# A captioning network, dissected

A network that captions images has an image encoder and something that writes. The encoder is a network as any other:
it is dissected alone, and `dissect.compare` puts it beside networks of other tasks (Zhou et al., TPAMI 2018, section
3.5, compare one that captions with classifiers). This page shows how, with three architectures of transformers whose
weights are **random**: nothing here says what a trained captioner has learned.

```python
captioner = transformers.BlipForConditionalGeneration.from_pretrained(folder).eval()
encoder, layer = captioner.vision_model, "encoder.layers.11"  # the last block; others stand in named_modules()
d = dissect.dissect(encoder, layer, images, tokens=(24, 24))  # 384 / 16 patches a side; with planes, or segmenter=
both = dissect.compare({"captions": d, "scenes": "classifier.dissection"})
both.summary(), both.by_category(), dissect.write_report(both, "out/")
```

Two things are to be seen to. Images must be normalised as the captioner's `preprocessor_config.json` says, and have
the size that its encoder takes. And both dissections must have been made by the same rules, of the same images:
`compare` refuses others. `tokens=` says how many patches an image has, and which tokens are none is found from that
([where units lie](layouts.md)); a block's output has no ReLU, so a classifier beside it is read behind a ReLU module,
not with `relu=True`, which is a rule.
"""


class Captioner(NamedTuple):
    """A network that captions, where its encoder is, and what it must be given beside images."""

    network: nn.Module
    encoder: str
    text: dict[str, Tensor]


def captioners() -> dict[str, Callable[[], Captioner]]:
    """Small ones of random weights, by name; of transformers' own classes."""
    import transformers

    sizes: dict[str, Any] = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2,
                             "num_attention_heads": 4}  # fmt: skip
    vision = sizes | {"image_size": SIZE, "patch_size": PATCH}
    words = {"vocab_size": 20, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "sep_token_id": 1}
    start = torch.zeros(1, 1, dtype=torch.int64)

    def vit_and_gpt2() -> Captioner:
        decoder = transformers.GPT2Config(n_embd=WIDTH, n_layer=1, n_head=4, add_cross_attention=True, **words)
        config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
            transformers.ViTConfig(**vision), decoder
        )
        return Captioner(transformers.VisionEncoderDecoderModel(config), "encoder", {"decoder_input_ids": start})

    def blip() -> Captioner:
        text = sizes | words | {"encoder_hidden_size": WIDTH, "max_position_embeddings": 16}
        config = transformers.BlipConfig(text_config=text, vision_config=vision, projection_dim=WIDTH)
        return Captioner(transformers.BlipForConditionalGeneration(config), "vision_model", {"input_ids": start})

    def git() -> Captioner:
        config = transformers.GitConfig(vision_config=vision, max_position_embeddings=128, **sizes, **words)
        return Captioner(transformers.GitForCausalLM(config), "git.image_encoder", {"input_ids": start})

    return {"ViT and GPT-2 (VisionEncoderDecoderModel)": vit_and_gpt2, "BLIP (BlipForConditionalGeneration)": blip,
            "GIT (GitForCausalLM)": git}  # fmt: skip


def last_block(encoder: nn.Module) -> str:
    """The name of an encoder's last block: layers.1 of two."""
    names = [name for name, _ in encoder.named_modules() if name.split(".")[-1].isdigit()]
    return [name for name in names if name.split(".")[-2] in ("layers", "layer")][-1]


def same_inside(one: Captioner, layer: str, images: Tensor) -> bool:
    """Whether the encoder alone gives the layer's output that it gives within the whole network."""
    found = []
    encoder = one.network.get_submodule(one.encoder)
    text = {name: part.expand(len(images), -1) for name, part in one.text.items()}
    for run in (lambda: encoder(images), lambda: one.network(pixel_values=images, **text)):
        with torch.no_grad(), dissect.Trace(encoder, layer) as trace:
            run()
            output = trace[layer]
        found.append(output if isinstance(output, Tensor) else output[0])
    return torch.equal(*found)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=86, help="validation scenes (default 86)")
    options = parser.parse_args(arguments)
    begin, scenes = time.process_time(), tiny.TinyScenes("val", size=SIZE, count=options.images)
    rules: dict[str, Any] = {"decoys": 1, "resamples": 0, "progress": False}
    places, found = [], {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dissect.DoubtfulResultWarning)  # few images, untrained networks: said below
        for name, make in captioners().items():
            torch.manual_seed(0)
            one = make()
            one.network.eval()
            encoder = one.network.get_submodule(one.encoder)
            layer = last_block(encoder)
            same = same_inside(one, layer, torch.stack([scenes[at][0] for at in range(2)]))
            places.append([name, f"`{one.encoder}`", f"`{layer}`", "yes" if same else "no"])
            found[name.split(" (")[0] + ", untrained"] = dissect.dissect(
                encoder, layer, scenes, tokens=(SIZE // PATCH,) * 2, **rules
            )
        for name, trained in (("VGG of scenes, untrained", False), ("VGG of scenes, trained", True)):
            found[name] = dissect.dissect(tiny.vgg(trained=trained), CLASSIFIER, scenes, **rules)
        both = dissect.compare(found)
    rows = [
        [row.network, row.layer, row.units, row.detectors, row.concepts, row.concepts_beyond_chance]
        for row in both.summary()
    ]
    text = f"""{HEAD}
## Three architectures, untrained

Where the encoder is, and its last block by its name within the encoder. "The same": the block gives the same bits
alone as within the captioner that writes.

{table(["network", "encoder", "layer", "the same"], places)}
{options.images} validation scenes of {SIZE}x{SIZE}, maps of {SIZE // PATCH}x{SIZE // PATCH}, the default preset. The
captioners' weights are random, so that the rows show the table that a trained one would stand in, and nothing else; few
scenes and untrained networks have detectors [by chance](trust.md).

{table(["network", "layer", "units", "detectors (IoU > 0.04)", "unique detectors", "of these beyond chance"], rows)}
One thread computed for {(time.process_time() - begin) / 60:.1f} minutes.
"""
    (options.out / "captioning.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
