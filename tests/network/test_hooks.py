"""Traces and interventions act for who made them: not in other threads, coroutines, copies or recomputations.

(torch.no_grad belongs to a thread, not to a coroutine: no coroutine here waits within it.)
"""

import asyncio
import copy
import pickle
import threading
import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import dissect
from dissect import Trace
from dissect.network.hooks import Hooks
from dissect.network.identity import fingerprint
from dissect.network.receptive_field import receptive_field

from .test_trace import hooks


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()


IMAGES = torch.rand(3, 3, 6, 6)


def test_coroutines_see_their_own_passes():
    model = network()

    async def traced(wait, count):
        with Trace(model, "0") as trace:
            await asyncio.sleep(wait)
            model(IMAGES[:count])
            await asyncio.sleep(wait)
            return len(trace["0"])

    async def all_three():
        return await asyncio.gather(traced(0.01, 1), traced(0.013, 2), traced(0.002, 3))

    assert asyncio.run(all_three()) == [1, 2, 3]
    assert hooks(model) == 0


def test_coroutines_share_an_intervention_and_each_ends_its_own_block():
    model = network()
    edit = dissect.ablate(model, "0", [1])

    async def edited(first, second):
        with edit:
            await asyncio.sleep(first)
            found = model[:1](IMAGES), model(IMAGES)
            await asyncio.sleep(second)
            assert torch.equal(model(IMAGES), found[1])
        return bool(found[0][:, 1].any()), bool(model[:1](IMAGES)[:, 1].any())

    async def both():  # the one that began first ends first
        return await asyncio.gather(edited(0.001, 0.002), edited(0.01, 0.02))

    assert asyncio.run(both()) == [(False, True), (False, True)]
    assert hooks(model) == 0


def test_tasks_and_threads_that_are_started_for_a_block_belong_to_it():
    model = network()

    async def main():
        with dissect.ablate(model, "0", [1]), Trace(model, "2") as trace:
            edited = await asyncio.to_thread(model, IMAGES)
            return edited, trace["2"]

    edited, retained = asyncio.run(main())
    with torch.no_grad(), dissect.ablate(model, "0", [1]):
        assert torch.equal(edited, model(IMAGES))
    assert torch.equal(edited, retained)


def test_a_block_that_ends_in_another_context_leaves_nothing():
    model, plain = network(), network()(IMAGES)
    block = dissect.ablate(model, "0", [1])
    block.__enter__()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        thread = threading.Thread(target=block.__exit__, args=(None, None, None))
        thread.start()
        thread.join()
    assert torch.equal(model(IMAGES), plain)
    assert hooks(model) == 0
    with Trace(model, "0") as trace:
        model(IMAGES)
    assert len(trace["0"]) == 3


def test_a_block_is_entered_once_at_a_time():
    model = network()
    trace = Trace(model, "0")
    with trace:
        with pytest.raises(RuntimeError, match="has begun and not ended"):
            trace.__enter__()
        model(IMAGES)
    with trace:
        model(IMAGES[:1])
    assert len(trace["0"]) == 1


@pytest.mark.parametrize("part", ["whole", "layer"])
def test_a_copy_made_within_a_block_is_never_edited_nor_traced(part):
    model, plain = network(), network()
    with torch.no_grad(), dissect.ablate(model, "0", [0]), Trace(model, "0") as trace:
        model(IMAGES[:1])
        twin = copy.deepcopy(model if part == "whole" else model[0])
        like = plain if part == "whole" else plain[0]
        assert torch.equal(twin(IMAGES), like(IMAGES))
        assert len(trace["0"]) == 1
    with torch.no_grad():
        assert torch.equal(twin(IMAGES), like(IMAGES))
        with dissect.ablate(twin, "0", [0]) if part == "whole" else Trace(nn.Sequential(twin), "0"):
            assert twin(IMAGES).shape == like(IMAGES).shape
    assert fingerprint(twin) == fingerprint(like)
    assert fingerprint(copy.deepcopy(twin)) == fingerprint(like)


def test_a_model_is_not_pickled_with_the_hooks_of_a_block():
    model = network()
    with Trace(model, "0"), pytest.raises(TypeError, match=r"cannot be pickled within a block .* state_dict\(\)"):
        pickle.dumps(model)
    pickle.dumps(model)


def test_interventions_count_as_part_of_a_model_where_they_act_and_traces_do_not():
    model = network()
    bare = fingerprint(model)
    inside, done = threading.Event(), threading.Event()

    def other():
        with dissect.ablate(model, "1", [0]), Trace(model, "2"):
            inside.set()
            done.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(60)
    found = fingerprint(model)
    done.set()
    thread.join()
    assert found == bare
    with Trace(model, ["0", "2"]):
        assert fingerprint(model) == bare
    with dissect.ablate(model, "1", [0]):
        assert fingerprint(model) != bare
    model[0].register_forward_hook(lambda *_: None)
    assert fingerprint(model) != bare


