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
    "sam3": "phrases",
}  # fmt: skip

#: Files of tokenizers.
TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model")

#: Models whose files hold one of these, and more that is not asked.
HOLDING = {"sam3_video": "sam3"}

#: Mask2Former's masks are brought to this size before they are weighed, whatever the images'.
MASK2FORMER_SIZE = (384, 384)

#: What a preprocessor may do that is not done here.
NOT_DONE = ("do_center_crop", "do_flip_channel_order", "do_convert_annotations")

#: Pillow's number of a way to resize, and torch's name for it.
RESAMPLE = {2: "bilinear", 3: "bicubic"}


class HuggingFaceSegmenter(ImageSegmenter):
    """Planes by a segmentation model of transformers: SegFormer, UPerNet, Mask2Former, OneFormer, CLIPSeg or SAM 3.

    Images are resized and normalised as the model's preprocessor_config.json says (on floats, without rounding to 8
    bits between, so that gradients go through). With logits brought to the size of the planes (by `ops.upsample_argmax`
    where only the winner counts)::

        SegFormer, UPerNet        plane = argmax of the logits;  scores(c) = softmax of the logits at c
        Mask2Former, OneFormer    plane = argmax over c of sum over queries of P(c) P(mask);
                                  scores(c) = 1 - prod over queries of (1 - P(c) P(mask))
        CLIPSeg, SAM 3            plane k = phrase k where its P is above a half;  scores(phrase) = its P

    SAM 3's P is that of its map of all that a phrase means (`semantic_seg`), brought to the size of the planes as P, as
    its own processing does; images are encoded once for all phrases.

    Class i is label i + 1, since class 0 is a concept like the others; but where class 0 is called "background" or
    another name for "no label", class i is label i.

    Args:
        model: in evaluation mode.
        preprocessing: what preprocessor_config.json holds.
        tokens: the tokens of the phrases, or of OneFormer's task, as their tokenizer gives them: "input_ids" (and
            "attention_mask") [phrases, length].
        phrases: the names of the concepts of CLIPSeg or SAM 3.
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
        prompted = ANSWERS[kind] == "phrases"
        if (phrases is not None) != prompted:
            raise refusal(ValueError(f"phrases must be given for clipseg and sam3 alone, but the model is {kind!r}."))
        if (tokens is not None) != (prompted or kind == "oneformer"):
            raise refusal(
                ValueError(f"tokens must be given for clipseg, sam3 and oneformer alone, but the model is {kind!r}.")
            )
        if tokens is not None and len(tokens["input_ids"]) != (1 if phrases is None else len(phrases)):
            raise refusal(ValueError("tokens must be of each phrase, or of one task, but are not as many."))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Planes int16 [N, K, H, W] of images [N, 3, H, W]; K is 1, or the number of phrases."""
        answer = self._answer(images)
        if ANSWERS[self.kind] == "phrases":
            likely = self._likely(answer, images) > 0.5
            return as_planes([own * (number + 1) for number, own in enumerate(likely.unbind(1))])
        if ANSWERS[self.kind] == "queries":
            answer = torch.einsum("nqc,nqhw->nchw", *self._queries(answer))
        answer = answer.float().to(ops.serving_device(answer.device))
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
        if ANSWERS[self.kind] == "phrases":
            return self._likely(answer[:, number, None], images)[:, 0]
        return self._large(answer, images).softmax(1)[:, number]

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
        if self.kind == "sam3":
            return self._prompted(shown, given)
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

    def _prompted(self, shown: Tensor, given: dict[str, Tensor]) -> Tensor:
        """SAM 3's logits [N, phrases, h, w], phrase by phrase over all images."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        model: Any = self.model
        seen, count = model.get_vision_features(pixel_values=shown), len(shown)
        phrases, mask = model.get_text_features(**given).pooler_output, given.get("attention_mask")
        found = []
        for number in range(len(phrases)):
            output = model(
                vision_embeds=seen,
                text_embeds=BaseModelOutputWithPooling(pooler_output=phrases[number, None].expand(count, -1, -1)),
                attention_mask=None if mask is None else mask[number, None].expand(count, -1),
            )
            found.append(output.semantic_seg)
        return torch.cat(found, 1)

    def _likely(self, logits: Tensor, images: Tensor) -> Tensor:
        """P of each phrase at the size of the planes, as the model's own processing makes it."""
        if self.kind == "sam3":
            return self._large(logits.sigmoid(), images)
        return self._large(logits, images).sigmoid()

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
        folder: with config.json, preprocessor_config.json (or processor_config.json, which holds the same),
            *.safetensors, and for CLIPSeg, SAM 3 and OneFormer a tokenizer. Of a folder of SAM 3 for videos the
            detector of images is taken.
        phrases: what CLIPSeg or SAM 3 shall look for.
        category: of all concepts.
        downsample: the planes are so many times smaller than the images.
        signed: images come in [-1, 1], not in [0, 1].
        device: where the model goes.

    Raises:
        ImportError: transformers is missing, or has no SAM 3.
        FileNotFoundError: a file is missing.
        ValueError: weights that do not fit the configuration, or see `HuggingFaceSegmenter`.
    """
    require("load_hugging_face", "hugging-face", "transformers")
    import transformers

    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise refusal(FileNotFoundError(f"there is no file {folder / 'config.json'}."))
    preprocessing = _preprocessing(folder)
    if not any(folder.glob("*.safetensors")):
        raise refusal(FileNotFoundError(f"there are no weights {folder / '*.safetensors'}; pickles are not read."))
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    kind = HOLDING.get(config.model_type, config.model_type)
    if kind not in ANSWERS:
        raise refusal(ValueError(f"{folder} must hold one of {', '.join(ANSWERS)}, but holds {config.model_type!r}."))
    model, report = _builder(kind).from_pretrained(
        folder, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    _check_loaded(folder, report)
    tokens = None
    if ANSWERS[kind] == "phrases" or kind == "oneformer":
        tokens = _tokens(folder, kind, model.config, phrases)
    return HuggingFaceSegmenter(
        model.eval().to(device),
        preprocessing,
        tokens=tokens,
        phrases=phrases,
        category=category,
        downsample=downsample,
        signed=signed,
    )


def _preprocessing(folder: Path) -> dict[str, Any]:
    """What is done to images.

    Raises:
        FileNotFoundError: no file says it.
    """
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            told = json.loads((folder / name).read_text(encoding="utf-8"))
            found: dict[str, Any] = told.get("image_processor", told)
            return found
    raise refusal(FileNotFoundError(f"there is no file {folder / 'preprocessor_config.json'}."))


def _builder(kind: str) -> Any:
    """The class of transformers that loads a kind of model.

    Raises:
        ImportError: this version has none.
    """
    import transformers

    names = {"logits": "AutoModelForSemanticSegmentation", "queries": "AutoModelForUniversalSegmentation",
             "clipseg": "CLIPSegForImageSegmentation", "sam3": "Sam3Model"}  # fmt: skip
    name = names.get(kind) or names[ANSWERS[kind]]
    if not hasattr(transformers, name):
        raise refusal(ImportError(f"{name} is not in this version of transformers, {transformers.__version__}."))
    return getattr(transformers, name)


def _tokens(folder: Path, kind: str, config: Any, phrases: Sequence[str] | None) -> dict[str, Any]:
    """Of the phrases, or of OneFormer's task, by the folder's tokenizer.

    Raises:
        FileNotFoundError: it has none.
    """
    import transformers

    if not any((folder / name).is_file() for name in TOKENIZERS):  # one that knows no word would be made
        raise refusal(FileNotFoundError(f"there is no tokenizer, {' or '.join(TOKENIZERS)}, in {folder}."))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    length: dict[str, Any] = {"padding": True}
    if kind == "oneformer":
        length = {"padding": "max_length", "max_length": config.task_seq_len}
    elif kind == "sam3":
        length = {"padding": "max_length", "max_length": config.text_config.max_position_embeddings}
    asked = ["the task is semantic"] if kind == "oneformer" else list(phrases or ())
    tokens = tokenizer(asked, truncation=True, return_tensors="pt", **length) if asked else {"input_ids": ()}
    return {name: value for name, value in tokens.items() if name in ("input_ids", "attention_mask")}


def _check_loaded(folder: Path, report: dict[str, Any]) -> None:
    wrong = {name: sorted(map(str, keys)) for name, keys in report.items() if name.endswith("_keys") and keys}
    if wrong:
        told = "; ".join(f"{name.replace('_', ' ')}: {', '.join(keys[:10])}" for name, keys in wrong.items())
        raise refusal(ValueError(f"{folder} must hold the model's weights, but does not: {told}."))
