"""The one loop: steps in order, the same data at every visit, Ctrl-C and a file to go on from."""

import signal

import pytest
import torch
from small_dissection import run as dissected
from small_dissection import same

from dissect.data import Batches
from dissect.dissection.decoys import PlanePool
from dissect.dissection.dissection_run import DissectionRun
from dissect.dissection.significance import Gathering
from dissect.files.tensors import load_tensors, save_tensors
from dissect.stats import IouTally, NullTally, Peaks, TailThreshold
from dissect.stats.places import Places
from dissect.visits.images import Images
from dissect.visits.run import Run, Visit, finish

PHOTOS = torch.arange(10.0).view(10, 1, 1, 1).expand(10, 3, 2, 2)


class Sums(Run):
    """The sum of all images' first pixels, as often as there are visits; `stop` says after how many steps, and how."""

    def __init__(self, visits=2, stop=None, how=None):
        self.visits, self.total, self.seen = visits, 0.0, []
        self._stop, self._how = stop, how

    @property
    def needs(self):
        return Visit("sums") if self.visits else None

    def _maybe_stop(self, where):
        if self._how == where and len(self.seen) == self._stop:
            signal.raise_signal(signal.SIGINT)

    def compute(self, step):
        self._maybe_stop("compute")
        return step.numbers.tolist(), float(step.images[:, 0, 0, 0].sum())

    def add(self, found):
        self._maybe_stop("add")
        self.seen += found[:1]
        self.total += found[1]

    def end_visit(self):
        self.visits -= 1

    def state_dict(self):
        return {"visits": self.visits, "total": self.total}

    def load_state_dict(self, state):
        self.visits, self.total = state["visits"], state["total"]


class Photos:
    """Batches of three, of which one is `changed` from visit `since` on."""

    def __init__(self, changed=None, since=0, count=4):
        self.changed, self.since, self.count, self.visits = changed, since, count, 0

    def __len__(self):
        return 4  # what it says of itself does not tell

    def __iter__(self):
        self.visits += 1
        for number, batch in enumerate(PHOTOS.split(3)[: self.count]):
            yield batch + (number == self.changed and self.visits > self.since)


def steps(*args, **options):
    return Images({"images": Batches(Photos(*args, **options))})


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr("dissect.files.progress.EVERY", 0)
    monkeypatch.setattr("dissect.files.progress.TIMES", 0)


@pytest.mark.parametrize(("how", "known"), [("compute", 0), ("add", 1)])
@pytest.mark.parametrize("stop", [0, 2, 3, 4, 7])
def test_every_step_is_taken_once_however_it_is_interrupted(how, known, stop, tmp_path):
    first = Sums(stop=stop, how=how)
    with pytest.raises(KeyboardInterrupt):
        finish(first, steps(), resume=tmp_path, progress=False)
    assert len(first.seen) == stop + known  # what takes long ends at once, what changes the run does not
    second = Sums()
    finish(second, steps(), resume=tmp_path, progress=False)
    numbers = [batch.tolist() for batch in torch.arange(10).split(3)]
    assert first.seen + second.seen == 2 * numbers
    assert second.total == 90
    third = Sums()
    finish(third, steps(), resume=tmp_path, progress=False)
    assert (third.seen, third.total) == ([], 90)


@pytest.mark.parametrize("changed", range(4))
def test_a_batch_that_changes_between_visits_is_refused(changed):
    with pytest.raises(ValueError, match=f"images must be the same at every visit, but those of batch {changed} have"):
        finish(Sums(), steps(changed, since=1), progress=False)
    with pytest.raises(ValueError, match="must be the same at every visit, but"):
        finish(Sums(3), Images({"images": Batches(iter_shrinking())}), progress=False)


def iter_shrinking():
    class Shrinking(Photos):
        def __iter__(self):
            yield from list(super().__iter__())[: 4 - (self.visits > 1)]

    return Shrinking()


@pytest.mark.parametrize("stop", [1, 3, 6])
@pytest.mark.parametrize("changed", range(4))
def test_a_run_goes_on_over_the_same_data_alone(stop, changed, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        finish(Sums(stop=stop, how="compute"), steps(), resume=tmp_path, progress=False)
    if changed <= stop:  # the others are new to it
        with pytest.raises(ValueError, match=f"those of batch {changed} have changed"):
            finish(Sums(), steps(changed), resume=tmp_path, progress=False)
    with pytest.raises(ValueError, match="images must be the same at every visit, but are 1 batches now"):
        finish(Sums(), steps(count=1), resume=tmp_path, progress=False)
    run = Sums()
    finish(run, steps(), resume=tmp_path, progress=False)
    assert run.total == 90


def test_no_data_are_refused():
    with pytest.raises(ValueError, match="images must hold at least one batch, but held none"):
        finish(Sums(), Images({"images": Batches([])}), progress=False)


@pytest.mark.parametrize(
    "state", [TailThreshold, Peaks, IouTally, NullTally, Places, PlanePool, Gathering, DissectionRun]
)
def test_another_version_of_a_state_refuses_the_runs_that_hold_it_alone(state, tmp_path, monkeypatch, often):
    expected = dissected(resume=tmp_path / "dissection")
    finish(Sums(), steps(), resume=tmp_path / "sums", progress=False)
    monkeypatch.setattr(state, "version", 99, raising=False)
    told = f"its {state.__name__} is of version .*, but this version of dissect goes on from version 99 alone; delete"
    with pytest.raises(ValueError, match=told):
        dissected(resume=tmp_path / "dissection")
    finish(Sums(), steps(), resume=tmp_path / "sums", progress=False)
    monkeypatch.undo()
    same(expected, dissected(resume=tmp_path / "dissection"))


def test_parts_that_earlier_files_saved_without_a_version_are_of_version_1(tmp_path):
    expected = dissected(resume=tmp_path)
    (path,) = tmp_path.iterdir()
    tensors, meta = load_tensors(path, "progress", 3)
    gathering = meta["state"]["run"]["gathering"]
    for part in (gathering, gathering["pool"], gathering["places"], *gathering["tallies"].values()):
        assert part.pop("version") == 1
    assert meta["state"]["run"]["sample"].pop("version") == 1
    save_tensors(path, "progress", 3, tensors, meta)
    same(expected, dissected(resume=tmp_path))


def test_progress_of_earlier_versions_is_refused_in_words(tmp_path):
    dissected(resume=tmp_path)
    (path,) = tmp_path.iterdir()
    meta = load_tensors(path, "progress", 3)[1]
    save_tensors(path, "progress", 2, {}, {"about": meta["about"], "state": meta["state"]["run"]})
    with pytest.raises(ValueError, match=r"is of a version of dissect that kept less; delete that file .* --fresh"):
        dissected(resume=tmp_path)


def test_each_half_of_a_saved_run_is_its_owners(tmp_path):
    dissected(resume=tmp_path)
    state = load_tensors(next(tmp_path.iterdir()), "progress", 3)[1]["state"]
    assert state.keys() == {"batch", "steps", "run"}
    assert state["steps"]["same"]["whole"]
    assert not {"checksums", "first_maps", "batch"} & state["run"].keys()
