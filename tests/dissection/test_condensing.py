"""Where memory is short, hot cells stand for maps: the same result to the bit, with fewer passes of the network."""

import pytest
import torch
from torch import nn

import dissect
from dissect import ops
from dissect.visits.disk import Disk
from dissect.visits.passes import Passes

LAYERS = ["0", "2", "4"]


def small_network():
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(12, 40, 3, 2, 1),
    ]
    return nn.Sequential(*layers).eval()


class Scenes(torch.utils.data.Dataset):
    """Bright squares on smooth noise: most cells of most maps are of no account."""

    concepts = ("square", "corner")

    def __init__(self, number):
        generator = torch.Generator().manual_seed(1)
        noise = torch.rand(number, 3, 40, 40, generator=generator)
        self.images = nn.functional.avg_pool2d(noise, 9, 1, 4)
        self.planes = torch.zeros(number, 1, 40, 40, dtype=torch.uint8)
        for at in range(number):
            y, x = torch.randint(0, 32, (2,), generator=generator).tolist()
            self.images[at, :, y : y + 8, x : x + 8] += torch.rand(3, 1, 1, generator=generator)
            self.planes[at, :, y : y + 8, x : x + 8] = 1
            self.planes[at, :, :6, :6] = 2

    def __len__(self):
        return len(self.images)

    def __getitem__(self, at):
        return self.images[at], self.planes[at]


SCENES = Scenes(160)


@pytest.fixture
def passes(monkeypatch):
    """How often the network ran for some layer."""
    counted, run = [], Passes.run

    def counting(self, inputs, layers, **options):
        counted.extend([tuple(layers)] * bool(layers))
        return run(self, inputs, layers, **options)

    monkeypatch.setattr(Passes, "run", counting)
    return counted


def dissected(memory, layers=LAYERS, images=SCENES, disk=0, **options):
    return dissect.dissect(
        small_network(), layers, images, batch_size=8, memory_budget=memory, disk_budget=disk, progress=False,
        top_images=3, **options,
    )  # fmt: skip


def tensors_of(found):
    """All numbers of a dissection by name."""
    parts = {}
    for name in found.layers:
        layer = found[name]
        for owner in (layer, layer.evidence, layer.sample):
            named = {f"{name}.{type(owner).__name__}.{key}": value for key, value in vars(owner).items()}
            parts |= {key: value for key, value in named.items() if isinstance(value, torch.Tensor)}
    return parts


