import torch

from dissect.report.content import MAX_SCORES, layer_content

from .conftest import make_dissection, make_layer


def test_further_concepts_are_the_best_of_each_category_and_those_it_is_among_the_best_for():
    labels, units = 41, 30
    kinds = ["object", "color", "scene", "part"]
    pairs = [(f"concept {label}", kinds[label % 4]) for label in range(1, labels)]
    layer = make_layer("a", units, labels, 9)
    layer.intersection = torch.randint(0, 60, (units, labels), generator=torch.Generator().manual_seed(0))
    layer.intersection[3] = 0
    layer.intersection[:, 0] = 0
    result = make_dissection([layer], pairs=pairs)
    iou = layer.iou
    for card in layer_content(result, 0, "a", 128).cards:
        unit = card.row.unit
        listed = [score.label for score in card.scores]
        assert len(listed) == (0 if unit == 3 else MAX_SCORES)
        wanted = {label for label in range(1, labels) if int((iou[:, label] > iou[unit, label]).sum()) < MAX_SCORES}
        for kind in kinds:
            of_kind = [label for label in range(1, labels) if kinds[label % 4] == kind]
            wanted.add(max(of_kind, key=lambda label: (float(iou[unit, label]), -label)))
        wanted -= {*listed, *(label for label in range(labels) if iou[unit, label] == 0)}
        found = dict(card.more)
        assert set(found) <= wanted
        ties = {label for label in wanted - set(found) if (iou[:, label] == iou[unit, label]).sum() > 1}
        assert wanted - set(found) == ties, "only of equals some may be left out"
        assert all(found[label] == float(iou[unit, label]) for label in found)
        assert list(found.values()) == sorted(found.values(), reverse=True)
