"""dissect rewrite ..."""

import json

import pytest
import torch
from safetensors.torch import load_file

import dissect
from dissect import rewriting, tiny
from dissect.cli import main

MODEL = ("--model", "dissect.tiny:generator", "--layer", "layer4", "--count", "16")


def session(folder):
    masks = torch.zeros(2, 64, 64)
    masks[0, 8:24, 8:24] = masks[1, 32:40, 32:48] = 1
    first, second = (rewriting.Selection(at, mask) for at, mask in zip((3, 5), masks))
    return rewriting.Session(first, second, (second,)).save(folder / "session.json")


def test_moments_and_a_session(tmp_path, capsys):
    out = ["--out", str(tmp_path / "moment")]
    assert main(["rewrite", "moments", *MODEL, "--batch-size", "8", *out]) == 0
    printed = capsys.readouterr().out
    assert "<SecondMoment of 'layer4.conv': 128 channels over 1024 locations>: rank 128, condition" in printed
    generator = tiny.generator()
    memory = rewriting.Memory(generator, "layer4")
    z = dissect.latents(generator, 16)
    wanted = memory.second_moment(z, batch_size=8, progress=False)
    assert torch.equal(dissect.load(tmp_path / "moment" / "result.moment").moment, wanted.moment)
    path = session(tmp_path)
    command = ["rewrite", "apply", str(path), *MODEL, "--moment", str(tmp_path / "moment" / "result.moment")]
    assert main([*command, "--steps", "15", "--out", str(tmp_path / "edit")]) == 0
    printed = capsys.readouterr().out
    assert "(convolution 4, feature map 4)" in printed
    assert "rank 1, loss " in printed
    edit = rewriting.load_session(path).edit(memory, z, steps=15, progress=False)
    found = dissect.load(tmp_path / "edit" / "result.edit")
    assert torch.equal(found.lambdas, edit.lambdas)
    weights = load_file(tmp_path / "edit" / "weights.safetensors")
    edit.apply()
    assert weights.keys() == generator.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in generator.state_dict().items())


MEASURED = ("--segmenter", "dissect.tiny:segmenter", "--source", "part/roof", "--targets", "object/tree", "part/crown")


def maps_of(images):
    return [torch.nn.functional.avg_pool2d(images, side) for side in (8, 16)]


def half_dark(images):
    return images.mean((1, 2, 3)) < 0


def as_features(images):
    return images.flatten(1)


