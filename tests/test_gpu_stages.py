"""The script for a machine with a GPU: what was done, what failed, what comes back; here its pieces are small."""

import json
import sys

import gpu_stages
import pytest


def program(code):
    return [sys.executable, "-c", code], {}


@pytest.fixture
def stages(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_stages, "FOLDER", tmp_path / "kept")
    monkeypatch.setattr(gpu_stages, "is_installed", lambda: True)
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    pieces = {
        "build": {"install": program("print(1)")},
        "test": {"bad": program("import sys; print('wrong'); sys.exit(1)"), "good": program("print('right')")},
        "sanitize": {"gone": (["no-such-tool"], {})},
        "bench": {"row": program("print('measured')")},
        "slow": {"sleep": program("import time; time.sleep(60)")},
    }
    monkeypatch.setattr(gpu_stages, "STAGES", pieces)
    return pieces


def lines(capfd):
    return [line for line in capfd.readouterr().out.splitlines() if ": " in line]


def test_pieces_are_done_once_and_those_that_failed_come_last(stages, capfd, tmp_path):
    assert gpu_stages.main(60, ["build", "test", "sanitize", "bench"]) == 1
    first = lines(capfd)
    assert [line for line in first if "unavailable" not in line] == [
        "build: install: done", "test: bad: failed", "test: good: done", "bench: row: done",
        "STATE: some failed; not available: sanitize: gone",
    ]  # fmt: skip
    assert any("no-such-tool was not found" in line for line in first)
    assert gpu_stages.main(60, ["sanitize"]) == 0
    assert lines(capfd)[-1] == "STATE: all done; not available: sanitize: gone"
    stages["test"]["bad"] = program("print('mended')")
    assert gpu_stages.main(60, ["build", "test", "bench"]) == 0
    assert lines(capfd) == [
        "build: install: done (before)", "test: good: done (before)", "bench: row: done", "test: bad: done",
        "STATE: all done",
    ]  # fmt: skip
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"done.json", "logs.txt"}
    logs = (tmp_path / "out/logs.txt").read_text()
    assert "===== test-bad.log\nmended" in logs
    assert "measured" in logs
    assert "bench: row" not in json.loads((tmp_path / "out/done.json").read_text())


def test_a_piece_that_takes_too_long_is_left_for_the_next_call(stages, capfd):
    assert gpu_stages.main(60, ["build"]) == 0  # which may itself take a second, where all is slow
    assert gpu_stages.main(1, ["build", "slow"]) == gpu_stages.NOT_YET
    assert lines(capfd)[-2:] == ["slow: sleep: no time", "STATE: more to do, call again"]


def test_nothing_else_is_tried_where_the_build_fails(stages, capfd):
    stages["build"]["install"] = program("raise SystemExit(1)")
    assert gpu_stages.main(60, ["build", "test"]) == 1
    assert lines(capfd) == ["build: install: failed", "STATE: some failed"]


@pytest.mark.parametrize(
    ("code", "text", "result"),
    [
        (gpu_stages.FOUND, "1 error", "failed"),
        (gpu_stages.WRONG_BITS, "Unable to attach; wrong: [3]", "failed"),
        (1, "Traceback: No such file", "failed"),
        (1, "= Error: Device not supported.", "unavailable: Error: Device not supported."),
    ],
)
def test_a_sanitizer_is_unavailable_only_where_it_says_so(stages, code, text, result):
    stages["sanitize"]["tool"] = program(f"import sys; print({text!r}); sys.exit({code})")
    gpu_stages.FOLDER.mkdir()
    assert gpu_stages.run_piece("sanitize", "tool", 60) == result
