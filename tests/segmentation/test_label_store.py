"""Labels that are segmented once: the same bits as from planes, however they were written; bad stores are refused."""

import json
import threading

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

import dissect
from dissect import ops
from dissect.concepts import Concepts
from dissect.ops.packed import PackedLabels, joined, pack
from dissect.segmentation import LabelStore, store_labels

FIELDS = ("runs", "table", "offsets", "area")
NAMES = [f"c{label}" for label in range(1, 6)]


def some_planes(seed=0, images=11, planes=3, height=9, width=13, labels=6):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, labels, (images, planes, height, 5), generator=generator)
    return coarse.repeat_interleave(3, 3)[..., :width].contiguous()


def some_images(images=11):
    return torch.rand(images, 3, 9, 13, generator=torch.Generator().manual_seed(1))


def written(folder, planes=None, **more):
    planes = some_planes() if planes is None else planes
    data = TensorDataset(some_images(len(planes)), planes)
    return store_labels(None, data, folder, concepts=NAMES, batch_size=2, shard=2, progress=False, **more)


def same(found, planes, labels=6):
    expected = ops.encode_labels(planes, labels)
    return all(torch.equal(getattr(found, name), getattr(expected, name)) for name in FIELDS)


class Brightness(nn.Module):
    """A segmenter of three labels, which counts the images that it has seen."""

    concepts = Concepts.of(NAMES)

    def __init__(self, scale=3.0):
        super().__init__()
        self.scale, self.seen = nn.Parameter(torch.tensor(scale)), 0
        self.stop_at = 99

    def forward(self, images):
        if self.seen >= self.stop_at:
            raise KeyboardInterrupt
        self.seen += len(images)
        return (images[:, :1] * self.scale).long()


@pytest.mark.parametrize("size", [(1, 1), (3, 300), (7, 256), (300, 500)])
def test_packed_labels_give_the_same_bits(size):
    planes = torch.randint(0, 4, (3, 2, *size), generator=torch.Generator().manual_seed(2))
    packed = pack(ops.encode_labels(planes, 700))
    for images in ([0, 1, 2], [2, 0], [1]):
        assert same(packed.labels(images), planes[images], 700)
    assert same(joined([packed, packed]).labels([4]), planes[1:2], 700)


@pytest.mark.parametrize(
    ("field", "place", "value"),
    [("last", 0, 40), ("last", 3, 0), ("numbers", 0, 99), ("table", (1, 0), 6), ("table", (1, 0), -1), ("runs", 0, 1),
     ("rows", 0, 1), ("rows", 0, 0)],
)  # fmt: skip
def test_packed_labels_that_cannot_be_are_refused(field, place, value):
    packed = pack(ops.encode_labels(some_planes(), 6))
    parts = {name: getattr(packed, name).int() for name in ("last", "numbers", "table", "runs", "rows")}
    parts[field][place] = value
    with pytest.raises(ValueError, match="as pack gives them"):
        PackedLabels(**parts, size=packed.size, num_labels=6)


def test_a_combination_with_a_label_twice_is_refused():
    packed = pack(ops.encode_labels(some_planes(), 6))
    packed.table[1] = 5
    with pytest.raises(ValueError, match="no combination has a label twice"):
        PackedLabels(packed.last, packed.numbers, packed.table, packed.runs, packed.rows, packed.size, 6)


def test_a_store_gives_the_labels_of_any_images_to_the_bit(tmp_path):
    planes, store = some_planes(), written(tmp_path)
    assert len(store) == 11
    assert store.size == (9, 13)
    assert store.concepts.names[1:] == tuple(NAMES)
    for images in (range(11), [10, 0, 5], [3, 4, 5, 6], [7]):
        assert same(store.labels(images), planes[list(images)])
    store.verify()
    size = store.sizes()
    assert size[:5] == (11, 3, 9, 13, 3)
    assert size.as_planes == 2 * planes.numel()
    assert size.stored == sum(path.stat().st_size for path in tmp_path.iterdir())
    for strange in ([11], [-1], []):
        with pytest.raises(IndexError, match="numbers below 11"):
            store.labels(strange)


