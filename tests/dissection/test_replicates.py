"""Numbers of detectors over samples of images."""

import pytest
import torch
from small_comparison import FIRST, OTHER, layer, made

from dissect import compare
from dissect.dissection import replicated, replicated_by_category


def both(first=FIRST, other=OTHER, **settings):
    return compare({"one": made(layer(first), **settings), "two": made(layer(other), **settings)})


def test_means_and_intervals_by_hand():
    fewer = FIRST[:2] + ((0, 0),) * 3
    comparisons = [both() if at < 6 else both(fewer) for at in range(10)]
    one, two = replicated(comparisons)
    # The first network detects sky, tree and wood with four units, or sky with two.
    assert one[:6] == ("one", "x", 10, 10, (6 * 4 + 4 * 2) / 10, (6 * 3 + 4 * 1) / 10)
    assert (one.fewest, one.most) == (1, 3)
    drawn = torch.randint(10, (1000, 10), generator=torch.Generator().manual_seed(0))
    means = sorted((3 - 2 * (drawn >= 6).double()).mean(1).tolist())
    low = int(0.025 * 999)
    assert (one.low, one.high) == pytest.approx((means[low], means[999 - low]))
    assert (two.concepts, two.low, two.high) == pytest.approx((2, 2, 2))


def test_few_samples_have_no_interval():
    rows = replicated([both(), both()])
    assert [(row.samples, row.low, row.high) for row in rows] == [(2, None, None)] * 2


def test_what_is_no_replicate_is_refused():
    with pytest.raises(ValueError, match="replicated: comparisons must be two or more, but there is 1"):
        replicated([both()])
    with pytest.raises(ValueError, match=r"same networks.*\('one', 'x', 10\) and \('one', 'x', 11\)"):
        replicated([both(), both(num_images=11)])
    with pytest.raises(ValueError, match="same networks"):
        replicated([both(), compare([made(layer(FIRST, "a"), layer(OTHER, "b"))])])


def test_categories_by_hand():
    comparisons = [both() if at < 6 else both(OTHER, FIRST) for at in range(10)]
    rows = {(row.network, row.category): row for row in replicated_by_category(comparisons)}
    # FIRST: three units of sky and tree, one of wood; OTHER: one of sky, two of red.
    assert list(rows) == [
        (network, category) for network in ("one", "two") for category in ("all", "object", "material", "color")
    ]
    one = rows["one", "object"]
    assert one[:6] == ("one", "x", "object", 10, 10, (6 * 3 + 4 * 1) / 10)
    assert one.concepts == (6 * 2 + 4 * 1) / 10
    drawn = torch.randint(10, (1000, 10), generator=torch.Generator().manual_seed(0))
    for ends, least, step in (((one.detectors_low, one.detectors_high), 1, 2), ((one.low, one.high), 1, 1)):
        means = sorted((least + step * (drawn < 6).double()).mean(1).tolist())
        assert ends == pytest.approx((means[24], means[975]))
    color = rows["two", "color"]
    assert (color.detectors, color.concepts) == (6 * 2 / 10, 6 * 1 / 10)
    assert rows["one", "material"].concepts == 0.6
    for whole in replicated(comparisons):
        row = rows[whole.network, "all"]
        assert (row.detectors, *row[-3:]) == (whole.detectors, whole.concepts, whole.low, whole.high)
    few = replicated_by_category(comparisons[:2])[0]
    assert (few.samples, few.detectors_low, few.low) == (2, None, None)


def test_other_vocabularies_are_refused():
    pairs = (("sky", "object"), ("tree", "object"), ("wood", "material"), ("red", "texture"))
    other = compare({"one": made(layer(FIRST), pairs=pairs), "two": made(layer(OTHER), pairs=pairs)})
    with pytest.raises(ValueError, match="replicated_by_category: comparisons must be by one vocabulary"):
        replicated_by_category([both(), other])
    with pytest.raises(ValueError, match="replicated_by_category: comparisons must be two or more"):
        replicated_by_category([both()])