def test_metrics_of_a_session_and_of_its_edit(tmp_path, capsys):
    """The table is that of the library's functions, for a session beside its baselines and for the edit's file."""
    path, out = session(tmp_path), tmp_path / "out"
    few = ["--samples", "3", "--steps", "3", "--fine-tuning-steps", "2", "--batch-size", "8"]
    more = [
        "--baselines",
        "--correspondences",
        f"{__name__}:maps_of",
        "--pairs",
        "1",
        "--effect",
        f"{__name__}:half_dark",
    ]
    command = ["rewrite", "metrics", str(path), *MODEL, *MEASURED, *few, *more, "--features", f"{__name__}:as_features"]
    assert main([*command, "--json", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    rows = {row["change"]: row for row in json.loads(printed.out)}
    generator, see = tiny.generator(), tiny.segmenter(signed=True)
    memory, z = rewriting.Memory(generator, "layer4"), dissect.latents(generator, 16)
    memory.second_moment(z, batch_size=8, progress=False)
    edit = rewriting.load_session(path).edit(memory, z, steps=3, progress=False)
    samples, source = dissect.latents(generator, 3, 2), see.label("part/roof")
    targets = [see.label("object/tree"), see.label("part/crown")]
    found = rewriting.rule_changes(
        generator, samples, {"edit": edit}, see, source, targets, features=as_features, effect=half_dark, batch_size=8,
        progress=False,
    )  # fmt: skip
    (wanted,) = rewriting.change_table(found)
    for name, value in wanted._asdict().items():
        if name != "change":
            assert rows["projected descent"][name] == (None if value != value else pytest.approx(value))
    assert {"all weights", "direct copying", "Laplace blending", "8 units ablated", "unmodified"} < set(rows)
    assert len((out / "metrics.csv").read_text().splitlines()) == 1 + len(rows) == 11
    key = json.loads((out / "pairs.key.json").read_text())["pairs"]
    assert {pair["comparison"] for pair in key} == set(rows) - {"projected descent"}
    assert "pairs.html" in printed.err
    saved = edit.save(tmp_path / "rule")
    command = ["rewrite", "metrics", str(saved), *MODEL, *MEASURED, *few[:2], "--batch-size", "8"]
    assert main([*command, "--out", str(tmp_path / "again")]) == 0
    assert "unmodified" in capsys.readouterr().out
    assert f",{wanted.gone}," in (tmp_path / "again" / "metrics.csv").read_text()
    command = ["rewrite", "sheet", str(saved), *MODEL, "--samples", "3", "--shown", "2", "--out", str(tmp_path / "s")]
    assert main(command) == 0
    best = rewriting.matches(memory, samples, edit.directions[:, 0], 2, progress=False).images
    assert f"images: {' '.join(map(str, best.tolist()))}\n" in capsys.readouterr().out
    assert (tmp_path / "s" / "sheet.png").stat().st_size > 500


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples-seed", "1"], "--samples-seed must be another than --seed, but both are 1"),
        (["--source", "part/dome"], "dome"),
        (["--lpips", "resnet"], "net must be one of"),
        (["--pairs", "-1"], "--pairs must be at least 0"),
    ],
)
def test_metrics_that_cannot_be(tmp_path, capsys, options, message):
    command = ["rewrite", "metrics", str(session(tmp_path)), *MODEL, *MEASURED, "--samples", "2", "--steps", "2"]
    assert main([*command, *options, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_metrics_of_an_edit_of_another_layer(tmp_path, capsys):
    memory = rewriting.Memory(tiny.generator(), "layer3")
    z = dissect.latents(memory.model, 16)
    memory.second_moment(z, progress=False)
    edit = rewriting.load_session(session(tmp_path)).edit(memory, z, steps=2, progress=False)
    command = ["rewrite", "metrics", str(edit.save(tmp_path / "rule")), *MODEL, *MEASURED, "--out", str(tmp_path)]
    assert main(command) == 2
    assert "--layer must be the edit's, 'layer3.conv', but is 'layer4.conv'" in capsys.readouterr().err
    assert main([*command, "--baselines"]) == 2
    assert "--baselines must be given with a session" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layer", "layer99"], "no layer 'layer99'"),
        (["--truncation", "0.5"], "--truncation must not be given for a ProGAN"),
        (["--count", "0"], "--count must be"),
        (["--rank", "0"], "rank must be at least 1"),
        (["--mode", "fast"], "mode must be one of"),
        (["--count", "5"], "names number 5"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, capsys, options, message):
    command = ["rewrite", "apply", str(session(tmp_path)), *MODEL, "--steps", "2", *options]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert error[-1].startswith("dissect: ")


def test_the_page_is_served(monkeypatch, tmp_path, capsys):
    served = []
    monkeypatch.setattr("dissect.apps.serve", lambda rewriter, **options: served.append((rewriter, options)))
    assert main(["rewrite", "ui", *MODEL, "--seed", "3", "--port", "8000", "--no-browser"]) == 0
    ((rewriter, options),) = served
    assert (rewriter.layer, len(rewriter), rewriter.seed) == ("layer4.conv", 16, 3)
    assert options == {"name": "dissect.tiny:generator", "port": 8000, "browser": False}
    path = rewriter.moment.save(tmp_path / "keys")
    assert main(["rewrite", "ui", *MODEL, "--moment", str(path)]) == 0
    assert torch.equal(served[1][0].moment.moment, rewriter.moment.moment)
    assert main(["rewrite", "ui", *MODEL, "--truncation", "0.5"]) == 2
    assert "rewrite ui: --truncation must not be given for a ProGAN" in capsys.readouterr().err
