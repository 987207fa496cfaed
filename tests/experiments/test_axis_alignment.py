"""Units against rotations of them."""

import json

import pytest
import torch
from small_dissection import CONCEPTS, Scenes, network
from torch import nn

import dissect
from dissect.cli import commands
from dissect.experiments import axis_alignment, fractional_rotation, random_rotation, rotation_error

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")


def measured(**options):
    options = {"alphas": [0.5, 1.0], "repeats": 3, "fraction": 0.05, "batch_size": 7, "progress": False} | options
    return axis_alignment(network(), "3", Scenes(), concepts=CONCEPTS, **options)


def test_rotations_are_uniform_in_so():
    for count in (1, 2, 5, 8):
        for seed in range(4):
            found = random_rotation(count, seed)
            assert torch.allclose(found @ found.T, torch.eye(count).double(), atol=1e-12)
            assert float(torch.linalg.det(found)) == pytest.approx(1)
    entries = torch.stack([random_rotation(3, seed) for seed in range(800)])
    assert entries.mean(0).abs().max() < 0.07  # of uniform ones each entry has mean 0 and variance 1/3
    assert (entries.pow(2).mean(0) - 1 / 3).abs().max() < 0.05


def test_powers_are_those_of_scipy():
    linalg = pytest.importorskip("scipy.linalg")
    for count, seed in ((2, 0), (5, 1), (6, 2), (40, 3)):
        turn = random_rotation(count, seed)
        for alpha in (0.1, 0.5, 0.9, 1.0):
            expected = linalg.fractional_matrix_power(turn.numpy(), alpha)
            assert torch.allclose(fractional_rotation(turn, alpha), torch.from_numpy(expected.real), atol=1e-8)
        assert torch.allclose(fractional_rotation(turn, 0.0), torch.eye(count).double(), atol=1e-10)
    eye = torch.eye(4).double()
    assert torch.allclose(fractional_rotation(eye, 0.3), eye)


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        (torch.ones(2, 3), r"rotation must be a matrix \[U, U\]"),
        (2 * torch.eye(3), "of orthonormal rows and determinant 1"),
        (torch.diag(torch.tensor([1.0, -1.0])), "determinant 1, but is none"),
        (torch.diag(torch.tensor([1.0, -1.0, -1.0])), "must not turn a plane by half a turn"),
    ],
)
def test_what_has_no_powers_is_refused(turn, message):
    if "half" in message:  # eigenvectors of the plane are any, so that only some are seen to turn it
        turn = torch.block_diag(torch.ones(1, 1), torch.tensor([[-1.0, 0.0], [0.0, -1.0]]))
    with pytest.raises(ValueError, match=message):
        fractional_rotation(turn, 0.5)


def test_each_rotation_is_a_dissection_along_its_rows():
    found = measured(at_once=2)
    assert found.rotations == [(0.0, 0), (0.5, 0), (1.0, 0), (1.0, 1), (1.0, 2)]
    for at, (alpha, repeat) in enumerate(found.rotations):
        turn = fractional_rotation(random_rotation(6, repeat), alpha).float() if alpha else torch.eye(6)
        options = {"concepts": CONCEPTS, "fraction": 0.05, "relu": True, "batch_size": 7, "progress": False}
        alone = dissect.dissect(network(), "3", Scenes(), directions={"3": turn}, **options)["3"]
        assert torch.allclose(found.best_iou[at], alone.best_iou, atol=0.02)
        assert torch.allclose(found.label_iou[at], alone.iou.amax(0), atol=0.02)
    assert found.best_iou.shape == (5, 6)


def test_tables_by_hand(tmp_path):
    found = measured(detector_iou=0.05)
    labels, ious = found.best_label, found.best_iou
    for at, row in enumerate(found.rows()):
        above = labels[at][ious[at] > 0.05].tolist()
        assert (row.detectors, row.concepts) == (len(above), len(set(above)))
    colors = found.rows("color")
    assert all(row.concepts <= 1 for row in colors)
    first, _, last = found.summary()
    assert (first.alpha, first.share, last.rotations, last.low) == (0, 1, 3, None)
    assert last.concepts == pytest.approx(sum(row.concepts for row in found.rows()[2:]) / 3)
    for row in found.best():
        label = found.concepts.names.index(row.concept)
        assert row.unit_iou == float(found.label_iou[0, label])
        assert row.direction_iou == float(found.label_iou[2:, label].max())
    assert "units detect" in repr(found)
    assert found.plot().axes
    again = dissect.load(found.save(tmp_path / "a"))
    assert again.rows() == found.rows()


def test_ten_repeats_have_an_interval():
    last = measured(repeats=10, alphas=[1.0], at_once=10).summary()[-1]
    assert last.low <= last.concepts <= last.high


