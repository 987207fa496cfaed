"""The same units in two networks, against numpy."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control
from torch import nn
from torch.nn.functional import interpolate

import dissect
from dissect.chosen import cycles, group_of
from dissect.cli import commands
from dissect.experiments import Rosetta, rosetta, rosetta_permuted
from dissect.stats import GroupedCorrelation, MapCorrelation
from dissect.stats.bootstrap import drawn_again


def plainly(x, y):
    """[U, V] by numpy, of maps [N, U, H, W]; 0 where a unit is constant."""
    flat = [part.double().numpy().transpose(1, 0, 2, 3).reshape(part.shape[1], -1) for part in (x, y)]
    return np.array([[np.corrcoef(a, b)[0, 1] if a.std() and b.std() else 0.0 for b in flat[1]] for a in flat[0]])


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(1)
    first = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU()).eval()
    second = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1)).eval()
    with torch.no_grad():
        second[0].weight[3], second[0].bias[3] = first[0].weight[0], first[0].bias[0]  # the same, at half the size
        first[0].weight[4], first[0].bias[4] = 0, -1  # dead
    return first, second, interpolate(torch.rand(9, 3, 4, 4), (12, 12), mode="bilinear")


def maps(made, order=None):
    """Of both networks, the second's upsampled."""
    first, second, images = made
    shown = images if order is None else images[order]
    with torch.no_grad():
        return first(images), interpolate(second(shown).clamp(min=0), (12, 12), mode="bilinear")


def found(made, **options):
    first, second, images = made
    return rosetta(first, "1", second, "0", images, **{"progress": False, "batch_size": 4} | options)


def test_correlations_are_numpys(made):
    result = found(made)
    assert np.allclose(result.correlation, plainly(*maps(made)), atol=1e-6)
    assert np.allclose(result.null, plainly(*maps(made, cycles(1, 9, 0)[0])), atol=1e-6)
    assert not np.allclose(result.null, found(made, seed=1).null, atol=1e-3)
    assert result.settings["num_images"] == 9


def test_intervals_are_numpys():
    """Images drawn again, each a group of its own here or two together: numpy on the drawn images themselves."""
    torch.manual_seed(4)
    x = torch.rand(16, 4, 6, 6)
    y = torch.stack([x[:, 1] + torch.rand(16, 6, 6), x[:, 0] * torch.rand(16, 1, 1), torch.rand(16, 6, 6)], 1)
    x[:, 3] = 0.5  # constant
    numbers = torch.arange(16)
    state = GroupedCorrelation()
    for part in numbers.split(5):
        state.add(x[part], y[part], part)
    groups = group_of(numbers, 128)
    order = groups.unique()
    assert len(order) == 16  # an image each
    again, r = state.resampled(20, seed=3), plainly(x, y)
    assert np.allclose(state.correlation(), r, atol=1e-9)
    best = r.argmax(1)
    mutual = np.zeros(4, int)
    for draw, times in enumerate(drawn_again(16, 20, 3)):
        images = [int((groups == order[at]).nonzero()) for at, n in enumerate(times.tolist()) for _ in range(int(n))]
        drawn = plainly(x[images], y[images])
        assert np.allclose(again.correlation[draw], drawn[np.arange(4), best], atol=1e-9)
        mutual += (drawn.argmax(1) == best) & (drawn.argmax(0)[best] == np.arange(4)) & drawn.any(1)
    assert again.mutual.tolist() == mutual.tolist()
    assert mutual[3] == 0
    parts = GroupedCorrelation(), GroupedCorrelation()
    parts[0].add(x[9:], y[9:], numbers[9:])
    parts[1].add(x[:9], y[:9], numbers[:9])
    parts[0].merge(parts[1])
    assert torch.allclose(parts[0].resampled(20, 3).correlation, again.correlation, atol=1e-9)
    with pytest.raises(ValueError, match=r"GroupedCorrelation: budget must hold the sums of 16 groups .* 3456 bytes"):
        GroupedCorrelation(budget=3455).add(x, y, numbers)
    small = GroupedCorrelation(budget=3456)
    small.add(x, y, numbers)
    assert small.groups == 16
    assert np.allclose(small.correlation(), r, atol=1e-9)
    assert GroupedCorrelation().resampled(5, 0) is None


