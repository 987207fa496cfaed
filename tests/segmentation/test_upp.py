"""Unified Perceptual Parsing: files in the published layout, the pooling, planes and scores by hand."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dissect.models import UPP, UppLabels, load_upp
from dissect.models.upp import precise_pool
from dissect.network.identity import fingerprint
from dissect.segmentation import UppSegmenter

LABELS = {
    "object": ["-", "wall", "sky", "tree", "door", "building", "person"],
    "material": ["-", "wood", "brick"],
    "part": ["-", "cloud", "door", "roof", "head", "arm"],
    "scene": ["street", "room"],
    "object_part": {"sky": ["-", "cloud"], "building": ["-", "door", "roof"], "person": ["head", "arm", "-"]},
}
SIZES = {"depths": (1, 2, 1, 1), "width": 2, "stem": (3, 3, 4), "decoder": 5, "pooled": 3}


def labels_of(found):
    owners = tuple((owner, tuple(parts)) for owner, parts in found["object_part"].items())
    return UppLabels(tuple(found["object"]), tuple(found["material"]), tuple(found["scene"]), owners)


def network(seed=0):
    torch.manual_seed(seed)
    model = UPP(labels_of(LABELS), **SIZES).eval()
    for value in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
        value.data = torch.rand_like(value) - (0.4 if value.dim() > 1 else 0)
    return model


def write(folder, model, labels=LABELS, prefix="", counters=True):
    """As the training script saves them: two files of a state dict each, and labels.json."""
    for part in ("encoder", "decoder"):
        state = {prefix + key: value for key, value in model.get_submodule(part).state_dict().items()}
        state = {key: value for key, value in state.items() if counters or not key.endswith("num_batches_tracked")}
        torch.save(state, folder / f"{part}_epoch_40.pth")
    (folder / "labels.json").write_text(json.dumps(labels))
    return folder / "encoder_epoch_40.pth", folder / "decoder_epoch_40.pth", folder / "labels.json"


@pytest.mark.parametrize(("prefix", "counters"), [("", True), ("module.", False)])
def test_the_published_files_give_the_network_back(tmp_path, prefix, counters):
    model = network()
    loaded = load_upp(*write(tmp_path, model, prefix=prefix, counters=counters))
    assert not loaded.training
    images = torch.randn(2, 3, 70, 64)
    with torch.no_grad():
        ours, expected = loaded(images), model(images)
    assert all(torch.equal(ours[name], expected[name]) for name in ("object", "part", "material"))
    assert ours["part"].shape == (2, 8, 18, 16)


def test_the_published_sizes_have_the_published_keys():
    with torch.device("meta"):
        model = UPP(labels_of(LABELS))
    encoder, decoder = (model.get_submodule(part).state_dict() for part in ("encoder", "decoder"))
    assert encoder["conv3.weight"].shape == (128, 64, 3, 3)
    assert encoder["layer3.5.conv3.weight"].shape == (1024, 256, 1, 1)
    assert encoder["layer1.0.downsample.1.running_var"].shape == (256,)
    assert decoder["ppm_conv.3.0.weight"].shape == (512, 2048, 1, 1)
    assert decoder["ppm_last_conv.0.weight"].shape == (512, 2048 + 4 * 512, 3, 3)
    assert decoder["fpn_in.2.1.running_mean"].shape == (512,)
    assert decoder["fpn_out.2.0.0.weight"].shape == (512, 512, 3, 3)
    assert decoder["conv_fusion.0.weight"].shape == (512, 2048, 3, 3)
    assert decoder["scene_head.2.weight"].shape == (2, 512, 1, 1)
    assert decoder["object_head.1.bias"].shape == (7,)
    assert {key.split(".")[0] for key in decoder} == {
        "ppm_conv", "ppm_last_conv", "fpn_in", "fpn_out", "conv_fusion", "scene_head", "object_head", "part_head",
        "material_head",
    }  # fmt: skip


def test_pooling_is_the_integral_of_the_interpolated_map():
    maps = torch.randn(1, 2, 5, 7, dtype=torch.float64)
    fine = 200
    padded = F.pad(maps, (0, 1, 0, 1))  # falls to 0 behind the last place
    for cells in (1, 2, 3, 6):
        y, x = (torch.arange(fine * cells, dtype=torch.float64).add(0.5) * n / (fine * cells) for n in (5, 7))

        def along(values, at, dim):
            low = at.long()
            weight = (at - low).view(-1, *[1] * (3 - dim))
            return values.index_select(dim, low) * (1 - weight) + values.index_select(dim, low + 1) * weight

        expected = F.avg_pool2d(along(along(padded, y, 2), x, 3), fine)
        torch.testing.assert_close(precise_pool(maps, cells), expected, rtol=0, atol=2e-5)


def segmenter_of(model, **options):
    return UppSegmenter(model, sizes=(64,), **options)


def test_labels_are_numbered_as_published():
    names = segmenter_of(network()).concepts.names
    objects = LABELS["object"][1:]
    halves = [f"{name}-{half}" for half in "tlbr" for name in objects]
    assert names == ("-", *objects, *halves, "wood", "brick", "cloud", "roof", "head", "arm")
    few = segmenter_of(network(), halves=False, owners=("sky",)).concepts
    assert few.names == ("-", *objects, "wood", "brick", "cloud")
    assert few.categories[-2:] == ("material", "part")


class Told(torch.nn.Module):
    """Logits that a test chose, in the place of the network."""

    def __init__(self, labels, **logits):
        super().__init__()
        self.labels, self.logits, self.seen = labels, logits, []

    def forward(self, images):
        self.seen.append(images)
        return self.logits


def told(objects, parts, materials=None):
    """One image, each pixel one cell: 9 for what wins."""
    objects, parts = torch.tensor(objects), torch.tensor(parts)
    materials = torch.zeros_like(objects) if materials is None else torch.tensor(materials)
    logits = {
        "object": 9.0 * F.one_hot(objects, 7).movedim(-1, 0)[None],
        "part": 9.0 * F.one_hot(parts, 8).movedim(-1, 0)[None],
        "material": 9.0 * F.one_hot(materials, 3).movedim(-1, 0)[None],
    }
    return Told(labels_of(LABELS), **logits)


def test_parts_are_those_of_the_object_that_is_there():
    # Channels of parts: sky 0-1, building 2-4, person 5-7. Parts of others do not count: then the first one wins, "-".
    model = told([[2, 2, 5, 5], [6, 6, 1, 0]], [[1, 4, 3, 4], [5, 6, 1, 7]], [[0, 1, 2, 0], [0, 0, 0, 0]])
    segmenter = UppSegmenter(model, sizes=(4,), halves=False)
    names = np.array(segmenter.concepts.names)
    planes = segmenter(torch.rand(1, 3, 2, 4))
    assert planes.dtype == torch.int16
    assert names[planes[0, 0]].tolist() == [["sky", "sky", "building", "building"], ["person", "person", "wall", "-"]]
    assert names[planes[0, 1]].tolist() == [["-", "wood", "brick", "-"], ["-"] * 4]
    assert names[planes[0, 2]].tolist() == [["cloud", "-", "door", "roof"], ["head", "arm", "-", "-"]]
    assert planes[0, 2, 0, 2] == LABELS["object"].index("door")  # a part that is called like an object


def test_halves_of_objects_have_their_labels():
    model = told([[3, 3, 0, 3], [3, 3, 0, 0]], [[0] * 4] * 2)
    for omit_last, expected in ((False, ["tree-b", "tree-r"]), (True, ["-", "-"])):
        segmenter = UppSegmenter(model, sizes=(4,), omit_last=omit_last)
        names = np.array(segmenter.concepts.names)
        planes = segmenter(torch.rand(1, 3, 2, 4))[0]
        assert names[planes[3]].tolist() == [["tree-t", "tree-t", "-", expected[0]], ["tree-b", "tree-b", "-", "-"]]
        assert names[planes[4]].tolist() == [["tree-l", "tree-r", "-", expected[1]], ["tree-l", "tree-r", "-", "-"]]


def test_scores_are_the_published_products_and_agree_with_the_planes():
    torch.manual_seed(0)
    logits = {"object": torch.randn(1, 7, 6, 6), "part": torch.randn(1, 8, 6, 6), "material": torch.randn(1, 3, 6, 6)}
    segmenter = UppSegmenter(Told(labels_of(LABELS), **logits), sizes=(4,))
    images = torch.rand(1, 3, 6, 6)
    objects, materials = (logits[name].softmax(1) for name in ("object", "material"))
    parts = logits["part"][:, 2:5].softmax(1)
    close = torch.testing.assert_close
    close(segmenter.scores(images, "tree"), objects[:, 3])
    close(segmenter.scores(images, "brick"), materials[:, 2])
    close(segmenter.scores(images, "roof"), objects[:, 5] * parts[:, 2])
    close(segmenter.scores(images, "door"), 1 - (1 - objects[:, 4]) * (1 - objects[:, 5] * parts[:, 1]))
    planes = segmenter(images)
    for half, plane in (("t", 3), ("l", 4), ("b", 3), ("r", 4)):
        label = segmenter.label(f"tree-{half}")
        close(segmenter.scores(images, label), objects[:, 3] * (planes[:, plane] == label))
    with pytest.raises(KeyError, match="no concept is called 'horse'"):
        segmenter.scores(images, "horse")


def test_images_come_as_the_network_was_trained_and_gradients_go_back():
    model = told([[1]], [[0]])
    images = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4).clone()
    for signed in (False, True):
        UppSegmenter(model, sizes=(4,), signed=signed)(images * 2 - 1 if signed else images)
        blue, green, red = model.seen[-1][0, :, 0, 0].tolist()
        assert (blue, green, red) == pytest.approx((-102.9801, 127.5 - 115.9465, 255 - 122.7717), abs=1e-4)
    segmenter = segmenter_of(UPP(labels_of(LABELS), **SIZES).eval())
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    segmenter.scores(images, "roof").sum().backward()
    assert images.grad.abs().sum() > 0


def test_several_sizes_are_averaged_and_planes_can_be_smaller():
    model, images = UPP(labels_of(LABELS), **SIZES).eval(), torch.rand(2, 3, 64, 64)
    both = UppSegmenter(model, sizes=(64, 96)).scores(images, "sky")
    each = [UppSegmenter(model, sizes=(size,)).scores(images, "sky") for size in (64, 96)]
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)
    assert UppSegmenter(model, sizes=(64, 96), downsample=4)(images).shape == (2, 5, 16, 16)


def test_planes_of_coarse_logits_are_those_of_probabilities():
    model, images = UPP(labels_of(LABELS), **SIZES).eval(), torch.rand(2, 3, 64, 64)
    for downsample in (1, 3):
        once, twice = (UppSegmenter(model, sizes=sizes, downsample=downsample) for sizes in ((64,), (64, 64)))
        planes = once(images)
        assert planes.flatten(2).amax(2).min() > 0
        assert (planes != twice(images)).double().mean() < 1e-3  # where two are equal up to rounding


def test_options_tell_segmenters_of_one_network_apart():
    model = network()
    others = [
        UppSegmenter(model, **options)
        for options in ({}, {"sizes": (64,)}, {"owners": ()}, {"halves": False}, {"omit_last": True}, {"downsample": 2})
    ]
    assert len({fingerprint(other) for other in others}) == len(others)


def changed(**entries):
    return {**LABELS, **entries}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (changed(object=LABELS["object"][:-1], object_part={"sky": ["-", "cloud"]}), "object: 7 in the decoder, 6 in"),
        (changed(object_part={"sky": ["-", "cloud"]}), "part: 8 in the decoder, 2 in the labels"),
        (changed(scene=["street"]), "scene: 2 in the decoder, 1 in the labels"),
        (changed(object_part={"horse": ["-"]}), "object_part of labels must name objects, but has horse"),
        (changed(object_part=dict(reversed(LABELS["object_part"].items()))), "in the order of the objects"),
        (changed(material=["-", "wood", "wood"]), "names of labels must be there once each"),
        ({"object": ["-"]}, "must hold lists of names under object, material and scene"),
        ([1], "must hold lists of names"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels, message):
    with pytest.raises(ValueError, match=message):
        load_upp(*write(tmp_path, network(), labels))


def test_other_networks_are_refused(tmp_path):
    model = network()
    encoder, decoder, labels = write(tmp_path, model)
    with pytest.raises(ValueError, match=r"load_upp: .*must hold the encoder of UPP, but its keys are"):
        load_upp(decoder, decoder, labels)
    state = model.encoder.state_dict()
    state["layer1.0.conv9.weight"] = state.pop("layer1.0.conv2.weight")
    torch.save(state, encoder)
    with pytest.raises(ValueError, match=r"1 keys are missing \(layer1.0.conv2.weight\), 1 are extra"):
        load_upp(encoder, decoder, labels)
    labels.write_text("{")
    with pytest.raises(ValueError, match="must hold JSON"):
        load_upp(encoder, decoder, labels)
    with pytest.raises(ValueError, match=r"owners must be objects that have parts, but \['tree'\] are none"):
        UppSegmenter(model, owners=("tree",))
    with pytest.raises(ValueError, match="segmenter must be in evaluation mode"):
        UppSegmenter(network().train())
    with pytest.raises(ValueError, match="sizes and downsample must be positive"):
        UppSegmenter(model, sizes=())
