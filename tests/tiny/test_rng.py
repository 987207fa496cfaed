"""The hash behind the scenes: literal numbers, which must never change."""

import numpy as np

from dissect.tiny.world.rng import Rng, mix, mix_array


def test_mix_is_splitmix64():
    # The first outputs of the published splitmix64 with seed 1234567.
    step, mask = 0x9E3779B97F4A7C15, (1 << 64) - 1
    outputs = [mix((1234567 + step * i) & mask) for i in (1, 2, 3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_array_and_scalar_agree():
    values = [0, 1, 2**32, 2**64 - 1, 123456789012345]
    assert mix_array(np.array(values, dtype=np.uint64)).tolist() == [mix(value) for value in values]


def test_streams_are_literal():
    rng = Rng("train", 3)
    assert [rng.below(1000) for _ in range(6)] == [185, 703, 753, 147, 207, 177]


def test_keys_tell_streams_apart():
    keys = [("train", 1), ("val", 1), ("train", 11), ("train1", 1), (1, "train"), ("train", 1, 1)]
    assert len({tuple(Rng(*key).below(1 << 30) for _ in range(2)) for key in keys}) == len(keys)


def test_bounds():
    rng = Rng("bounds")
    assert {rng.between(-2, 2) for _ in range(200)} == {-2, -1, 0, 1, 2}
    assert {rng.below(3) for _ in range(100)} == {0, 1, 2}
    assert not any(rng.chance(0) for _ in range(50))
    assert all(rng.chance(100) for _ in range(50))
    assert all(0 <= channel <= 255 for _ in range(50) for channel in rng.jitter((3, 128, 252)))


def test_shuffled_is_every_order():
    rng = Rng("shuffled")
    assert {tuple(rng.shuffled("abc")) for _ in range(100)} == {
        ("a", "b", "c"), ("a", "c", "b"), ("b", "a", "c"), ("b", "c", "a"), ("c", "a", "b"), ("c", "b", "a"),
    }  # fmt: skip
