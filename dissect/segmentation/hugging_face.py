"""Segmenters of Hugging Face's transformers, with their own preprocessing, and without torchvision."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dissect import ops
from dissect.arguments import refusal, speaks
from dissect.concepts import Concepts, is_no_label
from dissect.extras import require
from dissect.network.modes import check_segmenter
from dissect.segmentation.protocol import ImageSegmenter, as_planes

#: How a kind of model answers: logits of classes, queries of a class and a mask each, or one map for each phrase.
ANSWERS = {
    "segformer": "logits", "upernet": "logits", "mask2former": "queries", "oneformer": "queries", "clipseg": "phrases",
}  # fmt: skip

#: Mask2Former's masks are brought to this size before they are weighed, whatever the images'.
MASK2FORMER_SIZE = (384, 384)

#: What a preprocessor may do that is not done here.
NOT_DONE = ("do_center_crop", "do_flip_channel_order", "do_convert_annotations")

#: Pillow's number of a way to resize, and torch's name for it.
RESAMPLE = {2: "bilinear", 3: "bicubic"}


class HuggingFaceSegmenter(ImageSegmenter):
    """Planes by a segmentation model of transformers: SegFormer, UPerNet, Mask2Former, OneFormer, or CLIPSeg.

    Images are resized and normalised as the model's preprocessor_config.json says (on floats, without rounding to 8
    bits between, so that gradients go through). With logits brought to the size of the planes (by `ops.upsample_argmax`
    where only the winner counts)::

        SegFormer, UPerNet        plane = argmax of the logits;  scores(c) = softmax of the logits at c
        Mask2Former, OneFormer    plane = argmax over c of sum over queries of P(c) P(mask);
                                  scores(c) = 1 - prod over queries of (1 - P(c) P(mask))
        CLIPSeg                   plane k = phrase k where its P is above a half;  scores(phrase) = its P

    Class i is label i + 1, since class 0 is a concept like the others; but where class 0 is called "background" or
    another name for "no label", class i is label i.

    Args:
        model: in evaluation mode.
        preprocessing: what preprocessor_config.json holds.
        tokens: the tokens of CLIPSeg's phrases, or of OneFormer's task, as their tokenizer gives them: "input_ids" (and
            "attention_mask") [phrases, length].
        phrases: the names of the concepts of CLIPSeg.
        category: of all concepts.
        downsample: the planes are so many times smaller than the images.
        signed: images come in [-1, 1], not in [0, 1].

    Raises:
        ValueError: a model that is none of these, a preprocessor that does more than is known, or tokens and phrases
            that the model does not ask for, or that are missing; a model in training mode.
    """

    @speaks
    def __init__(
        self,
        model: nn.Module,
        preprocessing: Mapping[str, Any],
        *,
        tokens: Mapping[str, Tensor] | None = None,
        phrases: Sequence[str] | None = None,
        category: str = "object",
        downsample: int = 1,
        signed: bool = False,
    ) -> None:
        config: Any = getattr(model, "config", None)
        kind = getattr(config, "model_type", type(model).__name__)
        if kind not in ANSWERS:
            raise refusal(ValueError(f"model must be one of {', '.join(ANSWERS)}, but is {kind!r}."))
        check_segmenter(model)
        self._check(kind, preprocessing, tokens, phrases, downsample)
        if phrases is not None:
            names, shift = list(phrases), 1
        else:
            names = [str(config.id2label[number]) for number in range(len(config.id2label))]
            shift = 0 if is_no_label(names[0]) else 1
        super().__init__(Concepts.of([(name, category) for name in names[1 - shift :]]), signed=signed)
        self.model, self.kind, self.downsample = model, kind, downsample
        self.preprocessing = dict(preprocessing)
        self._shift = shift
        self._tokens = {} if tokens is None else {name: torch.as_tensor(value) for name, value in tokens.items()}

    @staticmethod
    def _check(
        kind: str,
        preprocessing: Mapping[str, Any],
        tokens: Mapping[str, Tensor] | None,
        phrases: Sequence[str] | None,
        downsample: int,
    ) -> None:
        more = [name for name in NOT_DONE if preprocessing.get(name)]
        if more:
            raise refusal(ValueError(f"preprocessing must be resizing and normalising, but has {', '.join(more)}."))
        if preprocessing.get("resample", 2) not in RESAMPLE:
            raise refusal(ValueError(f"resample must be in {list(RESAMPLE)}, but is {preprocessing['resample']}."))
        if downsample < 1:
            raise refusal(ValueError(f"downsample must be positive, but is {downsample}."))
        if (phrases is not None) != (kind == "clipseg"):
            raise refusal(ValueError(f"phrases must be given for clipseg alone, but the model is {kind!r}."))
        if (tokens is not None) != (kind in ("clipseg", "oneformer")):
            raise refusal(
                ValueError(f"tokens must be given for clipseg and oneformer alone, but the model is {kind!r}.")
            )
        if tokens is not None and len(tokens["input_ids"]) != (1 if phrases is None else len(phrases)):
            raise refusal(ValueError("tokens must be of each phrase, or of one task, but are not as many."))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Planes int16 [N, K, H, W] of images [N, 3, H, W]; K is 1, or the number of phrases."""
        answer = self._answer(images)
        if ANSWERS[self.kind] == "phrases":
            likely = self._large(answer, images).sigmoid() > 0.5
            return as_planes([own * (number + 1) for number, own in enumerate(likely.unbind(1))])
        if ANSWERS[self.kind] == "queries":
            answer = torch.einsum("nqc,nqhw->nchw", *self._queries(answer))
        answer = answer.float().to(ops.home(answer.device))
        return as_planes([ops.upsample_argmax(answer, self._target(images)).to(images.device) + self._shift])

    @speaks
    def scores(self, images: Tensor, concept: str | int) -> Tensor:
        """How likely each pixel shows a concept: float [N, H, W] in [0, 1], differentiable in the images.

        Raises:
            KeyError, TypeError: as `label`.
        """
        number = self.label(concept) - self._shift
        answer = self._answer(images)
        if ANSWERS[self.kind] == "queries":
            classes, masks = self._queries(answer)
            some = 1 - (1 - classes[:, :, number, None, None] * masks).prod(1)
            return self._large(some[:, None], images)[:, 0].clamp(0, 1)
        large = self._large(answer, images)
        return large[:, number].sigmoid() if ANSWERS[self.kind] == "phrases" else large.softmax(1)[:, number]

    def extra_repr(self) -> str:
        """What tells it from another of the same weights."""
        tokens = {name: value.tolist() for name, value in self._tokens.items()}
        return f"{super().extra_repr()}, downsample={self.downsample}, {self.preprocessing}, tokens={tokens}"

    def _answer(self, images: Tensor) -> Any:
        """What the model says of images: logits or maps [N, C, h, w], or queries as the model gives them."""
        shown = self.prepared(self.unit_range(images))
        count = len(shown)
        given = {name: value.to(shown.device) for name, value in self._tokens.items()}
        if self.kind == "oneformer":
            return self.model(pixel_values=shown, task_inputs=given["input_ids"].expand(count, -1))
        if self.kind != "clipseg":
            output = self.model(pixel_values=shown)
            return output if ANSWERS[self.kind] == "queries" else output.logits
        # In its own forward the images would be looked at once for each phrase, and without gradients.
        model: Any = self.model
        phrases = model.get_conditional_embeddings(len(given["input_ids"]), **given)
        seen = model.clip.get_image_features(pixel_values=shown, output_hidden_states=True).hidden_states
        layers = tuple(seen[layer + 1].repeat_interleave(len(phrases), 0) for layer in model.extract_layers)
        logits = model.decoder(layers, phrases.repeat(count, 1)).logits
        return logits.view(count, len(phrases), *logits.shape[-2:])

    def _queries(self, output: Any) -> tuple[Tensor, Tensor]:
        """P of each query's class, but for "none", [N, Q, C], and of its mask [N, Q, h, w]."""
        masks = output.masks_queries_logits
        if self.kind == "mask2former":
            masks = F.interpolate(masks, MASK2FORMER_SIZE, mode="bilinear", align_corners=False)
        return output.class_queries_logits.softmax(-1)[..., :-1], masks.sigmoid()

    def _large(self, maps: Tensor, images: Tensor) -> Tensor:
        return F.interpolate(maps.float(), self._target(images), mode="bilinear", align_corners=False)

    def _target(self, images: Tensor) -> tuple[int, int]:
        height, width = (max(1, length // self.downsample) for length in images.shape[2:])
        return height, width

    def prepared(self, images: Tensor) -> Tensor:
        """Images in [0, 1] as the model wants them."""
        options = self.preprocessing
        if options.get("do_resize", True) and options.get("size"):
            mode = RESAMPLE[options.get("resample", 2)]
            size = _target(options["size"], images.shape[2:], int(options.get("size_divisor") or 0))
            if size != tuple(images.shape[2:]):
                images = F.interpolate(images, size, mode=mode, align_corners=False, antialias=True).clamp(0, 1)
        if not options.get("do_rescale", True):
            images = images * 255
        elif not math.isclose(options.get("rescale_factor", 1 / 255), 1 / 255):
            images = images * (255 * options["rescale_factor"])
        if options.get("do_normalize", True):
            mean, std = (
                torch.tensor(options[name], device=images.device, dtype=images.dtype)[:, None, None]
                for name in ("image_mean", "image_std")
            )
            images = (images - mean) / std
        return images


def _target(size: Any, given: Sequence[int], divisor: int) -> tuple[int, int]:
    """Height and width that preprocessing brings images to."""
    if isinstance(size, int):
        size = {"shortest_edge": size}
    if "height" in size:
        height, width = size["height"], size["width"]
    else:
        scale = size["shortest_edge"] / min(given)
        longest = size.get("longest_edge")
        if longest is not None and max(given) * scale > longest:
            scale = longest / max(given)
        height, width = (max(1, round(length * scale)) for length in given)
    if divisor:
        height, width = (math.ceil(length / divisor) * divisor for length in (height, width))
    return int(height), int(width)


@speaks
def load_hugging_face(
    folder: str | Path,
    *,
    phrases: Sequence[str] | None = None,
    category: str = "object",
    downsample: int = 1,
    signed: bool = False,
    device: Any = "cpu",
) -> HuggingFaceSegmenter:
    """The segmenter in a folder that `save_pretrained` wrote, or that was downloaded from the hub.

    Nothing is downloaded, and no pickle is read: the weights must be safetensors, with every key and none beside.

    Args:
        folder: with config.json, preprocessor_config.json, *.safetensors, and for CLIPSeg and OneFormer a tokenizer.
        phrases: what CLIPSeg shall look for.
        category: of all concepts.
        downsample: the planes are so many times smaller than the images.
        signed: images come in [-1, 1], not in [0, 1].
        device: where the model goes.

    Raises:
        ImportError: transformers is missing.
        FileNotFoundError: a file is missing.
        ValueError: weights that do not fit the configuration, or see `HuggingFaceSegmenter`.
    """
    require("load_hugging_face", "hugging-face", "transformers")
    import transformers

    folder = Path(folder)
    for name in ("config.json", "preprocessor_config.json"):
        if not (folder / name).is_file():
            raise refusal(FileNotFoundError(f"there is no file {folder / name}."))
    if not any(folder.glob("*.safetensors")):
        raise refusal(FileNotFoundError(f"there are no weights {folder / '*.safetensors'}; pickles are not read."))
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type not in ANSWERS:
        raise refusal(ValueError(f"{folder} must hold one of {', '.join(ANSWERS)}, but holds {config.model_type!r}."))
    builders = {
        "logits": transformers.AutoModelForSemanticSegmentation,
        "queries": transformers.AutoModelForUniversalSegmentation,
        "phrases": transformers.CLIPSegForImageSegmentation,
    }
    builder: Any = builders[ANSWERS[config.model_type]]
    model, report = builder.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    _check_loaded(folder, report)
    asked = list(phrases or ()) if config.model_type == "clipseg" else ["the task is semantic"]
    tokens = None
    if config.model_type in ("clipseg", "oneformer"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        length = {"padding": True} if phrases else {"padding": "max_length", "max_length": config.task_seq_len}
        tokens = {**tokenizer(asked, truncation=True, return_tensors="pt", **length)}
        tokens = {name: value for name, value in tokens.items() if name in ("input_ids", "attention_mask")}
    return HuggingFaceSegmenter(
        model.eval().to(device),
        json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8")),
        tokens=tokens,
        phrases=phrases,
        category=category,
        downsample=downsample,
        signed=signed,
    )


def _check_loaded(folder: Path, report: dict[str, Any]) -> None:
    wrong = {name: sorted(map(str, keys)) for name, keys in report.items() if name.endswith("_keys") and keys}
    if wrong:
        told = "; ".join(f"{name.replace('_', ' ')}: {', '.join(keys[:10])}" for name, keys in wrong.items())
        raise refusal(ValueError(f"{folder} must hold the model's weights, but does not: {told}."))
