"""The server: what it answers, whom it refuses, and that nothing which comes in breaks it."""

import base64
import io
import json
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from apps.conftest import some_strokes
from apps.malformed import good, requests
from PIL import Image
from starlette.testclient import TestClient

from dissect import apps
from dissect.apps.server import application

from .test_published import decoded

TOKEN = "secret"


@pytest.fixture
def client(painter):
    with TestClient(application(painter, token=TOKEN, name="street"), base_url="http://127.0.0.1:8000") as client:
        yield client


def ask(client, path, body=None, **options):
    path = f"/{TOKEN}/{path}"
    return client.get(path, **options) if body is None else client.post(path, json=body, **options)


def gesture(painter, **more):
    mask = apps.Mask.of(torch.eye(8)).as_json()
    session = apps.Painting(painter, 2, some_strokes(painter, 2)).session.as_json()
    return {"session": session, "action": "draw", "brush": "tree", "mask": mask, **more}


def test_a_gesture_is_the_engines(client, painter):
    painting = apps.Painting(painter, 2, some_strokes(painter, 2))
    found = ask(client, "paint/stroke", gesture(painter, units=2)).json()
    painting.draw("tree", torch.eye(8), units=2)
    assert found["session"] == json.loads(json.dumps(painting.session.as_json()))
    assert torch.equal(decoded(found["image"]), painting.image)
    again = ask(client, "paint/render", found["session"]).json()
    assert again == found
    removed = ask(client, "paint/stroke", gesture(painter, action="remove", neutral="mean", brush="object/water-iou"))
    (stroke,) = removed.json()["session"]["strokes"][2:]
    maps = torch.cat([painter.maps(number) for number in range(20)])
    assert stroke["values"] == pytest.approx(maps.mean((0, 2, 3))[stroke["units"]].tolist(), rel=1e-5)


def test_images_sheets_and_movies(client, painter):
    found = ask(client, "paint/images?first=17&count=9").json()
    assert [one["number"] for one in found["images"]] == [17, 18, 19]
    assert torch.equal(decoded(found["images"][1]["image"]), painter.picture(18))
    session = gesture(painter)["session"]
    movie, sheet = (ask(client, f"paint/{kind}", session) for kind in ("movie", "sheet"))
    with Image.open(io.BytesIO(movie.content)) as film:
        assert (film.format, film.n_frames) == ("GIF", 3)
    assert (movie.headers["content-type"], sheet.headers["content-type"]) == ("image/gif", "image/png")
    assert sheet.content.startswith(b"\x89PNG")


def test_the_published_interface(client, painter):
    mask = {"shape": [8, 8], "bitbounds": [0, 0, 2, 8], "bitstring": "1" * 16}
    edit = {"mask": mask, "maskpooling": "max", "ablations": [{"layer": "layer3", "unit": 2, "alpha": 1, "value": 3}]}
    body = {"project": "street", "ids": [4], "interventions": [edit]}
    found = ask(client, "api/generate", body).json()
    assert found["request"] == body
    stroke = apps.Stroke("draw", "", (2,), (3.0,), (1.0,), apps.Mask((8, 8), (0, 0, 2, 8), "1" * 16))
    assert torch.equal(decoded(found["res"][0]["d"]), painter.picture(4, [stroke]))
    assert ask(client, "api/all_projects").json()["res"][0]["project"] == "street"
    for path in ("layers", "units", "rankings"):
        assert ask(client, f"api/{path}?project=street&layer=layer3").json()["res"]
    levels = ask(client, "api/levels?quantiles=0.5,0.99").json()["res"]
    assert (len(levels), len(levels[0])) == (8, 2)
    maps = ask(client, "api/featuremaps", {"ids": [1]}).json()["res"]["layer3"][0]
    sample = torch.cat([painter.maps(number) for number in range(20)]).transpose(0, 1).flatten(1)
    share = (sample[3] < painter.maps(1)[0, 3, 5, 6]).double().mean()
    assert maps[3][5][6] == int(share * 255)
    assert set(ask(client, "api/features", {"ids": [1]}).json()["res"]["layer3"]) == {"max", "mean"}


def test_the_page_is_one_file_with_a_script_of_its_own(client):
    page = ask(client, "")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert page.headers["cache-control"] == "no-store"
    assert "connect-src 'self'" in page.text
    assert not any(word in page.text for word in ("http://", "https://", TOKEN))


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 404),
        ("/wrong/", {}, 404),
        ("//", {}, 404),
        (f"/{TOKEN}/", {"host": "evil.example"}, 403),
        (f"/{TOKEN}/", {"host": "[::1"}, 403),
        (f"/{TOKEN}/", {"host": "localhost:8000"}, 200),
        (f"/{TOKEN}/", {"sec-fetch-site": "cross-site"}, 403),
        (f"/{TOKEN}/", {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}, 200),
        (f"/{TOKEN}/paint/images", {"origin": "http://evil.example"}, 403),
        (f"/{TOKEN}/paint/images", {"origin": "null"}, 403),
        (f"/{TOKEN}/paint/images?count=1", {"origin": "http://127.0.0.1:8000"}, 200),
        (f"/{TOKEN}/paint/render", {}, 405),
        (f"/{TOKEN}/../etc/passwd", {}, 404),
        (f"/{TOKEN}/api/nothing", {}, 404),
    ],
)
def test_who_may_ask(client, path, headers, status):
    answer = client.get(path, headers=headers)
    assert answer.status_code == status
    assert status == 200 or set(answer.json()) == {"error"}


