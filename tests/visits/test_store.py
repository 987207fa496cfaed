"""What is kept between visits, and where: the memory and the time go where they save the most."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from small_dissection import CONCEPTS, Counting, Scenes, network, run, same

import dissect
from dissect.visits.disk import Disk
from dissect.visits.store import Cost, Step, Store, cuts, narrow


@pytest.fixture(scope="module")
def result():
    return run()


def step(*names, planes=10, size=100):
    """A step of one image with maps and planes of so many bytes."""
    maps = {name: torch.zeros(1, 1, 1, size // 4) for name in names}
    return Step(torch.zeros(1), torch.zeros(1, 1, 1, planes, dtype=torch.uint8), maps)


def kept(store, layers, number):
    """Per batch, a letter for each of the layers that need not be computed, and "+" for planes."""
    rows = []
    for index in range(number):
        missing = store.missing(index, layers)
        rows.append("".join(name for name in layers if name not in missing) + "+" * (store.planes(index) is not None))
    return rows


def test_cuts_are_the_corners_of_the_hull():
    assert cuts([10], [1.0], 1.5) == [(1, 0), (0, 10)]
    # A layer whose maps are large and which saves little comes last; images that are dear to load make all of it best.
    assert cuts([100, 10, 10], [1.0, 5.0, 6.0], 6.0) == [(3, 0), (1, 20), (0, 120)]
    assert cuts([100, 10, 10], [1.0, 1.1, 1.2], 90.0) == [(3, 0), (0, 120)]
    assert cuts([4, 4, 4], [1.0, 2.0, 3.0], 3.0)[-1] == (0, 12)
    assert cuts([], [], 1.0) == [(0, 0)]
    assert cuts([0, 0], [1.0, 2.0], 2.0)[-1] == (0, 0)


def fill(memory, batches=4, layers=("a", "b"), known=True, **options):
    store = Store(memory, 0)
    cost = Cost({"a": 1.0, "b": 6.0}, 6.0)  # "b" is worth keeping: 5 seconds of 6 for half of the bytes
    for index in range(batches):
        one = step(*layers, **options)
        store.keep(index, one, Cost({n: cost.layers[n] for n in layers}, 6.0), batches - index if known else 1, False)
    return kept(store, list(layers), batches)


def test_each_batch_has_its_share_of_the_memory():
    assert fill(4 * 210) == ["ab+"] * 4
    assert fill(4 * 200) == ["ab"] * 4
    assert fill(4 * 100) == ["b"] * 4
    assert fill(4 * 100 + 250) == ["ab", "ab", "b", "b"]
    assert fill(250) == ["b", "b", "", ""]
    assert fill(99) == [""] * 4
    assert fill(4 * 210, known=False) == ["ab+"] * 4
    assert fill(450, known=False) == ["ab+", "ab+", "", ""]


def test_a_later_visit_adds_what_it_computed():
    store = Store(150, 0)
    store.keep(0, step("a", planes=200), Cost({"a": 1.0}, 1.0), 1, False)
    assert kept(store, ["a", "b"], 1) == ["a"]
    store.keep(0, step("b", size=40), Cost({"b": 2.0}, 2.0), 1, False)
    assert kept(store, ["a", "b"], 1) == ["ab+"]
    assert store.maps(0, ["b"])["b"].numel() == 10
    assert store.holds(0, ["a", "b"], planes=True)


def test_planes_of_a_segmenter_come_first():
    store = Store(100, 0)
    store.keep(0, step("a"), Cost({"a": 1.0}, 1.0), 1, True)
    assert kept(store, ["a"], 1) == ["+"]


def test_planes_take_the_narrowest_type():
    for largest, dtype in ((255, torch.uint8), (256, torch.int16), (32768, torch.int32), (2**31, torch.int64)):
        planes = torch.tensor([[[[0, largest]]]])
        assert narrow(planes).dtype == dtype
        assert torch.equal(narrow(planes).long(), planes)
    assert narrow(torch.tensor([[[[-1]]]])).item() == -1
    assert narrow(torch.zeros(0, 1, 1, 1, dtype=torch.int64)).numel() == 0
    already = torch.zeros(1, 1, 1, 1, dtype=torch.int16)
    assert narrow(already).dtype == torch.uint8


def counted(**options):
    """The result, how often layers "1" and "3" ran, and how many images were asked for."""
    model, scenes, ran = network(), Counting(), {"1": 0, "3": 0}
    for name in ran:
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.update({name: ran[name] + 1}))
    options = {"batch_size": 5, "fraction": 0.05, "progress": False, **options}
    return dissect.dissect(model, ["1", "3"], scenes, **options), ran["1"], ran["3"], scenes.asked


def test_what_is_kept_is_not_computed_nor_asked_for_again(result):
    found, shallow, deep, asked = counted()
    same(result, found)
    assert (shallow, deep, asked) == (5, 5, 21)
    found, shallow, deep, asked = counted(memory_budget=0)
    same(result, found)
    assert shallow == deep > 5
    assert asked == 21 * shallow / 5


class Slow(torch.nn.Module):
    """A layer that takes its time: of a clock at which every look takes a thousandth of a second."""

    ran, seconds = 0, 0.0

    def forward(self, maps):
        self.ran += 1
        self.seconds += 0.2
        return maps * 1.5

    def clock(self):
        self.seconds += 0.001
        return self.seconds


def test_layers_that_take_little_memory_and_much_time_stay(monkeypatch):
    model, options = torch.nn.Sequential(torch.nn.MaxPool2d(2), Slow()).eval(), {"batch_size": 7, "progress": False}
    large = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), model).eval()
    monkeypatch.setattr(time, "perf_counter", model[1].clock)
    dissect.dissect(large, ["0", "1.1"], Scenes(), memory_budget=21 * 8 * 8 * 8 * 4, layout="NUHW", **options)
    assert model[1].ran == 3


class Half(torch.nn.Module):
    """The threshold of 16-bit maps is known after one visit."""

    ran = 0

    def forward(self, maps):
        self.ran += 1
        return maps.half()


def test_a_visit_stops_at_the_last_layer_whose_threshold_is_open():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), Half()).eval()
    options = {"batch_size": 7, "progress": False, "memory_budget": 0, "positions": "feature"}
    dissect.dissect(model, ["0", "1"], Scenes(), layout="NUHW", **options)  # else one more, to follow units
    assert model[1].ran == 3 + 3


def test_the_segmenter_runs_once_per_batch(result):
    scenes, calls = Scenes(), []

    class Segmenter:
        concepts = CONCEPTS

        def __call__(self, images):
            calls.append(len(images))
            return scenes.planes[[int((scenes.images == image).flatten(1).all(1).nonzero()) for image in images]]

    same(result, run(images=scenes.images, segmenter=Segmenter(), memory_budget=21 * 3 * 16 * 16))
    assert calls == [5, 5, 5, 5, 1]


def on_disk(seconds, number=5):
    """Which of some batches go to disk, if computing each takes so many seconds."""
    store = Store(0, 10**6)
    for index in range(number):
        store.keep(index, step("a"), Cost({"a": seconds}, seconds), number - index, False)
    found = [not store.missing(index, ["a"]) for index in range(number)]
    if found[-1]:
        assert torch.equal(store.maps(number - 1, ["a"])["a"], step("a").activations["a"])
    store.close()
    return found


def test_disk_is_used_where_computing_takes_longer():
    assert on_disk(seconds=1e6) == [True] * 5
    # The first file tells how fast the disk is.
    assert on_disk(seconds=1e-9) == [True] + [False] * 4


def full(*_, **__):
    from safetensors import SafetensorError

    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_a_full_disk_for_temporary_files_is_told_and_does_no_harm(result, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("dissect.files.tensors.safetensors_torch.save_file", full)
    with pytest.warns(UserWarning, match=r"computed again at each visit, since .*No space left on device: .*dissect-"):
        found = run(memory_budget=0, disk_budget=10**9)
    same(result, found)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_while_saving_progress_and_the_way_back(result, monkeypatch, tmp_path):
    monkeypatch.setattr("dissect.files.progress.EVERY", 0.0)
    monkeypatch.setattr("dissect.files.progress.TIMES", 0)
    saves = []

    def full_at_the_eighth(tensors, path, metadata=None):
        saves.append(path)
        if len(saves) == 8:
            path.write_bytes(b"a part")
            full()
        save_file(tensors, path, metadata=metadata)

    from safetensors.torch import save_file

    monkeypatch.setattr("dissect.files.tensors.safetensors_torch.save_file", full_at_the_eighth)
    with pytest.raises(OSError, match=r"No space left on device: .*progress\.safetensors'"):
        run(resume=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["progress.safetensors"]
    same(result, run(resume=tmp_path))


def always_on_disk(monkeypatch):
    """As if computing took for ever, however busy the disk is."""
    write = Disk.write
    monkeypatch.setattr(Disk, "write", lambda self, index, maps, seconds: write(self, index, maps, 1e9))


def flipped(path):
    data = bytearray(path.read_bytes())
    for at in range(1000, len(data), 100):  # in every layer's maps
        data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (flipped, "it has changed since it was written"),
        (lambda path: os.truncate(path, 300), "it cannot be read: "),
        (lambda path: path.unlink(), "it cannot be read: .*No such file"),
        (lambda path: shutil.rmtree(path.parent), "it cannot be read: .*No such file"),
    ],
)
@pytest.mark.parametrize("batches", [True, False])
@pytest.mark.parametrize("planes", ["kept", "not kept"])
# On a machine that is busy a file may be written later than the folder was taken away; that is told too.
@pytest.mark.filterwarnings("ignore:.*what is left is computed again at each visit")
def test_temporary_files_that_are_harmed_are_computed_again(result, monkeypatch, harm, why, batches, planes):
    always_on_disk(monkeypatch)
    read, reads = Disk.read, []

    def harmed(self, path, names):
        reads.append(path)
        if len(reads) == 9:  # five files were written and read once, to time it
            harm(path)
        return read(self, path, names)

    monkeypatch.setattr(Disk, "read", harmed)
    images = [Scenes()[numbers] for numbers in torch.arange(21).split(5)] if batches else Scenes()
    memory = 21 * 3 * 16 * 16 if planes == "kept" else 0
    with pytest.warns(UserWarning, match=rf"temporary file .*safetensors held is computed again: {why}") as told:
        found = run(images=images, concepts=CONCEPTS, memory_budget=memory, disk_budget=10**9)
    told = [warning for warning in told if "temporary file" in str(warning.message)]
    assert len(told) == 1
    same(result, found)


LIMITED = """
import resource, signal, sys
sys.dont_write_bytecode = True  # Python would leave what is imported first cut off at the limit, for all who come later
from dissect.cli.commands import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(main(["demo", "--images", "2", "--layers", "features.conv1_1", "--out", sys.argv[1]]))
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE") or not hasattr(signal, "SIGXFSZ"), reason="POSIX limits")
def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(f"dissect: {tmp_path}/tiny-vgg.dissection: File too large.")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


MEMORY = """
import os, resource, sys, torch, dissect

class Images(torch.utils.data.Dataset):
    def __len__(self):
        return number
    def __getitem__(self, index):
        image = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(index))
        return image, (image[:1] * 2599).long()

model = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 1, bias=False)).eval()
for trust in ({"decoys": 0, "resamples": 0}, {}):
    for number in (2000, 5000):  # each in a fork, whose peak is its own
        if os.fork() == 0:
            dissect.dissect(model, "0", Images(), memory_budget=2**20, scope="category", progress=False, **trust)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
            os._exit(0)
        assert os.wait()[1] == 0
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss in KiB")
def test_memory_does_not_grow_with_the_number_of_images():
    # What is counted by image, 64 units and 2,600 labels of 8 bytes, would take 61 MiB for 3,000 images more, and that
    # by image, unit and label far more; without it peaks differ by up to 30 MiB from one time to another.
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    peaks = torch.tensor([*map(int, done.stdout.split())]).view(2, 2)
    assert (peaks[:, 1] - peaks[:, 0] < 1024 * torch.tensor([40, 50])).all(), peaks
