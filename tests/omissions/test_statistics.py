"""Segmentation statistics and their distance, against plain loops and tables by hand."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from torch import nn
from torch.utils.data import TensorDataset

import dissect
from dissect.omissions import fsd, omission_chart, omission_table, segmentation_statistics
from dissect.omissions import statistics as module

NAMES = [("sky", "object"), ("tree", "object"), ("brick", "material"), ("dog", "object")]
CONCEPTS = dissect.Concepts.of(NAMES)


class Bands(nn.Module):
    """Labels by brightness: four bands of [0, 1], or of [-1, 1]; a second plane says brick where it is bright."""

    def __init__(self, signed=False, scale=4):
        super().__init__()
        self.concepts, self.signed, self.scale = CONCEPTS, signed, scale

    def forward(self, images):
        bright = images.mean(1) / 2 + 0.5 if self.signed else images.mean(1)
        return torch.stack([(bright * self.scale).floor().clamp(0, 2), 3 * (bright > 0.5)], 1).to(torch.int16)


class Faint(nn.Module):
    """z [N, 3] to flat images of these colours, in [-1, 1]."""

    z_shape = (3,)

    def forward(self, z):
        return z.tanh()[:, :, None, None].expand(-1, -1, 4, 6) * torch.linspace(-1, 1, 6)


def photos(count=30, seed=0):
    return torch.rand(count, 3, 4, 6, generator=torch.Generator().manual_seed(seed))


def counted(images, count, **options):
    return segmentation_statistics(images, Bands(), count=count, batch_size=4, progress=False, **options)


def by_loop(images, plane=0):
    """Percent of each label, image by image."""
    areas = []
    for image in images:
        labels = Bands()(image[None])[0, plane].numpy()
        areas.append([100 * (labels == label).sum() / labels.size for label in range(len(CONCEPTS))])
    return np.array(areas)


def test_mean_and_covariance_are_those_of_a_plain_loop():
    images = photos()
    drawn = np.sort(np.random.RandomState(1).permutation(30)[:13])
    found, areas = counted(images, 13), by_loop(images[drawn])
    assert found.numbers.tolist() == drawn.tolist()
    assert len(found) == 13
    np.testing.assert_allclose(found.mean, areas.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(areas.T), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(counted(images, 30, plane=1).mean, by_loop(images, 1).mean(0), rtol=1e-12)
    assert found.counts.dtype == torch.int32
    other = counted(images, 13, seed=2)
    assert other.numbers.tolist() != found.numbers.tolist()
    assert counted(TensorDataset(images), 13).numbers.tolist() == drawn.tolist()


def test_several_planes_count_a_pixel_once_per_label():
    image = torch.tensor([0.1, 0.3, 0.6, 0.9]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    found = segmentation_statistics(image, Bands(), plane=[0, 1], count=1, progress=False)
    # Sky is one pixel, tree two, and both of these are bright; the darkest says nothing in either plane.
    assert found.counts.tolist() == [[1, 1, 2, 2, 0]]
    assert found.mean.tolist() == [25, 25, 50, 50, 0]


def test_a_generator_is_counted_by_its_z():
    model = Faint().eval()
    found = segmentation_statistics(model, Bands(signed=True), count=5, batch_size=2, seed=4, progress=False)
    images = model(dissect.latents(model, 5, 4)) / 2 + 0.5
    np.testing.assert_allclose(found.mean, by_loop(images).mean(0), rtol=1e-12)


def test_labels_of_the_images_own():
    images, planes = photos(6), torch.randint(0, 5, (6, 2, 4, 6), generator=torch.Generator().manual_seed(3))
    scenes = TensorDataset(images, planes)
    scenes.concepts = CONCEPTS
    found = segmentation_statistics(scenes, None, count=6, progress=False)
    expected = torch.stack([torch.bincount(plane[0].flatten(), minlength=5) for plane in planes])
    assert found.counts.tolist() == expected.tolist()
    with pytest.raises(TypeError, match="the images must have an attribute concepts"):
        segmentation_statistics(TensorDataset(images, planes), None, count=6, progress=False)


def test_samples_are_merged_and_split():
    whole = counted(photos(), 30)
    one, other = whole.split(seed=5)
    assert sorted([*one.numbers.tolist(), *other.numbers.tolist()]) == list(range(30))
    merged = one.merge(other)
    assert torch.equal(merged.mean, whole.mean)
    assert torch.equal(merged.covariance, whole.covariance)
    with pytest.raises(ValueError, match="must have no image in common, but image 0 is in both"):
        whole.merge(whole)
    with pytest.raises(ValueError, match="of one source and seed"):
        one.merge(counted([photos()], 15))
    with pytest.raises(ValueError, match="halves need at least four images, but there are 3"):
        whole.first(3).split()


class Numbered(torch.utils.data.Dataset):
    """Images, each made when it is asked for, without a fingerprint."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, number):
        return self.images[number], 0