def test_intervals_of_a_result(made, tmp_path):
    """Too few images have none; more have rows, and a file."""
    result = found(made)
    assert result.settings["groups"] == 128
    assert result.resampled is None
    assert [row.low for row in result.rows()] == [None] * 5
    with pytest.raises(
        ValueError, match="images must have been drawn again, but were not: of 9 images, which must be in"
    ):
        result.intervals()
    first, second, images = made
    more = torch.cat([images, images.flip(2)[:5] * torch.rand(5, 3, 1, 1)])
    result = rosetta(first, "1", second, "0", more, progress=False, resamples=30, batch_size=5)
    none = rosetta(first, "1", second, "0", more, progress=False, resamples=0)
    assert none.resampled is None
    assert torch.allclose(none.correlation, result.correlation, atol=1e-9)
    rows = list(result.rows())
    for row in rows[:4]:
        values = np.sort(result.resampled[:, row.unit].numpy())
        assert (row.low, row.high) == (values[0], values[29])
        assert (row.stays is not None) == row.mutual
    assert (rows[4].low, rows[4].stays) == (None, None)
    assert rows[0].stays == 1.0  # the same unit
    median, highest, buddies = result.intervals()
    assert median.low <= median.high
    top = max(rows[:4], key=lambda row: row.correlation)
    assert (highest.value, highest.low, highest.high) == (top.correlation, top.low, top.high)
    assert 1 <= buddies.low <= buddies.value
    again = dissect.load(result.save(tmp_path / "result"))
    assert list(again.rows()) == rows
    assert list(again.intervals()) == [median, highest, buddies]


def test_rows_and_buddies(made):
    result = found(made)
    r, null = result.correlation.numpy(), result.null.numpy()
    rows = list(result.rows())
    for row in rows[:4]:
        assert (row.other, row.correlation) == (r[row.unit].argmax(), r[row.unit].max())
        assert row.mutual == (r[:, row.other].argmax() == row.unit)
        assert row.by_chance == null[row.unit].max()
        assert row.p == (1 + (null[:4].max(1) >= row.correlation).sum()) / 5
    assert (rows[4].other, rows[4].correlation, rows[4].mutual, rows[4].p) == (None, None, False, None)
    assert rows[0].other == 3
    assert rows[0].mutual
    assert result.buddies()[0].unit == max(rows[:4], key=lambda row: row.correlation).unit
    same, permuted = result.summary()
    assert (same.units, same.buddies) == (4, sum(row.mutual for row in rows))
    assert same.beyond == sum(row.mutual and row.correlation > null.max() for row in rows) >= 1
    assert permuted.beyond == 0
    assert same.median == np.sort(r[:4].max(1))[1]
    result.plot()


def test_a_generator_and_what_sees_its_images(made):
    first, second, images = made
    with pytest.raises(TypeError, match=r"rosetta: see must give a tensor of images .* but gave NoneType"):
        found(made, see=lambda output: None)
    result = found(made, see=lambda output: output[:, :3] / 2)
    with torch.no_grad():
        one, permuted = first(images), first(images[cycles(1, 9, 0)[0]])
        seen = [
            interpolate(second(part[:, :3] / 2).clamp(min=0), (12, 12), mode="bilinear") for part in (one, permuted)
        ]
    assert np.allclose(result.correlation, plainly(one, seen[0]), atol=1e-6)
    assert np.allclose(result.null, plainly(one, seen[1]), atol=1e-6)


def permuted(made, **options):
    first, second, images = made
    options = {"progress": False, "batch_size": 4, "permutations": 25} | options
    return rosetta_permuted(first, "1", second, "0", images, **options)