def test_it_goes_on(tmp_path):
    first, again = measured(resume=tmp_path), measured(resume=tmp_path)
    assert torch.equal(first.best_iou, again.best_iou)
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(ValueError, match="had the same options"):
        measured(resume=tmp_path, seed=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alphas": [0.5, 0.5]}, "axis_alignment: alphas must be different numbers"),
        ({"alphas": [0.0]}, "above 0 and up to 1"),
        ({"repeats": 0}, "axis_alignment: repeats must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        measured(**options)


def test_images_without_labels_are_refused():
    with pytest.raises(ValueError, match="images must come with label planes"):
        axis_alignment(network(), "3", Scenes().images, progress=False)


def test_a_rotated_layer_says_all():
    model = nn.Sequential(*network(), nn.Flatten(), nn.Linear(6 * 64, 5)).eval()
    error, same = rotation_error(model, "3", Scenes().images, random_rotation(6, 0))
    assert 0 < error < 1e-5
    assert same == 1
    with pytest.raises(ValueError, match=r"^rotation_error: rotation must have .* with U=6, .* has \[5, 5\]"):
        rotation_error(model, "3", Scenes().images, random_rotation(5, 0))
    with pytest.raises(ValueError, match=r"rotation must be finite numbers \[U, U\], but is of shape \[6, 5\]"):
        rotation_error(model, "3", Scenes().images, torch.zeros(6, 5))
    with torch.no_grad():
        model[-1].weight.zero_()
        model[-1].bias.zero_()
    with pytest.raises(ValueError, match=r"outputs of model must be finite logits .* from 0 to 0"):
        rotation_error(model, "3", Scenes().images, random_rotation(6, 0))


def test_the_command(tmp_path, capsys):
    more = ["--count", "4", "--repeats", "1", "--alphas", "1", "--out", str(tmp_path), "--json"]
    assert commands.main(["experiment", "axis-alignment", *more]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["alpha"] for row in told["rotations"]] == [0, 1]
    assert (tmp_path / "chart.png").is_file()
    assert dissect.load(tmp_path / "result.alignment").layer == "features.conv5_3"


def test_the_texture_command(tmp_path, capsys, monkeypatch):
    more = ["--layers", "features.conv1_1", "--out", str(tmp_path), "--json"]
    assert commands.main(["experiment", "texture", "--count", "4", *more]) == 0
    told = capsys.readouterr()
    (row,) = json.loads(told.out)["layers"]
    assert {"same_class", "other_class"}.isdisjoint(row)
    assert row["other_image"] > 0
    assert "from 86 on" in told.err
    monkeypatch.setattr(dissect.tiny.TinyScenes, "classes", dissect.tiny.TinyScenes.classes[:2])
    assert commands.main(["experiment", "texture", "--count", "4", "--fresh", *more]) == 0
    told = json.loads(capsys.readouterr().out)
    (row,) = told["layers"]
    assert told["settings"]["num_classes"] == 2
    assert row["same_class"] != row["other_class"]
    assert 0 < row["other_class"] < 1
    for arguments, message in (
        (["texture", "--images", "x"], "--images and --restyled must come together"),
        (["axis-alignment", "--model", "x:y"], "--model and --images must come together"),
        (["axis-alignment", "--planes", "x"], "--planes and --segmenter are of --images"),
    ):
        assert commands.main(["experiment", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_texture_of_folders_that_do_not_pair(tmp_path, capsys):
    from PIL import Image

    for folder, names in (("images", "abcd"), ("other", "bcde")):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.new("RGB", (32, 32), (ord(name) % 7 * 30, 90, 60)).save(tmp_path / folder / f"{name}.png")
    more = ["--model", "dissect.tiny:vgg", "--size", "32", "--layers", "features.conv1_1", "--json",
            "--out", str(tmp_path / "out"), "--images", str(tmp_path / "images")]  # fmt: skip
    assert commands.main(["experiment", "texture", *more, "--restyled", str(tmp_path / "other")]) == 2
    assert "'a' has none of its own in --restyled" in capsys.readouterr().err
    (tmp_path / "other" / "e.png").rename(tmp_path / "other" / "a.bmp")
    assert commands.main(["experiment", "texture", *more, "--restyled", str(tmp_path / "other")]) == 0
    (row,) = json.loads(capsys.readouterr().out)["layers"]
    assert "other_image" in row


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: random_rotation(3, 2**70), ValueError, "random_rotation: seed must be at most"),
    (lambda: random_rotation(3, 1.5), TypeError, "random_rotation: seed must be an integer, but got 1.5"),
    (lambda: fractional_rotation(torch.eye(3), torch.nan), ValueError, "alpha must be from 0 to 1, but is nan"),
    (lambda: fractional_rotation(torch.eye(3), 2), ValueError, "alpha must be from 0 to 1, but is 2"),
    (lambda: fractional_rotation([1], 0.5), TypeError, "fractional_rotation: rotation must be a tensor"),
    (lambda: fractional_rotation(torch.zeros(0, 0), 0.5), ValueError, "fractional_rotation: rotation must be a matrix"),
    (lambda: _turned_back(layer="9"), KeyError, "has no layer '9'"),
    (lambda: _turned_back(rotation=None), TypeError, "rotation_error: rotation must be a tensor"),
    (lambda: _turned_back(images=torch.rand(0, 3, 2, 2)), ValueError, "rotation_error: images must be one at least"),
])  # fmt: skip
def test_what_is_no_rotation(call, error, message):
    with pytest.raises(error, match=message):
        call()


IMAGES, AXES = torch.rand(2, 3, 2, 2), torch.eye(4)


def _turned_back(layer="0", images=IMAGES, rotation=AXES):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(16, 5)).eval()
    return rotation_error(model, layer, images, rotation)
