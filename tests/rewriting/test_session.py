"""Sessions in the published format: written by hand as its code does, read, replayed, and refused."""

import base64
import io
import json
import struct
import zlib

import pytest
import torch
from PIL import Image
from rewriting import nets

from dissect.rewriting import Memory, Selection, Session, copy, insert, load_session, paste


def published(size, box, alpha=255):
    """A mask as the published interface saves it: painted pixels are white, all others are transparent black."""
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    picture.paste((255, 255, 255, alpha), box)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def written(folder, **parts):
    path = folder / "session.json"
    path.write_text(json.dumps(parts))
    return path


def test_a_published_session(tmp_path):
    path = written(
        tmp_path, object=[3, published((32, 16), (4, 2, 8, 6))], paste=[1, published((32, 16), (0, 0, 2, 2), 7)],
        key=[[5, published((32, 16), (0, 0, 32, 1))], [2, published((32, 16), (0, 0, 1, 1))]], other="x",
    )  # fmt: skip
    found = load_session(path)
    assert (found.object.image, found.paste.image, [each.image for each in found.key]) == (3, 1, [5, 2])
    assert found.query is None
    wanted = torch.zeros(16, 32)
    wanted[2:6, 4:8] = 1
    assert torch.equal(found.object.mask, wanted)
    assert float(found.paste.mask.sum()) == 4  # the red channel counts, not how opaque it is
    assert found.context == found.key


def test_the_context_is_where_it_is_pasted_if_there_is_no_other(tmp_path):
    path = written(tmp_path, object=[0, published((8, 8), (0, 0, 2, 2))], paste=[1, published((8, 8), (0, 0, 2, 2))])
    assert [each.image for each in load_session(path).context] == [1]
    assert Session().context == ()


def test_written_and_read(tmp_path):
    soft = torch.linspace(0, 1, 64).mul(255).round().div(255).view(8, 8)
    session = Session(Selection(4, soft), Selection(0, 1 - soft), (Selection(7, soft),), Selection(9, soft))
    found = load_session(session.save(tmp_path / "a" / "soft.json"))
    for name in ("object", "paste", "query"):
        assert getattr(found, name).image == getattr(session, name).image
        torch.testing.assert_close(getattr(found, name).mask, getattr(session, name).mask, atol=1e-6, rtol=0)
    assert [each.image for each in found.key] == [7]
    assert load_session(Session().save(tmp_path / "empty.json")).key == ()


@pytest.mark.parametrize("seeds", [False, True])
def test_replayed(seeds):
    model = nets.stylegan2() if seeds else nets.progan()
    z = nets.z_of(model, 8)
    memory = Memory(model, "layer4")
    memory.second_moment(z, progress=False)
    masks = torch.zeros(3, 16, 16)
    masks[0, 2:8, 4:8] = masks[1, 6:10, 10:14] = masks[2, :4, :4] = 1
    session = Session(Selection(3, masks[0]), Selection(1, masks[1]), (Selection(5, masks[2]), Selection(1, masks[1])))
    options = {"steps": 12, "progress": False}
    edit = session.edit(memory, z, 2, **options)

    def one(at):
        return tuple(part[[at]] for part in z) if seeds else z[[at]]

    keys, values = paste(memory, one(1), masks[1], copy(memory, one(3), masks[0]))
    context = memory.keys(tuple(part[[5, 1]] for part in z) if seeds else z[[5, 1]])
    wanted = insert(memory, keys, values, memory.direction(context, 2, masks=masks[[2, 1]]), **options)
    assert torch.equal(edit.lambdas, wanted.lambdas)
    assert edit.rank == 2


def test_of_another_model():
    model = nets.progan()
    memory, z = Memory(model, "layer4"), nets.z_of(model, 8)
    memory.second_moment(z, progress=False)
    mask = torch.ones(16, 16)
    here = Selection(0, mask)
    for session, text in (
        (Session(here), "must have an object and a place to paste it"),
        (Session(Selection(8, mask), here), "there are 8 and it names number 8"),
        (Session(Selection(-1, mask), here), "names number -1"),
        (
            Session(here, Selection(0, torch.ones(20, 20))),
            "8 by 8, but one is 20 by 20: the session is of another model",
        ),
        (Session(here, here, (Selection(0, torch.ones(16, 8)),)), "one is 16 by 8"),
    ):
        with pytest.raises(ValueError, match=f"^Session: .*{text}"):
            session.edit(memory, z)


def test_files_that_are_none(tmp_path):
    good = published((8, 8), (0, 0, 2, 2))
    jpeg = io.BytesIO()
    Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
    coded = base64.b64encode(jpeg.getvalue()).decode()
    for parts, text in (
        ({"object": 3}, r"object must be \[image number, data URL\], but is a int"),
        ({"object": [3, good, 1]}, "object must be"),
        ({"object": ["3", good]}, "must hold the image's number as an integer of at least 0, but holds '3'"),
        ({"paste": [3, good[5:]]}, "paste must have a mask that begins with"),
        ({"paste": [3, "data:image/png;base64,%%%"]}, "paste must have a mask that is a PNG"),
        ({"key": [[3, f"data:image/png;base64,{coded}"]]}, "key must have a mask that is a PNG"),
        ({"key": {"a": 1}}, "key must be a list"),
        ({"query": [3, published((5000, 1), (0, 0, 2, 1))]}, "4096 rows and columns at most"),
    ):
        path = written(tmp_path, **parts)
        with pytest.raises(ValueError, match=f"session.json.*{text}"):
            load_session(path)
    (tmp_path / "session.json").write_text("[1")
    with pytest.raises(ValueError, match=r"session.json holds what cannot be: it is no JSON"):
        load_session(tmp_path / "session.json")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_session(tmp_path / "none.json")


def declared(columns, rows, picture="IHDR"):
    """A PNG that says it is larger than anybody has room for, once or a second time."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = [chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)) for size in ((8, 8), (columns, rows))]
    data = b"\x89PNG\r\n\x1a\n" + (head[1] if picture == "IHDR" else b"".join(head))
    data += chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.mark.parametrize("twice", [False, True])
def test_masks_that_would_fill_the_memory_are_refused(tmp_path, twice):
    for size in ((20_000, 20_000), (5000, 1), (10**9, 10**9)):
        path = written(tmp_path, object=[3, declared(*size, "twice" if twice else "IHDR")])
        text = "object (does not fit together: a mask|must have a mask that is a PNG)"
        with pytest.raises(ValueError, match=f"session.json.*{text}"):
            load_session(path)


def test_what_a_json_holds_is_its_file(tmp_path):
    here = Selection(2, torch.ones(8, 8))
    session = Session(here, key=(here,))
    assert json.loads(session.save(tmp_path / "a.json").read_text()) == session.as_json()
    assert list(session.as_json()) == ["object", "key"]