def test_a_dissection_of_stored_labels_has_the_bits_of_one_of_planes(tmp_path, monkeypatch):
    torch.manual_seed(0)
    planes, images, model = some_planes(), some_images(), nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    data = TensorDataset(images, planes)
    options = {"fraction": 0.1, "batch_size": 4, "progress": False}
    expected = dissect.dissect(model, "1", data, concepts=NAMES, **options)
    store = written(tmp_path)
    calls = []
    for place in ("dissect.dissection.dissection_run.Encoding", "dissect.dissection.decoys.Encoding"):
        monkeypatch.setattr(place, lambda *given: calls.append(given))
    for beside, more in (
        (store.beside(data), {}),
        (store.beside(images), {"memory_budget": 0}),
        (store.beside([images[:6], images[6:]]), {}),
        (DataLoader(store.beside(data), batch_size=4), {"resume": tmp_path / "run"}),
    ):
        found = dissect.dissect(model, "1", beside, **options | more)
        told, wanted = vars(found["1"].evidence), vars(expected["1"].evidence)
        assert all(torch.equal(told[name].nan_to_num(), wanted[name].nan_to_num()) for name in wanted)
        for name in ("thresholds", "intersection", "unit_area", "label_area", "peak_images", "peaks"):
            assert torch.equal(getattr(found["1"], name), getattr(expected["1"], name)), name
    assert not calls  # nothing was encoded again


def test_other_methods_take_stored_labels_as_planes(tmp_path):
    torch.manual_seed(0)
    model, data, store = (
        nn.Sequential(nn.Conv2d(3, 4, 3)),
        TensorDataset(some_images(), some_planes()),
        written(tmp_path),
    )
    options = {"progress": False, "batch_size": 4}
    found = dissect.sweep(model, "0", store.beside(data), **options)
    expected = dissect.sweep(model, "0", data, concepts=NAMES, **options)
    assert found.units() == expected.units()
    assert found.labels() == expected.labels()
    ignoring = dissect.dissect(model, "0", store.beside(data), concepts={2: "b", 5: "e"}, ignore=1, **options)
    assert int(ignoring["0"].label_area[1]) == 0 < int(ignoring["0"].label_area[2])


def test_writers_share_the_work_and_go_on(tmp_path):
    images, segmenter = some_images(), Brightness()
    options = {"batch_size": 2, "shard": 1, "progress": False}
    whole = store_labels(segmenter, images, tmp_path / "whole", **options)
    assert store_labels(segmenter, images, tmp_path / "parts", part=(1, 2), **options) is None
    with pytest.raises(ValueError, match="must have 6 shards, but lacks 3, the first number 0"):
        LabelStore(tmp_path / "parts")
    segmenter.seen = 0
    parts = store_labels(segmenter, images, tmp_path / "parts", **options)
    assert segmenter.seen == 6  # batches 0, 2 and 4; the others' shards were there
    assert parts.digest() == whole.digest()
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "parts" / path.name).read_bytes()


def test_an_interrupted_store_goes_on(tmp_path):
    images, segmenter = some_images(), Brightness()
    options = {"batch_size": 2, "shard": 1, "progress": False}
    segmenter.stop_at = 6
    with pytest.raises(KeyboardInterrupt):
        store_labels(segmenter, images, tmp_path, **options)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    segmenter.stop_at, segmenter.seen = 99, 0
    store = store_labels(segmenter, images, tmp_path, **options)
    assert segmenter.seen == 5
    assert same(store.labels(range(11)), Brightness()(images))


