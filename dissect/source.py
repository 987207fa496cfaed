"""Where a dissection's steps come from: the network first, then the cheapest place that still has them."""

from __future__ import annotations

import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from dissect.data import Batch, Batches
from dissect.trace import Trace


@dataclass
class Step:
    """A batch as the visits see it: image numbers [N], planes [N, K, H, W], and each layer's maps [N, U, h, w]."""

    numbers: Tensor
    planes: Tensor
    activations: dict[str, Tensor]
    images: Tensor | None = None  # of a step that was just computed

    @property
    def nbytes(self) -> int:
        """What it takes to keep the step."""
        return self.planes.nbytes + sum(maps.nbytes for maps in self.activations.values())


@dataclass(frozen=True)
class Reading:
    """How a layer's output becomes maps, and planes get their size. See `dissect.dissect`."""

    relu: bool = False
    step: int | None = None
    tokens: tuple[int, int] | None = None

    def maps(self, layer: str, output: Any) -> Tensor:
        """[N, U, h, w] of a layer's output; of tokens [N, T, U] the last h * w, row by row.

        Raises:
            ValueError: neither maps nor tokens that fit the token grid.
        """
        if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
            output = output[0]
        if isinstance(output, Tensor) and output.ndim == 3 and self.tokens is not None:
            height, width = self.tokens
            if output.shape[1] < height * width:
                raise ValueError(
                    f"dissect: tokens must be a grid of at most {output.shape[1]} tokens, as many as layer {layer!r} "
                    f"has, but is {height}x{width}."
                )
            output = output[:, output.shape[1] - height * width :].unflatten(1, self.tokens).permute(0, 3, 1, 2)
        if not isinstance(output, Tensor) or output.ndim != 4:
            got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            hint = (
                "; give tokens=(h, w) for tokens [N, T, U]" if isinstance(output, Tensor) and output.ndim == 3 else ""
            )
            raise ValueError(f"dissect: layer {layer!r} must give maps [N, U, h, w], but gave {got}{hint}.")
        return (output.clamp(min=0) if self.relu else output).cpu()

    def planes(self, planes: Tensor, images: Tensor) -> Tensor:
        """The planes at the segmentation's size: of each step x step pixels the one at the centre.

        Raises:
            ValueError: planes that have neither the images' size nor already the segmentation's.
        """
        if self.step is None:
            return planes
        full, wanted = tuple(images.shape[2:]), tuple(size // self.step for size in images.shape[2:])
        if tuple(planes.shape[2:]) == wanted:
            return planes
        if tuple(planes.shape[2:]) != full:
            raise ValueError(
                f"dissect: planes must have the images' size {full} or {wanted}, one pixel in {self.step} each way, "
                f"but have {tuple(planes.shape[2:])}."
            )
        centre = self.step // 2
        return planes[:, :, centre :: self.step, centre :: self.step][:, :, : wanted[0], : wanted[1]].contiguous()


class Source:
    """The data set's steps, always in the same batches: computed, or from memory or disk where they were kept.

    A step is kept in memory as long as `memory_budget` bytes last; then on disk as long as `disk_budget` lasts, unless
    writing one turned out to take longer than computing it; all others are computed again at each visit.

    Args:
        model: the network.
        layers: what to retain.
        batches: the images.
        segmenter: makes planes, or None where they come with the images.
        reading: how outputs and planes are read.
        memory_budget: bytes.
        disk_budget: bytes, in a folder of the system's for temporary files.
        progress: show a bar.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: list[str],
        batches: Batches,
        segmenter: Callable[[Tensor], Tensor] | None,
        reading: Reading,
        memory_budget: int,
        disk_budget: int,
        progress: bool,
    ) -> None:
        self._model, self._layers, self._batches, self._segmenter = model, layers, batches, segmenter
        self._reading, self._progress = reading, progress
        self._memory, self._disk = memory_budget, disk_budget
        self._kept: dict[int, Step | Path] = {}  # by batch
        self._folder: Path | None = None
        first = next(model.parameters(), None)
        self._device = torch.device("cpu") if first is None else first.device
        #: Of each batch's images and planes, known once it was computed.
        self.checksums: list[int] = []
        self.num_batches: int | None = None  # known after a whole visit

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def expect(self, checksums: list[int]) -> None:
        """Every batch must have these checksums, known from an interrupted run; the first one is looked at now.

        Raises:
            ValueError: it is another data set.
        """
        self.checksums = list(checksums)
        if self.checksums and not self._batches.used_once:
            batch = next(iter(self._batches))
            self._check_same(0, batch.images, self._planes(0, batch, batch.images.to(self._device)))

    def visit(self, title: str, start: int = 0) -> Iterator[Step]:
        """Every step from batch `start` on.

        Raises:
            ValueError: no batches; or a batch is not what it was at an earlier visit.
        """
        count = start
        if self.num_batches is not None and all(index in self._kept for index in range(start, self.num_batches)):
            for index in self._bar(range(start, self.num_batches), title, start):
                yield self._recall(index)
            return
        for batch in self._bar(self._batches.visit(start), title, start):
            yield self._recall(count) if count in self._kept else self._compute(count, batch)
            count += 1
        if count == 0:
            raise ValueError("dissect: images must hold at least one batch, but held none.")
        if self.num_batches not in (None, count):
            raise ValueError(f"dissect: images must be the same at every visit, but are {count} batches now.")
        self.num_batches = count

    def _bar(self, steps: Iterable[Any], title: str, start: int) -> Iterable[Any]:
        total = self.num_batches
        if total is None:
            try:
                total = len(self._batches)
            except TypeError:
                total = None
        return tqdm(steps, title, total=total, initial=start, disable=not self._progress, unit="batch", leave=False)

    def _compute(self, index: int, batch: Batch) -> Step:
        begin = time.perf_counter()
        images = batch.images.to(self._device)
        with torch.no_grad(), Trace(self._model, self._layers, stop=True) as trace:
            trace.run(images)
        activations = {name: self._reading.maps(name, trace[name]) for name in self._layers}
        planes = self._planes(index, batch, images)
        self._check_same(index, batch.images, planes)
        step = Step(batch.numbers, self._reading.planes(planes, batch.images), activations, batch.images)
        self._keep(index, step, time.perf_counter() - begin)
        return step

    def _planes(self, index: int, batch: Batch, images: Tensor) -> Tensor:
        planes = batch.planes if self._segmenter is None else self._segmenter(images).cpu()
        if planes is None:
            raise ValueError("dissect: label planes must come with the images or from a segmenter, but there are none.")
        if planes.ndim != 4 or len(planes) != len(images):
            raise ValueError(
                f"dissect: planes of batch {index} must have shape [N, K, H, W] with N={len(images)}, "
                f"but got {list(planes.shape)}."
            )
        return planes

    def _check_same(self, index: int, images: Tensor, planes: Tensor) -> None:
        checksum = 0
        for part in (images, planes):
            checksum = zlib.crc32(part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data, checksum)
        if index == len(self.checksums):
            self.checksums.append(checksum)
        elif self.checksums[index] != checksum:
            raise ValueError(
                f"dissect: images and planes must be the same at every visit, but those of batch {index} have changed; "
                "does the data set shuffle or augment at random, or is this another one than the run began with?"
            )

    def _keep(self, index: int, step: Step, seconds: float) -> None:
        """Keeps a step where there is room for it; `seconds` is what computing it took."""
        kept = Step(step.numbers, step.planes, step.activations)
        if kept.nbytes <= self._memory:
            self._memory -= kept.nbytes
            self._kept[index] = kept
        elif kept.nbytes <= self._disk:
            begin = time.perf_counter()
            self._kept[index] = self._write(index, kept)
            self._disk -= kept.nbytes
            if time.perf_counter() - begin > seconds:
                self._disk = 0

    def _write(self, index: int, step: Step) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="dissect-"))
        path = self._folder / f"{index}.safetensors"
        maps = {f"maps.{name}": maps.contiguous() for name, maps in step.activations.items()}
        save_file({"numbers": step.numbers, "planes": step.planes.contiguous(), **maps}, path)
        return path

    def _recall(self, index: int) -> Step:
        kept = self._kept[index]
        if isinstance(kept, Step):
            return kept
        tensors = load_file(kept)
        maps = {name: tensors[f"maps.{name}"] for name in self._layers}
        return Step(tensors["numbers"], tensors["planes"], maps)
