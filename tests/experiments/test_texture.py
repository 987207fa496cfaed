"""texture_sensitivity: sums in plain loops, chance, and runs that go on."""

import pytest
import torch
from altered import altered
from torch import nn

import dissect
from dissect.experiments import texture_sensitivity
from dissect.experiments.texture import Pairs, partners
from dissect.files import progress as files

CLASSES = [0, 1, 0, 1, 1, 0, 0]
OPTIONS = {"fraction": 0.2, "batch_size": 3, "progress": False}


def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(5, 4, 3, padding=1)
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def pairs():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(7, 3, 16, 16, generator=generator)
    return images, (0.7 * images + 0.3 * torch.rand(7, 3, 16, 16, generator=generator))


def maps_of(images, layer):
    model = network()
    with torch.no_grad(), dissect.Trace(model, layer) as trace:
        found = []
        for batch in images.split(3):
            model(batch)
            found.append(trace[layer].clamp(min=0).clone())
    return torch.cat(found)


def threshold(maps, fraction):
    """The (floor(q M) + 1)-th largest of the maps upsampled to 64x64."""
    samples = nn.functional.interpolate(maps, (64, 64), mode="bilinear").transpose(0, 1).flatten(1)
    return samples.sort(1, descending=True).values[:, int(fraction * samples.shape[1])]


@pytest.mark.parametrize("rule", ["own", "common"])
def test_sums_in_loops(pairs, rule):
    images, restyled = pairs
    found = texture_sensitivity(network(), ["1", "3"], images, restyled, CLASSES, thresholds=rule, **OPTIONS)
    chosen = partners(7, torch.tensor(CLASSES), 0)
    for layer in ("1", "3"):
        maps = [maps_of(part, layer) for part in pairs]
        levels = [threshold(torch.cat(maps), 0.2)] * 2 if rule == "common" else [threshold(part, 0.2) for part in maps]
        torch.testing.assert_close(found.layers[layer].thresholds, torch.stack(levels))
        fires = [part > level[:, None, None] for part, level in zip(maps, found.layers[layer].thresholds)]
        rows = found.units(layer)
        for unit, row in enumerate(rows):
            for partner, told in zip(chosen, (row.iou, row.same_class, row.other_class), strict=True):
                both = sum(int((fires[0][n, unit] & fires[1][partner[n], unit]).sum()) for n in range(7))
                either = sum(int((fires[0][n, unit] | fires[1][partner[n], unit]).sum()) for n in range(7))
                assert told == both / max(1, either)
            assert row.firing == int(fires[0][:, unit].sum())
    summary = found.summary()
    assert [row.layer for row in summary] == ["1", "3"]
    assert summary[0].median == pytest.approx(float(found.layers["1"].iou()[0].median()))
    assert len(found.plot().axes) == 2


def test_partners():
    classes = torch.tensor([0, 1, 0, 1, 1, 0, 0])
    own, same, other = partners(7, classes, 3)
    assert own.tolist() == list(range(7))
    assert torch.equal(classes[same], classes)
    assert (same != own).all()
    assert sorted(same.tolist()) == list(range(7))
    assert (classes[other] != classes).all()
    assert torch.equal(partners(7, classes, 3), torch.stack([own, same, other]))
    assert len(partners(7, None, 3)) == 2
    with pytest.raises(ValueError, match="classes must have two images each, at least, but 2 has 1"):
        partners(3, torch.tensor([0, 0, 2]), 0)


def equal(one, other):
    mine, others = one.contents()[0], other.contents()[0]
    return mine.keys() == others.keys() and all(torch.equal(mine[name], others[name]) for name in mine)


