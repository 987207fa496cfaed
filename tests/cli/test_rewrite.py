"""dissect rewrite ..."""

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
