"""Text labels by CLIP and SigLIP as transformers has them: small ones with random weights, and tokens made by hand."""

import numpy as np
import pytest
import torch

import dissect
from dissect.dissection import HuggingFaceEmbedder, text_labels
from dissect.experiments import by_texts, plant, score_labels

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ["sky", "tree", "house", "wall"]
TEXT = {"vocab_size": 16, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
        "max_position_embeddings": 9, "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 2}  # fmt: skip
VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
          "image_size": 32, "patch_size": 8}  # fmt: skip


def tokenizer():
    """A word a token."""
    words = ["<s>", "</s>", "<pad>", "<unk>", "a", "photo", "of", *WORDS]
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: at for at, word in enumerate(words)}, "<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        "<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names)


def processor_of(kind):
    """Its image processor, at the size of the small model, without torchvision where there is one such."""
    name = {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor"}[kind]
    size = {"shortest_edge": 32} if kind == "clip" else {"height": 32, "width": 32}
    crop = {"crop_size": {"height": 32, "width": 32}} if kind == "clip" else {}
    return getattr(transformers, f"{name}Pil", getattr(transformers, name))(size=size, **crop)


def model_of(kind):
    torch.manual_seed(0)
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12)
        return transformers.CLIPModel(config).eval()
    # SigLIP has no projection: both towers are of one size.
    config = transformers.SiglipConfig(text_config=TEXT | {"projection_size": 16}, vision_config=VISION)
    return transformers.SiglipModel(config).eval()


def embedder_of(kind, **options):
    return HuggingFaceEmbedder(model_of(kind), image_processor=processor_of(kind), tokenizer=tokenizer(), **options)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_vectors_are_the_models_own(kind):
    """Of pictures of any size, thin ones too, and of texts: the model's whole forward on what its own parts prepare."""
    torch.manual_seed(1)
    pictures = [
        torch.randint(0, 256, size, dtype=torch.uint8) for size in ((3, 32, 32), (3, 3, 40), (3, 50, 1), (3, 7, 3))
    ]
    embedder = embedder_of(kind, batch_size=3)
    options = {"input_data_format": "channels_last", "return_tensors": "pt"}
    arrays = [part.permute(1, 2, 0).numpy() for part in pictures]
    shown = torch.cat([processor_of(kind)(part, **options)["pixel_values"] for part in arrays])
    words = tokenizer()(
        [f"a photo of a {word}" for word in WORDS], padding="max_length", max_length=9, return_tensors="pt"
    )
    given = {"input_ids": words["input_ids"]} | ({"attention_mask": words["attention_mask"]} if kind == "clip" else {})
    with torch.no_grad():
        output = embedder.model(pixel_values=shown, **given)
    found, said = embedder.pictures(pictures), embedder.texts(WORDS)
    assert found.shape == (4, 12 if kind == "clip" else 16)
    for vectors, expected in ((found, output.image_embeds), (said, output.text_embeds)):
        torch.testing.assert_close(torch.nn.functional.normalize(vectors), torch.nn.functional.normalize(expected))
    assert len(np.unique(said.numpy().round(4), axis=0)) == 4


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_units_are_labelled_from_end_to_end(kind):
    """A dissection's crops, and the benchmark with planted truth; random weights, so that no label must be right."""
    torch.manual_seed(2)
    images = torch.rand(12, 3, 24, 24)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3)).eval()
    d = dissect.dissect(net, "0", [images], fraction=0.1, top_images=3, progress=False)
    embedder = embedder_of(kind)
    rows = text_labels(d, WORDS, embedder, layer="0", draws=19)
    assert len(rows) == 3
    for row in rows:
        crops = [one.crop for one in d.exemplars(row.unit)]
        cosine = torch.nn.functional.cosine_similarity
        fits = cosine(embedder.pictures(crops)[:, None].double(), embedder.texts(WORDS)[None].double(), dim=2)
        everyone = [one.crop for unit in range(3) for one in d.exemplars(unit)]
        of_all = cosine(embedder.pictures(everyone)[:, None].double(), embedder.texts(WORDS)[None].double(), dim=2)
        scores = fits.mean(0) - of_all.mean(0)
        assert row.text == WORDS[int(scores.argmax())]
        assert row.score == pytest.approx(float(scores.max()), abs=1e-6)
    planes = torch.randint(0, 5, (12, 1, 6, 6)).repeat_interleave(4, 2).repeat_interleave(4, 3)
    made = plant(planes, dissect.Concepts.of(WORDS), count=1, size=(6, 6), areas=(0.01, 0.9), kinds=["concept"])
    found = score_labels(made, {kind: by_texts(embedder, (images * 255).byte())})
    (row,) = found.summary()
    assert row.units == made.activations.shape[1]
    assert 0 <= row.iou <= 1
    with pytest.raises(ValueError, match=r"^score_labels: pictures must be of the 12 images, but are 11"):
        score_labels(made, {kind: by_texts(embedder, images[1:])})


def test_refusals():
    embedder = embedder_of("clip")
    with pytest.raises(ValueError, match=r"texts must have at most 9 tokens, but 'a photo of a .*' has 10"):
        embedder.texts([" ".join(["sky"] * 4)])
    with pytest.raises(ValueError, match=r"pictures must be uint8 \[3, h, w\], but one is torch.float32 \[3, 8, 8\]"):
        embedder.pictures([torch.rand(3, 8, 8)])
    with pytest.raises(ValueError, match=r"^HuggingFaceEmbedder: the network must be in evaluation mode"):
        HuggingFaceEmbedder(model_of("clip").train(), image_processor=processor_of("clip"), tokenizer=tokenizer())
    with pytest.raises(TypeError, match="tokenizer must be given, or be part of the processor, but is None"):
        HuggingFaceEmbedder(model_of("clip"), image_processor=processor_of("clip"))
    with pytest.raises(TypeError, match="model must have get_image_features, as CLIPModel has, but Linear has not"):
        HuggingFaceEmbedder(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"template must have one \{\}, where the text goes, but is 'a photo'"):
        embedder_of("clip", template="a photo")
