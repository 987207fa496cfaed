"""What segmenters have in common: input, conversion, merging, evaluation, colours."""

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch import nn

import dissect
from dissect.concepts import Concepts
from dissect.network.identity import fingerprint
from dissect.segmentation import (
    ColorNamer,
    ImageInput,
    MergedSegmenter,
    Segmenter,
    SegmenterProtocol,
    evaluate,
    fitted,
    read_w2c,
)
from dissect.segmentation.colors import COLORS, color_name


class Bright(nn.Module):
    """Logits by which an image is bright where its mean is above a half."""

    def forward(self, images):
        mean = images.mean(1, keepdim=True)
        return torch.cat([torch.full_like(mean, 0.5), mean], 1)


def bright(name="bright", category="scene", **options):
    return Segmenter(Bright(), Concepts.of([(name, category)]), [[0, 1]], **options)


def test_what_the_protocol_asks_for():
    for segmenter in (bright(), ColorNamer(), MergedSegmenter([bright(), ColorNamer()]), fitted(bright())):
        assert isinstance(segmenter, SegmenterProtocol)
        assert segmenter.input == ImageInput(0.0, 1.0)
    assert bright(signed=True).input == ImageInput(-1.0, 1.0)
    assert not isinstance(Bright(), SegmenterProtocol)


def test_images_of_another_range_or_size_are_converted_and_it_is_told():
    inner = bright()
    segmenter = fitted(inner, low=-1, high=1)
    assert segmenter.conversion == "[-1, 1] to [0, 1]"
    assert "[-1, 1] to [0, 1]" in repr(segmenter)
    images = torch.tensor([-0.9, 0.9]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert segmenter(images).flatten().tolist() == [0, 1]
    torch.testing.assert_close(segmenter.scores(images, "bright"), inner.scores((images + 1) / 2, "bright"))
    assert fitted(inner).conversion == ""
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)
    normalised = fitted(inner, mean=mean, std=std)
    assert normalised.conversion == "normalised by [0.5, 0.4, 0.3] and [0.2, 0.3, 0.1] to [0, 1]"
    pixels = torch.rand(2, 3, 4, 4)
    images = (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(normalised.scores(images, "bright"), inner.scores(pixels, "bright"))
    for options in ({"mean": mean}, {"mean": mean, "std": (1, 0, 1)}, {"mean": mean, "std": std, "low": -1}):
        with pytest.raises(ValueError, match="mean and std must be three numbers each"):
            fitted(inner, **options)


def test_fixed_sizes():
    inner = bright()

    class Sized(Bright):
        concepts, input = inner.concepts, ImageInput(0.0, 255.0, (4, 4))
        seen = None

        def scores(self, images, concept):
            return images[:, 0]

        def forward(self, images):
            self.seen = images
            return torch.zeros(len(images), 1, 4, 4, dtype=torch.int16)

    sized = Sized()
    resizing = fitted(sized)
    assert resizing.conversion == "[0, 1] to [0, 255], to 4x4"
    resizing(torch.ones(1, 3, 8, 8))
    assert sized.seen.shape == (1, 3, 4, 4)
    torch.testing.assert_close(sized.seen, torch.full_like(sized.seen, 255))


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.rand(1, 3, 4, 4) * 255, ValueError, r"must lie in \[0, 1\], but reach from .*fitted converts"),
        (torch.rand(1, 3, 4, 4) * 2 - 1, ValueError, r"must lie in \[0, 1\], but reach from -"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), TypeError, "images must be floats, but got torch.uint8"),
        (torch.zeros(1, 1, 4, 4), ValueError, r"must have shape \[N, 3, H, W\], but got \[1, 1, 4, 4\]"),
    ],
)
def test_images_that_a_segmenter_cannot_take(images, error, message):
    with pytest.raises(error, match=message):
        ColorNamer()(images)
    with pytest.raises(error, match=message):
        fitted(bright())(images)


