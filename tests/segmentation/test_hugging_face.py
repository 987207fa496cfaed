"""Segmenters of transformers: small ones with random weights, against their own preprocessing and postprocessing."""

import json
import warnings

import numpy as np
import pytest
import torch

from dissect.segmentation import HuggingFaceSegmenter, SegmenterProtocol, load_hugging_face

transformers = pytest.importorskip("transformers")

NAMES = {0: "wall", 1: "building", 2: "sky", 3: "tree"}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
PREPROCESSING = {
    "do_resize": True, "size": {"height": 64, "width": 64}, "resample": 2, "do_rescale": True,
    "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": MEAN, "image_std": STD,
}  # fmt: skip
SWIN = {
    "image_size": 64, "embed_dim": 4, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1], "window_size": 2,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}  # fmt: skip
TEXT = {
    "vocab_size": 50, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "max_position_embeddings": 8,
}  # fmt: skip
VISION = {
    "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip


def configuration(kind, names=NAMES):
    labels = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    if kind == "segformer":
        return transformers.SegformerConfig(
            num_encoder_blocks=2, hidden_sizes=[4, 8], depths=[1, 1], sr_ratios=[2, 1], patch_sizes=[7, 3],
            strides=[4, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=8, **labels,
        )  # fmt: skip
    if kind == "upernet":
        backbone = transformers.ConvNextConfig(
            hidden_sizes=[4, 4, 8, 8], depths=[1, 1, 1, 1], out_features=["stage1", "stage2", "stage3", "stage4"]
        )
        return transformers.UperNetConfig(
            backbone_config=backbone, hidden_size=8, use_auxiliary_head=False, auxiliary_in_channels=8, **labels
        )
    small = {"num_queries": 5, "num_attention_heads": 2, "dim_feedforward": 8, "encoder_feedforward_dim": 8}
    if kind == "mask2former":
        return transformers.Mask2FormerConfig(
            backbone_config=transformers.SwinConfig(**SWIN), hidden_dim=32, feature_size=32, mask_feature_size=32,
            encoder_layers=1, decoder_layers=2, **small, **labels,
        )  # fmt: skip
    if kind == "oneformer":
        return transformers.OneFormerConfig(
            backbone_config=transformers.SwinConfig(**SWIN), hidden_dim=32, conv_dim=32, mask_dim=32, encoder_layers=1,
            decoder_layers=2, query_dec_layers=1, task_seq_len=8, text_encoder_width=8, text_encoder_num_layers=1,
            is_training=False, use_task_norm=True, **small, **labels,
        )  # fmt: skip
    if kind == "sam3":
        part = {"hidden_size": 16, "num_attention_heads": 2}
        layers = {**part, "intermediate_size": 16, "num_layers": 1}
        backbone = {
            **part, "model_type": "sam3_vit_model", "intermediate_size": 16, "num_hidden_layers": 2, "image_size": 56,
            "patch_size": 14, "window_size": 2, "global_attn_indexes": [1], "pretrain_image_size": 28,
        }  # fmt: skip
        sizes = [[16, 16], [8, 8], [4, 4]]
        return transformers.Sam3Config(
            vision_config={"backbone_config": backbone, "fpn_hidden_size": 16, "backbone_feature_sizes": sizes},
            text_config={**TEXT, "hidden_size": 16, "projection_dim": 16}, geometry_encoder_config=layers,
            detr_encoder_config=layers, detr_decoder_config={**layers, "num_queries": 5}, mask_decoder_config=part,
        )  # fmt: skip
    return transformers.CLIPSegConfig(
        text_config=TEXT, vision_config=VISION, projection_dim=8, reduce_dim=4, extract_layers=[0, 1],
        decoder_num_attention_heads=2, decoder_intermediate_size=8, conditional_layer=0,
    )  # fmt: skip


BUILDERS = {
    "segformer": "SegformerForSemanticSegmentation", "upernet": "UperNetForSemanticSegmentation",
    "mask2former": "Mask2FormerForUniversalSegmentation", "oneformer": "OneFormerForUniversalSegmentation",
    "clipseg": "CLIPSegForImageSegmentation",
}  # fmt: skip
if hasattr(transformers, "Sam3Model"):
    BUILDERS["sam3"] = "Sam3Model"
PROMPTED = ("clipseg", "sam3")


def model_of(kind, names=NAMES):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(transformers, BUILDERS[kind])(configuration(kind, names)).eval()
    for value in model.parameters():  # larger than drawn, so that classes differ
        if value.dim() > 1:
            value.data.normal_(std=0.3)
    return model


def segmenter_of(kind, **options):
    preprocessing = PREPROCESSING
    if kind == "oneformer":
        options["tokens"] = {"input_ids": torch.arange(8)[None]}
    if kind in PROMPTED:
        side = 32 if kind == "clipseg" else 56
        preprocessing = {**PREPROCESSING, "size": {"height": side, "width": side}}
        options["tokens"] = {"input_ids": torch.tensor([[1, 2, 49], [1, 7, 49]]), "attention_mask": torch.ones(2, 3)}
        options["phrases"] = ["a red door", "grass"]
    return HuggingFaceSegmenter(model_of(kind), preprocessing, **options)


@pytest.mark.parametrize("kind", [*BUILDERS])
def test_every_kind_gives_planes_and_differentiable_scores(kind):
    segmenter = segmenter_of(kind)
    assert isinstance(segmenter, SegmenterProtocol)
    images = torch.rand(2, 3, 50, 40, requires_grad=True)
    planes = segmenter(images)
    assert planes.dtype == torch.int16
    assert planes.shape == (2, 2 if kind in PROMPTED else 1, 50, 40)
    names = segmenter.concepts.names[1:]
    scores = torch.stack([segmenter.scores(images, name) for name in names], 1)
    assert scores.shape == (2, len(names), 50, 40)
    assert 0 <= scores.min().item() <= scores.max().item() <= 1
    scores.sum(1).square().sum().backward()
    assert images.grad.abs().sum() > 0
    if kind in PROMPTED:
        assert torch.equal(planes, (scores > 0.5) * torch.tensor([1, 2])[:, None, None])
    elif kind in ("segformer", "upernet"):
        assert names == tuple(NAMES.values())
        assert torch.equal(planes[:, 0], scores.argmax(1) + 1)
    assert segmenter(images[:1]).equal(planes[:1]) or kind != "segformer"


@pytest.mark.parametrize("kind", ["segformer", "mask2former", "oneformer"])
def test_planes_are_those_of_the_models_own_processing(kind):
    """Its preprocessing on 8 bits, its model, its postprocessing: class i is label i + 1."""
    segmenter, size = segmenter_of(kind), (64, 64)
    images = torch.randint(0, 256, (2, 3, *size)).float() / 255
    processors = {
        "segformer": "SegformerImageProcessorPil", "mask2former": "Mask2FormerImageProcessorPil",
        "oneformer": "OneFormerImageProcessorPil",
    }  # fmt: skip
    if not hasattr(transformers, processors[kind]):
        pytest.skip("this transformers has no preprocessing without torchvision")
    own = {**PREPROCESSING, "do_reduce_labels": False, "ignore_index": 255}
    if kind == "oneformer":
        own |= {"repo_path": None, "class_info_file": None}
    try:
        processor = getattr(transformers, processors[kind])(**own)
    except Exception as error:  # OneFormer's asks for a file of the hub
        pytest.skip(f"the processor cannot be made here: {error}")
    arrays = [np.round(image.permute(1, 2, 0).numpy() * 255).astype(np.uint8) for image in images]
    shown = processor.preprocess(arrays, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(segmenter.prepared(images), shown)
    given = {"task_inputs": torch.arange(8)[None].expand(2, -1)} if kind == "oneformer" else {}
    with torch.no_grad():
        output = segmenter.model(pixel_values=shown, **given)
    expected = processor.post_process_semantic_segmentation(output, target_sizes=[size] * 2)
    agree = (segmenter(images)[:, 0] == torch.stack(expected) + 1).double().mean()
    assert agree > 0.999
    assert len(torch.stack(expected).unique()) > 1


def test_phrases_are_answered_as_the_model_does():
    segmenter = segmenter_of("clipseg")
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        shown = segmenter.prepared(images)
        for number, phrase in enumerate(segmenter.concepts.names[1:]):
            tokens = {name: value[[number] * 3] for name, value in segmenter._tokens.items()}
            expected = segmenter.model(pixel_values=shown, **tokens).logits.sigmoid()
            torch.testing.assert_close(segmenter.scores(images, phrase), expected)


@pytest.mark.skipif("sam3" not in BUILDERS, reason="this transformers has no SAM 3")
def test_sam_3_is_asked_phrase_by_phrase_as_its_own_processing_is():
    segmenter = segmenter_of("sam3")
    images, size = torch.rand(3, 3, 70, 60), (70, 60)
    with torch.no_grad():
        shown, planes = segmenter.prepared(images), segmenter(images)
        for number, phrase in enumerate(segmenter.concepts.names[1:]):
            tokens = {name: value[[number] * 3] for name, value in segmenter._tokens.items()}
            output = segmenter.model(pixel_values=shown, **tokens)
            likely = torch.nn.functional.interpolate(output.semantic_seg.sigmoid(), size, mode="bilinear")[:, 0]
            torch.testing.assert_close(segmenter.scores(images, phrase), likely)
            assert torch.equal(planes[:, number], (likely > 0.5) * (number + 1))
    assert set(planes.unique().tolist()) == {0, 1, 2}


@pytest.fixture
def tokenizer(monkeypatch):
    """Tokens of words, in the place of the tokenizer that a folder would hold."""

    class Words:
        @classmethod
        def from_pretrained(cls, folder, **_):
            return cls()

        def __call__(self, texts, max_length=None, **_):
            rows = torch.full((len(texts), max_length or 5), 49)
            mask = torch.zeros_like(rows)
            for row, text in enumerate(texts):
                words = text.split()
                rows[row, : len(words)] = torch.tensor([len(word) for word in words])
                mask[row, : len(words) + 1] = 1
            return {"input_ids": rows, "attention_mask": mask, "more": rows}

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", Words.from_pretrained)


@pytest.mark.skipif("sam3" not in BUILDERS, reason="this transformers has no SAM 3")
@pytest.mark.parametrize("held", ["sam3", "sam3_video"])
def test_a_folder_of_sam_3_is_loaded_for_videos_too(tmp_path, tokenizer, held):
    from safetensors.torch import load_file, save_file

    model = model_of("sam3")
    model.save_pretrained(tmp_path)
    preprocessing = {**PREPROCESSING, "size": {"height": 56, "width": 56}}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": preprocessing}))
    if held == "sam3_video":  # the detector within the model for videos, and a tracker beside it
        own = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({"model_type": held, "detector_config": own}))
        state = load_file(tmp_path / "model.safetensors")
        state = {f"detector_model.{name}": value for name, value in state.items()}
        save_file(state | {"tracker_model.x": torch.ones(1)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(FileNotFoundError, match=r"there is no tokenizer, tokenizer\.json or vocab\.json"):
        load_hugging_face(tmp_path, phrases=["red door", "sky"])
    (tmp_path / "vocab.json").write_text("{}")
    segmenter = load_hugging_face(tmp_path, phrases=["red door", "sky"])
    images = torch.rand(2, 3, 56, 56)
    tokens = {"input_ids": torch.full((2, 8), 49), "attention_mask": torch.zeros(2, 8, dtype=torch.long)}
    tokens["input_ids"][0, :2], tokens["input_ids"][1, 0] = torch.tensor([3, 4]), 3
    tokens["attention_mask"][0, :3] = tokens["attention_mask"][1, :2] = 1
    expected = HuggingFaceSegmenter(model, preprocessing, tokens=tokens, phrases=["red door", "sky"])
    assert torch.equal(segmenter.scores(images, "sky"), expected.scores(images, "sky"))
    assert segmenter.concepts.names[1:] == ("red door", "sky")
    with pytest.raises(ValueError, match="phrases must be given for clipseg and sam3 alone, but the model is 'sam3'"):
        load_hugging_face(tmp_path)


def test_images_are_resized_as_pillow_does():
    image = pytest.importorskip("PIL.Image")
    pixels = torch.randint(0, 256, (3, 90, 120), dtype=torch.uint8)
    for resample in (2, 3):
        for size, target in (
            ({"height": 40, "width": 48}, (40, 48)), ({"shortest_edge": 45}, (45, 60)),
            ({"shortest_edge": 45, "longest_edge": 48}, (36, 48)),
        ):  # fmt: skip
            options = {**PREPROCESSING, "size": size, "resample": resample}
            segmenter = HuggingFaceSegmenter(model_of("segformer"), options)
            ours = segmenter.prepared(pixels[None] / 255)[0]
            ours = (ours * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255
            theirs = image.fromarray(pixels.permute(1, 2, 0).numpy()).resize(target[::-1], resample)
            expected = torch.from_numpy(np.array(theirs)).permute(2, 0, 1).float()
            assert ours.shape[1:] == target
            assert (ours - expected).abs().max() < 2.01  # Pillow rounds to 8 bits after each axis
    divided = {**PREPROCESSING, "size": {"shortest_edge": 45}, "size_divisor": 32, "do_rescale": False}
    ours = HuggingFaceSegmenter(model_of("segformer"), {**divided, "do_normalize": False}).prepared(pixels[None] / 255)
    assert ours.shape == (1, 3, 64, 64)
    assert ours.max() > 100


def test_a_background_is_no_concept():
    names = {0: "background", 1: "cat", 2: "dog"}
    segmenter = HuggingFaceSegmenter(model_of("segformer", names), PREPROCESSING)
    images = torch.rand(1, 3, 64, 64)
    assert segmenter.concepts.names == ("-", "cat", "dog")
    with torch.no_grad():
        logits = segmenter._large(segmenter.model(pixel_values=segmenter.prepared(images)).logits, images)
        torch.testing.assert_close(segmenter.scores(images, "dog"), logits.softmax(1)[:, 2])
    assert torch.equal(segmenter(images)[:, 0], logits.argmax(1).short())


@pytest.mark.parametrize("kind", ["segformer", "mask2former"])
def test_a_saved_folder_is_loaded(tmp_path, kind):
    model = model_of(kind)
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    segmenter = load_hugging_face(tmp_path, downsample=2)
    images = torch.rand(1, 3, 64, 64)
    expected = HuggingFaceSegmenter(model, PREPROCESSING, downsample=2)(images)
    assert torch.equal(segmenter(images), expected)
    assert expected.shape == (1, 1, 32, 32)


def test_folders_that_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    with pytest.raises(FileNotFoundError, match=r"load_hugging_face: there is no file .*config.json"):
        load_hugging_face(tmp_path)
    model_of("segformer").save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    weights = tmp_path / "model.safetensors"
    state = load_file(weights)
    save_file({key: value for key, value in state.items() if "classifier" not in key}, weights, {"format": "pt"})
    with pytest.raises(ValueError, match=r"missing keys: decode_head.classifier.bias, decode_head.classifier.weight"):
        load_hugging_face(tmp_path)
    weights.unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="pickles are not read"):
        load_hugging_face(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phrases": ["door"]}, "phrases must be given for clipseg and sam3 alone, but the model is 'segformer'"),
        ({"tokens": {"input_ids": torch.zeros(1, 2)}}, "tokens must be given for clipseg, sam3 and oneformer alone"),
        ({"downsample": 0}, "downsample must be positive"),
        ({"preprocessing": {**PREPROCESSING, "do_center_crop": True}}, "but has do_center_crop"),
        ({"preprocessing": {**PREPROCESSING, "resample": 1}}, r"resample must be in \[2, 3\], but is 1"),
    ],
)
def test_what_does_not_fit(options, message):
    options = {"preprocessing": PREPROCESSING, **options}
    with pytest.raises(ValueError, match=message):
        HuggingFaceSegmenter(model_of("segformer"), **options)


def test_other_models_are_refused():
    with pytest.raises(ValueError, match="segmenter must be in evaluation mode"):
        HuggingFaceSegmenter(model_of("segformer").train(), PREPROCESSING)
    with pytest.raises(ValueError, match=r"must be one of segformer, .*, but is 'Linear'"):
        HuggingFaceSegmenter(torch.nn.Linear(1, 1), PREPROCESSING)
