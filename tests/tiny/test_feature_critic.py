"""The second discriminator: what it judges, what learns, and from which size on."""

import pytest
import torch

from dissect import Trace
from dissect.tiny import vgg
from dissect.tiny.training.feature_critic import LAYERS, FeatureCritic


def test_it_judges_what_the_classifier_sees():
    critic, classifier = FeatureCritic(vgg()), vgg()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad(), Trace(classifier, [f"features.{layer}" for layer in LAYERS]) as trace:
        classifier((images + 1) / 2)
        scores = critic.eval()(images)
        for layer, found in zip(LAYERS, scores, strict=True):
            assert torch.allclose(found, critic.heads[layer](trace[f"features.{layer}"]).flatten(), atol=1e-4)
    assert [len(found) for found in scores] == [2 * 32 * 32, 2 * 16 * 16, 2 * 8 * 8]


def test_only_the_heads_learn_and_images_get_a_slope():
    critic = FeatureCritic(vgg())
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    sum(scores.sum() for scores in critic(images)).backward()
    assert images.grad.abs().sum() > 0
    learning = {name for name, parameter in critic.named_parameters() if parameter.grad is not None}
    assert learning == {name for name, _ in critic.named_parameters() if name.startswith("heads.")}


def test_small_images_are_not_judged():
    assert FeatureCritic(vgg())(torch.zeros(2, 3, 32, 32)) == []


def test_its_seed_is_its_own(monkeypatch):
    torch.manual_seed(1)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("a GPU's stream was set"))
    before = torch.get_rng_state()
    one, same, other = (FeatureCritic(vgg(), seed).heads["relu1_2"][4].weight for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
