"""Where a dissection's steps come from: from the network, unless the store still has them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dissect import ops
from dissect.arguments import refusal
from dissect.data import Batch, Batches
from dissect.data.planes import label_planes
from dissect.devices import DeferredReads, checksum, device_of, to_device
from dissect.files.checked import Each, Maybe, Of, Whole, fields
from dissect.generated import Generated
from dissect.interrupts import deferred_interrupts
from dissect.network.modes import segmented
from dissect.ops.native import LABEL_DTYPES
from dissect.visits.passes import Inputs, Pass, Passes
from dissect.visits.readout import Readout
from dissect.visits.run import Visit
from dissect.visits.same import Same
from dissect.visits.store import Cost, Step, Store, step_of

#: How an image comes by planes.
WAYS = (
    "Planes come in batches of (images, planes), from an ImageFolder with planes=, or from segmenter= (dissect run: "
    "--planes, --segmenter)."
)


class Activations:
    """The data set's steps, always in the same batches: computed, or from the `Store` where they were kept.

    See `dissect.visits.run.Steps`.

    Args:
        model: the network.
        layers: all that some visit asks for.
        batches: the images.
        segmenter: makes planes, or None where they come with the images, if there are any.
        readout: how outputs and planes are read.
        memory_budget: bytes, see `Store`.
        disk_budget: bytes, see `Store`.
        labelled: there must be planes.
        generated: how a generator's images come by, which the segmenter sees; None where batches hold them.
        vectors: layers may give [N, U], with planes too.
        to_planes: makes planes of what comes with images, or of what the segmenter gives, see `label_planes`.
        encoded: labels that come encoded (`dissect.segmentation.LabelStore`) stay so (`Step.labels`), where neither the
            rules nor labels to ignore ask for other planes; else planes are made of them.

    Raises:
        ValueError: z come with the labels of what another generator makes, or of another segmenter.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: list[str],
        batches: Batches,
        segmenter: Callable[[Tensor], Tensor] | None,
        readout: Readout,
        memory_budget: int,
        disk_budget: int,
        labelled: bool,
        generated: Generated | None = None,
        *,
        vectors: bool = False,
        to_planes: Callable[[Tensor, Tensor, int, tuple[int, ...]], Tensor] = label_planes,
        encoded: bool = False,
    ) -> None:
        from dissect.segmentation.made_labels import labels_of_made
        from dissect.segmentation.protocol import adapted

        self._made = labels_of_made(model, segmenter, batches.data, generated=generated is not None)
        segmenter = segmenter if self._made is None else None
        self._model, self._batches, self._generated = model, batches, generated
        self._segmenter = adapted(segmenter, batches.data, generated=generated is not None)
        self._readout, self._layers, self._vectors, self._to_planes = readout, layers, vectors, to_planes
        self._encoded = encoded and not readout.ignore
        self._store = Store(memory_budget, disk_budget)
        self._passes = Passes(model, layers, readout)
        self._device = device_of(model)
        self._serving = ops.serving_device(self._device)  # of activations and planes
        # Of each batch's images and planes, and of the first batch's maps; known once `_flush` was called.
        self._same, self._first_maps = Same("images"), list[int]()
        self._late = DeferredReads()
        self._computed: tuple[int, Step, Cost] | None = None
        # Whether there are no planes, of no image and from no segmenter; known after the first batch.
        self._images_only: bool | None = False if labelled else None

    def __enter__(self) -> Activations:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()
        self._passes.close()

    @property
    def layouts(self) -> dict[str, list[str]]:
        """Of each layer that has run, how its output is laid out, and how that is known; see `Layout`."""
        return self._passes.layouts

    @property
    def checksums(self) -> set[tuple[int, ...]]:
        """Of all batches that were met: they tell whether another data set has one of them."""
        return {tuple(sums) for sums in self._same.sums}

    def known(self) -> Iterator[None]:
        """See `Steps`: of the first batch, its planes and maps; of an iterator, when it comes by."""
        if self._same.sums and not self._batches.used_once:
            self._recognise(next(iter(self._batches)))
            yield

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        self._flush()
        return {"images_only": self._images_only, "first_maps": self._first_maps, "same": self._same.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it holds what cannot be.
        """
        rules = {"images_only": Maybe(Of(bool)), "first_maps": Each(Whole(-(1 << 63))), "same": Of(dict)}
        fields("the data set", state, rules)
        self._images_only = state.get("images_only")
        self._same.load_state_dict(state["same"])
        self._first_maps = state["first_maps"] if self._same.sums else []

    def _recognise(self, batch: Batch) -> None:
        """Compares the first batch, its planes and maps with those of the run that goes on."""
        inputs = self._inputs(0, batch)
        if self._images_only is None:
            self._images_only = self._brings_no_planes(batch)
        run = self._run(inputs, self._layers, self._generated is not None)
        images = self._images(0, inputs, run)
        planes = None if self._images_only else self._planes(0, batch, inputs, images)
        self._check_same(0, inputs, planes)
        self._see_first_maps(run.maps)
        self._flush()

    def _see_first_maps(self, maps: dict[str, Tensor]) -> None:
        self._late.call(
            self._compare_maps, torch.stack([checksum(maps[name]).to(self._serving) for name in self._layers])
        )

    def _compare_maps(self, found: Tensor) -> None:
        sums = found.tolist()
        if self._first_maps and self._first_maps != sums:
            raise refusal(
                ValueError(
                    "activations must be those of the run to resume, but those of batch 0 are not; was it run under "
                    "other interventions, on another device, in another precision or with another number of threads?"
                )
            )
        self._first_maps = sums

    def visit(self, visit: Visit, start: int) -> Iterator[Step]:
        """See `Steps`."""
        self._store.forget_hot(visit.whole)
        if visit.condense is not None and self._store.short and self._held(visit, start) is not None:
            self._store.condense(visit.condensed)  # there is something that wants the room
        for step in self._visited(visit, start):
            yield step
            self._keep(visit)

    def _visited(self, visit: Visit, start: int) -> Iterator[Step]:
        held = self._held(visit, start)
        if held is None:
            for index in range(start, self._same.count or 0):
                yield self._recalled(index, visit)
            return
        # What comes before `start` is gone for good in an iterator, and its first batch is looked at as it goes by.
        count, begin = 0 if self._batches.used_once else start, time.perf_counter()
        for batch in self._batches.visit(count, held | set(range(1, start))):
            if count == 0 and self._same.sums and self._batches.used_once and batch is not None:
                self._recognise(batch)
            if count >= start and batch is None:
                yield self._recalled(count, visit)
            elif count >= start and batch is not None:
                yield self._compute(count, batch, visit, begin)
            count, begin = count + 1, time.perf_counter()
        self._flush()
        self._same.end(count)

    def _held(self, visit: Visit, start: int) -> set[int] | None:
        """The batches from `start` on that the visit can do without; None where they are all that there are."""
        number = self._same.count
        planes = visit.planes and not self._images_only
        held = {index for index in range(start, number or 0) if self._store.holds(index, visit.layers, planes)}
        return None if number is not None and len(held) == number - start else held

    def _keep(self, visit: Visit) -> None:
        """Keeps what is worth its room of the step that was computed last, once the visit has seen it."""
        computed, self._computed = self._computed, None
        if computed is None or visit.last:
            return
        index, step, cost = computed
        batches = self._expected_batches()
        seen = 1.0 if self._same.count is not None else (index + 1) / batches if batches else None
        self._store.keep(
            index, step, cost, max(1, (batches or 0) - index), self._segmenter is not None,
            None if visit.condense is None or seen is None else visit.condensed, min(1.0, seen or 1.0),
        )  # fmt: skip

    def count(self, visit: Visit) -> int | None:
        """See `Steps`."""
        return self._expected_batches()

    def _expected_batches(self) -> int | None:
        return self._batches.count() if self._same.count is None else self._same.count

    def _compute(self, index: int, batch: Batch, visit: Visit, begin: float) -> Step:
        """A step whose batch was asked for at the time `begin`: what the store does not hold of it, from the model."""
        inputs = self._inputs(index, batch)
        if self._images_only is None:
            self._images_only = self._brings_no_planes(batch)
        kept = self._store.maps(index, visit.layers)
        missing = [name for name in visit.layers if name not in kept]
        labels = visit.planes and self._store.planes(index) is None and self._sees_images()
        run = self._run(inputs, missing, self._generated is not None and (visit.images or labels))
        images = self._images(index, inputs, run)
        maps = run.maps | kept
        planes = self._store.planes(index)
        if self._images_only and self._brings_no_planes(batch):
            self._check_same(index, inputs)
        elif (self._segmenter is None and self._made is None) or (visit.planes and planes is None):
            planes = self._planes(index, batch, inputs, images)
            self._check_same(index, inputs, planes)
            if isinstance(planes, Tensor):
                planes = self._readout.planes(planes, batch.images if images is inputs.images else images)
        else:
            self._check_same(index, inputs)
        if index == 0 and not self._first_maps:
            self._see_first_maps(maps)
        # Of the images those on the device: looked at a batch later, when those on the CPU may have been overwritten.
        step = self._to_serving(step_of(batch.numbers, planes, maps, images))
        cost = Cost({name: end - begin for name, end in run.ends.items()}, time.perf_counter() - begin)
        self._computed = index, step, cost
        return step

    def _recalled(self, index: int, visit: Visit) -> Step:
        """A step that the store holds; computed again if a temporary file of it is gone or has changed."""
        step = self._store.recall(index, visit.layers)
        if step is not None:
            return self._to_serving(step)
        begin = time.perf_counter()
        batch = next(batch for batch in self._batches.visit(index) if batch is not None)
        return self._compute(index, batch, visit, begin)

    def _to_serving(self, step: Step) -> Step:
        """With planes and maps, some of which may come from a file or the data set, where the ops serve."""
        planes = None if step.planes is None else to_device(step.planes, self._serving)
        maps = {
            name: to_device(part, self._serving) if isinstance(part, Tensor) else part
            for name, part in step.activations.items()
        }
        labels = None if step.labels is None else step.labels.to(self._serving)
        return Step(step.numbers, planes, maps, step.images, labels)

    def _inputs(self, index: int, batch: Batch) -> Inputs:
        """What goes into the model."""
        images = to_device(batch.images, self._device)
        if self._generated is not None:
            return Inputs(images, self._generated.inputs(index, batch, self._device))
        single = images.ndim == 4 and images.shape[2:].numel() == 1  # as z [N, C, 1, 1]: no places, so no images
        if images.ndim != 4 or single:
            raise refusal(
                ValueError(
                    f"images must be batches [N, C, H, W], but batch {index} is {list(images.shape)}"
                    f'{", one pixel each" if single else ""}. To dissect a generator, say segment="output": its '
                    "segmenter sees what it makes of z."
                )
            )
        return Inputs(images, {})

    def _brings_no_planes(self, batch: Batch) -> bool:
        elsewhere = self._segmenter is not None or self._made is not None
        return not elsewhere and (batch.planes is None or self._generated is not None)

    def _sees_images(self) -> bool:
        """Whether labels of a batch cannot be had without its images."""
        if self._made is None:
            return self._segmenter is not None
        return self._made.made_size is None or not self._takes_encoded(self._made, self._made.made_size)

    def _takes_encoded(self, labels: Any, size: tuple[int, ...]) -> bool:
        """Whether labels stay encoded, beside images of this size."""
        step = self._readout.step
        return self._encoded and (step is None or labels.size == tuple(side // step for side in size))

    def _images(self, index: int, inputs: Inputs, run: Pass) -> Tensor:
        """The images that the segmenter sees: a generator's, or its z where nobody asked for images."""
        if self._generated is None or run.output is None:
            return inputs.images
        images = self._generated.images(index, inputs.images, run.output)
        self._generated.check_repeats(inputs.images, inputs.extra, images)
        return images

    def _run(self, inputs: Inputs, layers: list[str], whole: bool) -> Pass:
        return self._passes.run(inputs, layers, whole=whole, vectors=self._vectors or bool(self._images_only))

    def _planes(self, index: int, batch: Batch, inputs: Inputs, images: Tensor) -> Tensor | ops.EncodedLabels:
        """The segmenter's, a store's, or those that came with a batch."""
        planes: Tensor | ops.EncodedLabels | None = batch.planes
        if self._made is not None:
            self._made.check_made(batch, None if images is inputs.images else images)
            planes = self._made.labels(batch.numbers)
        elif self._segmenter is not None:
            planes = segmented(self._segmenter, images, again=index == 0)
        if planes is None:
            before = "those of batches before it have some" if index else "there are names of concepts"
            raise refusal(
                ValueError(
                    f"label planes must come with the images of batch {index}, since {before}, but there are "
                    f"none. {WAYS}"
                )
            )
        if self._images_only:
            raise refusal(
                ValueError(
                    f"label planes must come with all images or with none, but batch {index} has some and those "
                    f"before it have none. {WAYS}"
                )
            )
        if isinstance(planes, ops.EncodedLabels):
            size = images.shape[2:] if self._made is None or self._made.made_size is None else self._made.made_size
            if self._takes_encoded(planes, tuple(size)) and len(planes) == len(images):
                return planes.to(self._serving)
            planes = planes.planes
        if isinstance(planes, Tensor):
            planes = self._to_planes(planes, images, index, self._readout.ignore)
        if not isinstance(planes, Tensor) or planes.dtype not in LABEL_DTYPES:
            got = planes.dtype if isinstance(planes, Tensor) else type(planes).__name__
            raise refusal(
                TypeError(f"planes of batch {index} must be a tensor of one of {LABEL_DTYPES}, but got {got}.")
            )
        planes = to_device(planes, self._serving)
        if planes.ndim == 1:
            raise refusal(
                ValueError(
                    f"planes of batch {index} must have shape [N, K, H, W], but got {list(planes.shape)}, a "
                    f"number per image, as of its class; give the images alone to dissect them without labels. {WAYS}"
                )
            )
        if planes.ndim != 4 or len(planes) != len(images) or not planes.shape[1]:
            raise refusal(
                ValueError(
                    f"planes of batch {index} must have shape [N, K, H, W] with N={len(images)} and K from 1 on, "
                    f"but got {list(planes.shape)}."
                )
            )
        return planes

    def _check_same(self, index: int, inputs: Inputs, planes: Tensor | ops.EncodedLabels | None = None) -> None:
        """Compares the checksums of a batch with those of the first time; its planes' where they are at hand.

        On a GPU this is done when the next batch is under way there.
        """
        with deferred_interrupts():  # else Ctrl-C could take away what no one would compare any more
            earlier = self._late.take()
            parts = [inputs.images, *inputs.extra.values(), *([planes] if isinstance(planes, Tensor) else [])]
            sums = [checksum(part).to(self._serving) for part in parts]
            if isinstance(planes, ops.EncodedLabels):
                sums.append(checksum(torch.stack([checksum(planes.runs), checksum(planes.table)])).to(self._serving))
            self._late.call(partial(self._compare, index), torch.stack(sums))
            for compare in earlier:
                compare()

    def _flush(self) -> None:
        """Makes `checksums` whole: waits for what the last batch has still to tell.

        Raises:
            ValueError: a batch is not what it was at an earlier visit.
        """
        with deferred_interrupts():
            self._late.flush()

    def _compare(self, index: int, found: Tensor) -> None:
        self._same.check(index, found.tolist())