@pytest.mark.parametrize("kind", [torch.as_tensor, TensorDataset, Numbered, lambda images: [*images.split(4)]])
def test_other_images_of_the_same_shape_are_another_source(kind):
    one, same, other = (counted(kind(photos(30, seed)), 30) for seed in (0, 0, 1))
    assert one.source == same.source != other.source
    assert len(counted(kind(photos()), 30, size=(4, 6))) == 30
    a, b = one.split()
    with pytest.raises(ValueError, match="of one source and seed"):
        a.merge(other.split()[1])
    with pytest.raises(ValueError, match="others must be of the data set"):
        fsd(other.split()[0], a, other.split()[1])
    with pytest.raises(ValueError, match="truth must be statistics of the labels of the images that real is of"):
        omission_table(other, one, truth=other)
    assert fsd(other.split()[0], a, b, resamples=0).floor > 0


def test_the_batch_size_is_no_part_of_a_source():
    one = segmentation_statistics(photos(), Bands(), count=9, batch_size=4, progress=False)
    other = segmentation_statistics(photos(), Bands(), count=9, batch_size=3, progress=False)
    assert one.source == other.source


def test_a_run_that_is_stopped_anywhere_goes_on(tmp_path, monkeypatch):
    from dissect.files import progress
    from dissect.omissions import counting

    monkeypatch.setattr(progress, "EVERY", 0)
    monkeypatch.setattr(progress, "TIMES", 0)
    whole, real, left = counted(photos(), 21), counting.Counting.add, [0]

    def stopping(self, found):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(self, found)

    monkeypatch.setattr(counting.Counting, "add", stopping)
    for _ in range(5):
        left[0] = 1
        with pytest.raises(KeyboardInterrupt):
            counted(photos(), 21, resume=tmp_path)
    left[0] = 10
    found = counted(photos(), 21, resume=tmp_path)
    assert left[0] == 9
    assert torch.equal(found.counts, whole.counts)
    assert torch.equal(found.numbers, whole.numbers)
    with pytest.raises(ValueError, match="had the same planes"):
        counted(photos(), 21, plane=1, resume=tmp_path)


def test_saved_and_loaded(tmp_path):
    found = counted(photos(), 9)
    path = found.save(tmp_path / "real")
    again = dissect.load(path)
    assert path.suffix == ".segstats"
    assert vars(again).keys() == vars(found).keys()
    assert torch.equal(again.counts, found.counts)
    assert (again.concepts, again.planes, again.source, again.settings) == (
        found.concepts, found.planes, found.source, found.settings,
    )  # fmt: skip
    again.counts[0, 0] += 1
    with pytest.raises(ValueError, match="labels of one plane take all its pixels"):
        dissect.load(again.save(tmp_path / "altered"))


@pytest.mark.parametrize(("images", "options", "error", "text"), [
    (photos(3), {"count": 4}, ValueError, "count must be at most the number of images, 3, but is 4"),
    ([photos(3)], {"count": 4}, ValueError, "count must be at most the number of images, 3, but is 4"),
    (photos(3), {"count": 0}, ValueError, "count must be at least 1"),
    (photos(3) - 0.5, {"count": 3}, ValueError, r"images must be in \[0, 1\], as the segmenter takes them"),
    (photos(3) * 255, {"count": 3}, ValueError, r"images must be in \[0, 1\]"),
    (photos(3) * math.nan, {"count": 3}, ValueError, r"images must be in \[0, 1\]"),
    (photos(3), {"count": 3, "plane": 2}, ValueError, "with K above plane 2"),
    (photos(3), {"count": 3, "plane": -1}, ValueError, "plane must be at least 0"),
    (photos(3), {"count": 3, "plane": []}, ValueError, "one or several different planes"),
    ([photos(2), photos(2)[:, :, :2]], {"count": 3}, ValueError, "images must all have one size"),
])  # fmt: skip
def test_bad_input(images, options, error, text):
    with pytest.raises(error, match=text):
        segmentation_statistics(images, Bands(), progress=False, **options)


