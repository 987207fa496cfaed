"""dissect paint ..."""

import numpy as np
import pytest
import torch
from PIL import Image

import dissect
from dissect import apps, tiny
from dissect.cli import main


def untrained():
    return tiny.generator(trained=False)


@pytest.fixture(scope="module")
def painting():
    painter = apps.Painter(tiny.generator(), "layer4", count=6)
    painting = apps.Painting(painter, 5)
    for action, box in (("draw", (0, 0, 3, 8)), ("remove", (4, 1, 8, 7))):
        mask = apps.Mask((8, 8), box, "1" * ((box[2] - box[0]) * (box[3] - box[1])))
        painting.add(apps.Stroke(action, "tree-iou", (3, 7), (9.0, 0.0), (1.0, 1.0), mask))
    return painting


@pytest.fixture
def session(painting, tmp_path):
    return painting.save(tmp_path / "session.json")


def test_a_movie_has_every_step(painting, session, tmp_path, capsys):
    out = tmp_path / "new" / "movie.gif"
    assert main(["paint", "replay", str(session), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"movie: {out}\n"
    with Image.open(out) as film:
        assert (film.n_frames, film.size, film.info["duration"]) == (3, (256, 256), 700)
        for at, wanted in enumerate(painting.history):
            film.seek(at)
            found = np.asarray(film.convert("RGB").resize((64, 64), Image.Resampling.BOX)).astype(float)
            assert np.abs(found - wanted.permute(1, 2, 0).numpy()).mean() < 8  # 256 colours, smoothed
        assert film.info["duration"] == 2000


def test_a_sheet_is_the_same_bytes_each_time(session, tmp_path, capsys):
    paths = [tmp_path / name for name in ("one.png", "two.png")]
    for path in paths:
        assert main(["paint", "--model", "dissect.tiny:generator", "replay", str(session), "--out", str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"sheet: {paths[0]}")
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--out", "a.jpg"], "paint replay: path must end in .png, for a sheet, or in .gif, for a movie"),
        (["--model", "dissect.tiny:nothing"], "must have a callable 'nothing'"),
        (["--model", "cli.test_paint:untrained"], "the session is of generator"),
    ],
)
def test_what_cannot_be_replayed(session, tmp_path, capsys, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    assert main(["paint", "replay", str(session), *arguments]) == 2
    told = capsys.readouterr().err
    assert text in told
    assert told.count("\n") == 1


def test_brushes_are_asked_for(capsys, tmp_path):
    assert main(["paint", "--model", "cli.test_paint:untrained"]) == 2
    assert "paint: --dissection or --ace must be given with --model" in capsys.readouterr().err


def test_a_dissection_of_other_weights_is_refused(capsys, tmp_path):
    twin = tiny.generator(trained=False)
    z = dissect.latents(twin, 4)
    planes = torch.ones(4, 1, 64, 64, dtype=torch.int64)
    planes[:, :, :32] = 2
    d = dissect.dissect(
        twin, "layer4", z, segmenter=lambda images: planes[: len(images)], segment="output", concepts=["sky", "tree"],
        progress=False, decoys=0, batch_size=4,
    )  # fmt: skip
    d.save(tmp_path / "d")
    assert main(["paint", "--dissection", str(tmp_path / "d.dissection"), "--no-browser"]) == 2
    assert "--dissection must be of the generator to paint with" in capsys.readouterr().err
