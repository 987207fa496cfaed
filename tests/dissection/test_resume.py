"""Runs that are killed and go on: the same bits, or an error that says what has changed."""

import hashlib
import importlib
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_dissection import Scenes, network, run, same
from torch import nn

import dissect

#: Runs that are killed; what a stop between any two images does is told by the tests above.
KILLS = 12


@pytest.fixture
def often(monkeypatch):
    """Save after every batch."""
    monkeypatch.setattr("dissect.files.progress.EVERY", 0.0)
    monkeypatch.setattr("dissect.files.progress.TIMES", 0)


class Stopping(Scenes):
    """Raises when an image is asked for the n-th time."""

    def __init__(self, stop, error=KeyboardInterrupt):
        super().__init__()
        self.left, self.error = stop, error

    def __getitem__(self, index):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().__getitem__(index)


@pytest.mark.parametrize("budget", [0, 10**9])
@pytest.mark.parametrize("stop", [0, 3, 11, 21, 30, 63, 70])
def test_stopped_anywhere_and_resumed(stop, budget, tmp_path, often):
    expected = run(layers=["1", "3"])
    try:
        run(images=Stopping(stop, OSError), resume=tmp_path, memory_budget=budget)
    except OSError:
        pass
    same(expected, run(resume=tmp_path, memory_budget=budget))
    # A finished run looks at the first batch alone.
    never = Stopping(5)
    same(expected, run(images=never, resume=tmp_path))


@pytest.mark.parametrize("stop", [3, 100])
def test_more_than_ten_layers_are_not_mixed_up(stop, tmp_path, often):
    """A file holds the tensors of layer "10" before those of layer "2"."""
    torch.manual_seed(0)
    model, layers = nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(12)]).eval(), list(map(str, range(12)))
    expected = run(model=model, layers=layers)
    try:
        run(model=model, layers=layers, images=Stopping(stop, OSError), resume=tmp_path)
    except OSError:
        pass
    same(expected, run(model=model, layers=layers, resume=tmp_path))
    same(expected, run(model=model, layers=layers, resume=tmp_path))


def test_a_finished_run_needs_no_disk_that_can_be_written_to(tmp_path, often, monkeypatch):
    expected = run(resume=tmp_path / "done")
    with pytest.raises(KeyError):
        run(images=Stopping(30, KeyError), resume=tmp_path / "half", memory_budget=0)
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    same(expected, run(resume=tmp_path / "done"))
    for folder in ("half", "new"):
        with pytest.raises(PermissionError, match=folder):
            run(resume=tmp_path / folder)


