"""The command line: what it prints, its exit codes, and that no stack trace meets a user."""

import argparse
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import dissect
from dissect.cli import commands as cli
from dissect.cli.info import PACKAGES, info_lines
from dissect.ops import native

from ..report.conftest import make_dissection, make_layer


def commands_of(parser, *before):
    """The words of each command that a parser has."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield (*before, name)
                yield from commands_of(inner, *before, name)


def test_the_page_on_commands_has_them_all():
    page = (Path(__file__).parents[2] / "docs/guide/commands.md").read_text(encoding="utf-8")
    shown = page.split("```")[1]
    found = list(commands_of(cli._parser()))
    assert len(found) > 40
    assert [words for words in found if not re.search(rf"dissect {words[0]}\b", shown)] == []
    assert [words for words in found if not re.search(rf"(?<![\w-]){words[-1]}(?![\w-])", shown)] == []
    assert [words for words in found if f"``{words[0]}``" not in cli.__doc__.replace("``dissect ", "``")] == []


@pytest.fixture
def result(tmp_path):
    path = make_dissection([make_layer("a", 5, 6, 9)]).save(tmp_path / "saved")
    return str(path)


def test_info_for_programs(capsys):
    assert cli.main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["torch"] == torch.__version__
    assert facts["dissect"] == dissect.__version__
    assert 1 <= facts["usable_cores"] <= facts["cores"] == os.cpu_count()
    assert facts["simd"] == native.simd_level()
    assert (facts["gpu_missing"] is None) == bool(facts["gpus"])
    assert facts["packages"]["numpy"] == importlib.metadata.version("numpy")
    assert list(facts["packages"]) == list(PACKAGES)
    assert facts["backends"]["iou_counts"]["reference"] is None


def test_info_for_people(capsys):
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    assert "iou_counts" in out
    assert f"{torch.__version__}\n" in out


def test_info_says_why_something_is_missing():
    facts = {
        "dissect": "1",
        "python": "3",
        "packages": {"torch": "2", "triton": None},
        "platform": "Linux",
        "processor": "P",
        "cores": 8,
        "usable_cores": 4,
        "threads": 2,
        "simd": None,
        "simd_levels": [],
        "gpus": [],
        "gpu_missing": "no driver.",
        "backends": {op: {"cpp": "no compiler.", "reference": None} for op in ("one", "two")},
        "gpu_backends": {"one": {"cuda": "no driver."}},
    }
    assert list(info_lines(facts)) == [
        "dissect    1",
        "python     3",
        "torch      2",
        "not here   triton",
        "platform   Linux",
        "processor  P; 4 of 8 cores, 2 threads of torch",
        "SIMD       none, since the compiled engine is missing",
        "GPU        none: no driver.",
        "\nbackends on a CPU, the fastest first",
        "one        reference",
        "two        reference",
        "missing    cpp: no compiler.",
        "\nbackends on a GPU, the fastest first",
        "one        none",
        "missing    cuda: no driver.",
    ]


def test_the_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"dissect {dissect.__version__}\n"


def test_demo_on_a_few_scenes(tmp_path, capsys):
    assert cli.main(["demo", "--out", str(tmp_path), "--images", "40", "--layers", "features.conv5_3"]) == 0
    out = capsys.readouterr().out
    assert out.count("  unit ") == 5
    assert str(tmp_path / "report.html") in out
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert dissect.load(tmp_path / "tiny-vgg")["features.conv5_3"].num_units >= 128


def test_report_of_a_saved_result(tmp_path, capsys, result):
    assert cli.main(["report", result, "--out", str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out == f"report: {tmp_path / 'new' / 'report.html'}\n"
    written = (tmp_path / "new" / "report.html").read_bytes()
    assert cli.main(["report", result.removesuffix(".dissection"), "--out", str(tmp_path / "mine.html")]) == 0
    assert (tmp_path / "mine.html").read_bytes() == written


def test_a_folder_is_no_result_but_its_files_are_told(tmp_path, capsys, monkeypatch, result):
    monkeypatch.chdir(tmp_path)

    def told(*arguments):
        assert cli.main(["report", *arguments]) == 2
        return capsys.readouterr().err

    (tmp_path / "empty").mkdir()
    needed = "dissect: report: a .dissection file is needed, but"
    assert told("empty/") == f"{needed} empty is a folder, which holds no .dissection file.\n"
    assert told(".") == f"{needed} . is a folder, give the file in it: saved.dissection.\n"
    for number in range(6):
        (tmp_path / f"empty/{number}.dissection").write_text("")
    five = ", ".join(f"empty/{number}.dissection" for number in range(5))
    assert told("empty") == f"{needed} empty is a folder, give one in it: {five} and 1 more.\n"
    importance = "dissect: report: a .importance file is needed, but empty is a folder, which holds no"
    assert told(result, "--importance", "empty").startswith(importance)
    (tmp_path / "saved").mkdir()  # beside saved.dissection, which the name has always meant
    assert cli.main(["report", "saved", "--out", "new"]) == 0


def test_demo_tells_first_what_would_stop_the_report(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert cli.main(["demo", "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'dissect-units[report]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["demo", "--images", "0"], "dissect: demo: images must hold at least one batch, but held none."),
        (["demo", "--images", "-3"], "dissect: demo: count must not be negative, but got -3."),
        (["demo", "--layers", "features.conv9_9"], "dissect: demo: the model has no layer 'features.conv9_9'"),
        (["demo", "--out", "{file}"], "dissect: {file}: File exists."),
        (["report", "nowhere"], "dissect: there is no file nowhere.dissection."),
        (["report", "{file}"], "dissect: {file} is damaged or no safetensors file"),
        (["report", "{result}", "--out", "{file}/x"], "dissect: {file}/x: Not a directory."),
    ],
)
def test_user_errors_are_one_line(tmp_path, capsys, monkeypatch, result, arguments, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("text")
    names = {"file": str(tmp_path / "file"), "result": result}
    assert cli.main([argument.format(**names) for argument in arguments]) == 2
    error = capsys.readouterr().err.split("\r")[-1]
    assert error.startswith(told.format(**names))
    assert error.index("\n") == len(error) - 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "dissect: the following arguments are required: COMMAND; see dissect --help.\n"),
        (["report"], "dissect report: the following arguments are required: result; see dissect report --help.\n"),
        (
            ["demo", "--images", "x"],
            "dissect demo: argument --images: invalid int value: 'x'; see dissect demo --help.\n",
        ),
    ],
)
def test_wrong_usage_is_one_line(capsys, arguments, told):
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    assert capsys.readouterr().err == told


def test_long_messages_become_one_line(capsys, monkeypatch):
    def fail(_):
        raise RuntimeError("Error(s) in loading:\n\tsize mismatch\n")

    monkeypatch.setattr(cli, "_info", fail)
    assert cli.main(["info"]) == 2
    # The error is not of the library's own code, so it is told whose.
    place = r" \(test_cli\.py, line \d+; DISSECT_TRACEBACK=1 shows the way there\)\n"
    assert re.fullmatch(r"dissect: Error\(s\) in loading: size mismatch" + place, capsys.readouterr().err)


def test_warnings_are_one_line(capsys, monkeypatch):
    def fail(_):
        # As Python does it with a warning that nobody catches, as pytest would.
        sys.stderr.write(warnings.formatwarning("dissect: left out:\n a.png", UserWarning, "source.py", 3))
        raise AssertionError("Input height (64) doesn't match model (224).")

    monkeypatch.setattr(cli, "_info", fail)
    before = warnings.formatwarning
    assert cli.main(["info"]) == 2
    expected = "dissect: warning: left out: a.png\ndissect: Input height (64) doesn't match model (224). (test_cli.py"
    assert capsys.readouterr().err.startswith(expected)
    assert warnings.formatwarning is before


def test_a_stack_trace_for_those_who_ask(monkeypatch):
    monkeypatch.setenv("DISSECT_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        cli.main(["report", "nowhere"])


@pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX")
def test_interrupted(tmp_path):
    command = [sys.executable, "-m", "dissect", "demo", "--out", str(tmp_path / "out"), "--images", "1600"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as demo:
        end = time.monotonic() + 60
        while not (tmp_path / "out").exists() and time.monotonic() < end:
            time.sleep(0.05)
        demo.send_signal(signal.SIGINT)
        error = demo.stderr.read()
    assert demo.returncode == 130
    assert error.endswith("dissect: interrupted.\n")
    assert "Traceback" not in error


@pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX")
def test_interrupted_at_bad_moments(tmp_path):
    """Each in a fork of one process, of a module: after `-c` Python would not look how to end itself."""
    (tmp_path / "moments.py").write_text("""