def test_two_writers_at_once_leave_a_whole_store(tmp_path):
    options = {"batch_size": 2, "shard": 1, "progress": False}
    writers = [
        threading.Thread(target=store_labels, args=(Brightness(), some_images(), tmp_path), kwargs=options)
        for _ in range(2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    store = LabelStore(tmp_path, segmenter=Brightness())
    store.verify()
    assert same(store.labels(range(11)), Brightness()(some_images()))


def test_a_store_of_something_else_is_refused_by_name(tmp_path):
    options = {"batch_size": 2, "shard": 1, "progress": False}
    store_labels(Brightness(), some_images(), tmp_path, **options)
    for segmenter, images, more, names in (
        (Brightness(2.0), some_images(), {}, "segmenter"),
        (Brightness(), some_images() + 0.1, {}, "first"),
        (Brightness(), some_images(9), {}, "batches, images"),
        (Brightness(), some_images(), {"ignore": 255}, "ignore"),
        (Brightness(), some_images(), {"shard": 3}, "shard"),
    ):
        with pytest.raises(ValueError, match=f"of the same {names}, but .* is a store of another"):
            store_labels(segmenter, images, tmp_path, **options | more)
    with pytest.raises(ValueError, match="must hold labels of this segmenter, but is of another"):
        LabelStore(tmp_path, segmenter=Brightness(2.0))


def test_writers_that_disagree_are_noticed(tmp_path):
    first, second = some_planes(), some_planes(seed=3)
    written(tmp_path / "a", first)
    written(tmp_path / "b", second)
    shard = next((tmp_path / "b").glob("00001-*"))
    (tmp_path / "a" / shard.name).write_bytes(shard.read_bytes())
    with pytest.raises(ValueError, match=r"one shard of each place, but 00001-.* and 00001-.* are of one"):
        LabelStore(tmp_path / "a")
    next(path for path in (tmp_path / "a").glob("00001-*") if path.name != shard.name).unlink()
    options = {"concepts": NAMES, "batch_size": 2, "shard": 2, "progress": False}
    manifest = json.loads((tmp_path / "a" / "labels.json").read_text())
    (tmp_path / "a" / "labels.json").write_text(json.dumps(manifest | {"ignore": [7]}))
    with pytest.raises(ValueError, match="is of another one"):
        LabelStore(tmp_path / "a")
    with pytest.raises(ValueError, match="of the same ignore"):
        store_labels(None, TensorDataset(some_images(), first), tmp_path / "a", **options)


@pytest.mark.parametrize("damage", ["cut", "changed", "renamed", "no manifest", "cut manifest", "longer"])
def test_damaged_stores_are_refused_and_named(tmp_path, damage):
    written(tmp_path)
    shard, manifest = next(tmp_path.glob("00000-*")), tmp_path / "labels.json"
    data = shard.read_bytes()
    match damage:
        case "cut":
            shard.write_bytes(data[:-9])
        case "changed":
            shard.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        case "renamed":
            shard.rename(tmp_path / shard.name.replace("-4-", "-5-"))
        case "no manifest":
            manifest.unlink()
        case "cut manifest":
            manifest.write_text(manifest.read_text()[:-5])
        case "longer":
            shard.write_bytes(data + b"1")
    name = "labels.json" if "manifest" in damage else "00000-"
    with pytest.raises((ValueError, FileNotFoundError), match=name):
        LabelStore(tmp_path).verify()


def test_images_that_are_not_the_stores_are_refused(tmp_path):
    class Files(Dataset):
        def __init__(self, *files):
            self.files = files

        def __len__(self):
            return len(self.files)

        def __getitem__(self, index):
            return torch.zeros(3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64)

    store = store_labels(None, Files("a/x.png", "y.png"), tmp_path, concepts=NAMES, progress=False)
    assert len(store.beside(Files("b/x.png", "y.png"))) == 2
    assert len(store.beside(Subset(Files("z.png", "x.png", "y.png"), [1, 2]))) == 2
    with pytest.raises(ValueError, match="in their order, but their names are others"):
        store.beside(Files("y.png", "x.png"))
    with pytest.raises(ValueError, match="images must be the 2 of the store, but are 3"):
        store.beside(torch.zeros(3, 3, 4, 4))
    for number in (1, 3):
        with pytest.raises(ValueError, match="images must be the 2 of the store, but are"):
            list(store.beside([torch.zeros(number, 3, 4, 4)]))


def test_what_a_store_cannot_be_written_of_is_refused(tmp_path):
    data = TensorDataset(some_images(), some_planes())
    options = {"concepts": NAMES, "batch_size": 2, "progress": False}
    with pytest.raises(ValueError, match="concepts must name the labels"):
        store_labels(None, data, tmp_path)
    with pytest.raises(ValueError, match="part must be"):
        store_labels(None, data, tmp_path, part=(2, 2), **options)
    with pytest.raises(TypeError, match="how many batches"):
        store_labels(None, iter([some_images()]), tmp_path, **options)
    with pytest.raises(TypeError, match="planes of batch 0 must be a tensor, but got NoneType"):
        store_labels(None, some_images(), tmp_path / "none", **options)
    with pytest.raises(ValueError, match=r"batch 0: .*labels must lie in \[0, 3\)"):
        store_labels(None, data, tmp_path / "few", **options | {"concepts": NAMES[:2]})
    uneven = [(some_images(2), some_planes(images=2)), (some_images(2), some_planes(images=2, planes=2))]
    with pytest.raises(ValueError, match="as many and of one size in all batches"):
        store_labels(None, uneven, tmp_path / "uneven", **options)


def test_concepts_must_be_those_of_stored_labels(tmp_path):
    store = written(tmp_path)
    with pytest.raises(ValueError, match="concepts must be those of the 5 labels, but are 1"):
        dissect.dissect(
            nn.Sequential(nn.Conv2d(3, 2, 1)), "0", store.beside(some_images()), concepts=["one"], progress=False
        )