def test_what_may_be_asked(client, painter):
    path = f"/{TOKEN}/paint/render"
    plain = client.post(path, content=b"{}", headers={"content-type": "text/plain"})
    assert (plain.status_code, plain.json()) == (400, {"error": "a request must be of the type application/json."})
    large = b" " * 8_000_001
    kind = {"content-type": "application/json"}
    assert client.post(path, content=large, headers=kind).status_code == 413
    assert client.post(path, content=iter([large[:5_000_000]] * 2), headers=kind).status_code == 413
    for body, text in (
        (gesture(painter, brush="moon"), "there is no brush 'moon'"),
        (gesture(painter, units=4), "units must be at most 3"),
        (gesture(painter, mask={}), "must hold shape"),
        (gesture(painter, neutral="one"), "must hold neutral as one of"),
        ([], "must hold session"),
    ):
        answer = ask(client, "paint/stroke", body)
        assert answer.status_code == 400
        assert text in answer.json()["error"]
    half = gesture(painter)["session"]
    half["strokes"][0]["concept"] = "\ud800"
    answer = client.post(path, content=json.dumps(half).encode(), headers=kind)
    assert answer.status_code == 200  # half a character, which JSON can say
    for query, text in (("first=-1", "first is an integer"), ("count=25", "at most 24"), ("count=1e3", "count is an")):
        assert text in ask(client, f"paint/images?{query}").json()["error"]
    for query, text in (("quantiles=a", "numbers between"), ("quantiles=nan", "from 0 to 1"), ("layer=x", "layer as")):
        assert text in ask(client, f"api/levels?{query}").json()["error"]


def test_what_goes_wrong_is_no_traceback(client, painter, monkeypatch, capsys):
    def fail(*_):
        return {}["the cause"]

    monkeypatch.setattr(apps.Painter, "picture", fail)
    answer = ask(client, "paint/images")
    assert answer.status_code == 500
    assert "the cause" not in answer.text
    assert "KeyError: 'the cause'" in capsys.readouterr().err


def test_malformed_requests(client, painter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    statuses = [status for status, _ in requests(client, good(painter), TOKEN, seed=0, count=300)]
    assert set(statuses) <= {200, 400, 403, 404, 405, 413}
    assert statuses.count(400) > 100
    assert list(tmp_path.iterdir()) == []
    found = ask(client, "paint/render", gesture(painter)["session"]).json()
    assert torch.equal(decoded(found["image"]), painter.picture(2, some_strokes(painter, 2)))


def test_many_tabs_at_once_lose_nothing(client, painter):
    running, most, lock = [0], [0], threading.Lock()

    def forward(module, args):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])

    def done(module, args, output):
        with lock:
            running[0] -= 1

    last = painter.generator.output_16x16
    hooks = [last.register_forward_pre_hook(forward), last.register_forward_hook(done)]
    sessions = [apps.Painting(painter, tab, some_strokes(painter, 3, seed=tab)).session for tab in range(8)]
    try:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda one: ask(client, "paint/render", one.as_json()).json(), sessions * 3))
    finally:
        for hook in hooks:
            hook.remove()
    assert most == [1]
    for session, found in zip(sessions * 3, answers):
        assert torch.equal(decoded(found["image"]), painter.picture(session.number, session.strokes))


def test_serving_needs_a_painter_with_brushes(generator):
    with pytest.raises(TypeError, match="serve: painter must be a Painter or a Rewriter, but is a str"):
        apps.serve("street")
    with pytest.raises(ValueError, match="serve: painter must have brushes"):
        apps.serve(apps.Painter(generator, "layer3", count=2))


def test_an_address_that_is_told_takes_connections(painter, monkeypatch, capsys):
    def run(_, sockets):
        port = int(re.search(r"127\.0\.0\.1:(\d+)/", capsys.readouterr().out)[1])
        socket.create_connection(("127.0.0.1", port), 2).close()
        asked.append(sockets[0].getsockname()[1] == port)

    asked = []
    monkeypatch.setattr("uvicorn.Server.run", run)
    apps.serve(painter, browser=False)
    assert asked == [True]


def test_pngs_that_would_fill_the_memory_are_refused(client, painter):
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    edit = {"mask": {"bitstring": url}, "ablations": [{"layer": "layer3", "unit": 2}]}
    answer = ask(client, "api/generate", {"ids": [1], "interventions": [edit]})
    assert (answer.status_code, "1024 rows and columns at most" in answer.json()["error"]) == (400, True)
