"""Rewriting: gestures are the published session's, versions stand beside each other, and nothing is left by a stop."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from rewriting import nets

from dissect import apps, models
from dissect.data.pictures import signed_pictures
from dissect.rewriting import Edit, Memory, Selection, Session, erase, load_session, matches, render

COUNT, STEPS = 12, 12


def box(top, left, bottom, right, side=16):
    painted = torch.zeros(side, side)
    painted[top:bottom, left:right] = 1
    return painted


MASKS = (box(2, 4, 8, 8), box(6, 10, 10, 14), box(0, 0, 4, 4))


@pytest.fixture(scope="module")
def rewriter():
    return apps.Rewriter(nets.progan(), "layer4", count=COUNT, progress=False)


@pytest.fixture
def rewriting(rewriter):
    found = apps.Rewriting(rewriter)
    found.copy(3, MASKS[0])
    found.paste(1, MASKS[1])
    found.add_context(5, MASKS[2])
    found.add_context(1, MASKS[1])
    return found


def by_hand(make=nets.progan):
    """The same memory, z set and session, without a rewriter."""
    model = make()
    memory, z = Memory(model, "layer4"), nets.z_of(model, COUNT)
    memory.second_moment(z, progress=False)
    key = (Selection(5, MASKS[2]), Selection(1, MASKS[1]))
    return memory, z, Session(Selection(3, MASKS[0]), Selection(1, MASKS[1]), key)


def test_gestures_are_the_published_session():
    model = nets.progan()
    weights = copy.deepcopy(model.state_dict())
    rewriting = apps.Rewriting(apps.Rewriter(model, "layer4", count=COUNT, progress=False))
    memory, z, session = by_hand()
    seen = []
    for number, selection in zip((3, 1), (session.object, session.paste)):
        (rewriting.copy if number == 3 else rewriting.paste)(number, selection.mask)
    for selection in session.key:
        rewriting.add_context(*selection)
    found = rewriting.execute(2, steps=STEPS, watch=lambda step, loss: seen.append((step, loss)))
    wanted = session.edit(memory, z, 2, steps=STEPS, progress=False)
    assert torch.equal(found.lambdas, wanted.lambdas)
    assert seen == [(step, pytest.approx(loss)) for step, loss in enumerate(wanted.losses.tolist())]
    # The second edit is made in the weight that the first one left.
    second = rewriting.execute(steps=STEPS)
    wanted.apply()
    again = session.edit(memory, z, steps=STEPS, progress=False).apply()
    assert torch.equal(second.lambdas, again.lambdas)
    image = signed_pictures(render(memory, z[[7]]))[0]
    assert torch.equal(rewriting.images([7])[0], image)
    assert not torch.equal(rewriting.before([7])[0], image)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("make", [nets.progan, nets.stylegan2])
def test_a_preview_is_what_the_edit_aims_at(make):
    memory, z, session = by_hand(make)
    rewriting = apps.Rewriting(apps.Rewriter(make(), "layer4", count=COUNT, progress=False), session)
    one = tuple(part[[1]] for part in z) if isinstance(z, tuple) else z[[1]]
    painted = session.painted(memory, z, tight=False)
    assert torch.equal(rewriting.preview(), signed_pictures(render(memory, one, painted.whole))[0])
    assert torch.equal(rewriting.images([1])[0], signed_pictures(render(memory, one))[0])
    assert rewriting.search(20).maps.shape == (COUNT, *rewriting.rewriter.key_size)


@pytest.mark.parametrize("kept", [0, 1 << 28])
def test_search_ranks_all_images(rewriting, monkeypatch, kept):
    monkeypatch.setattr("dissect.apps.rewriter.KEPT_BYTES", kept)
    memory, z, _ = by_hand()
    direction = memory.direction(memory.keys(z[[5, 1]]), masks=torch.stack([MASKS[2], MASKS[1]]))
    wanted = matches(memory, z, direction, 4, progress=False)
    for found in (rewriting.search(4), rewriting.search(4)):
        assert torch.equal(found.images, wanted.images)
        assert torch.equal(found.maps, wanted.maps)
        assert found.level == wanted.level


def test_erasing(rewriting):
    memory, z, _ = by_hand()
    wanted = erase(memory, z[[5, 1]], torch.stack([MASKS[2], MASKS[1]]), units=2, goal=1, steps=STEPS, progress=False)
    found = rewriting.erase(units=2, goal=1, steps=STEPS)
    assert torch.equal(found.lambdas, wanted.lambdas)
    assert rewriting.edits == (found,)


def test_stopped_within_a_step(rewriting):
    """By another thread, which waits for the third step; then all is as it was, and it can be executed again."""
    before, steps, there, go_on = rewriting.images([1]), [], threading.Event(), threading.Event()

    def watch(step, loss):
        steps.append(step)
        if step == 3:
            there.set()
            assert go_on.wait(60)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(rewriting.execute, steps=1000, watch=watch)
        assert there.wait(60)
        with pytest.raises(RuntimeError, match=r"^Rewriting: another edit is on its way"):
            rewriting.execute(steps=1)
        assert rewriting.cancel()
        go_on.set()
        with pytest.raises(apps.StoppedError, match="stopped after 3 steps"):
            waiting.result()
    assert (steps, rewriting.edits) == ([0, 1, 2, 3], ())
    assert torch.equal(rewriting.images([1])[0], before[0])
    assert not rewriting.cancel()
    assert rewriting.execute(steps=2).rank == 1


def test_an_edit_that_waits_for_another_is_stopped(rewriter, rewriting):
    there, go_on, stop = threading.Event(), threading.Event(), threading.Event()

    def watch(step, loss):
        there.set()
        assert go_on.wait(60)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(rewriting.execute, steps=2, watch=watch)
        assert there.wait(60)
        second = pool.submit(rewriter.execute, rewriting.session, steps=2, stop=stop)
        stop.set()
        with pytest.raises(apps.StoppedError, match="before its turn"):
            second.result()
        go_on.set()
        assert first.result().rank == 1


def test_an_error_leaves_nothing_behind(rewriting):
    def watch(step, loss):
        if step == 2:
            raise OSError("the disk is full")

    weight = rewriting.rewriter.memory.weight.clone()
    with pytest.raises(OSError, match="the disk is full"):
        rewriting.execute(steps=9, watch=watch)
    with pytest.raises(ArithmeticError):
        rewriting.execute(steps=9, rate=1e38)
    assert rewriting.edits == ()
    assert torch.equal(rewriting.rewriter.memory.weight, weight)
    assert rewriting.execute(steps=2).rank == 1


def test_history_and_snapshots(rewriting):
    plain = rewriting.images([1])[0]
    rewriting.snap("painted")
    rewriting.execute(steps=STEPS)
    one = rewriting.images([1])[0]
    rewriting.snap("one")
    rewriting.execute(steps=STEPS)
    two = rewriting.images([1])[0]
    assert len({tuple(image.flatten().tolist()) for image in (plain, one, two)}) == 3
    assert rewriting.undo()
    assert torch.equal(rewriting.images([1])[0], one)
    assert rewriting.redo()
    assert torch.equal(rewriting.images([1])[0], two)
    rewriting.back_to("painted")
    assert (rewriting.edits, rewriting.snapshots) == ((), ("painted", "one"))
    rewriting.undo()
    rewriting.revert()
    assert torch.equal(rewriting.images([1])[0], plain)
    rewriting.undo()
    assert len(rewriting.edits) == 2
    removed = rewriting.remove_context(0)
    assert (removed.image, [part.image for part in rewriting.session.key]) == (5, [1])
    rewriting.undo()
    assert [part.image for part in rewriting.session.key] == [5, 1]
    for _ in range(20):
        rewriting.undo()
    assert rewriting.session.object is rewriting.session.paste is None
    assert not rewriting.undo()


def test_files(rewriter, rewriting, tmp_path):
    rewriting.execute(steps=STEPS)
    rewriting.execute(steps=STEPS)
    session = load_session(rewriting.save(tmp_path / "session.json"))
    again = apps.Rewriting(rewriter, session)
    for _ in range(2):
        again.execute(steps=STEPS)
    assert torch.equal(again.images([1])[0], rewriting.images([1])[0])
    edit = Edit.load(rewriting.save_edit(tmp_path / "edit"))
    model = nets.progan()
    edit.apply(model)
    weight = rewriter.version(rewriting.edits).weight
    assert float((model.layer4.conv.weight - weight).detach().abs().max()) < 1e-6
    begun = apps.Rewriting(rewriter, edits=[edit])
    assert (begun.images([1])[0].int() - rewriting.images([1])[0].int()).abs().max() <= 1
    again.open(session)
    assert len(again.edits) == 2


def test_versions_stand_beside_each_other(rewriter, rewriting):
    edits = [rewriting.execute(steps=steps) for steps in (2, 4, 6)]
    chains = [edits[:count] for count in range(4)] * 4
    wanted = [rewriter.images([2], chain)[0] for chain in chains]
    rewriter._versions.clear()
    with ThreadPoolExecutor(6) as pool:
        running = pool.submit(rewriter.execute, rewriting.session, edits, steps=30)
        found = list(pool.map(lambda chain: rewriter.images([2], chain)[0], chains))
        last = running.result()
    assert all(torch.equal(one, other) for one, other in zip(found, wanted))
    assert torch.equal(last.lambdas, rewriter.execute(rewriting.session, edits, steps=30).lambdas)


def test_what_is_refused(rewriter, rewriting):
    edit = rewriting.execute(steps=2)
    many = Session(key=(Selection(0, MASKS[0]),) * 33)
    for call, text in (
        (lambda: rewriting.copy(12, MASKS[0]), "Rewriting: number must be at most 11"),
        (lambda: rewriting.copy(1, torch.zeros(16, 16)), "mask must be painted somewhere"),
        (lambda: rewriting.copy(1, torch.ones(20, 20)), "Rewriting: masks must be of images whose size is a multiple"),
        (lambda: rewriting.copy(1, torch.ones(16)), r"mask must be \[H, W\], but is \[16\]"),
        (lambda: rewriting.remove_context(2), "place must be at most 1"),
        (lambda: apps.Rewriting(rewriter).remove_context(0), "there is no context"),
        (lambda: apps.Rewriting(rewriter).execute(), "must have an object and a place"),
        (lambda: apps.Rewriting(rewriter).search(), "context must have an image"),
        (lambda: apps.Rewriting(rewriter).edit, "Rewriting: there must be an edit"),
        (lambda: apps.Rewriting(rewriter, many), "Rewriting: a context must have at most 32 images, but has 33"),
        (lambda: rewriter.images([0], [edit, edit]), "must be the one that the edit was made of"),
        (lambda: apps.Rewriter(nets.progan(), "layer4", count=0), "Rewriter: count must be"),
    ):
        with pytest.raises(ValueError, match=text):
            call()
    with pytest.raises(KeyError, match="there is no snapshot 'x'; there are none"):
        rewriting.back_to("x")


def test_weights_that_have_changed():
    model = models.ProGAN((6, 6), z_channels=6).eval()
    rewriter = apps.Rewriter(model, "layer3", count=4, progress=False)
    with torch.no_grad():
        model.layer1.conv.weight.mul_(2)
    with pytest.raises(RuntimeError, match="have changed, so make another Rewriter"):
        rewriter.images([0])
