"""Measurements that are interrupted and go on give what they would have given, and know what they are of."""

import pytest
import torch
from altered import altered
from generators.painter import Colours, Painter

import dissect
from dissect import generators
from dissect.files import progress
from dissect.generators.search import ZSteps

OPTIONS = {"progress": False, "batch_size": 8}


class Interrupted(Colours):
    """Ctrl-C comes when it has seen so many images."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def __call__(self, images):
        if self.seen >= self.after:
            self.after = float("inf")
            raise KeyboardInterrupt
        return super().__call__(images)


def effect(model, z, segmenter, **options):
    return generators.effect(
        model, "features", [0], z, segmenter, "red", second=Colours(0.7), draws=2, **OPTIONS, **options
    )


def context(model, z, segmenter, **options):
    return generators.insertion_context(model, "features", [0, 1], z, segmenter, "red", least=1, **OPTIONS, **options)


def curves(model, z, segmenter, **options):
    return generators.removal_curves(
        model, "features", {"known": [0, 1, 2]}, z, segmenter, "red", draws=1, **OPTIONS, **options
    )


def trace(model, z, segmenter, **options):
    return generators.trace_effect(
        model, "features", [0, 1], z, segmenter=segmenter, concept="red", **OPTIONS, **options
    )


@pytest.mark.parametrize("measure", [effect, curves, context, trace])
@pytest.mark.parametrize("after", [16, 100])
def test_an_interrupted_measurement_goes_on(measure, after, tmp_path):
    model, z = Painter().eval(), dissect.latents((5,), 40, seed=3)
    whole, segmenter = measure(model, z, Colours()), Interrupted(after)
    with pytest.raises(KeyboardInterrupt):
        measure(model, z, segmenter, resume=tmp_path)
    seen = segmenter.seen
    found = measure(model, z, segmenter, resume=tmp_path)
    total = Colours()
    measure(model, z, total)
    assert segmenter.seen - seen < total.seen  # not all was done again
    (tensors, meta), (expected, expected_meta) = found.contents(), whole.contents()
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in tensors)
    assert meta == expected_meta
    again = Colours()
    again.__class__ = Interrupted  # the same code as the segmenter that was interrupted
    again.after = 0
    assert torch.equal(measure(model, z, again, resume=tmp_path).z_keys, whole.z_keys)  # all of it was saved


@pytest.mark.parametrize("change", [{"seed": 1}, {"mode": "insertion"}, {"value": 2.0}, {"cells": "uniform"}])
def test_another_measurement_is_refused(change, tmp_path):
    model, z = Painter().eval(), dissect.latents((5,), 16, seed=3)
    effect(model, z, Colours(), resume=tmp_path)
    with pytest.raises(ValueError, match="resume must name a folder whose run had the same"):
        effect(model, z, Colours(), resume=tmp_path, **change)


def test_other_z_are_refused(tmp_path):
    model = Painter().eval()
    effect(model, dissect.latents((5,), 16, seed=3), Colours(), resume=tmp_path)
    with pytest.raises(ValueError, match="z must be the same at every visit"):
        effect(model, dissect.latents((5,), 16, seed=4), Colours(), resume=tmp_path)


def test_other_weights_are_refused(tmp_path):
    model, z = Painter().eval(), dissect.latents((5,), 16, seed=3)
    effect(model, z, Colours(), resume=tmp_path)
    with torch.no_grad():
        model.features.weight[0] += 0.01
    with pytest.raises(ValueError, match="networks"):
        effect(model, z, Colours(), resume=tmp_path)


def narrower(kept):
    return kept[..., :-1].clone()


@pytest.mark.parametrize("measure", ["ace", "context"])
@pytest.mark.parametrize(
    "change", [narrower, lambda kept: kept[:-1].clone(), lambda kept: kept[..., :0].clone(), lambda kept: kept[0],
               lambda kept: kept[:0].clone(), lambda kept: kept.double(), lambda kept: kept + 9],
)  # fmt: skip
def test_a_file_of_what_another_segmenter_saw_is_refused(measure, change, tmp_path):
    """What a run keeps of z has its shape before more is put beside it."""
    run, model, z = {"ace": ace, "context": context}[measure], Painter().eval(), dissect.latents((5,), 40, seed=3)
    segmenter, place = Interrupted(16), "run/0/extra" if measure == "ace" else "run/extra"
    with pytest.raises(KeyboardInterrupt):
        run(model, z, segmenter, resume=tmp_path)
    path = altered(tmp_path / progress.FILE, lambda tensors, meta: tensors.update({place: change(tensors[place])}))
    with pytest.raises(ValueError, match=rf"{path} holds what cannot be: the run must hold extra as"):
        run(model, z, segmenter, resume=tmp_path)


def test_a_segmenter_of_as_many_planes_for_all_images_is_needed(tmp_path):
    model, z, segmenter = Painter().eval(), dissect.latents((5,), 40, seed=3), Growing()
    with pytest.raises(
        ValueError, match=r"insertion_context: what is kept of z .* before, \[3, 16\], but has \[6, 16\]"
    ):
        context(model, z, segmenter)


class Growing(Colours):
    """Has a plane more once it has seen some images."""

    def __call__(self, images):
        planes = super().__call__(images)
        return planes if self.seen <= 16 else planes.repeat(1, 2, 1, 1)


class Stop(BaseException):
    """Ends a run in its middle."""


def ace(model, z, segmenter, **options):
    return generators.causal_units(
        model, "features", "red", z, segmenter, 3, epochs=3, learning_rate=0.05, **OPTIONS, **options
    )


@pytest.mark.parametrize("form", ["published", "thesis"])
def test_the_search_for_causal_units_goes_on_from_every_save(form, tmp_path, monkeypatch):
    model, z = Painter().eval(), dissect.latents((5,), 44, seed=10)
    whole, saves = ace(model, z, Colours(), form=form), list[int]()
    assert len(whole.losses) > 3  # several in an epoch
    monkeypatch.setattr(progress, "EVERY", 0)
    monkeypatch.setattr(progress, "TIMES", 0)
    save = progress.Progress.save

    def stopping(self, run, now=False):
        save(self, run, now)
        saves.append(1)
        raise Stop

    monkeypatch.setattr(progress.Progress, "save", stopping)
    found = None
    while found is None:  # each goes a step further than the one before
        try:
            found = ace(model, z, Colours(), form=form, resume=tmp_path)
        except Stop:
            pass
    assert len(saves) > len(whole.losses) + 20
    (tensors, meta), (expected, expected_meta) = found.contents(), whole.contents()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert meta == expected_meta


@pytest.mark.parametrize(
    ("change", "name"), [({"seed": 1}, "seed"), ({"block": 2}, "block"), ({"value": 2.0}, "value"),
                         ({"weight": 0.1}, "weight"), ({"form": "thesis"}, "form")],
)  # fmt: skip
def test_another_search_is_refused(change, name, tmp_path):
    model, z = Painter().eval(), dissect.latents((5,), 16, seed=10)
    ace(model, z, Colours(), resume=tmp_path)
    with pytest.raises(ValueError, match=f"resume must name a folder whose run had the same {name}"):
        ace(model, z, Colours(), resume=tmp_path, **change)


def test_ctrl_c_in_the_middle_of_the_optimisation(tmp_path):
    model, z = Painter().eval(), dissect.latents((5,), 44, seed=10)
    whole, segmenter = ace(model, z, Colours()), Impatient()
    with pytest.raises(KeyboardInterrupt):
        ace(model, z, segmenter, resume=tmp_path)
    again = Impatient()
    again.left = -1
    found = ace(model, z, again, resume=tmp_path)
    whole_run = Impatient()
    whole_run.left = -1
    ace(model, z, whole_run)
    assert again.left > whole_run.left  # what was done is not done again
    assert torch.equal(found.alpha, whole.alpha)
    assert torch.equal(found.losses, whole.losses)


class Impatient(Colours):
    """Ctrl-C comes at the tenth batch of scores."""

    left = 10

    def scores(self, images, concept):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return super().scores(images, concept)


def test_a_run_that_skips_batches_is_refused(tmp_path, monkeypatch):
    model, z = Painter().eval(), dissect.latents((5,), 44, seed=10)
    monkeypatch.setattr(ZSteps, "visit", lambda *_: iter(()))
    with pytest.raises(ValueError, match="causal_units: a run that goes on must hold all 44 z"):
        ace(model, z, Colours(), resume=tmp_path)


def test_other_z_are_refused_by_the_search(tmp_path):
    model = Painter().eval()
    with pytest.raises(KeyboardInterrupt):
        ace(model, dissect.latents((5,), 44, seed=10), Impatient(), resume=tmp_path)
    with pytest.raises(ValueError, match="z must be the same at every visit"):
        ace(model, dissect.latents((5,), 44, seed=11), Impatient(), resume=tmp_path)
