"""dissect generator ..."""

import json

import pytest
import torch

import dissect
from dissect import tiny
from dissect.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")

#: A generator of a quarter of the embedded ones' pixels.
STREETS = "cli.test_generator:streets"
COMMAND = ("generator", "dissect", "--model", STREETS, "--layers", "layer4", "--count", "12")
LABELLED = (*COMMAND, "--segmenter", "dissect.tiny:segmenter")


def streets():
    return tiny.generator("progan-street-small")


def test_a_generator_is_dissected(tmp_path, capsys):
    assert main([*LABELLED, "--batch-size", "5", "--out", str(tmp_path), "--json"]) == 0
    output = capsys.readouterr()
    assert "given (x + 1) / 2" in output.err
    found = json.loads(output.out)
    model = streets()
    expected = dissect.dissect(
        model, "layer4", dissect.latents(model, 12), segmenter=tiny.segmenter(signed=True), segment="output",
        batch_size=5, top_images=10, progress=False,
    )  # fmt: skip
    assert [unit["concept"] for unit in found["units"]] == [row.concept for row in expected.best()]
    assert [unit["iou"] for unit in found["units"]] == [row.iou for row in expected.best()]
    assert found["settings"]["z"] == {"count": 12, "seed": 1, "noise": False}
    page = (tmp_path / "report.html").read_text()
    assert "12 generated images" in page
    assert main([*LABELLED, "--batch-size", "5", "--out", str(tmp_path)]) == 0
    assert "goes on from" in capsys.readouterr().err


def test_without_a_segmenter_units_have_no_concepts(tmp_path, capsys):
    assert main([*COMMAND, "--out", str(tmp_path)]) == 0
    assert "no --segmenter and no --labels: units have no concepts" in capsys.readouterr().out
    assert "generated images" in (tmp_path / "report.html").read_text()


