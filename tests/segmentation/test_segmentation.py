"""Segmenters: planes and scores of made-up logits, by hand."""

import pytest
import torch
from torch import nn

from dissect.concepts import Concepts
from dissect.models import UNet
from dissect.segmentation import Segmenter

CONCEPTS = Concepts.of([("tree", "object"), ("door", "object"), ("door", "part"), ("pane", "part")])
GROUPS = ([0, 1, 2], [0, 3, 4], [0, 4])


class Told(nn.Module):
    """Gives logits that it was told, plus the mean of the image."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor(logits)[None, :, None, None]
        self.seen = None

    def forward(self, images):
        self.seen = images
        return self.logits + images.mean(1, keepdim=True) * torch.tensor([0, 1.0, 0, 0, 0, 0, 0, 0])[:, None, None]


def told(*logits, signed=False):
    return Segmenter(Told(list(logits)), CONCEPTS, GROUPS, signed=signed)


def test_a_plane_is_the_largest_logit_of_its_group():
    planes = told(0.0, 2.0, 1.0, 0.0, 1.0, 1.0, 3.0, 0.0)(torch.zeros(2, 3, 4, 5))
    assert planes.dtype == torch.int16
    assert planes.shape == (2, 3, 4, 5)
    assert planes[0, :, 0, 0].tolist() == [1, 3, 0]


def test_scores_are_probabilities_over_all_planes():
    logits = (0.0, 2.0, 1.0, 0.0, 1.0, 1.0, 3.0, 0.0)
    images = torch.zeros(1, 3, 2, 2)
    first = torch.tensor([0.0, 1.0, 1.0]).softmax(0)[2]
    second = torch.tensor([3.0, 0.0]).softmax(0)[1]
    expected = 1 - (1 - first) * (1 - second)
    for name in ("pane", "part/pane", 4):
        assert torch.allclose(told(*logits).scores(images, name), expected.expand(1, 2, 2))
    part = torch.tensor([0.0, 1.0, 1.0]).softmax(0)[1]
    assert torch.allclose(told(*logits).scores(images, "part/door"), part.expand(1, 2, 2))


def test_a_name_alone_must_stand_for_one_label():
    segmenter, images = told(*[0.0] * 8), torch.zeros(1, 3, 2, 2)
    with pytest.raises(KeyError, match=r"'door' is in several categories; say which: 'object/door', 'part/door'"):
        segmenter.scores(images, "door")
    parts = Segmenter(nn.Identity(), CONCEPTS, [[0, 3, 4]])
    assert torch.equal(parts.scores(images, "door"), parts.scores(images, "part/door"))
    assert torch.equal(parts.scores(images, torch.tensor(3)), parts.scores(images, 3))
    with pytest.raises(TypeError, match="must be a label number or a name, but got a float"):
        parts.scores(images, 3.0)


def test_scores_have_gradients():
    images = torch.full((1, 3, 2, 2), 0.5, requires_grad=True)
    told(*[0.0] * 8).scores(images, "tree").sum().backward()
    assert torch.allclose(images.grad, torch.full_like(images, images.grad[0, 0, 0, 0].item()))
    assert images.grad[0, 0, 0, 0] > 0


def test_signed_images_are_clamped_and_scaled():
    segmenter = told(*[0.0] * 8, signed=True)
    segmenter(torch.tensor([-3.0, -1.0, 0.0, 5.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2))
    assert segmenter.network.seen[0, 0].flatten().tolist() == [0.0, 0.0, 0.5, 1.0]


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"labels in \[0, 5\), but one is \[0, 5\]"):
        Segmenter(nn.Identity(), CONCEPTS, [[0, 5]])
    with pytest.raises(ValueError, match="labels of at least one plane, but there are none"):
        Segmenter(nn.Identity(), CONCEPTS, [])
    with pytest.raises(ValueError, match=r"but one is \[1, 1\]"):
        Segmenter(nn.Identity(), CONCEPTS, [[1, 1]])
    with pytest.raises(ValueError, match=r"must give \[N, 8, H, W\]"):
        Segmenter(nn.Identity(), CONCEPTS, GROUPS)(torch.zeros(1, 3, 2, 2))
    with pytest.raises(KeyError, match="no concept is called 'roof'"):
        told(*[0.0] * 8).scores(torch.zeros(1, 3, 2, 2), "roof")
    with pytest.raises(KeyError, match=r"in \[1, 5\), but got 0"):
        told(*[0.0] * 8).scores(torch.zeros(1, 3, 2, 2), 0)
    with pytest.raises(KeyError, match="no plane can show"):
        Segmenter(nn.Identity(), CONCEPTS, [[0, 1, 2]]).scores(torch.zeros(1, 3, 2, 2), 4)


def test_a_u_net_leaves_the_global_stream_alone():
    state = torch.get_rng_state()
    UNet((4, 6), outputs=5, seed=1)
    assert torch.equal(state, torch.get_rng_state())


def test_a_u_net_sees_the_whole_image_and_keeps_its_size():
    model = UNet((4, 6, 8), outputs=5, seed=1).eval()
    images = torch.rand(2, 3, 16, 24, requires_grad=True)
    maps = model(images)
    assert maps.shape == (2, 5, 16, 24)
    maps[0, 0, 8, 12].backward()
    assert images.grad[1].abs().max() == 0
    assert (images.grad[0].abs().sum(0) > 0).sum() > 200
    with pytest.raises(ValueError, match="multiples of 4"):
        model(torch.rand(1, 3, 10, 12))
