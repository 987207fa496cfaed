"""Pictures and texts in one space by CLIP, SigLIP and their kin of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dissect.arguments import integer, refusal, speaks
from dissect.devices import device_of
from dissect.network.modes import check_evaluating

#: Models whose texts are padded to the longest that they take, and not masked, as they were trained.
PADDED = ("siglip", "siglip2")


class HuggingFaceEmbedder:
    """The `Embedder` of `text_labels` that a model of transformers is: CLIP, SigLIP, and others with their two methods.

    A picture is prepared by the model's own image processor, from 8 bits, and a text by its tokenizer; vectors are what
    ``model.get_image_features`` and ``model.get_text_features`` give, not yet of length 1. CLIP's texts are padded to
    the longest of a batch and masked; SigLIP's are padded to the longest that it takes and not masked, which is how it
    was trained. A text that the model would cut is refused.

    Args:
        model: in evaluation mode, such as ``transformers.CLIPModel`` or ``SiglipModel``.
        processor: its own, with ``image_processor`` and ``tokenizer``, as ``transformers.AutoProcessor`` gives it.
        image_processor: instead of the processor's.
        tokenizer: instead of the processor's.
        template: what is made of each text; CLIP's labels do better as sentences.
        batch_size: pictures or texts at a time.

    Raises:
        TypeError: a model without the two methods, or no image processor, or no tokenizer.
        ValueError: a template without one ``{}``; a model in training mode.

    Example:
        >>> import transformers  # doctest: +SKIP
        >>> folder = "openai/clip-vit-base-patch32"  # doctest: +SKIP
        >>> model = transformers.CLIPModel.from_pretrained(folder).eval()  # doctest: +SKIP
        >>> embedder = HuggingFaceEmbedder(model, transformers.AutoProcessor.from_pretrained(folder))  # doctest: +SKIP
        >>> text_labels(d, ["dog", "car"], embedder, layer="features.28")  # doctest: +SKIP
    """

    @speaks
    def __init__(
        self,
        model: nn.Module,
        processor: Any = None,
        *,
        image_processor: Any = None,
        tokenizer: Any = None,
        template: str = "a photo of a {}",
        batch_size: int = 32,
    ) -> None:
        for name in ("get_image_features", "get_text_features"):
            if not callable(getattr(model, name, None)):
                raise refusal(
                    TypeError(f"model must have {name}, as CLIPModel has, but {type(model).__name__} has not.")
                )
        check_evaluating(model)
        self._image: Any = image_processor or getattr(processor, "image_processor", None)
        self._tokenizer: Any = tokenizer or getattr(processor, "tokenizer", None)
        for name, part in (("image_processor", self._image), ("tokenizer", self._tokenizer)):
            if not callable(part):
                raise refusal(TypeError(f"{name} must be given, or be part of the processor, but is {part!r}."))
        if template.count("{}") != 1:
            raise refusal(ValueError(f"template must have one {{}}, where the text goes, but is {template!r}."))
        self.model, self.template, self.batch_size = model, template, integer("batch_size", batch_size)
        config: Any = model.config
        self._padded = getattr(config, "model_type", "") in PADDED
        self._longest: int = getattr(config, "text_config", config).max_position_embeddings

    def pictures(self, pictures: Sequence[Tensor]) -> Tensor:
        """[n, D] of pictures [3, h, w] uint8 of any sizes.

        Raises:
            ValueError: pictures of another kind.
        """
        found = []
        for at in range(0, len(pictures), self.batch_size):
            batch = pictures[at : at + self.batch_size]
            for picture in batch:
                if picture.ndim != 3 or len(picture) != 3 or picture.dtype != torch.uint8:
                    got = f"{picture.dtype} {list(picture.shape)}"
                    raise refusal(ValueError(f"pictures must be uint8 [3, h, w], but one is {got}."))
            arrays = [picture.permute(1, 2, 0).cpu().numpy() for picture in batch]
            # Said, since of a cut-out of three rows it cannot be guessed.
            shown = self._image(arrays, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
            found.append(self._vectors("get_image_features", {"pixel_values": shown}))
        return torch.cat(found)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """[T, D] of texts, each put into the template.

        Raises:
            ValueError: a text that is longer than the model takes.
        """
        found = []
        for at in range(0, len(texts), self.batch_size):
            said = [self.template.format(text) for text in texts[at : at + self.batch_size]]
            lengths = map(len, self._tokenizer(said)["input_ids"])
            for sentence, length in zip(said, lengths):
                if length > self._longest:
                    raise refusal(
                        ValueError(f"texts must have at most {self._longest} tokens, but {sentence!r} has {length}.")
                    )
            padding = {"padding": "max_length", "max_length": self._longest} if self._padded else {"padding": True}
            tokens = self._tokenizer(said, return_tensors="pt", **padding)
            names = ("input_ids",) if self._padded else ("input_ids", "attention_mask")
            found.append(self._vectors("get_text_features", {name: tokens[name] for name in names if name in tokens}))
        return torch.cat(found)

    def _vectors(self, method: str, inputs: dict[str, Tensor]) -> Tensor:
        device = device_of(self.model)
        with torch.no_grad():
            output = getattr(self.model, method)(**{name: value.to(device) for name, value in inputs.items()})
        # transformers before 5 gives the vectors, later ones an output that has them where poolers write.
        vectors: Tensor = output if isinstance(output, Tensor) else output.pooler_output
        return vectors.float().cpu()
