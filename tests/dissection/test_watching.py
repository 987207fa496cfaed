"""dissect.Watch: a training that is watched is the training that is not, and its history that of dissections apart."""

import random

import numpy as np
import pytest
import torch
from torch import nn

import dissect

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
IMAGES, PLANES = (
    torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1)),
    torch.arange(384).view(6, 1, 8, 8) % 3,
)
OPTIONS = {"concepts": ["sky", "tree"], "fraction": 0.1, "decoys": 0, "resamples": 0, "top_images": 2}


def network():
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(256, 3)
    )
    model[1].eval()  # as a part may be that is not trained
    return model


def train(model, steps, called=None):
    """Steps whose images, dropout and order come from all three streams of chance."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(steps):
        images = torch.rand(5, 3, 8, 8) * random.random() + float(np.random.rand())
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), torch.arange(5) % 3).backward()
        optimizer.step()
        if called is not None:
            called()
    return {name: value.clone() for name, value in model.state_dict().items()}


def seeded():
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_training_ends_with_the_same_bits():
    model = network()
    seeded()
    alone = train(model, 5)
    watched = network()
    seeded()
    loader = torch.utils.data.DataLoader([(image, planes) for image, planes in zip(IMAGES, PLANES)], batch_size=3)
    with dissect.Watch(watched, "0", loader, every=1, **OPTIONS) as watch:  # a loader draws from PyTorch's stream
        ended = train(watched, 5, watch.step)
    assert same(alone, ended)
    assert [module.training for module in watched] == [True, False, True, True, True, True]
    assert watched.training
    assert watch.cost().dissections == 6


def test_the_history_is_that_of_dissections_made_apart():
    model, apart = network(), {}
    seeded()

    def look():
        apart[len(apart)] = dissect.dissect(
            network_of(model), ["0", "2"], [(IMAGES, PLANES)], progress=False, **OPTIONS
        )

    def network_of(model):
        copy = network()
        copy.load_state_dict(model.state_dict())
        return copy.eval()

    look()
    with dissect.Watch(model, ["0", "2"], [(IMAGES, PLANES)], every=2, at=[1], **OPTIONS) as watch:
        train(model, 5, lambda: (watch.step(), look()))
    found = watch.history()
    assert list(found.steps.values()) == [0, 1, 2, 4, 5]
    for step, one in zip(found.steps.values(), found.dissections.values()):
        for layer in ("0", "2"):
            assert torch.equal(one[layer].intersection, apart[step][layer].intersection)
            assert torch.equal(one[layer].thresholds, apart[step][layer].thresholds)


def test_what_is_compiled_stays_so():
    torch._dynamo.reset()  # it keeps what other tests compiled with this, of one code object, up to a limit
    traced = []

    def backend(graph, inputs):
        traced.append(1)
        return graph.forward

    model = network()
    compiled = torch.compile(model, backend=backend)
    seeded()
    with dissect.Watch(compiled, "0", [(IMAGES, PLANES)], every=1, **OPTIONS) as watch:
        ended = train(compiled, 2, watch.step)
    made = len(traced)
    assert made
    train(compiled, 1, watch.step)
    assert len(traced) == made
    other = network()
    other.compile(backend=backend)
    seeded()
    with dissect.Watch(other, "0", [(IMAGES, PLANES)], every=1, **OPTIONS) as second:
        again = train(other, 2, second.step)
    assert same({name.removeprefix("_orig_mod."): value for name, value in ended.items()}, again)
    assert other._compiled_call_impl is not None
    assert torch.equal(watch.history().dissections["2"]["0"].iou, second.history().dissections["2"]["0"].iou)


def test_a_training_that_goes_on_has_all_of_its_history(tmp_path):
    model = network()
    with dissect.Watch(model, "0", [(IMAGES, PLANES)], every=2, out=tmp_path, **OPTIONS) as watch:
        train(model, 5, watch.step)
    first = watch.history()
    # Stopped after step 5, gone on with from a checkpoint of step 3: what came after is made anew.
    with dissect.Watch(model, "0", [(IMAGES, PLANES)], every=2, out=tmp_path, start=3, **OPTIONS) as again:
        assert again.cost().dissections == 1
        train(model, 3, again.step)
    assert list(again.history().steps.values()) == [0, 2, 3, 4, 6]
    old, new = first.dissections["2"], again.history().dissections["2"]
    assert torch.equal(old["0"].iou, new["0"].iou)
    assert not torch.equal(first.dissections["4"]["0"].thresholds, again.history().dissections["4"]["0"].thresholds)
    with pytest.raises(ValueError, match="dissections must follow the same rules, but fraction is"):
        with dissect.Watch(
            model, "0", [(IMAGES, PLANES)], every=2, out=tmp_path, start=7, **OPTIONS | {"fraction": 0.2}
        ):
            pass


def test_an_error_leaves_the_training_as_it_was():
    model = network()
    before = torch.get_rng_state()
    with pytest.raises(KeyError):
        with dissect.Watch(model, "9", [(IMAGES, PLANES)], every=1, **OPTIONS):
            pass
    assert [module.training for module in model] == [True, False, True, True, True, True]
    assert torch.equal(before, torch.get_rng_state())
    watch = dissect.Watch(model, "0", [(IMAGES, PLANES)], every=5, **OPTIONS)
    watch.__enter__()
    watch.step()
    watch.__exit__(ZeroDivisionError, ZeroDivisionError(), None)  # nothing is dissected where a step failed
    assert watch.cost().dissections == 1


def test_the_cost_by_hand(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("dissect.dissection.watching.time.perf_counter", lambda: clock[0])

    def slow(*args, **options):
        clock[0] += 6
        return found

    model = network()
    found = dissect.dissect(network().eval(), "0", [(IMAGES, PLANES)], progress=False, **OPTIONS)
    monkeypatch.setattr("dissect.dissection.watching.dissect", slow)
    with dissect.Watch(model, "0", [(IMAGES, PLANES)], every=10, **OPTIONS) as watch:
        assert watch.cost() == (1, 6, 0, 0, None, None)
        for _ in range(20):
            clock[0] += 0.5
            watch.step()
    clock[0] += 100
    assert watch.cost() == (3, 6, 20, 0.5, 18 / 10, 400)  # 6 s of 400 steps of half a second are 3 %


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({}, ValueError, "every or at must say when to dissect"),
        ({"every": 0}, ValueError, "every must be at least 1"),
        ({"every": 1, "resume": "x"}, TypeError, "resume must not be given"),
    ],
)
def test_what_cannot_be_is_refused(options, error, text):
    with pytest.raises(error, match=f"^Watch: {text}"):
        dissect.Watch(network(), "0", [(IMAGES, PLANES)], **options)


def test_one_dissection_is_no_history():
    with dissect.Watch(network(), "0", [(IMAGES, PLANES)], every=1, **OPTIONS) as watch:
        with pytest.raises(ValueError, match="history needs at least two dissections, but there are 1"):
            watch.history()
