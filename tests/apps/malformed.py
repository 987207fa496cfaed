"""Requests that no page makes: good ones altered at chance places.

``python -m apps.malformed paint 10000``, or rewrite, in tests/.
"""

import copy
import json
import random
import sys
from collections import Counter

import torch

from dissect.rewriting import Selection, Session

VALUES = [
    None, True, False, -1, 0, 1, 7, 8, 999, 2**31, 2**63, 10**30, 1e308, -1e38, 0.5, "", "1", "x" * 300, "\x00",
    "\ud800", "../../etc/passwd", "data:image/png;base64,AAAA", "layer3", "NaN", [], {}, [[]], [None], {"a": 1},
    [1] * 3000,
]  # fmt: skip
BODIES = [b"", b"{", b"null", b"[1,", b"\xff\xfe", b'{"a":NaN}', b"[" * 5000, b"1e999", b'"\\ud800"', b"{}" * 9]
PATHS = [
    "paint/render", "paint/stroke", "paint/movie", "paint/sheet", "api/generate", "api/features", "api/featuremaps",
    "paint/images", "api/levels", "api/units", "", "api/", "%2e%2e/x", "paint/stroke/..", "api/generate?x=%00",
    "rewrite/images", "rewrite/execute", "rewrite/progress", "rewrite/progress?job=job-1", "rewrite/edit/../x",
]  # fmt: skip


def good_of_rewriter(rewriter, edit):
    """A body of each path that takes one; `edit` is the name of one that was made."""
    mask = torch.zeros(rewriter.image_size)
    mask[2:6, 4:8] = 1
    here = Selection(1, mask)
    session = Session(here, Selection(3, mask), (here, Selection(2, mask)), here).as_json()
    asked = {"session": session, "edits": [edit]}
    options = {"rank": 1, "steps": 2, "every": 10, "rate": 0.05}
    return {
        "rewrite/images": {"numbers": [1, 4], "edits": [edit]},
        "rewrite/preview": asked,
        "rewrite/search": {"session": session, "by": "context", "count": 3},
        "rewrite/execute": {**asked, **options},
        "rewrite/erase": {**asked, **options, "units": 2},
        "rewrite/cancel": {"job": "job-1"},
        "rewrite/open": {"session": session},
        "rewrite/edit": {"edits": [edit]},
        "rewrite/take": {"edits": [], "file": "AAAA"},
    }


def good(painter):
    """A body of each path that takes one."""
    mask = {"shape": [8, 8], "bitbounds": [1, 1, 3, 3], "bitstring": "1011"}
    stroke = {
        "action": "draw", "concept": "tree-iou", "units": [1, 4], "values": [2.0, 3.0], "alphas": [1, 0.5],
        "mask": mask, "pooling": "max",
    }  # fmt: skip
    session = {
        "kind": "dissect painting", "version": 1, "generator": painter.fingerprint, "layer": painter.layer,
        "z": {"seed": 1, "number": 2}, "strokes": [stroke, stroke],
    }  # fmt: skip
    ablations = [{"layer": painter.layer, "unit": 2, "alpha": 1, "value": 3}]
    edits = [{"mask": mask, "maskpooling": "mean", "ablations": ablations}]
    return {
        "paint/render": session,
        "paint/stroke": {"session": session, "action": "remove", "brush": "tree", "mask": mask, "units": 2},
        "paint/movie": session,
        "api/generate": {"project": "street", "ids": [1], "interventions": edits},
        "api/features": {"ids": [1], "masks": [mask], "interventions": edits},
        "api/featuremaps": {"ids": [1], "layers": [painter.layer]},
    }


def places(found, path=()):
    """The paths of all values within, itself among them."""
    yield path
    parts = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for name, part in parts:
        yield from places(part, (*path, name))


def altered(found, chance):
    """A copy with one to three values changed, taken out, or put elsewhere."""
    found = copy.deepcopy(found)
    for _ in range(chance.randint(1, 3)):
        path = chance.choice(list(places(found)))
        if not path:
            continue
        at = found
        for part in path[:-1]:
            at = at[part]
        kind = chance.random()
        if kind < 0.15:
            del at[path[-1]]
        elif kind < 0.25 and isinstance(at, list):
            at.extend(at[:50])
        else:
            at[path[-1]] = copy.deepcopy(chance.choice(VALUES))
    return found


def requests(client, bodies, token, seed, count):
    """The status and the text of each answer to good bodies by path, altered."""
    chance = random.Random(seed)
    for number in range(count):
        path, method, headers = chance.choice(list(bodies)), "POST", {"content-type": "application/json"}
        content = json.dumps(altered(bodies[path], chance)).encode()
        kind = chance.random()
        if kind < 0.1:
            content = chance.choice(BODIES)
        elif kind < 0.2:
            cut = chance.randrange(len(content))
            content = content[:cut] + bytes([chance.randrange(256)]) + content[cut + chance.randint(0, 2) :]
        elif kind < 0.3:
            path, method = chance.choice(PATHS), chance.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
        elif kind < 0.35:
            name = chance.choice(["origin", "host", "content-type", "sec-fetch-site"])
            headers[name] = chance.choice(["", "x", "null"])
        answer = client.request(method, f"/{token}/{path}", content=content, headers=headers)
        yield answer.status_code, (number, path, content, answer.text)


def main(page, count, seed=1):
    """Asks a small painter's or rewriter's server, and prints how often it answered what."""
    from apps.conftest import BRUSHES
    from starlette.testclient import TestClient

    from dissect import apps, models
    from dissect.apps.server import application

    model = models.ProGAN((8, 8, 6), z_channels=5).eval()
    if page == "paint":
        engine = apps.Painter(model, "layer3", brushes=BRUSHES, count=20)
        bodies = good(engine)
    else:
        engine = apps.Rewriter(model, "layer4", count=20, progress=False)
        bodies = good_of_rewriter(engine, "edit-1")
    client = TestClient(application(engine, token="secret", name="street"), base_url="http://127.0.0.1:8000")
    if page != "paint":
        client.post("/secret/rewrite/execute", json={**bodies["rewrite/execute"], "edits": []})
    found = Counter()
    for status, told in requests(client, bodies, "secret", int(seed), int(count)):
        found[status] += 1
        if status >= 500:
            print(status, *told)
    print(dict(sorted(found.items())))


if __name__ == "__main__":
    main(*sys.argv[1:])