def test_what_is_no_segmenter():
    with pytest.raises(TypeError, match="fitted: segmenter must have concepts, input and scores, but a Bright lacks"):
        fitted(Bright())
    with pytest.raises(ValueError, match="high must be above low"):
        ImageInput(1.0, 1.0)


def test_generators_ask_whether_images_are_signed():
    assert [fitted(bright(), low=low).signed for low in (-1, 0)] == [True, False]
    assert [MergedSegmenter([bright(signed=signed)]).signed for signed in (True, False)] == [True, False]


def test_a_dissection_of_normalised_images_with_objects_and_colors():
    """What the model sees goes to the segmenter as it wants it; another segmenter is another run."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = torch.rand(6, 3, 16, 16)
    images = (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    merged = MergedSegmenter([bright(), ColorNamer()])
    segmenter = fitted(merged, mean=mean, std=std)
    found = dissect.dissect(model, "0", images.split(2), segmenter=segmenter, progress=False)
    expected = dissect.dissect(
        model, "0", [*zip(images.split(2), merged(pixels).split(2))], concepts=merged.concepts, progress=False
    )
    assert str(found.best()) == str(expected.best())
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], but reach"):
        dissect.dissect(model, "0", images.split(2), segmenter=MergedSegmenter([ColorNamer()]), progress=False)
    others = [segmenter, merged, ColorNamer(), ColorNamer(signed=True), MergedSegmenter([ColorNamer(), bright()])]
    assert len({fingerprint(other) for other in others}) == len(others)


def test_merged_planes_and_scores():
    segmenter = MergedSegmenter([bright(), ColorNamer()])
    assert segmenter.concepts.names == ("-", "bright", *COLORS)
    images = torch.tensor([[0.9, 0.1, 0.1], [0.9, 0.9, 0.9]]).T.view(1, 3, 1, 2)
    planes = segmenter(images)
    assert planes[0, 0].tolist() == [[0, 1]]
    assert [segmenter.concepts.names[label] for label in planes[0, 1, 0]] == ["red", "white"]
    assert torch.equal(segmenter.scores(images, "red"), ColorNamer().scores(images, "red"))
    assert len([*segmenter.buffers()]) == 1  # moves with it


def test_vocabularies_that_clash():
    with pytest.raises(ValueError, match="must not share concepts, but share scene/bright; shared=True"):
        MergedSegmenter([bright(), bright()])
    both = MergedSegmenter([bright(), bright()], shared=True)
    images = torch.rand(1, 3, 2, 2)
    assert both.concepts.names == ("-", "bright")
    torch.testing.assert_close(both.scores(images, 1), 1 - (1 - bright().scores(images, 1)) ** 2)
    assert MergedSegmenter([bright(), bright(category="part")]).concepts.names == ("-", "bright", "bright")
    with pytest.raises(ValueError, match="must take the same images"):
        MergedSegmenter([bright(), bright("dim", signed=True)])
    with pytest.raises(ValueError, match="at least one"):
        MergedSegmenter([])
    with pytest.raises(TypeError, match="a Bright lacks some"):
        MergedSegmenter([Bright()])


def planes(*rows):
    """Planes of one image of one row."""
    return torch.tensor(rows)[None, :, None]


def test_evaluation_by_hand():
    truth = Concepts.of([("tree", "object"), ("car", "object"), ("wood", "material"), ("sky", "object")])
    own = Concepts.of([("wood", "material"), ("tree", "object"), ("moon", "object")])
    said = planes([2, 2, 3, 2, 2], [1, 0, 0, 1, 1])
    true = planes([1, 2, 1, 0, 1], [0, 3, 0, 3, 0])
    found = evaluate(lambda images: said, [(torch.zeros(1, 3, 1, 5), true)] * 2, concepts=truth, names=own)
    # Trees are said at 0, 1, (3, not judged), 4, and are at 0, 2, 4; wood is said at (0), 3, (4), and is at 1 and 3.
    assert found.intersection.tolist() == [0, 4, 0, 2, 0]
    assert found.predicted.tolist() == [0, 6, 0, 2, 0]
    assert found.true.tolist() == [0, 6, 2, 4, 0]
    assert found.num_images == 2
    assert found.table() == pytest.approx({"object": (0.5 + 0) / 2, "material": 0.5})
    assert found.iou[4].isnan()
    with pytest.raises(KeyError, match="no image has a label of category 'part'"):
        found.mean_iou("part")


GOOD = (torch.zeros(1, 3, 1, 2), planes([0, 1]))


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "batches must hold images"),
        ([GOOD, (torch.zeros(1, 3, 1, 2), planes([0, 1, 1]))], "true planes of batch 1 must fit the segmenter's"),
        ([GOOD, (torch.zeros(1, 3, 1, 2), planes([0, 9]))], r"true planes of batch 1 must hold labels in \[0, 2\)"),
    ],
)
def test_what_cannot_be_evaluated(batches, message):
    with pytest.raises(ValueError, match=message):
        evaluate(bright(), batches, concepts=bright().concepts)
    with pytest.raises(TypeError, match="names must be given"):
        evaluate(lambda images: images, batches, concepts=bright().concepts)


def test_colors_are_named_by_the_rule():
    images = torch.randint(0, 256, (2, 3, 20, 20))
    namer = ColorNamer()
    found = namer(images / 255)[:, 0].flatten()
    expected = [color_name(*pixel) for pixel in images.permute(0, 2, 3, 1).reshape(-1, 3).tolist()]
    assert [namer.concepts.names[label] for label in found] == expected


def published_table(seed=0):
    """[32768, 14]: red the fastest, the middles of the cells, and likelihoods."""
    number = np.arange(32**3)
    colors = np.stack([number % 32, number // 32 % 32, number // 1024], 1) * 8 + 3.5
    likely = np.random.RandomState(seed).dirichlet(np.ones(11), 32**3)
    return np.concatenate([colors, likely], 1)


@pytest.mark.parametrize("kind", ["mat", "npy", "shuffled"])
def test_the_published_table_is_read(tmp_path, kind):
    rows = published_table()
    if kind == "mat":
        savemat(tmp_path / "w2c.mat", {"w2c": rows[:, 3:]})
    else:
        np.save(tmp_path / "w2c.npy", rows if kind == "npy" else rows[::-1])
    table = read_w2c(tmp_path / ("w2c.mat" if kind == "mat" else "w2c.npy"))
    red, green, blue = 200, 30, 90
    row = red // 8 + 32 * (green // 8) + 1024 * (blue // 8)
    assert np.allclose(table[red // 8, green // 8, blue // 8], rows[row, 3:])
    namer = ColorNamer(table)
    pixel = torch.tensor([red, green, blue]).view(1, 3, 1, 1) / 255
    assert int(namer(pixel)) == rows[row, 3:].argmax() + 1
    middle = (torch.tensor([red // 8, green // 8, blue // 8]).view(1, 3, 1, 1) * 8 + 3.5) / 255
    for place, name in enumerate(COLORS):
        assert float(namer.scores(middle, name)) == pytest.approx(rows[row, 3 + place], abs=1e-4)
    images = torch.rand(1, 3, 3, 3, requires_grad=True)
    namer.scores(images, "red").sum().backward()
    assert images.grad.abs().sum() > 0


def test_tables_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="read_w2c: there is no file"):
        read_w2c(tmp_path / "w2c.mat")
    for rows, message in (
        (np.zeros((5, 11)), r"32768 rows of 11 or 14 numbers, but holds \[5, 11\]"),
        (np.full((32768, 11), np.nan), "finite"),
        (published_table() * 0, "some are missing"),
    ):
        np.save(tmp_path / "w2c.npy", rows)
        with pytest.raises(ValueError, match=message):
            read_w2c(tmp_path / "w2c.npy")
    (tmp_path / "w2c.txt").write_text("no table")
    with pytest.raises(ValueError, match="must hold a table of numbers"):
        read_w2c(tmp_path / "w2c.txt")
    with pytest.raises(ValueError, match=r"table must be finite and of shape \[32, 32, 32, 11\]"):
        ColorNamer(np.zeros((2, 11)))
