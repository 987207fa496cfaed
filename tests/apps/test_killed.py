"""Processes killed while an edit is found, and while it is saved: on disk is the old, or the new, byte for byte."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from apps.malformed import good_of_rewriter
from rewriting import nets
from safetensors.torch import save_file

from dissect import apps
from dissect.rewriting.session import session_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")

#: Kills at chance times, after those at each step of the writing.
KILLS = 12


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_server_is_killed_while_it_finds_an_edit(tmp_path):
    model = nets.progan()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    bodies = good_of_rewriter(apps.Rewriter(model, "layer4", count=12, progress=False), "")
    before = contents(tmp_path)
    options = "--model rewriting.nets:progan --weights weights.safetensors --layer layer4 --count 12 --no-browser"
    command = [sys.executable, "-m", "dissect", "rewrite", "ui", *options.split()]
    server = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        address = re.fullmatch(r"page: (http://\S+)\n", server.stdout.readline())[1]

        def ask(path, body=None):
            data = None if body is None else json.dumps(body).encode()
            asked = urllib.request.Request(address + path, data, {"content-type": "application/json"})
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return json.load(answer)

        job = ask("rewrite/execute", {**bodies["rewrite/execute"], "edits": [], "steps": 20_001})["job"]
        while (found := ask(f"rewrite/progress?job={job}"))["step"] < 3:
            assert found["state"] in ("waits", "runs"), found
            time.sleep(0.02)
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    assert server.returncode == -signal.SIGKILL
    assert contents(tmp_path) == before


def test_a_process_is_killed_while_it_saves_an_edit(tmp_path):
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    # Killed before the bytes are there, before they are on disk, before they are in place, and after that.
    assert told["steps"] == ["old", "old", "old", "new"]
    assert len(told["chance"]) == KILLS
    assert set(told["chance"]) == {"old", "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["rule.edit"]  # what the kills left is swept by the next save


def killed_at(name, nth=0):
    """In a child: from now on the process kills itself when it calls a function of `os`."""
    own = getattr(os, name)

    def call(*args, **options):
        if nth:
            own(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(os, name, call)


def main(folder):
    """Prints what each kill left of a file that was old and was to become new."""
    rewriter = apps.Rewriter(nets.progan(), "layer4", count=12, progress=False)
    rewriting = apps.Rewriting(rewriter, session_of(good_of_rewriter(rewriter, "")["rewrite/open"]["session"]))
    rewriting.execute(steps=2)
    path, known = folder / "rule.edit", {}
    first = rewriting.edit
    rewriting.execute(2, steps=2)
    for name, edit in (("new", rewriting.edit), ("old", first)):
        known[edit.save(path).read_bytes()] = name

    def left(kill):
        """Which bytes are there once a child that saves is gone."""
        first.save(path)
        child = os.fork()
        if not child:
            kill(None)
            rewriting.save_edit(path)
            os._exit(0)
        kill(child)
        os.waitpid(child, 0)
        return known[path.read_bytes()]

    def steps(name, nth=0):
        return left(lambda child: killed_at(name, nth) if child is None else None)

    def later(wait):
        def kill(child):
            if child is not None:
                time.sleep(wait)
                os.kill(child, signal.SIGKILL)

        return left(kill)

    found = [steps("close"), steps("fsync"), steps("replace"), steps("replace", 1)]
    begin = time.monotonic()
    left(lambda child: None)
    usual, choose = time.monotonic() - begin, random.Random(5)
    chance = [later(0.0), left(lambda child: None), *(later(choose.uniform(0, usual)) for _ in range(KILLS - 2))]
    rewriting.save_edit(path)
    print(json.dumps({"steps": found, "chance": chance}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