def test_a_generator_is_segmented_once(tmp_path, capsys):
    kept, made = str(tmp_path / "kept"), ("--model", STREETS, "--count", "12", "--batch-size", "5")
    of = (*made, "--segmenter", "dissect.tiny:segmenter")
    assert main(["labels", "write", *of, "--out", kept]) == 0
    assert main(["labels", "check", kept]) == 0
    assert "12 images" in capsys.readouterr().out
    options = (*COMMAND, "--batch-size", "5")
    assert main([*options, "--labels", kept, "--out", str(tmp_path / "stored")]) == 0
    assert main([*LABELLED, "--batch-size", "5", "--out", str(tmp_path / "anew")]) == 0
    found, expected = (dissect.load(tmp_path / name / "result") for name in ("stored", "anew"))
    for name in ("thresholds", "intersection", "unit_area", "label_area"):
        assert torch.equal(getattr(found["layer4"], name), getattr(expected["layer4"], name)), name
    assert found.settings.get("segmenter_sees") == expected.settings.get("segmenter_sees")
    capsys.readouterr()
    for more, told in (
        (["--seed", "2"], "z and noise seeds must be those whose labels"),
        (["--count", "11"], "images must be the 12 z of the store, but are 11"),
        (["--preset", "iclr2019"], "--labels must come with thresholds by a share"),
        (["--segmenter", "dissect.segmentation:ColorNamer"], "must hold labels of this segmenter, but is of another"),
    ):
        assert main([*options, "--labels", kept, "--out", str(tmp_path / "refused"), *more]) == 2
        assert told in capsys.readouterr().err.splitlines()[-1]
    for arguments, told in (
        ([*made], "--segmenter or --planes must say"),
        (["--count", "2", "--segmenter", "dissect.tiny:segmenter"], "--model must come with --count"),
        ([*of, "--segmenter-input", "0", "1"], "must come with --images"),
    ):
        assert main(["labels", "write", *arguments, "--out", kept]) == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", "0"], "--count must be"),
        (["--layers", "layer44"], "lists all"),
        (["--seed", "-1"], "seed must be in"),
        (["--preset", "tpami2018"], "half_pixel"),
        (["--model", "dissect.tiny:vgg", "--layers", "features.conv5_3"], "z"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, capsys, options, message):
    assert main([*COMMAND, *options, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranked")
    assert main([*LABELLED, "--out", str(folder)]) == 0
    return str(folder / "result")


OF_STREETS = ("--model", STREETS, "--segmenter", "dissect.tiny:segmenter", "--concept", "object/house")


def test_what_goes_without_units(ranked, tmp_path):
    options = [ranked, *OF_STREETS, "--count", "6", "--units", "3", "--out", str(tmp_path)]
    assert main(["generator", "effect", *options]) == 0
    found = dissect.generators.Effect.load(tmp_path / "result")
    d = dissect.load(ranked)
    assert list(found.units) == dissect.generators.units_by_iou(d, "layer4", "object/house")[:3].tolist()
    model = streets()
    expected = dissect.generators.removed_share(
        model, "layer4", found.units, dissect.latents(model, 6, 3), tiny.segmenter(signed=True), "object/house",
        progress=False,
    )  # fmt: skip
    assert found.removed == expected.removed
    assert (tmp_path / "chart.png").stat().st_size > 1000


@pytest.fixture(scope="module")
def searched(ranked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    options = [ranked, *OF_STREETS, "--count", "6", "--units", "3", "--block", "3", "--epochs", "1"]
    assert main(["generator", "ace", *options, "--out", str(folder)]) == 0
    return [*options, "--out", str(folder)], folder


def test_which_units_a_class_depends_on(ranked, searched, tmp_path, capsys):
    options, folder = searched
    found = dissect.generators.CausalUnits.load(folder / "result")
    d, model = dissect.load(ranked), streets()
    expected = dissect.generators.causal_units(
        model, "layer4", "object/house", dissect.latents(model, 6, 10), tiny.segmenter(signed=True), 3, block=3,
        epochs=1, iou=dissect.generators.class_iou(d, "layer4", "object/house"), progress=False,
    )  # fmt: skip
    assert (list(found), found.alpha.tolist()) == (list(expected), expected.alpha.tolist())
    assert found.settings == expected.settings
    assert (folder / "chart.png").exists()
    assert main(["generator", "ace", *options]) == 0
    printed = capsys.readouterr()
    assert str(found.table) in printed.out
    assert "goes on from" in printed.err
    assert main(["generator", "ace", *options, "--form", "adam"]) == 2
    assert "dissect: generator ace: form must be one of" in capsys.readouterr().err


def test_units_of_a_search_are_edited_and_seen_by_two(ranked, searched, tmp_path, capsys):
    options = [ranked, *OF_STREETS, "--count", "6", "--units", "2", "--second", "dissect.tiny:segmenter"]
    options += ["--ace", str(searched[1] / "result")]
    assert main(["generator", "effect", *options, "--out", str(tmp_path)]) == 0
    found = dissect.generators.Effect.load(tmp_path / "result")
    assert found.units == tuple(dissect.generators.CausalUnits.load(searched[1] / "result").ranking[:2].tolist())
    assert found.second.removed == found.removed
    capsys.readouterr()
    assert main(["generator", "effect", *options, "--concept", "object/tree", "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "--ace must be of layer 'layer4' and the concept 'object/tree', but is of 'object/house'" in told
    with pytest.warns(UserWarning, match="but 6 of 6 are the same"):
        main(["generator", "effect", *options, "--seed", "10", "--fresh", "--out", str(tmp_path)])


def test_where_units_can_be_put_in(ranked, tmp_path, capsys):
    options = [ranked, *OF_STREETS, "--count", "2", "--units", "3", "--block", "4", "--least", "3"]
    assert main(["generator", "context", *options, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    found = dissect.generators.InsertionContext.load(tmp_path / "result")
    assert found.block == 4
    assert str(found.table) in printed
    assert (tmp_path / "chart.png").exists()


def test_how_far_units_change_later_layers(ranked, tmp_path, capsys):
    options = [ranked, *OF_STREETS, "--count", "2", "--units", "3", "--block", "7", "--cut", "0.01"]
    assert main(["generator", "trace", *options, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    found = dissect.generators.EffectTrace.load(tmp_path / "result")
    assert (found.block, found.cut, found.concept, found.layer) == (7, 0.01, "object/house", "layer4")
    assert str(found.table) in printed
    assert (tmp_path / "chart.png").exists()
    assert main(["generator", "trace", *options, "--out", str(tmp_path)]) == 0
    assert "goes on from" in capsys.readouterr().err
    assert main(["generator", "trace", *options, "--cut", "2", "--out", str(tmp_path)]) == 2
    assert "dissect: generator trace: cut must be a share" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "1"], "dissect: generator effect: --seed must be another than the 1 of the z"),
        (["--concept", "object/unicorn"], "unicorn"),
        (["--layer", "layer9"], "layer9"),
        (["--units", "0"], "generator effect: --units must be at least 1"),
    ],
)
def test_effects_that_cannot_be(ranked, tmp_path, capsys, options, message):
    assert main(["generator", "effect", ranked, *OF_STREETS, "--count", "4", *options, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error


def test_the_most_informative_thresholds(tmp_path, capsys):
    options = [*LABELLED, "--out", str(tmp_path), "--count", "4", "--preset", "iclr2019", "--match", "accuracy"]
    assert main(options) == 0
    found = dissect.load(tmp_path / "result")
    assert (found.settings["z"]["seed"], found.settings["thresholds_z"]["seed"]) == (1, 2)
    assert (found.settings["match"], found.settings["detector_iou"]) == ("accuracy", 0.05)
    assert found["layer4"].label_thresholds.isfinite().any()
    capsys.readouterr()
    assert main([*options, "--threshold-seed", "1"]) == 2
    assert "--threshold-seed must be another than --seed, but both are 1" in capsys.readouterr().err
    ranked = [str(tmp_path / "result"), *OF_STREETS, "--seed", "2", "--out", str(tmp_path / "effect")]
    assert main(["generator", "effect", *ranked]) == 2
    assert "--seed must be another than the 2 of the z" in capsys.readouterr().err


def scenes():
    return tiny.TinyScenes("val", 32, 12, family="street")


def small():
    return tiny.generator("wgangp-street-small")


@pytest.fixture
def named(monkeypatch):
    """Callables that options can name."""
    for function in (scenes, small):
        monkeypatch.setattr(tiny, function.__name__, function, raising=False)


WRONG = (
    "generator", "artifacts", "--model", "dissect.tiny:small", "--layer", "layer4", "--count", "20", "--units", "3",
    "--features", "dissect.tiny.judge:features",
)  # fmt: skip


@pytest.mark.usefixtures("named")
def test_units_whose_images_look_unreal(tmp_path, capsys):
    model = small()
    looked = dissect.dissect(model, "layer4", dissect.latents(model, 6, 1), segment="output", progress=False)
    flags = tmp_path / "flags.csv"
    flags.write_text("unit,flagged\n3,1\n5,1\n")
    options = ["--real", "dissect.tiny:scenes", "--top", "4", "--flags", str(flags), "--out", str(tmp_path)]
    options += ["--dissection", str(looked.save(tmp_path / "looked")), "--limit", "0"]
    assert main([*WRONG, *options]) == 0
    printed = capsys.readouterr().out
    found, repair = (dissect.load(tmp_path / name) for name in ("units.artifacts", "repair.repair"))
    expected = dissect.generators.artifact_units(
        model, "layer4", dissect.latents(model, 20, 5), scenes(), features=tiny.judge.features, top=4, progress=False
    )
    assert found.distances.tolist() == expected.distances.tolist()
    assert [name for name in dict.fromkeys(repair.names)] == ["flagged", "worst", "both", "random"]
    assert repair.sets[:2] == ((3, 5), found.worst(3))
    assert (found.settings["z"]["seed"], repair.settings["z"]["seed"]) == (5, 6)
    assert str(repair.table) in printed
    assert str(found.agreement([3, 5])) in printed
    assert len(dissect.load(tmp_path / "result.dissection").settings["withheld"]["layer4"]["units"]) == 96
    assert "unit 95" in (tmp_path / "flagging.html").read_text()
    assert (tmp_path / "units.png").exists()


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--repair-seed", "5"], "dissect: generator artifacts: --repair-seed must be another than --seed"),
        (["--limit", "3"], "--dissection must be given with --limit"),
        (["--units", "0"], "--units must be at least 1"),
        (["--real", "dissect.tiny:TinyScenes"], "of the generator's size"),
        (["--features", "dissect.tiny.judge:unknown"], "must have a callable 'unknown'"),
        (["--layer", "layer99"], "layer99"),
    ],
)
def test_artifacts_that_cannot_be(tmp_path, capsys, options, message):
    common = ["--real", "dissect.tiny:scenes", "--count", "4", "--top", "2", "--out", str(tmp_path)]
    assert main([*WRONG, *common, *options]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
