"""The command ``dissect classify attack``."""

import json
from pathlib import Path

import pytest
import torch

from dissect.cli import commands as cli
from dissect.experiments import AttackResult

from .conftest import BRIGHTEST_PROJECT, make_importance


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "attacked_project.py").write_text(BRIGHTEST_PROJECT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    make_importance(torch.eye(3) * 0.4, layer="0").save(tmp_path / "mine")
    return tmp_path


@pytest.mark.usefixtures("foolbox")
def test_a_users_network(project, capsys):
    arguments = ["--model", "attacked_project:model", "--val", "attacked_project:Scenes", "--most", "1"]
    assert cli.main(["classify", "attack", "mine.importance", *arguments, "--out", "there"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("6 images attacked, 100.0% reached their target")
    assert "target  attack" in out
    result = AttackResult.load(project / "there" / "result")
    assert (len(result.images), result.before.shape) == (6, (6, 3))
    assert (project / "there" / "attack.png").stat().st_size > 1000
    assert cli.main(["classify", "attack", "mine.importance", *arguments, "--out", "there", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["success_rate"], len(found["changes"])) == (6, 1.0, 6)
    assert found["chart"] == str(Path("there/attack.png"))
    arguments += ["--candidates", "non_target", "--out", "elsewhere"]
    assert cli.main(["classify", "attack", "mine.importance", *arguments]) == 0
    assert AttackResult.load(project / "elsewhere" / "result").candidates == "non_target"


def test_what_is_refused(project, capsys):
    assert cli.main(["classify", "attack", "none.importance"]) == 2
    assert capsys.readouterr().err == "dissect: there is no file none.importance.\n"
    assert cli.main(["classify", "attack", "mine.importance", "--weights", "w.pt"]) == 2
    assert capsys.readouterr().err == "dissect: classify attack: --weights needs --model.\n"
    arguments = ["--model", "attacked_project:model", "--val", "attacked_project:Scenes"]
    assert cli.main(["classify", "attack", "mine.importance", *arguments, "--most", "2"]) == 2
    told = "dissect: classify attack: --most must be in [1, 1], less than half the units, but got 2.\n"
    assert capsys.readouterr().err == told
    other = make_importance(torch.eye(3) * 0.4, layer="0")
    other.fingerprint = "of another"
    other.save("other")
    assert cli.main(["classify", "attack", "other.importance", *arguments, "--most", "1"]) == 2
    assert "model must be the network whose units were measured" in capsys.readouterr().err
    assert not (project / "out").exists()
    with pytest.raises(SystemExit):
        cli.main(["classify"])
    assert "dissect classify" in capsys.readouterr().err
