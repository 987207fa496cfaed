"""What judges generators, on images that are known."""

import numpy as np
import pytest
import torch

from dissect.models import ProGAN, StyleGAN2
from dissect.stats import frechet_distance
from dissect.tiny import TinyScenes, segmenter
from dissect.tiny.judge import (
    STAMP_CORRELATION,
    features,
    light_rules,
    nearest,
    sampled,
    segmenter_features,
    there,
    watermarks,
)
from dissect.tiny.world.stamp import letters
from dissect.tiny.world.vocabulary import label


def scenes(split, count, **options):
    drawn = TinyScenes(split, 64, count, family="street", **options)
    return torch.from_numpy(np.stack([drawn.raw(index)[0] for index in range(count)]))


def test_samples_do_not_depend_on_how_many_are_drawn():
    for model in (ProGAN((4, 4), 5), StyleGAN2((4, 4), 5, mapping_layers=2)):
        many = sampled(model, 70)
        assert many.dtype == torch.uint8
        assert many.shape == (70, 3, 8, 8)
        assert (many[:6].int() - sampled(model, 6).int()).abs().max() <= 1
        assert not torch.equal(sampled(model, 6, seed=2), many[:6])


@pytest.mark.parametrize(("network", "width"), [(features, 192), (segmenter_features, 128)])
def test_real_scenes_are_nearer_to_each_other_than_to_noise(network, width):
    one, other = network(scenes("train", 43)), network(scenes("val", 43))
    noise = torch.randint(256, (43, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert one.shape == (43, width)
    assert frechet_distance(one, other) * 3 < frechet_distance(one, network(noise))


@torch.inference_mode()
def test_features_of_a_segmenter_are_those_of_its_deepest_maps():
    images, network = scenes("val", 70), segmenter(1).network
    x = (images.float() / 255 - 0.5) * 4
    for level in range(1, 6):
        x = network.get_submodule(f"down{level}")(x if level == 1 else torch.nn.functional.avg_pool2d(x, 2))
    assert torch.allclose(segmenter_features(images, 1), x.mean((2, 3)), atol=1e-4)


def test_the_nearest_training_image_is_found():
    training = scenes("train", 30)
    place, distance = nearest(torch.cat([training[[7, 3]], training[[5]] // 2]), training.numpy(), chunk=8)
    assert place[:2].tolist() == [7, 3]
    assert distance[:2].tolist() == [0, 0]
    assert distance[2] > 1
    others = training[5].float() // 2 - training.float()
    assert torch.isclose(distance[2], others.square().mean((1, 2, 3)).min().sqrt(), rtol=1e-3)


def test_a_copy_has_no_distance_however_many_there_are():
    training = scenes("train", 60)
    place, distance = nearest(training[10:50], training.numpy())
    assert place.tolist() == list(range(10, 50))
    assert not distance.any()


def test_a_bare_function_serves_if_the_shape_of_its_z_is_given():
    made = sampled(lambda z: z[:, :3, None, None].expand(-1, 3, 4, 4), 5, z_shape=(6,))
    assert made.shape == (5, 3, 4, 4)


def test_what_is_there_by_hand():
    planes = torch.zeros(3, 3, 4, 4, dtype=torch.int16)
    planes[0, 0, 0, :3] = label("object", "sun")
    planes[1, 1, 0, :2] = planes[1, 2, 1, :1] = label("part", "window")
    planes[2, 1, 0, :3] = label("object", "sun")  # among the parts, where no object is
    assert there(planes, "object", "sun", 3).tolist() == [True, False, False]
    assert there(planes, "object", "sun", 4).tolist() == [False] * 3
    assert there(planes, "part", "window", 3).tolist() == [False, True, False]


def test_the_rules_of_light_by_hand():
    planes, images = torch.zeros(5, 3, 64, 64, dtype=torch.int16), torch.full((5, 3, 64, 64), 100, dtype=torch.uint8)
    planes[[0, 1], 0, 0] = label("object", "sun")
    planes[:3, 0, 1:3] = label("object", "water")
    planes[[0, 2], 2, 2] = label("part", "reflection")
    planes[2:, 1, 4] = label("part", "window")
    planes[2:, 2, 4, :20] = label("part", "pane")
    images[[2, 3], 0, 4, :7] = 141  # by so much redder; of the last two, one has too few such pixels
    images[4, 0, 4, :5] = 141
    planes[[3, 4], 2, 5] = label("part", "glow")
    assert light_rules(planes, images) == {
        "sun and water: a reflection": (1, 2),
        "water but no sun: a reflection": (1, 1),
        "lit windows: a glow": (1, 2),
        "windows, none of them lit: a glow": (1, 1),
    }


def test_the_scenes_keep_the_rules_of_light():
    data = TinyScenes("val", 64, 172, family="street")
    items = [data.raw(index) for index in range(172)]
    images, planes = (torch.from_numpy(np.stack(parts)) for parts in zip(*items, strict=True))
    found = light_rules(planes, images)
    for rule, least, most in (
        ("sun and water: a reflection", 0.9, 1),
        ("water but no sun: a reflection", 0, 0.1),
        ("lit windows: a glow", 0.95, 1),
        ("windows, none of them lit: a glow", 0, 0.02),
    ):
        count, of = found[rule]
        assert of >= 10
        assert least <= count / of <= most


def test_watermarks_are_found_where_they_were_stamped_and_nowhere_else():
    plain, marked = scenes("train", 250), scenes("train", 250, watermark=True)
    stamped = (plain != marked).flatten(1).any(1)
    where = [(marked[:, :, torch.from_numpy(letters(64, which))] == 244).flatten(1).all(1) for which in (0, 1)]
    found = watermarks(marked) > STAMP_CORRELATION
    assert torch.equal(found, torch.stack(where, 1) & stamped[:, None])
    assert found.any(0).all()
    assert not (watermarks(plain) > STAMP_CORRELATION).any()


def test_the_likeness_to_a_watermark_is_a_correlation():
    text = torch.from_numpy(letters(64, 0)).float().expand(3, -1, -1)
    images = torch.stack([text, 7 - 5 * text, torch.ones(3, 64, 64)])
    assert torch.allclose(watermarks(images)[:, 0], torch.tensor([1.0, -1.0, 0.0]), atol=1e-5)