import os, signal, sys, torch
from dissect.cli import commands as cli
class Interrupting:
    def __len__(self):
        signal.raise_signal(signal.SIGINT)
        return 1
    def __getitem__(self, index):
        return 0
def plainly(options):
    signal.raise_signal(signal.SIGINT)
def as_python_would_end_itself(options):
    exec('signal.raise_signal(signal.SIGINT)')
def as_torch_makes_an_error_of_it(options):  # a TypeError or a RuntimeError
    torch.tensor([Interrupting()])
for cli._info in (plainly, as_python_would_end_itself, as_torch_makes_an_error_of_it):
    child = os.fork()
    if child == 0:
        sys.exit(cli.main(["info"]))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
""")
    done = subprocess.run(
        [sys.executable, "-m", "moments"], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("130\n" * 3, "\ndissect: interrupted.\n" * 3)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes as on POSIX")
def test_output_that_nobody_reads():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "dissect", "info"], stdout=gone, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 141
    assert done.stderr == ""


def test_the_module_runs():
    command = [sys.executable, "-m", "dissect", "info", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["dissect"] == dissect.__version__


def test_names_do_not_reach_the_terminal_as_commands(tmp_path, capsys, monkeypatch):
    network = torch.nn.Sequential()
    network.add_module("\x1b[31mconv\n", torch.nn.Conv2d(3, 2, 1))
    monkeypatch.setitem(sys.modules, "here", SimpleNamespace(net=lambda: network))
    assert cli.main(["layers", "here:net", "--size", "4"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["\\x1b[31mconv\\n  Conv2d  2x4x4       2"]
    layer = make_layer("\x1b[31ma", 5, 6, 9)
    make_dissection([layer]).save(tmp_path / "\x1b[31msaved")
    (tmp_path / "\u202ebroken.dissection").write_bytes(b"?")
    for name, code in [("\x1b[31msaved", 0), ("\x1b[31mabsent", 2), ("\u202ebroken", 2), ("a\x1b[31m", 2)]:
        arguments = ["report", str(tmp_path / name), "--out", str(tmp_path / "\x1b[31mout")]
        assert cli.main(arguments) == code
        said = "".join(capsys.readouterr())
        assert ("\\x1b[31m" if code == 0 else name.encode("unicode_escape").decode()) in said
        assert said.replace("\n", "").isprintable()
    with pytest.raises(SystemExit):
        cli.main(["\x1b[31m"])
    assert "\\x1b[31m" in capsys.readouterr().err
    monkeypatch.setattr(cli, "_info", lambda options: print(warnings.formatwarning("left out \x1b[31m.png")) or 0)
    assert cli.main(["info"]) == 0
    assert capsys.readouterr().out.strip() == "dissect: warning: left out \\x1b[31m.png"