class Stopping(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside, self.passes, self.stop = network(), 0, None

    def forward(self, images):
        self.passes += 1
        if self.passes == self.stop:
            raise KeyboardInterrupt
        return self.inside(images)


def test_goes_on_from_any_step_and_file(pairs, tmp_path, monkeypatch):
    whole = texture_sensitivity(network(), ["1", "3"], *pairs, CLASSES, **OPTIONS)
    assert equal(whole, dissect.load(whole.save(tmp_path / "a")))
    assert whole.units()[0].other_class is not None
    monkeypatch.setattr(files, "EVERY", 0)
    monkeypatch.setattr(files, "TIMES", 0)
    for stop in (1, 5, 9, 14, 20, 22, 24, 26, 27):
        model, folder = Stopping().eval(), tmp_path / str(stop)
        given = model, ["inside.1", "inside.3"], *pairs, CLASSES
        model.stop = stop
        with pytest.raises(KeyboardInterrupt):
            texture_sensitivity(*given, **OPTIONS, resume=folder)
        model.stop = None
        assert equal(whole, texture_sensitivity(*given, **OPTIONS, resume=folder))


@pytest.mark.parametrize(("phase", "data"), [("masks", "restyled"), ("pairs", "images")])
@pytest.mark.parametrize("count", [2, 6, 9])
def test_a_file_of_another_number_of_images_is_refused(pairs, phase, data, count, tmp_path, monkeypatch):
    """Wherever it goes on from, and not where an image's partner is looked for in vain."""
    add, given = Pairs.add, (network(), ["1", "3"], *pairs, CLASSES)

    def stopping(run, found):
        if (run.phase, run.data, run.numbers) == (phase, data, 3):
            raise KeyboardInterrupt
        add(run, found)

    monkeypatch.setattr(Pairs, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        texture_sensitivity(*given, **OPTIONS, resume=tmp_path)
    monkeypatch.undo()
    altered(tmp_path / files.FILE, lambda tensors, meta: meta["state"]["run"].update(count=count))
    with pytest.raises(ValueError, match=r"the run does not fit together|a twin of each"):
        texture_sensitivity(*given, **OPTIONS, resume=tmp_path)


def test_a_unit_that_fires_nowhere_has_an_empty_row(pairs):
    model = network()
    with torch.no_grad():
        model[0].weight[2].zero_()
        model[0].bias[2] = -1
    found = texture_sensitivity(model, "1", *pairs, CLASSES, **OPTIONS)
    assert found.units()[2] == ("1", 2, None, None, None, 0, 0)
    (row,) = found.summary()
    assert (row.units, row.silent) == (5, 1)
    others = torch.tensor([each.iou for each in found.units() if each.iou is not None]).double()
    assert row.median == pytest.approx(float(others.quantile(0.5)))
    found.plot()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(-1)
    silent = texture_sensitivity(model, "1", *pairs, CLASSES, **OPTIONS)
    assert silent.summary()[0][1:] == (5, 5, None, None, None, None, None, None)
    assert "unknown" in repr(silent)


def test_without_classes_and_bad_input(pairs):
    images, restyled = pairs
    found = texture_sensitivity(network(), "1", images, restyled, **OPTIONS)
    assert {row.other_class for row in found.units()} == {None}
    assert "median" in repr(found)
    told = {
        "restyled must hold a twin of each of the 7 images, but holds 6": {"restyled": restyled[:6]},
        r"classes must have shape \[N=7\], the images, but got \[6\]": {"classes": CLASSES[:6]},
        r"thresholds must be one of \('own', 'common'\), but got 'both'": {"thresholds": "both"},
        "restyled must have the images' size, but maps of layer '1'": {"restyled": restyled[:, :, :8]},
    }
    for message, options in told.items():
        given = {"images": images, "restyled": restyled, **OPTIONS, **options}
        with pytest.raises(ValueError, match=f"^texture_sensitivity: {message}"):
            texture_sensitivity(network(), "1", given.pop("images"), given.pop("restyled"), **given)
    assert list(found.unclassed()[0]._asdict())[-2:] == ["other_image", "shape_sensitive"]
    assert found.unclassed()[0].other_image == found.summary()[0].same_class
    assert found.settings["num_classes"] is None
    with pytest.raises(KeyError, match="nowhere"):
        texture_sensitivity(network(), "nowhere", images, restyled, **OPTIONS)


@pytest.mark.parametrize(
    "classes",
    [torch.tensor(CLASSES)[:, None], torch.tensor(CLASSES).float(), torch.tensor(CLASSES) > 0, [0.5] * 7, ["a"] * 7],
)
def test_classes_that_are_no_integers_of_one_row_are_refused(pairs, classes):
    """A column of them would draw partners of the first image alone, and half classes would become one."""
    with pytest.raises(ValueError, match=r"texture_sensitivity: classes must be class numbers \[N\], integers"):
        texture_sensitivity(network(), "1", *pairs, classes, **OPTIONS)