def test_many_permutations_against_numpy_and_scipy(made, tmp_path):
    result, one = permuted(made), found(made)
    assert torch.equal(result.correlation, one.correlation)
    assert torch.equal(result.null, one.null)
    plain = np.stack([plainly(*maps(made, order)) for order in cycles(25, 9, 0)])
    assert np.allclose(result.permuted_best, plain.max(2), atol=1e-5)
    assert np.allclose(result.permuted_highest, plain.max((1, 2)), atol=1e-5)
    best = plain.argmax(2)
    mutual = [[plain[p][:, best[p, u]].argmax() == u and plain[p, u].any() for u in range(5)] for p in range(25)]
    assert result.permuted_buddies.tolist() == np.sum(mutual, 1).tolist()
    rows = {row.unit: row for row in result.significance()}
    assert sorted(rows) == [0, 1, 2, 3]  # 4 is constant
    p = [(1 + (plain[:, unit].max(1) >= rows[unit].correlation).sum()) / 26 for unit in range(4)]
    assert [rows[unit].p for unit in range(4)] == pytest.approx(p)
    assert [rows[unit].q for unit in range(4)] == pytest.approx(false_discovery_control(p))
    assert rows[0].p == pytest.approx(1 / 26)
    assert rows[0].by_chance == pytest.approx(plain[:, 0].max(1).mean(), abs=1e-5)
    median, highest, buddies = result.chance()
    assert (median.value, buddies.value) == (one.summary()[0].median, one.summary()[0].buddies)
    assert median.by_chance == pytest.approx(np.sort(plain[:, :4].max(2), 1)[:, 1].mean(), abs=1e-5)
    assert highest.p == pytest.approx((1 + (plain.max((1, 2)) >= highest.value).sum()) / 26)
    assert buddies.low <= buddies.by_chance <= buddies.high
    result.plot()
    again = dissect.load(result.save(tmp_path / "a"))
    assert list(again.significance()) == list(result.significance())
    assert permuted(made, permutations=9).chance()[0].low is None