def test_what_looks_at_a_model_does_not_see_other_threads():
    """Importance replaces forwards of batch normalisations and adds to a linear layer's output, for itself alone."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
    ).eval()  # fmt: skip
    images, results = IMAGES.clone().requires_grad_(), []

    def other():
        twin = images.detach().requires_grad_()
        output = model(twin)
        output.sum().backward()
        results.append((output.detach(), twin.grad))

    other()

    class Meanwhile(nn.Module):
        """Lets another thread run the network while this one runs it."""

        def forward(self, x):
            if self.armed and threading.current_thread() is threading.main_thread():
                thread = threading.Thread(target=other)
                thread.start()
                thread.join()
            return x

    meanwhile = Meanwhile().eval()
    meanwhile.armed = True
    whole = nn.Sequential(meanwhile, *model).eval()
    model = whole
    batch = [(IMAGES, torch.tensor([0, 1, 0]))]
    for layer in ("1", "3"):
        dissect.unit_importance(whole, layer, batch, batch, progress=False)
    dissect.ablate(whole, "1", [0]).consumers(IMAGES)
    before = len(results)
    assert receptive_field(whole[:3], "1", IMAGES) == ((3, 0, 1), (3, 0, 1))
    assert len(results) == before + 1 > 6
    for output, gradient in results:
        torch.testing.assert_close(output, results[0][0])
        torch.testing.assert_close(gradient, results[0][1])


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.a, self.b, self.reentrant = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), reentrant

    def block(self, x):
        return self.b(self.a(x).relu())

    def forward(self, x):
        return checkpoint(self.block, x, use_reentrant=self.reentrant)


def doubled(output, layer):  # saves nothing for backward: torch itself would not see that it is gone
    return output * 2


@pytest.mark.parametrize("reentrant", [True, False])
def test_edits_within_checkpoints_are_refused_where_gradients_are_recorded(reentrant):
    model, images = Checkpointed(reentrant).eval(), IMAGES.clone().requires_grad_()
    with pytest.raises(RuntimeError, match=r"'a' must not run within torch\.utils\.checkpoint .* torch\.no_grad\(\)"):
        with Trace(model, "a", edit=doubled):
            model(images)
    with pytest.raises(RuntimeError, match="'a' must not run within"), dissect.ablate(model, "a", [0]):
        model(images)
    output = model(images)  # a pass that was not edited is not computed again with an edit
    with pytest.raises(RuntimeError, match="'a' must not run within"), dissect.ablate(model, "a", [0]):
        output.sum().backward()
    with torch.no_grad(), dissect.ablate(model, "a", range(4)):
        expected = model.b(torch.zeros(3, 4, 4, 4))
        assert torch.equal(model(images), expected)
    assert hooks(model) == 0


@pytest.mark.parametrize("reentrant", [True, False])
def test_edits_outside_of_checkpoints_have_gradients(reentrant):
    torch.manual_seed(0)
    inner = Checkpointed(reentrant).eval()
    gradients = []
    for body in (inner, nn.Sequential(inner.a, nn.ReLU(), inner.b)):
        model, images = nn.Sequential(nn.Conv2d(3, 3, 1), body), IMAGES.clone().requires_grad_()
        nn.init.ones_(model[0].weight)
        nn.init.zeros_(model[0].bias)
        with dissect.ablate(model, "0", [1]):
            output = model(images)
        output.square().sum().backward()
        gradients.append(images.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("reentrant", [True, False])
def test_what_backward_computes_again_is_no_second_run(reentrant):
    model, images = Checkpointed(reentrant).eval(), IMAGES.clone().requires_grad_()
    expected = model.a(images)
    with Trace(model, "a") as trace:
        model(images).sum().backward()
        assert torch.equal(trace["a"], expected)
    shared = Checkpointed(reentrant)
    shared.b = shared.a = nn.Conv2d(3, 3, 3)
    with pytest.raises(RuntimeError, match="layer 'a' ran twice"), Trace(shared, "a"):
        shared(images)


def test_a_hook_that_was_left_out_does_not_act():
    model, seen = nn.ReLU(), []
    block = Hooks()
    with block:
        block.after(model, lambda *_: seen.append(1))
        block.before(model, lambda *_: seen.append(0))
        model(torch.ones(1))
    model(torch.ones(1))
    assert seen == [0, 1]
    assert not block.here()
