"""dissect.unit_classifiers, against peaks and labels in plain torch, and scipy's and scikit-learn's answers."""

import dataclasses

import pytest
import torch
from generators.painter import Colours, Painter
from scipy.stats import false_discovery_control, mannwhitneyu
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import nn

import dissect
from dissect.chosen import half_of
from dissect.stats.ranks import balanced_sample

OPTIONS = {"progress": False, "batch_size": 17}
NAMES = ["circle", "square", "never"]


def network():
    """Unit 0 sees red, unit 1 green, unit 2 is noise, unit 3 never fires."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.zero_()
        for unit, channel in enumerate((0, 1, 2)):
            model[0].weight[unit, channel] = 1
        model[0].bias[3] = -1
        model[4].weight.copy_(torch.linspace(-1, 1, 12).view(3, 4))
        model[4].bias.zero_()
    return model


@pytest.fixture
def data():
    """Images in which red is often stronger at some pixel where there is a circle, green where there is a square."""
    chance = torch.Generator().manual_seed(3)
    images, planes = torch.rand(200, 3, 6, 8, generator=chance), torch.zeros(200, 2, 6, 8, dtype=torch.int64)
    circle, square = (torch.rand(200, generator=chance) < share for share in (0.4, 0.5))
    planes[circle, 0, 1, 2:5] = 1
    planes[square, 1, 4, 4] = 2
    images *= 0.6
    images[circle, 0, 1, 3] = 0.5 + 0.4 * torch.rand(int(circle.sum()), generator=chance)
    images[square, 1, 4, 4] = 0.5 + 0.2 * torch.rand(int(square.sum()), generator=chance)
    return images, planes, torch.stack([circle, square], 1)


@pytest.fixture
def found(data):
    images, planes, _ = data
    return dissect.unit_classifiers(
        network(), "1", [*zip(images.split(50), planes.split(50))], concepts=NAMES, **OPTIONS
    )


def test_peaks_and_areas(found, data):
    images, _, shows = data
    with torch.no_grad():
        peaks = network()[:2](images).amax((2, 3))
    assert torch.equal(found.peaks, peaks)
    assert found.areas[:, 1:3].tolist() == (shows * torch.tensor([3, 1])).tolist()
    assert (found.num_pixels, found.settings["whole"]) == (48, False)


def test_areas_under_the_curve_and_p_values(found, data):
    shows = data[2]
    p = torch.stack([
        torch.tensor([mannwhitneyu(found.peaks[own, unit], found.peaks[~own, unit], method="asymptotic").pvalue
                      for unit in range(3)] + [1.0]) for own in shows.T])  # fmt: skip
    q = false_discovery_control(p.flatten().numpy()).reshape(2, 4)
    for at, concept in enumerate(("circle", "square")):
        areas = [roc_auc_score(shows[:, at], found.peaks[:, unit]) for unit in range(4)]
        assert found.auroc(concept).tolist() == pytest.approx(areas)
        rows = found.top(concept, 4)
        assert [row.unit for row in rows] == sorted(range(4), key=lambda unit: -areas[unit])
        assert [row.q for row in rows] == pytest.approx([q[at][row.unit] for row in rows])
    assert found.top("circle", 1)[0].unit == 0
    assert found.top("square", 1)[0].unit == 1


def test_rows_choose_on_one_half_and_measure_on_the_other(found, data):
    shows, half = data[2], half_of(torch.arange(200))
    rows = found.table()
    assert [row.concept for row in rows] == ["circle", "square", "never"]
    p = []
    for row, own in zip(rows, shows.T):
        chosen = [roc_auc_score(own[half == 0], found.peaks[half == 0, unit]) for unit in range(4)]
        assert row.unit == chosen.index(max(chosen))
        peaks = found.peaks[half == 1, row.unit]
        assert row.auroc == pytest.approx(roc_auc_score(own[half == 1], peaks))
        p.append(mannwhitneyu(peaks[own[half == 1]], peaks[~own[half == 1]], method="asymptotic").pvalue)
        assert (row.present, row.absent) == (int(own.sum()), int((~own).sum()))
        sample = balanced_sample(own.long(), torch.arange(200))
        held = sample[half[sample] == 1]
        assert row.accuracy == pytest.approx(
            balanced_accuracy_score(own[held], found.peaks[held, row.unit] > row.threshold)
        )
        assert row.low <= row.accuracy <= row.high
        assert found.classifier(row.concept).threshold == row.threshold
    assert [row.q for row in rows[:2]] == pytest.approx(false_discovery_control(p))
    assert rows[2] == ("never", "concept", 0, 200, *[None] * 8)
    assert "nan" not in str(rows)


def test_an_area_that_is_too_small_is_neither(found):
    large = dataclasses.replace(found, least_area=0.05)
    assert set(large.roles[:, 1].tolist()) == {1, 0}  # three pixels of 48
    assert set(large.roles[:, 2].tolist()) == {-1, 0}  # one
    square = next(row for row in large.table() if row.concept == "square")
    assert square[2:] == (0, int((found.areas[:, 2] == 0).sum()), *[None] * 8)


def test_images_that_were_not_labelled_for_a_category_are_neither(data):
    images, planes, shows = data
    pairs = [("circle", "shape"), ("square", "shape"), ("never", "size")]
    found = dissect.unit_classifiers(network(), "1", [(images, planes)], concepts=pairs, scope="category", **OPTIONS)
    neither = ~shows.any(1)
    assert (found.roles[neither, 1:] == -1).all()
    assert (found.roles[~neither, 1] >= 0).all()
    assert (found.roles[:, 3] == -1).all()


@pytest.mark.parametrize("layer", ["1", "4"])
def test_labels_of_whole_images(data, layer):
    """Class numbers, and 0 and 1 for each class, say the same; layers may give vectors."""
    images, _, shows = data
    classes = torch.where(shows[:, 0], 0, torch.where(shows[:, 1], 1, 2))
    by_number = dissect.unit_classifiers(network(), layer, [(images, classes)], concepts=NAMES, **OPTIONS)
    hot = torch.nn.functional.one_hot(classes, 3)
    by_class = dissect.unit_classifiers(network(), layer, [(images, hot.bool())], concepts=NAMES, **OPTIONS)
    for name in ("peaks", "areas"):
        assert torch.equal(getattr(by_number, name), getattr(by_class, name))
    assert torch.equal(by_number.areas[:, 1:], hot.int())
    assert by_number.num_pixels == 1
    with torch.no_grad():
        outputs = network()[: int(layer) + 1](images)
    peaks = outputs.amax((2, 3)) if outputs.ndim == 4 else outputs
    assert torch.equal(by_number.peaks, peaks)
    several = dissect.unit_classifiers(network(), "1", [(images, shows.long())], concepts=NAMES[:2], **OPTIONS)
    assert torch.equal(several.areas[:, 1:], shows.int())


def test_a_data_set_names_its_classes(data):
    class Classes(torch.utils.data.Dataset):
        classes = ("a", "b")

        def __len__(self):
            return 40

        def __getitem__(self, at):
            return data[0][at], at % 2

    found = dissect.unit_classifiers(network(), "1", Classes(), **OPTIONS)
    assert found.concepts.names == ("-", "a", "b")
    assert found.areas[:, 2].tolist() == [at % 2 for at in range(40)]


@pytest.mark.parametrize("target", ["planes", "class"])
def test_planes_are_named_by_concepts_and_whole_images_by_classes(target):
    scenes = dissect.tiny.TinyScenes("val", 16, 43, target)
    found = dissect.unit_classifiers(network(), "1", scenes, **OPTIONS)
    assert found.settings["whole"] == (target == "class")
    if target == "class":
        assert found.concepts.names[1:] == tuple(scenes.classes)
        assert torch.equal(found.areas[:, 1:], torch.eye(43, dtype=torch.int32))
    else:
        assert found.concepts == scenes.concepts
        areas = torch.bincount(scenes[5][1].long().flatten(), minlength=len(scenes.concepts))
        assert torch.equal(found.areas[5, 1:] > 0, areas[1:] > 0)


def test_units_of_a_generator(tmp_path):
    z, model = dissect.latents((5,), 150), Painter().eval()
    found = dissect.unit_classifiers(model, "features", z, segmenter=Colours(0.9), segment="output", **OPTIONS)
    with torch.no_grad():
        peaks, red = model.maps(z).amax((2, 3)), (model(z)[:, 0] > 0.9).flatten(1).sum(1)
    assert torch.allclose(found.peaks, peaks)
    assert torch.equal(found.areas[:, 1], red.int())
    best = found.table()[0]
    assert (best.concept, best.unit) in {("red", 0), ("red", 1), ("green", 2)}
    again = dissect.load(found.save(tmp_path / "found"))
    assert repr(again) == repr(found)
    assert [*again.table()] == [*found.table()]


def test_a_figure_shows_the_balanced_sample(found):
    figure = found.plot("circle")
    axes = figure.axes[0]
    count = min(found.table()[0].present, found.table()[0].absent)
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        f"with circle ({count})",
        f"without circle ({count})",
    ]
    assert f"{found.classifier('circle').accuracy:.1%}" in axes.get_title(loc="left")
    assert "unit 2" in found.plot("circle", 2).axes[0].get_title(loc="left")
    assert "circle" in found.plot().axes[0].get_yticklabels()[0].get_text()


class Interrupting(torch.utils.data.Dataset):
    """Ctrl-C comes when so many images were asked for."""

    def __init__(self, images, planes):
        self.images, self.planes, self.after = images, planes, 10**9

    def __len__(self):
        return len(self.images)

    def __getitem__(self, at):
        self.after -= 1
        if self.after < 0:
            raise KeyboardInterrupt
        return self.images[at], self.planes[at]


@pytest.mark.parametrize("after", [5, 40, 150])
def test_an_interrupted_run_goes_on(found, data, tmp_path, after):
    images = Interrupting(*data[:2])
    images.after = after
    with pytest.raises(KeyboardInterrupt):
        dissect.unit_classifiers(network(), "1", images, concepts=NAMES, resume=tmp_path, **OPTIONS)
    images.after = 10**9
    again = dissect.unit_classifiers(network(), "1", images, concepts=NAMES, resume=tmp_path, **OPTIONS)
    assert torch.equal(again.peaks, found.peaks)
    assert torch.equal(again.areas, found.areas)
    with pytest.raises(ValueError, match="resume must name a folder whose run had the same concepts"):
        dissect.unit_classifiers(network(), "1", images, concepts=["a", "b"], resume=tmp_path, **OPTIONS)
    changed = Interrupting(data[0] + 0.1, data[1])
    with pytest.raises(ValueError, match="must be"):
        dissect.unit_classifiers(network(), "1", changed, concepts=NAMES, resume=tmp_path, **OPTIONS)


IMAGES = torch.rand(6, 3, 4, 4)


@pytest.mark.parametrize(
    ("labels", "options", "error", "text"),
    [
        (torch.zeros(6, 1, 4, 4).long(), {"concepts": None}, ValueError, "concepts must name the labels"),
        (torch.arange(6), {}, ValueError, r"class numbers of batch 0 must be \[N=6\], from 0 to 2 .* \[0, 5\]"),
        (torch.arange(6) - 1, {}, ValueError, r"class numbers .* \[-1, 4\]"),
        (torch.ones(6, 3).long() * 2, {}, ValueError, r"0 or 1 for each class, \[N=6, K=3\]"),
        (torch.ones(6, 2).long(), {}, ValueError, r"\[N=6, K=3\] as there are 3 names, but are \[6, 2\]"),
        (torch.arange(6) % 2, {"ignore": 255}, ValueError, "ignore must be left out"),
        (None, {}, ValueError, "label planes must come with the images"),
        (torch.arange(6) % 2, {"least_area": 1.0}, ValueError, "least_area must be a share"),
        (torch.arange(6) % 2, {"scope": "some"}, ValueError, "scope must be one of"),
        (torch.arange(6) % 2, {"segment": "output"}, ValueError, "segmenter must be given with concepts"),
    ],
)
def test_what_is_wrong_is_said(labels, options, error, text):
    batches = [IMAGES] if labels is None else [(IMAGES, labels)]
    with pytest.raises(error, match=text):
        dissect.unit_classifiers(network(), "1", batches, **{"concepts": NAMES, **OPTIONS, **options})


def test_what_cannot_be_told_is_said(found):
    with pytest.raises(KeyError, match="no concept is called 'unicorn'"):
        found.auroc("unicorn")
    with pytest.raises(ValueError, match=r"^UnitClassifiers: concept must be .* 0 of 200 are with 'never' and 200"):
        found.classifier("never", 0)
    with pytest.raises(ValueError, match="unit must be below 4"):
        found.classifier("circle", 4)
    with pytest.raises(ValueError, match=r"the unit's peak is 0\.0 in all"):
        found.classifier("circle", 3)
    few = dataclasses.replace(found, peaks=found.peaks[:12], areas=found.areas[:12])
    with pytest.raises(ValueError, match=r"unit must be given where images are too few .* each half needs 10"):
        few.classifier("circle")
    with pytest.raises(ValueError, match=r"least asks for 10 images of each kind"):
        few.classifier("circle", 0)
    with pytest.raises(ValueError, match="too few to tell any"):
        few.plot()
    assert {row.unit for row in few.table()} == {None}
    assert not few.top("circle")
    with pytest.raises(ValueError, match=r"^unit_classifiers: batch 0: .* must be finite"):
        dissect.unit_classifiers(network(), "1", [(IMAGES * torch.nan, torch.arange(6) % 2)], concepts=NAMES, **OPTIONS)


def test_files_that_cannot_be_are_refused(found, tmp_path):
    for name, wrong in {"peaks": found.peaks * torch.inf, "areas": found.areas + 48}.items():
        path = dataclasses.replace(found, **{name: wrong}).save(tmp_path / name)
        with pytest.raises(ValueError, match=name):
            dissect.UnitClassifiers.load(path)