def test_bad_segmenters():
    with pytest.raises(TypeError, match="segmentation_statistics: segmenter must have an attribute concepts"):
        segmentation_statistics(photos(3), lambda x: x, count=3, progress=False)
    with pytest.raises(ValueError, match=r"must be in \[-1, 1\], as the segmenter takes them"):
        segmentation_statistics(photos(3), Bands(signed=True), count=3, progress=False)
    with pytest.raises(ValueError, match=r"segmenter must take images in \[-1, 1\]"):
        segmentation_statistics(Faint().eval(), Bands(), count=3, progress=False)
    with pytest.raises(ValueError, match="segmenter must see what a generator makes"):
        segmentation_statistics(Faint().eval(), None, count=3, progress=False)
    noisy = Bands()
    noisy.drop = nn.Dropout()
    with pytest.raises(ValueError, match=r"segmenter must be in evaluation mode, but its part 'drop' \(Dropout\)"):
        segmentation_statistics(photos(3), noisy, count=3, progress=False)
    assert len(segmentation_statistics(photos(3), noisy.eval(), count=3, progress=False)) == 3
    with pytest.raises(ValueError, match="images must be finite, as the segmenter takes them"):
        segmentation_statistics(photos(3) * math.inf, Bands(signed=None), count=3, progress=False)


def test_images_are_brought_to_a_size():
    found = counted(photos(4), 4, size=(8, 12))
    assert found.num_pixels == 96
    with pytest.raises(ValueError, match="fsd: statistics to compare must agree, but their pixels of an image differ"):
        fsd(found, counted(photos(4), 4))


@pytest.mark.filterwarnings("ignore:Matrix is")  # shares of a plane add up to 100 %, so scipy warns of its root
def test_the_distance_is_that_of_scipy():
    one, other = counted(photos(40, 1) ** 2, 40), counted(photos(40, 2), 40)
    found = fsd(one, other, resamples=50)
    a, b = by_loop(photos(40, 1) ** 2), by_loop(photos(40, 2))
    mean = np.square(a.mean(0) - b.mean(0)).sum()
    s, t = np.cov(a.T) + 1e-9 * np.eye(5), np.cov(b.T) + 1e-9 * np.eye(5)
    rest = np.trace(s + t - 2 * scipy.linalg.sqrtm(s @ t).real)
    assert found.mean_part == pytest.approx(mean)
    assert found.covariance_part == pytest.approx(rest, rel=1e-3)
    assert found.distance == pytest.approx(mean + rest, rel=1e-4)
    assert found.low < found.distance < found.high
    assert math.isnan(found.floor)
    assert f"FSD {found.distance:.1f}" in str(found)


def test_the_interval_is_where_distances_of_other_samples_lie():
    # The spread of the distances of other pairs of samples.
    many = [counted(photos(60, seed), 60) for seed in range(12)]
    bright = [counted(photos(60, 100 + seed) ** 1.5, 60) for seed in range(12)]
    distances = [fsd(a, b, resamples=0).distance for a, b in zip(bright, many)]
    found = fsd(bright[0], many[0], resamples=200)
    spread = 4 * np.std(distances, ddof=1)
    assert spread / 2 < found.high - found.low < 2 * spread


def test_floor_and_what_cannot_be_compared():
    real = counted(photos(), 30)
    one, other = real.split()
    made = segmentation_statistics(Faint().eval(), Bands(signed=True), count=15, progress=False)
    assert fsd(made, one, other).floor == pytest.approx(fsd(other, one).distance)
    with pytest.raises(ValueError, match=r"same number of images, .* but have \[15, 30\]"):
        fsd(made, real)
    with pytest.raises(ValueError, match=r"at least 2"):
        fsd(made.first(1), one.first(1))
    with pytest.raises(ValueError, match=r"^fsd: resamples must be at least 2, .* or 0 for none"):
        fsd(made, one, resamples=1)
    with pytest.raises(ValueError, match="others must be of the data set"):
        fsd(made, one, made)
    with pytest.raises(ValueError, match="no image in common"):
        fsd(made, one, one)
    with pytest.raises(ValueError, match="their planes differ"):
        fsd(made, counted(photos(), 15, plane=1))
    with pytest.raises(TypeError, match="must be SegmentationStatistics, but one is Tensor"):
        fsd(torch.zeros(15, 5), one)
    with pytest.raises(ValueError, match="their segmenter differ"):
        fsd(made, segmentation_statistics(photos(), Other(), count=15, progress=False))
    renamed = Bands()
    renamed.concepts = dissect.Concepts.of(["a", "b", "c", "d"])
    with pytest.raises(ValueError, match="their vocabulary differ"):
        fsd(made, segmentation_statistics(photos(), renamed, count=15, progress=False))


