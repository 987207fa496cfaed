"""What layers give beside tensors: retained as copies of its own type, edited at the first tensor."""

import dataclasses
from collections import OrderedDict, UserDict, defaultdict

import pytest
import torch
from torch import Tensor, nn

import dissect
from dissect import Trace
from dissect.network.graph import Graph
from dissect.network.outputs import first_tensor, tensors, with_first


@dataclasses.dataclass
class Output:
    maps: Tensor | None
    more: tuple = ()


@dataclasses.dataclass(frozen=True)
class Frozen:
    maps: Tensor


class Derived(OrderedDict):
    pass


class ItsOwnNames(dict):
    """A dict whose keys are attributes too."""

    def __init__(self, **parts):
        super().__init__(**parts)
        self.__dict__ = self


class Cache:
    def __init__(self, held):
        self.held = [held]


class Gives(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.conv, self.make = nn.Conv2d(3, 4, 1), make

    def forward(self, x):
        return self.make(self.conv(x))


class Network(nn.Module):
    """Reads the first tensor, in place."""

    def __init__(self, make):
        super().__init__()
        self.layer, self.last = Gives(make), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.last(first_tensor(self.layer(x)).relu_())


KINDS = {
    "dataclass": lambda maps: Output(maps, (maps, 3)),
    "no first field": lambda maps: dataclasses.replace(Output(None), more=(maps,)),
    "frozen": lambda maps: Frozen(maps),
    "dict": lambda maps: {"maps": maps, "scale": 2},
    "derived": lambda maps: Derived(maps=maps),
    "default": lambda maps: defaultdict(list, maps=maps),
    "its own names": lambda maps: ItsOwnNames(maps=maps),
    "of users": lambda maps: UserDict(maps=maps),
    "list": lambda maps: [maps, None],
    "maximum": lambda maps: torch.max(maps.unsqueeze(0), 0),
}
IMAGES = torch.randn(2, 3, 4, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_retained_as_a_copy_of_its_own_type(kind):
    layer = Gives(KINDS[kind])
    with Trace(nn.Sequential(layer), "0") as trace:
        given = trace.model(IMAGES)
    kept, expected = list(tensors(trace["0"])), [part.clone() for part in tensors(given)]
    assert type(trace["0"]) is type(given)
    assert len(kept) == len(expected) > 0
    for part in tensors(given):
        part.data.zero_()
    for part, wanted in zip(kept, expected):
        assert torch.equal(part, wanted)
        assert not part.requires_grad


def test_attributes_of_a_dict_are_copied_with_it():
    with Trace(nn.Sequential(Gives(KINDS["its own names"])), "0") as trace:
        given = trace.model(IMAGES)
    assert trace["0"].maps is trace["0"]["maps"]
    assert trace["0"].maps is not given.maps


def test_outputs_of_hugging_face():
    outputs = pytest.importorskip("transformers.modeling_outputs")
    kind = outputs.BaseModelOutputWithPooling
    model = Network(lambda maps: kind(last_hidden_state=maps, hidden_states=(maps, maps)))
    with Trace(model, "layer") as trace:
        model(IMAGES)
    kept = trace["layer"]
    assert type(kept) is kind
    assert list(kept) == ["last_hidden_state", "hidden_states"]
    assert (kept.last_hidden_state < 0).any()  # before what follows in place
    assert kept["last_hidden_state"] is kept[0] is kept.hidden_states[1]
    assert not kept[0].requires_grad
    edited = with_first(kept, kept[0] + 1)
    assert torch.equal(edited[0], kept[0] + 1)
    assert torch.equal(edited.last_hidden_state, edited["last_hidden_state"])


@pytest.mark.parametrize("make", [Cache, lambda maps: (maps, Cache(maps)), lambda maps: Output(maps, {Cache(maps)})])
def test_what_cannot_be_copied_is_refused_by_name(make):
    model = nn.Sequential(Gives(make))
    told = r"what layer '0' gives.* must be a tensor, or a tuple, .* but is (Cache|set); .* clone=False, detach=False"
    with pytest.raises(TypeError, match=told), Trace(model, "0"):
        model(IMAGES)
    with Trace(model, "0", clone=False, detach=False) as trace:
        assert model(IMAGES) is trace["0"]


@pytest.mark.parametrize("kind", ["dataclass", "frozen", "dict", "derived", "default", "list", "maximum"])
def test_edited_and_followed_at_the_first_tensor(kind):
    made = []

    def make(maps):
        made.append((maps, KINDS[kind](maps)))
        return made[-1][1]

    torch.manual_seed(0)
    model = Network(make).eval()
    assert dissect.ablate(model, "layer", [1]).consumers(IMAGES) == {"layer": ("ReluBackward0 before last",)}
    with torch.no_grad():
        with dissect.ablate(model, "layer", [1]):
            edited = model(IMAGES)
        maps = model.layer.conv(IMAGES)
        maps[:, 1] = 0
        assert torch.equal(edited, model.last(maps.relu()))
    output = made[-1][1]
    assert first_tensor(output)[:, 1].any()  # what the model made stays as it is


def test_an_output_whose_first_part_is_no_tensor_is_refused():
    model = Network(lambda maps: {"scale": 2, "maps": maps})
    with (
        pytest.raises(ValueError, match=r"layer 'layer' must give .* but gave dict"),
        dissect.ablate(model, "layer", 1),
    ):
        model(IMAGES)
    with pytest.raises(ValueError, match="layer 'layer' must give a tensor, but gave dict"):
        Graph(model, "layer").run(IMAGES)