def test_what_a_kill_left_is_removed_by_a_finished_run_too(tmp_path, often):
    run(resume=tmp_path)
    code = f"""
import os, signal
from dissect.files.tensors import replacing
with replacing({str(tmp_path / "progress.safetensors")!r}):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    run(resume=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["progress.safetensors"]


@pytest.mark.parametrize("preset", ["pnas2020", "tpami2018"])
@pytest.mark.parametrize("stop", [6, 22, 30, 64])
def test_resumed_under_every_preset(preset, stop, tmp_path, often):
    options = {"preset": preset, "memory_budget": 0, "layers": ["2", "3"]}
    try:
        run(images=Stopping(stop, OSError), resume=tmp_path, **options)
    except OSError:
        pass
    same(run(**options), run(resume=tmp_path, **options))


class Changing(Scenes):
    """Another number of images, or others, than at first, and no way to see it but to look."""

    def __init__(self, count):
        super().__init__()
        self.images, self.planes = self.images[:count], self.planes[:count]


@pytest.mark.parametrize("stop", [25, 64])
@pytest.mark.parametrize("count", [20, 11])
def test_another_number_of_images_is_refused(stop, count, tmp_path, often):
    def batches(images):
        return (item for item in torch.utils.data.DataLoader(images, batch_size=5))

    class Again:
        """An iterable that does not know its length."""

        def __init__(self, images):
            self.images = images

        def __iter__(self):
            return batches(self.images)

    options = {"memory_budget": 0, "resume": tmp_path}
    with pytest.raises(OSError):  # noqa: PT011
        run(images=Again(Stopping(stop, OSError)), **options)
    with pytest.raises(ValueError, match=r"images must be the same at every visit|those of batch \d have changed"):
        run(images=Again(Changing(count)), **options)
    with pytest.raises(ValueError, match="whose run had the same concepts, images, but"):
        run(images=Changing(count), **options)


def test_another_architecture_or_an_intervention_is_another_model(tmp_path, often):
    options = {"batch_size": 5, "fraction": 0.05, "progress": False, "resume": tmp_path}
    dissect.dissect(network(), "1", Scenes(), **options)
    other = network()
    other[1] = nn.GELU()
    with pytest.raises(ValueError, match="whose run had the same model, but"):
        dissect.dissect(other, "1", Scenes(), **options)
    same_model = network()
    with dissect.ablate(same_model, "0", [0]), pytest.raises(ValueError, match="whose run had the same model, but"):
        dissect.dissect(same_model, "1", Scenes(), **options)


@pytest.mark.parametrize("finished", [False, True])
def test_other_activations_are_refused(finished, tmp_path, often):
    options = {"batch_size": 5, "fraction": 0.05, "progress": False, "resume": tmp_path}
    model = network()
    with dissect.ablate(model, "0", [0]):
        if finished:
            dissect.dissect(model, "1", Scenes(), **options)
        else:
            with pytest.raises(OSError):  # noqa: PT011
                dissect.dissect(model, "1", Stopping(14, OSError), **options)
    for other in (dissect.ablate(model, "0", [1]), dissect.ablate(model, "0", [0], value=1.0)):
        with (
            other,
            pytest.raises(ValueError, match="activations must be those of the run to resume, but those of batch 0"),
        ):
            dissect.dissect(model, "1", Scenes(), **options)
    with dissect.ablate(model, "0", [0]):
        found = dissect.dissect(model, "1", Scenes(), **options)
        same(found, dissect.dissect(model, "1", Scenes(), **{**options, "resume": None}))


def test_other_pictures_are_refused(tmp_path, often):
    run(resume=tmp_path)
    with pytest.raises(ValueError, match="whose run had the same pictures, but"):
        run(resume=tmp_path, pictures=lambda images: (images * 200).byte())


def test_an_iterator_is_looked_at_as_it_goes_by(tmp_path, often):
    def batches(scenes, stop=None):
        for number, at in enumerate(range(0, 21, 5)):
            if number == stop:
                raise OSError
            yield scenes.images[at : at + 5], scenes.planes[at : at + 5]

    with pytest.raises(OSError):  # noqa: PT011
        run(images=batches(Scenes(), 3), resume=tmp_path, concepts=Scenes.concepts)
    other = Scenes()
    other.images = other.images.flip(0)
    with pytest.raises(ValueError, match="those of batch 0 have changed"):
        run(images=batches(other), resume=tmp_path, concepts=Scenes.concepts)
    with pytest.raises(ValueError, match="got a generator that is used up"):  # the first three batches are wanted again
        run(images=batches(Scenes()), resume=tmp_path, concepts=Scenes.concepts)
    model, options = network(), {"batch_size": 5, "fraction": 0.05, "progress": False, "concepts": Scenes.concepts}
    options |= {"resume": tmp_path / "other", "memory_budget": 0}
    with dissect.ablate(model, "0", [0]), pytest.raises(ValueError, match="used up"):
        dissect.dissect(model, "1", batches(Scenes()), **options)  # at the beginning of the second visit
    with dissect.ablate(model, "0", [1]), pytest.raises(ValueError, match="activations must be those of the run"):
        dissect.dissect(model, "1", batches(Scenes()), **options)


def test_the_current_folder_is_a_folder(tmp_path, monkeypatch, often):
    monkeypatch.chdir(tmp_path)
    run(resume="")
    other = network()
    with torch.no_grad():
        other[0].bias += 1
    with pytest.raises(ValueError, match="whose run had the same model, but"):
        dissect.dissect(other, ["1", "3"], Scenes(), batch_size=5, fraction=0.05, progress=False, resume="")


@pytest.mark.parametrize(
    "method", ["visits.activations.Activations._compare", "dissection.dissection_run.DissectionRun._count_encoded"]
)
@pytest.mark.parametrize("moment", [0, 2, 4])
def test_an_interrupt_while_a_gpu_is_looked_at_loses_nothing(method, moment, tmp_path, monkeypatch, often):
    expected = run(memory_budget=0)
    monkeypatch.setattr("dissect.devices.is_asynchronous", lambda device: True)
    module, kind, name = method.rsplit(".", 2)
    owner, calls = getattr(importlib.import_module(f"dissect.{module}"), kind), []
    real = getattr(owner, name)

    def interrupted(self, *arguments):
        calls.append(name)
        if len(calls) == moment + 1:
            signal.raise_signal(signal.SIGINT)
        real(self, *arguments)

    monkeypatch.setattr(owner, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(memory_budget=0, resume=tmp_path)
    same(expected, run(memory_budget=0, resume=tmp_path))


def test_an_interrupt_in_the_middle_of_a_batch_waits_for_its_end(tmp_path, monkeypatch):
    add, calls = dissect.dissection.dissection_run.DissectionRun.add, []

    def interrupted(self, step):
        calls.append(step)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        add(self, step)

    monkeypatch.setattr(dissect.dissection.dissection_run.DissectionRun, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(resume=tmp_path)
    monkeypatch.undo()
    asked = Stopping(10**6)
    same(run(), run(images=asked, resume=tmp_path))
    # The first batch again, to see that it is the same, all from the fourth on, and the first three for later visits.
    assert 10**6 - asked.left == 5 + 6 + 15


def test_an_interrupt_saves_what_is_known(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(images=Stopping(14), resume=tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.name == "progress.safetensors"
    asked = Stopping(10**6)
    same(run(), run(images=asked, resume=tmp_path))
    # The first batch again, to see that it is the same, all from the third on, and the first two for later visits.
    assert 10**6 - asked.left == 5 + 11 + 10


def test_what_has_changed_is_named(tmp_path, often):
    with pytest.raises(OSError):  # noqa: PT011
        run(images=Stopping(14, OSError), resume=tmp_path)
    other = network()
    with torch.no_grad():
        other[3].bias += 1
    options = {"batch_size": 5, "fraction": 0.05, "progress": False, "resume": tmp_path}
    with pytest.raises(ValueError, match="whose run had the same model, but"):
        dissect.dissect(other, ["1", "3"], Scenes(), **options)
    with pytest.raises(ValueError, match="whose run had the same layers, but"):
        dissect.dissect(network(), "3", Scenes(), **options)
    with pytest.raises(ValueError, match="whose run had the same options, but"):
        dissect.dissect(network(), ["1", "3"], Scenes(), **{**options, "fraction": 0.1})
    with pytest.raises(ValueError, match="whose run had the same concepts, but"):
        dissect.dissect(network(), ["1", "3"], Scenes(), concepts=["a", "b", "c", "d"], **options)
    with pytest.raises(ValueError, match="whose run had the same segmenter, but"):
        dissect.dissect(network(), ["1", "3"], Scenes(), segmenter=nn.Identity(), concepts=Scenes.concepts, **options)
    scenes = Scenes()
    scenes.images = scenes.images.flip(0)
    with pytest.raises(ValueError, match="those of batch 0 have changed"):
        dissect.dissect(network(), ["1", "3"], scenes, **options)
    scenes = Scenes()
    scenes.planes[7, 0, 0, 0] = 0 if scenes.planes[7, 0, 0, 0] else 1
    with pytest.raises(ValueError, match="those of batch 1 have changed"):
        dissect.dissect(network(), ["1", "3"], scenes, **{**options, "memory_budget": 0})


def test_a_folder_that_cannot_be_made_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(FileExistsError, match="file"):
        run(images=Stopping(0, AssertionError), resume=tmp_path / "file")


def test_a_damaged_file_is_told(tmp_path, often):
    run(resume=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is damaged"):
        run(resume=tmp_path)


def test_killed_at_random_points(tmp_path):
    """`kill -9` of the whole process, some of them twice; see `main` for the other side."""
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert len(lines) == KILLS + 1
    assert len(set(line.split()[-1] for line in lines)) == 1, done.stdout
    assert sum("killed" in line for line in lines) >= KILLS // 2, done.stdout


def _start(folder):
    """A process that dissects with `folder` to resume from, and writes its result there."""
    child = os.fork()
    if child:
        return child
    scenes = Scenes(50)
    result = run(images=scenes, memory_budget=60_000, resume=folder / "progress")
    result.save(folder / "result")
    os._exit(0)


def main(folder):
    """Prints a line per trial: how often it was killed, and the digest of its result."""
    dissect.files.progress.EVERY, dissect.files.progress.TIMES = 0.0, 0
    choose = random.Random(7)
    whole = None  # seconds of a run that nobody killed: the least so far, as others may keep the machine busy
    for trial in range(KILLS + 1):
        here, kills = folder / str(trial), 0
        while True:
            begin, child = time.monotonic(), _start(here)
            if trial and kills < 1 + trial % 2:
                time.sleep(choose.uniform(0.0, whole))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.WIFEXITED(status):
                break
            kills += 1
        if status:
            sys.exit(f"trial {trial} failed with status {status}.")
        if not kills:
            whole = min(whole or math.inf, time.monotonic() - begin)
        digest = hashlib.sha256((here / "result.dissection").read_bytes()).hexdigest()
        print(trial, f"killed {kills} times" if kills else "whole", digest)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