def test_permutations_that_cannot_be(made, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"^Rosetta: there must be many permutations, but there was one"):
        found(made).significance()
    with pytest.raises(ValueError, match=r"^rosetta_permuted: memory_budget must hold the maps .* 20736 bytes of the"):
        permuted(made, memory_budget=5000)
    whole, add, met = permuted(made), GroupedCorrelation.add, [0]

    def stopping(*args):
        met[0] += 1
        if met[0] == 3:
            raise KeyboardInterrupt
        add(*args)

    monkeypatch.setattr("dissect.files.progress.EVERY", 0.0)
    monkeypatch.setattr("dissect.files.progress.TIMES", 0)
    monkeypatch.setattr(GroupedCorrelation, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        permuted(made, resume=tmp_path)
    assert torch.equal(permuted(made, resume=tmp_path).permuted_best, whole.permuted_best)


def test_split_merged_and_saved(tmp_path):
    x, y = torch.rand(7, 3, 4, 6), torch.rand(7, 2, 2, 3) * 100 + 1000
    whole, parts = MapCorrelation(), [MapCorrelation() for _ in range(3)]
    whole.add(x, y)
    for part, own in zip(parts, (slice(3), slice(3, 4), slice(4, 7))):
        part.add(x[own], y[own])
    empty = MapCorrelation()
    for part in (*parts, MapCorrelation()):
        empty.merge(part)
    expected = plainly(x, interpolate(y, (4, 6), mode="bilinear"))
    for state in (whole, empty):
        assert np.allclose(state.correlation(), expected, atol=1e-6)
    again = MapCorrelation()
    again.load(empty.save(tmp_path / "a"))
    assert torch.equal(again.correlation(), empty.correlation())
    constant = MapCorrelation()
    constant.add(torch.full((2, 1, 3, 3), 0.1), torch.rand(2, 1, 3, 3))
    assert constant.correlation().item() == 0


def test_bad_maps_are_refused():
    state, x = MapCorrelation(), torch.rand(2, 3, 4, 4)
    state.add(x, x)
    for one, other, message in (
        (x, x[:1], "x and y must be of the same images, but are of 2 and 1"),
        (x, x[:, :2], r"x and y must have \[3, 3\] units as before, but have \[3, 2\]"),
        (x, x / 0, "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            state.add(one, other)
    other = MapCorrelation()
    other.add(x[:, :2], x)
    with pytest.raises(ValueError, match="states to merge must agree, but their units differs"):
        state.merge(other)


def test_saved_and_going_on(made, tmp_path, monkeypatch):
    whole = found(made)
    again = dissect.load(whole.save(tmp_path / "a"))
    assert isinstance(again, Rosetta)
    assert list(again.rows()) == list(whole.rows())
    add, met = GroupedCorrelation.add, [0]

    def stopping(*args):
        met[0] += 1
        if met[0] == 3:
            raise KeyboardInterrupt
        add(*args)

    monkeypatch.setattr(GroupedCorrelation, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        found(made, resume=tmp_path)
    assert torch.equal(found(made, resume=tmp_path).correlation, whole.correlation)


def test_refusals(made):
    first, second, images = made
    with pytest.raises(ValueError, match=r"^rosetta: images must be two at least, but are 1"):
        rosetta(first, "1", second, "0", images[:1])
    with pytest.raises(
        TypeError, match=r"^rosetta: images must be a tensor or a Dataset with a length, but got generator"
    ):
        rosetta(first, "1", second, "0", (image for image in images))
    with pytest.raises(KeyError, match="no layer '7'"):
        rosetta(first, "1", second, "7", images)


def test_constant_units_alone_are_drawn_as_such(tmp_path):
    """A command would else have failed after its work."""
    dead = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()).eval()
    with torch.no_grad():
        dead[0].weight.zero_()
        dead[0].bias.fill_(-1)
    result = rosetta(dead, "1", dead, "1", torch.rand(4, 3, 4, 4), progress=False)
    assert [text.get_text() for axes in result.plot().axes for text in axes.texts] == ["all units are constant"] * 2
    assert [(row.units, row.median, row.buddies) for row in result.summary()] == [(0, None, 0)] * 2
    many = rosetta(dead, "1", dead, "1", torch.rand(64, 3, 4, 4), resamples=20, progress=False)
    assert many.intervals() == []


def test_too_few_draws_are_refused(made):
    first, second, images = made
    for function in (rosetta, rosetta_permuted):
        with pytest.raises(ValueError, match=f"^{function.__name__}: resamples must be at least 2, .* but is 1"):
            function(first, "1", second, "0", images, resamples=1, progress=False)


def test_the_command(tmp_path, capsys):
    more = ["--count", "3", "--out", str(tmp_path), "--json"]
    assert commands.main(["experiment", "rosetta", *more]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["images"] for row in told["images"]] == ["same", "permuted"]
    assert told["settings"]["num_images"] == 3
    assert (tmp_path / "chart.png").is_file()
    assert dissect.load(tmp_path / "result.rosetta").layers == ["features.conv4_3", "network.down4"]
    assert commands.main(["experiment", "rosetta", *more, "--fresh", "--mean", "0", "0", "0"]) == 2
    assert "--mean and --std are of --images" in capsys.readouterr().err
    assert commands.main(["experiment", "rosetta", "--other-layer", "x", *more]) == 2
    assert "no layer 'x'" in capsys.readouterr().err


def test_the_command_with_images(tmp_path, capsys):
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    (tmp_path / "images").mkdir()
    for number in range(3):
        pixels = torch.randint(256, (32, 32, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(tmp_path / "images" / f"{number}.png")
    more = ["--images", str(tmp_path / "images"), "--size", "32", "--resamples", "0", "--json"]
    means = ["--mean", "0", "0", "0", "--std", "1", "1", "1"]
    assert commands.main(["experiment", "rosetta", *more, *means, "--out", str(tmp_path / "a")]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["num_images"] == 3