class Other(Bands):
    """Another network."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))


def hand(counts, numbers=None, source="real"):
    counts = torch.tensor(counts, dtype=torch.int32)
    numbers = torch.arange(len(counts)) if numbers is None else numbers
    return module.SegmentationStatistics(CONCEPTS, (0,), 10, counts, numbers, "s", source, {"seed": 1})


REAL = [[2, 6, 2, 0, 0], [4, 4, 2, 0, 0], [3, 5, 2, 0, 0], [3, 5, 2, 0, 0]]
MADE = [[3, 7, 0, 0, 0], [5, 4, 0, 0, 1], [4, 6, 0, 0, 0], [5, 5, 0, 0, 0]]


def test_differences_by_hand():
    rows = {row.concept: row for row in omission_table(hand(MADE, source="made"), hand(REAL))}
    assert list(rows) == ["sky", "tree", "dog"]  # brick is in no image
    sky, tree, dog = rows.values()
    assert (tree.real, tree.generated, tree.change, tree.error) == (20, 0, -1, 0)
    assert tree.z == -math.inf
    assert (tree.q, tree.omitted) == (0, True)
    assert (sky.real, sky.generated, sky.change) == (50, 55, pytest.approx(0.1))
    spread = (np.var([70, 40, 60, 50], ddof=1) / 4 + np.var([60, 40, 50, 50], ddof=1) / 4) ** 0.5
    assert sky.error == pytest.approx(spread)
    assert sky.z == pytest.approx(5 / spread)
    assert (dog.real, dog.change, dog.omitted) == (0, None, False)
    p = [2 * scipy.stats.norm.sf(abs(row.z)) for row in (sky, tree, dog)]
    expected = scipy.stats.false_discovery_control(p)
    assert [row.q for row in (sky, tree, dog)] == pytest.approx(list(expected))


def test_an_omission_must_exceed_the_segmenters_error():
    truth = hand([[0, 6, 4, 0, 0]] * 4)
    tree = omission_table(hand(MADE, source="made"), hand(REAL), truth=truth)[1]
    assert (tree.segmenter_error, tree.omitted) == (-0.5, True)
    few = [[4, 5, 1, 0, 0]] * 4
    tree = omission_table(hand(few, source="made"), hand([[3, 5, 2, 0, 0]] * 4), truth=truth)[1]
    assert (tree.change, tree.q, tree.omitted) == (-0.5, 0, False)
    with pytest.raises(ValueError, match="truth must be statistics of the labels of the images that real is of"):
        omission_table(hand(MADE), hand(REAL), truth=hand(REAL, torch.arange(1, 5)))


def test_a_second_segmenter_must_agree():
    second = hand([[1, 6, 3, 0, 0]] * 4, source="made"), hand(REAL)
    tree = omission_table(hand(MADE, source="made"), hand(REAL), second=second)[1]
    assert (tree.second_change, tree.omitted) == (0.5, False)
    with pytest.raises(ValueError, match="at least 2 images, but have 1 and 4"):
        omission_table(hand(MADE[:1]), hand(REAL))


def test_the_chart():
    real = hand([[2, 3, 1, 3, 1], [2, 3, 1, 3, 1]])
    made = hand([[0, 1, 4, 1, 4], [0, 2, 4, 0, 4]], source="made")
    figure = omission_chart(made, real, title="street")
    above, below = figure.axes
    # Brick is a material; tree and dog are three times as much, which is cut.
    assert [text.get_text() for text in below.get_xticklabels()] == ["sky", "tree", "dog"]
    assert [bar.get_height() for bar in above.patches] == pytest.approx([-0.5, 1.1, 1.1])
    assert [text.get_text() for text in above.texts] == ["3.0", "3.0"]
    assert [text.get_position()[1] for text in above.texts] == pytest.approx([1.12, 1.22])
    assert [bar.get_height() for bar in below.patches] == pytest.approx([30, 10, 10])
    assert below.lines[0].get_ydata().tolist() == pytest.approx([15, 40, 40])
    assert below.get_yscale() == "log"
    assert len(omission_chart(made, real, most=1).axes[0].patches) == 1
    with pytest.raises(ValueError, match="real must show at least one class"):
        omission_chart(hand([[10, 0, 0, 0, 0]] * 2), hand([[10, 0, 0, 0, 0]] * 2))