def same(one, other):
    one, other = tensors_of(one), tensors_of(other)
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value.nan_to_num(-7.0), other[key].nan_to_num(-7.0)), key


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
@pytest.mark.parametrize(
    "options", [{}, {"preset": "pnas2020"}, {"positions": "feature"}, {"fraction": 0.05}, {"relu": True}]
)
def test_the_same_bits_with_any_memory(options, passes):
    whole = dissected(1 << 30, **options)
    least = len(passes)
    assert least == len(SCENES) // 8
    counted = []
    for memory in (8 << 20, 2 << 20, 0):
        passes.clear()
        same(whole, dissected(memory, **options))
        counted.append(len(passes))
    assert least <= counted[0] <= counted[1] <= counted[2]
    assert counted[2] > 2 * least


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
def test_two_passes_where_maps_do_not_fit_but_their_hot_cells_do(passes, monkeypatch):
    size = sum(part.numel() * 4 for part in maps_of(SCENES.images).values())
    whole, batches = dissected(size * 2, fraction=0.001), len(SCENES) // 8
    passes.clear()
    same(whole, dissected(size // 2, fraction=0.001))
    assert batches <= len(passes) <= 1.5 * batches  # the survey, and of what it could not keep the first visit after it
    passes.clear()
    monkeypatch.setattr(dissect.dissection.dissection_run.ops, "takes_hot_cells", lambda device: False)
    same(whole, dissected(size // 2, fraction=0.001))
    assert len(passes) > 2 * batches


def maps_of(images):
    with torch.no_grad(), dissect.Trace(small_network(), LAYERS) as trace:
        trace.run(images)
    return {name: trace[name] for name in LAYERS}


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
@pytest.mark.parametrize("order", ["rising", "falling", "iterator"])
def test_images_that_are_sorted_or_of_unknown_number(order, passes):
    """Floors of the first images are floors of all, in any order; where nobody knows how many come there are none."""
    scenes = Scenes(len(SCENES))
    brightness = scenes.images.amax((1, 2, 3)).argsort(descending=order == "falling")
    scenes.images, scenes.planes = scenes.images[brightness], scenes.planes[brightness]
    given = {"images": scenes}
    if order == "iterator":
        given = {"images": Endless(scenes), "concepts": Scenes.concepts}
    whole = dissected(1 << 30, **given)
    for memory in (6 << 20, 3 << 20):
        passes.clear()
        same(whole, dissected(memory, **given))
        assert len(passes) <= 5 * 20


class Endless(torch.utils.data.IterableDataset):
    """Images whose number nobody knows before they have come."""

    def __init__(self, scenes):
        self.scenes = scenes

    def __iter__(self):
        return iter(zip(self.scenes.images, self.scenes.planes))


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
def test_one_pass_where_hot_cells_fit_from_the_survey_on(passes):
    """Units that a ReLU silences nearly everywhere among them; 64 of the images may be shown, and stay whole."""
    scenes, layers = Scenes(480), ["1", "3"]
    size = sum(480 * units * 4 * side**2 for units, side in ((8, 40), (12, 20)))
    whole = dissected(size * 2, layers, scenes, fraction=0.005)
    passes.clear()
    same(whole, dissected(size // 2, layers, scenes, fraction=0.005))
    assert len(passes) == 60


@pytest.fixture
def written(monkeypatch):
    """Bytes of maps and of hot cells that went into files, as if computing took for ever, however busy the disk is."""
    counted, write = {torch.Tensor: 0, ops.HotCells: 0}, Disk.write

    def counting(self, index, maps, seconds):
        file = write(self, index, maps, 1e9)
        for part in maps.values() if file is not None else ():
            counted[type(part)] += part.nbytes
        return file

    monkeypatch.setattr(Disk, "write", counting)
    return counted


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
@pytest.mark.parametrize("memory", [0, 8 << 20])
def test_hot_cells_stand_for_maps_in_files_too(memory, passes, written):
    scenes = Scenes(480)
    size = 480 * 4 * (8 * 40**2 + 12 * 20**2 + 40 * 10**2)
    whole = dissected(size * 2, images=scenes, fraction=0.005)
    passes.clear()
    same(whole, dissected(memory, images=scenes, fraction=0.005, disk=size // 2))  # all maps would not fit
    assert len(passes) < 100  # the first images, before there are floors, come twice
    assert written[ops.HotCells] > 5 * written[torch.Tensor]


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
@pytest.mark.parametrize(("memory", "disk"), [(2 << 20, 0), (2 << 20, 1 << 30), (0, 1 << 30)])
def test_floors_that_were_too_high_cost_passes_and_no_bit(memory, disk, passes, written, monkeypatch):
    whole = dissected(1 << 30)
    passes.clear()
    floors = dissect.stats.TailThreshold.floors
    monkeypatch.setattr(dissect.stats.TailThreshold, "floors", lambda state, *share: floors(state, *share) * 3)
    same(whole, dissected(memory, disk=disk))
    assert len(passes) > 20
    assert bool(disk) == bool(written[ops.HotCells])


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
def test_hot_cells_in_files_that_are_harmed_are_computed_again(passes, written, monkeypatch):
    whole, read, files = dissected(1 << 30), Disk.read, set()

    def harmed(self, path, names):
        if path in files and path.name == "12.safetensors":  # read once as it was written, to time that
            data = bytearray(path.read_bytes())
            data[-100] ^= 1
            path.write_bytes(data)
        files.add(path)
        return read(self, path, names)

    monkeypatch.setattr(Disk, "read", harmed)
    passes.clear()
    with pytest.warns(UserWarning, match=r"12\.safetensors held is computed again: it has changed since"):
        same(whole, dissected(0, disk=1 << 30))
    assert written[ops.HotCells]
    assert len(passes) > 20


@pytest.fixture(scope="module")
def never_stopped():
    return dissected(2 << 20)


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
@pytest.mark.parametrize("killed_at", [9, 19, 25, 33, 47, 66])
def test_a_run_that_was_stopped_goes_on(killed_at, never_stopped, tmp_path, monkeypatch):
    left = [killed_at]
    add = dissect.dissection.dissection_run.DissectionRun.add

    def stopping(self, step):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        add(self, step)

    with monkeypatch.context() as patched:
        patched.setattr(dissect.dissection.dissection_run.DissectionRun, "add", stopping)
        with pytest.raises(KeyboardInterrupt):
            dissected(2 << 20, resume=tmp_path)
    same(never_stopped, dissected(2 << 20, resume=tmp_path))


def test_hot_cells_are_kept_only_where_they_take_less():
    from dissect.dissection.condensing import condensed
    from dissect.grid import Grid

    maps = torch.randn(4, 3, 6, 6)
    state = dissect.stats.TailThreshold(0.05, size=(12, 12))
    state.add(maps)
    state.advance()
    shown = torch.tensor([[7], [9], [8]])
    hot = condensed(state.floors(), Grid.half_pixel((6, 6), (12, 12)), shown, maps, torch.arange(6, 10))
    assert isinstance(hot, ops.HotCells)
    whole = hot.counts == 36
    assert whole[[1, 2, 3], [0, 2, 1]].all()
    assert not whole.all()
    assert torch.equal(hot.whole(torch.tensor([3, 1]), torch.tensor([1, 0])), maps[[3, 1], [1, 0]])


@pytest.mark.parametrize("named", ["0", "4"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_thresholds_that_are_given_for_some_layers(named, share):
    """Of layers whose thresholds are given hot cells are kept above these, beside those of layers that seek theirs."""
    model, options = small_network(), {"fraction": 0.05, "progress": False, "resamples": 0, "decoys": 0}
    whole = dissect.dissect(model, LAYERS, SCENES, **options)
    given = {named: whole[named].thresholds}
    size = sum(160 * part.num_units * 4 * side**2 for part, side in zip(whole.layers.values(), (40, 20, 10)))
    short = dissect.dissect(model, LAYERS, SCENES, thresholds=given, memory_budget=int(share * size), **options)
    for layer in LAYERS:
        for name in ("thresholds", "intersection", "unit_area", "peak_images", "peak_maps"):
            assert torch.equal(getattr(short[layer], name), getattr(whole[layer], name)), (layer, name)
