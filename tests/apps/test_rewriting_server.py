"""The rewriting page's server: what it answers, whom it refuses, and that nothing which comes in breaks it."""

import base64
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from apps.malformed import good_of_rewriter, requests
from rewriting import nets
from starlette.testclient import TestClient

from dissect import apps
from dissect.apps.jobs import Jobs
from dissect.apps.server import application
from dissect.rewriting import Edit
from dissect.rewriting.session import session_of

from .test_published import decoded
from .test_server import TOKEN, ask


@pytest.fixture(scope="module")
def rewriter():
    return apps.Rewriter(nets.progan(), "layer4", count=12, progress=False)


@pytest.fixture
def client(rewriter):
    with TestClient(application(rewriter, token=TOKEN, name="street"), base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture(scope="module")
def bodies(rewriter):
    return good_of_rewriter(rewriter, "edit-1")


def ended(client, job):
    while True:
        found = ask(client, f"rewrite/progress?job={job}").json()
        if found["state"] not in ("waits", "runs"):
            return found
        time.sleep(0.01)


def made(client, bodies, **more):
    """What is told of an edit at its end."""
    asked = {**bodies["rewrite/execute"], "edits": [], **more}
    return ended(client, ask(client, "rewrite/execute", asked).json()["job"])


def test_gestures_are_the_engines(client, rewriter, bodies, tmp_path):
    session = session_of(bodies["rewrite/open"]["session"])
    rewriting = apps.Rewriting(rewriter, session)
    first = made(client, bodies, steps=25, rank=2)
    edit = rewriting.execute(2, steps=25)
    assert (first["state"], first["edit"], first["rank"], first["steps"]) == ("done", "edit-1", 2, 25)
    assert (first["before"], first["after"]) == (edit.settings["loss_before"], edit.settings["loss_after"])
    # Of what was just projected, and before the first projection none.
    assert first["losses"] == [[step, pytest.approx(float(edit.losses[step]))] for step in (1, 11, 21)]
    second = ask(client, "rewrite/erase", {**bodies["rewrite/erase"], "edits": ["edit-1"]}).json()["job"]
    assert ended(client, second)["edit"] == "edit-2"
    rewriting.erase(units=2, steps=2)
    for edits, count in ((["edit-1", "edit-2"], 2), (["edit-1"], 1), ([], 0)):
        found = ask(client, "rewrite/images", {"numbers": [3, 7], "edits": edits}).json()["images"]
        assert [one["number"] for one in found] == [3, 7]
        for one, image in zip(found, rewriter.images([3, 7], rewriting.edits[:count])):
            assert torch.equal(decoded(one["image"]), image)
    asked = {"session": bodies["rewrite/open"]["session"], "edits": ["edit-1"]}
    preview = ask(client, "rewrite/preview", asked).json()["image"]
    assert torch.equal(decoded(preview), rewriter.preview(session, [edit]))
    answer = ask(client, "rewrite/edit", {"edits": ["edit-1", "edit-2"]})
    (tmp_path / "rule.edit").write_bytes(answer.content)
    assert answer.content == rewriting.edit.save(tmp_path / "same").read_bytes()
    assert torch.equal(Edit.load(tmp_path / "rule.edit").lambdas, rewriting.edit.lambdas)
    assert session_of(ask(client, "rewrite/open", asked).json()["session"]).key[1].image == 2


def bytes_of(edit, folder):
    return edit.save(folder / "rule").read_bytes()


def test_an_edit_is_opened_from_its_file(client, rewriter, bodies, tmp_path, monkeypatch):
    rewriting = apps.Rewriting(rewriter, session_of(bodies["rewrite/open"]["session"]))
    first, second = rewriting.execute(steps=2), rewriting.execute(2, steps=2)
    files = [bytes_of(each, tmp_path) for each in (first, second, rewriting.edit)]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rule.edit").unlink()

    def take(data, edits):
        return ask(client, "rewrite/take", {"edits": edits, "file": base64.b64encode(data).decode()})

    name = take(files[0], []).json()["edit"]
    other = take(files[1], [name]).json()
    assert other["rank"] == 2
    both = take(files[2], []).json()["edit"]
    for edits, wanted in (([name], [first]), ([name, other["edit"]], [first, second]), ([both], [rewriting.edit])):
        found = ask(client, "rewrite/images", {"numbers": [3], "edits": edits}).json()["images"][0]["image"]
        assert torch.equal(decoded(found), rewriter.images([3], wanted)[0])
    # One that says that it gives another weight than it does is named by what it gives.
    liar = replace(second, before=first.before, after=first.after)
    lied = take(bytes_of(liar, tmp_path), []).json()["edit"]
    shown = ask(client, "rewrite/images", {"numbers": [3], "edits": [lied]}).json()["images"][0]["image"]
    changed = rewriter.images([3], [replace(liar, after="x")])[0]
    assert torch.equal(decoded(shown), changed)
    (tmp_path / "rule.edit").unlink()
    for data, edits, text in (
        (files[1], [], "must be the one that the edit was made of"),
        (files[0], [name], "it has this edit already"),
        (files[0][:-1], [], "the file is damaged or no safetensors file"),
        (b"", [], "the file is damaged"),
        (files[0].replace(b"layer4", b"layer3"), [], "its content does not match its checksum"),
        (bytes_of(replace(first, layer="layer3.conv"), tmp_path), [], "edits must be of 'layer4.conv'"),
        (rewriter.moment.save(tmp_path / "other").read_bytes(), [], "the file must hold a edit, but holds"),
    ):
        answer = take(data, edits)
        assert (answer.status_code, text in answer.json()["error"]) == (400, True), answer.text
    (tmp_path / "rule.edit").unlink()
    (tmp_path / "other.moment").unlink()
    assert "in base64" in ask(client, "rewrite/take", {"edits": [], "file": "ü"}).json()["error"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by", ["context", "query"])
def test_a_search_tells_where(client, rewriter, bodies, by):
    session = session_of(bodies["rewrite/open"]["session"])
    found = ask(client, "rewrite/search", {**bodies["rewrite/search"], "by": by}).json()
    wanted = rewriter.search(session.context if by == "context" else [session.query], 3)
    assert [one["number"] for one in found["images"]] == wanted.images.tolist()
    for one, maps in zip(found["images"], wanted.maps):
        assert one["score"] == float(maps.max())
        assert torch.equal(torch.tensor(one["above"]).bool(), maps > wanted.level)
        heat = (maps / wanted.maps[0].max()).clamp(0, 1) * 255
        assert (torch.tensor(one["heat"]) - heat).abs().max() <= 0.5
    assert max(map(max, found["images"][0]["heat"])) == 255


def test_an_edit_is_cancelled(client, rewriter, bodies):
    job = ask(client, "rewrite/execute", {**bodies["rewrite/execute"], "edits": [], "steps": 20_001}).json()["job"]
    while ask(client, f"rewrite/progress?job={job}").json()["step"] < 3:
        time.sleep(0.01)
    ask(client, "rewrite/cancel", {"job": job})
    found = ended(client, job)
    assert found["state"] == "stopped"
    assert "nothing has changed" in found["error"]
    assert "edit" not in found
    assert made(client, bodies)["edit"] == "edit-1"


def test_many_tabs_at_once_lose_nothing(client, rewriter, bodies):
    def tab(rank):
        first = made(client, bodies, rank=rank)["edit"]
        second = made(client, bodies, rank=rank, edits=[first])["edit"]
        return ask(client, "rewrite/images", {"numbers": [3], "edits": [first, second]}).json()["images"][0]["image"]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(tab, [1, 2, 3, 4]))
    for rank, image in zip([1, 2, 3, 4], found):
        rewriting = apps.Rewriting(rewriter, session_of(bodies["rewrite/open"]["session"]))
        for _ in range(2):
            rewriting.execute(rank, steps=2)
        assert torch.equal(decoded(image), rewriting.images([3])[0])


def test_what_may_be_asked(client, bodies):
    large = {"object": [1, "data:image/png;base64," + "A" * 100]}
    for path, more, text in (
        ("images", {"numbers": []}, "1 to 24 images"),
        ("images", {"numbers": [12]}, "at most 11"),
        ("images", {"edits": ["edit-7"]}, "edits are names of those that were made"),
        ("images", {"edits": ["edit-1"] * 65}, "at most 64 edits"),
        ("search", {"by": "mask"}, "one of"),
        ("search", {"session": {}}, "context must have an image"),
        ("execute", {"session": {}, "edits": []}, "copy an object and say where to paste it first"),
        ("erase", {"session": {}, "edits": []}, "add what shall be erased"),
        ("execute", {"steps": 20_002, "edits": []}, "at most 20001"),
        ("execute", {"rate": "fast", "edits": []}, "rate from 1e-09 to 1000"),
        ("execute", {"rank": 7, "edits": []}, "at most 6"),
        ("open", {"session": large}, "must have a mask that is a PNG"),
        ("open", {"session": {"key": [bodies["rewrite/open"]["session"]["object"]] * 33}}, "at most 32 entries"),
        ("edit", {"edits": []}, "there must be an edit"),
        ("cancel", {"job": "job-99"}, "no such edit on its way"),
    ):
        answer = ask(client, f"rewrite/{path}", {**bodies[f"rewrite/{path}"], **more})
        assert (answer.status_code, text in answer.json()["error"]) == (400, True), (path, more, answer.text)
    failed = made(client, bodies, rate=1e3, steps=300)
    assert failed["state"] in ("done", "failed")
    assert "Traceback" not in str(failed)


def test_too_many_edits_at_once(rewriter):
    jobs, go_on = Jobs(), threading.Event()

    def find(watch, stop):
        watch(1, 0.5)
        assert go_on.wait(60)
        raise apps.StoppedError("stopped.")

    names = [jobs.start(find, 9, 10, str) for _ in range(8)]
    with pytest.raises(ValueError, match="8 edits are on their way"):
        jobs.start(find, 9, 10, str)
    go_on.set()
    while any(jobs.of(name).runs for name in names):
        time.sleep(0.01)
    last = [jobs.start(find, 9, 10, str) for _ in range(8)][-1]
    while jobs.of(last).runs:
        time.sleep(0.01)
    assert jobs.of(last).told()["losses"] == [(1, 0.5)]


def test_what_goes_wrong_is_no_traceback(client, bodies, monkeypatch, capsys):
    def fail(*_, **__):
        return {}["the cause"]

    monkeypatch.setattr(apps.Rewriter, "execute", fail)
    found = made(client, bodies)
    assert (found["state"], "the cause" in found["error"]) == ("failed", False)
    assert "KeyError: 'the cause'" in capsys.readouterr().err


def test_malformed_requests(client, rewriter, bodies, tmp_path, monkeypatch):
    made(client, bodies)
    before = rewriter.images([1])[0]
    monkeypatch.chdir(tmp_path)
    statuses = [status for status, _ in requests(client, bodies, TOKEN, seed=0, count=250)]
    assert set(statuses) <= {200, 400, 403, 404, 405, 413}
    assert statuses.count(400) > 80
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(
        decoded(ask(client, "rewrite/images", {"numbers": [1], "edits": []}).json()["images"][0]["image"]), before
    )
