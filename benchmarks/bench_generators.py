"""Ablating each unit of a generator alone, against rendering from the layer on and segmenting as many images.

Equality is asserted first: images to the bit where batches are the same, and the pixels that segmenters count where
they are not. The clock is processor time of one thread.
"""

import time

import pytest
import torch
from torch import nn

import dissect
from dissect.generators.counting import Counter
from dissect.generators.observing import ObservationRun
from dissect.generators.regions import Region
from dissect.generators.rendering import Renderer, UnitEdit
from dissect.tiny import generator, segmenter
from dissect.visits.store import Step

LAYER, CLASS = "layer4", "object/tree"


class Loops:
    """The same measurement, written in several ways; each gives the pixels of the class without each unit."""

    def __init__(self, z, units, batch):
        self.z, self.units, self.batch = z, units, batch
        self.model, self.segmenter = generator(), segmenter(signed=True)
        self.counter = Counter(self.segmenter, CLASS)
        children = dict(self.model.named_children())
        after = list(children).index(LAYER) + 1
        self.rest = nn.Sequential(*list(children.values())[after:])
        with torch.no_grad(), dissect.Trace(self.model, LAYER) as trace:
            self.features = []
            for part in z.split(batch):
                self.model(part)
                self.features.append(trace[LAYER])
        self.run = ObservationRun(
            Renderer(self.model, LAYER, z, self.segmenter, batch), [self.counter], Region("everywhere", None),
            lambda _: [UnitEdit(torch.tensor([unit])) for unit in range(units)],
        )  # fmt: skip
        self.steps = [Step(numbers, None, {}, None) for numbers in torch.arange(len(z)).split(batch)]
        for step in self.steps:
            self.run.add(self.run.compute(step))
        self.run.end_visit()

    def ours(self):
        """[U]: as `generators.effect` does it; the first layers are part of it."""
        own = [self.run.compute(step)[1][0][1] for step in self.steps]
        return torch.cat(own, 1).sum(1)

    def from_the_layer_on(self):
        """[U]: what cannot be saved; features are there, and the edit is part of it."""
        return self._counted(self.z.split(self.batch), lambda at, unit: self.rest(self._without(at, unit)))

    def published(self, batch):
        """[U]: the whole generator for each unit, with a hook, in batches of the published loops."""
        parts = self.z.split(batch)
        return self._counted(parts, lambda at, unit: self._hooked(parts[at], unit))

    def check(self):
        """Images are those of whole runs within `dissect.ablate`."""
        for step, part in zip(self.steps, self.z.split(self.batch)):
            rows = slice(int(step.numbers[0]), int(step.numbers[-1]) + 1)
            self.run._renderer.edited(
                rows, self.run.edits, lambda unit, images, part=part: self._same(unit, images, part)
            )

    def _same(self, unit, images, part):
        with torch.no_grad(), dissect.ablate(self.model, LAYER, [unit]):
            assert torch.equal(images, self.model(part))

    @torch.no_grad()
    def _counted(self, parts, images):
        own = torch.zeros(self.units, dtype=torch.int64)
        for at in range(len(parts)):
            for unit in range(self.units):
                planes = self.segmenter(images(at, unit))
                own[unit] += (planes == self.counter.label).any(1).sum()
        return own

    def _without(self, at, unit):
        features = self.features[at].clone()
        features[:, unit] = 0
        return features

    def _hooked(self, z, unit):
        def ablated(module, args, output):
            output[:, unit] = 0

        handle = self.model.get_submodule(LAYER).register_forward_hook(ablated)
        try:
            return self.model(z)
        finally:
            handle.remove()


@pytest.mark.parametrize("batch", [20, 2])
def test_ablating_each_unit_of_the_street(compare, batch):
    torch.set_num_threads(1)
    count, units = (20, 16) if compare.enabled else (4, 2)
    loops = Loops(dissect.latents(generator(), count, seed=3), units, batch)
    loops.check()
    expected = loops.from_the_layer_on()
    assert torch.equal(loops.ours(), expected)
    others = {"from the layer on, and segmenting": loops.from_the_layer_on}
    assert loops.published(batch).sub(expected).abs().max() <= 1e-3 * expected.max()
    others["published"] = lambda: loops.published(batch)
    compare(loops.ours, others, per=count * units, seconds=0, rounds=3, clock=time.process_time)
