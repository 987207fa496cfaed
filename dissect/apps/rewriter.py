"""A rewriter: a generator and a layer whose rules are changed, in weights that nobody else has."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dissect.apps.session import MOST_IMAGES
from dissect.apps.sources import Weights, lock_of, z_set
from dissect.apps.strokes import Mask
from dissect.arguments import integer, refusal, speaks
from dissect.data.pictures import signed_pictures
from dissect.rewriting import Edit, Matches, Memory, SecondMoment, Selection, Session, erase, render
from dissect.rewriting.edit import weight_digest
from dissect.rewriting.keys import is_pair
from dissect.rewriting.matching import column, ranked, responses
from dissect.rewriting.moment import batches_of
from dissect.rewriting.session import check_selections, selected_keys

#: Versions of the weight that are kept ready, and bytes of keys of the z set that are kept for searches.
KEPT, KEPT_BYTES = 16, 1 << 28
#: Edits after one another, and images of a context, at most.
MOST_EDITS, MOST_CONTEXT = 64, 32
#: The share of a layer's keys that erasing sets to 0: 30 of 512, as published.
ERASED = 30 / 512
#: Seconds after which an edit that waits for another asks whether it shall stop.
WAIT = 0.1

#: Called at each step with its number and the loss before it.
StepWatcher = Callable[[int, float], None]


def erased_number(inputs: int) -> int:
    """How many keys erasing sets to 0, of a layer of so many: 5.9 %, at least one.

    Example:
        >>> erased_number(512), erased_number(128)
        (30, 8)
    """
    return max(1, round(ERASED * inputs))


class StoppedError(Exception):
    """An edit was stopped before it was found; nothing has changed."""


@speaks
class Rewriter:
    """A generator and one of its layers, a memory whose rules are rewritten by copy, paste and context.

    What is painted on images of a z set is a `dissect.rewriting.Session`; what becomes of it is an edit of the layer's
    weight. The given model is never changed: edits, one after another, are made and shown in copies that share all
    weights but the layer's, so that a stop or an error leaves nothing behind, and any number of versions stand beside
    each other. Images are made one by one, so that the same edits give the same bits. Rewriters and painters of one
    generator, in whatever threads, make their images in turn; edits are found beside that, one at a time.

    Bau et al. 2020, "Rewriting a Deep Generative Model"; thesis, section 6.4.

    Args:
        model: from z to images [N, 3, H, W] in [-1, 1], in evaluation mode; one that takes `noise` gets seeds.
        layer: see `dissect.rewriting.Memory`.
        seed: of the z set (1, as published).
        count: how many images it has (1,000, as published).
        moment: the second moment of the layer's keys; gathered over the z set if there is none.
        batch_size: images at a time, for the moment and for searches.
        progress: show bars for these.

    Attributes:
        memory: the layer as it was.
        moment: of its keys, which no edit of the layer changes.
        z: of the set, or (z, noise seeds).
        fingerprint: of the generator's weights.
        key_size, value_size: rows and columns of the keys and of the values.
        image_size: (H, W) of the images.

    Raises:
        KeyError, TypeError, ValueError: see `dissect.rewriting.Memory` and `dissect.rewriting.second_moment`; a layer
            where no place of a value is that of a key.

    Example:
        >>> from dissect import apps, tiny
        >>> rewriter = apps.Rewriter(tiny.generator(), "layer6", count=8, progress=False)
        >>> rewriting, square = apps.Rewriting(rewriter), torch.zeros(64, 64)
        >>> square[16:32, 16:32] = 1
        >>> rewriting.copy(0, square)
        >>> rewriting.paste(1, square)
        >>> rewriting.add_context(2, square)
        >>> rewriting.search(count=3).images.shape
        torch.Size([3])
        >>> edit = rewriting.execute(rank=1, steps=3)
        >>> edit.rank, tuple(rewriting.images([1])[0].shape), rewriting.undo()
        (1, (3, 64, 64), True)
        >>> torch.equal(rewriting.images([1])[0], rewriter.images([1])[0])
        True
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        *,
        seed: int = 1,
        count: int = 1000,
        moment: SecondMoment | None = None,
        batch_size: int = 32,
        progress: bool = True,
    ) -> None:
        count, self.seed = integer("count", count, 1, MOST_IMAGES), integer("seed", seed, 0, 2**31 - 1)
        self.model, self.batch_size = model, integer("batch_size", batch_size)
        self.lock, self._descends = lock_of(model), threading.Lock()
        self.z = z_set(model, count, self.seed)
        self._weights = Weights(model)
        self.fingerprint = self._weights.fingerprint
        first = Memory(model, layer)
        self.layer, self._versions = first.layer, OrderedDict[tuple[tuple[str, str], ...], Memory]()
        self._keys: list[Tensor] | None = None
        with self.lock:
            self.memory = self._copied(first)
            self.memory.moment = moment
            if moment is None:
                self.memory.second_moment(self.z, batch_size=self.batch_size, progress=progress)
            self.moment = self.memory.moment
            keys = self.memory.keys(self.rows([0]))
            self.memory.factor(keys)
            self.key_size, self.value_size = tuple(keys.maps.shape[2:]), self.memory.value_size(keys)
            self.image_size = tuple(self.images([0])[0].shape[1:])

    def __len__(self) -> int:
        """How many images the z set has."""
        return len(self.z[0] if is_pair(self.z) else self.z)

    def __repr__(self) -> str:
        return f"<Rewriter of {type(self.model).__name__}: {self.memory!r}, {len(self)} images>"

    def rows(self, numbers: Sequence[int]) -> Any:
        """The z of some images, with their noise.

        Raises:
            ValueError: no such image.
        """
        chosen = [integer("number", number, 0, len(self) - 1) for number in numbers]
        return tuple(part[chosen] for part in self.z) if is_pair(self.z) else self.z[chosen]

    def images(self, numbers: Sequence[int], edits: Sequence[Edit] = ()) -> list[Tensor]:
        """Images [3, H, W] uint8, as they are after edits.

        Raises:
            RuntimeError: the generator's weights have changed.
            ValueError: no such image, edits that do not follow each other, or that make an image which is not finite.
        """
        with self.lock:
            memory = self.version(edits)
            return [_picture(number, render(memory, self.rows([number]))) for number in numbers]

    def selection(self, number: int, mask: Tensor | Mask) -> Selection:
        """Where something was painted on an image.

        Args:
            number: of the image.
            mask: [H, W] in [0, 1], a whole number of times as large as the layer's map.

        Raises:
            ValueError: no such image, another size, or a mask in which nothing is painted.
        """
        picture = mask.picture() if isinstance(mask, Mask) else mask
        if not isinstance(picture, Tensor) or picture.ndim != 2:
            got = list(picture.shape) if isinstance(picture, Tensor) else type(picture).__name__
            raise refusal(ValueError(f"mask must be [H, W], but is {got}."))
        if not bool((picture > 0).any()):
            raise refusal(ValueError("mask must be painted somewhere, but is 0 everywhere."))
        selection = Selection(integer("number", number, 0, len(self) - 1), picture.detach().float().cpu())
        check_selections([selection], len(self), self.value_size)
        return selection

    def check(self, session: Session) -> Session:
        """The session, if it can be replayed here.

        Raises:
            ValueError: images beyond the z set, masks of another model, more images of context than may be.
        """
        if len(session.key) > MOST_CONTEXT:
            raise refusal(ValueError(f"a context must have at most {MOST_CONTEXT} images, but has {len(session.key)}."))
        for part in (session.object, session.paste, session.query, *session.key):
            if part is not None:
                self.selection(*part)
        return session

    def preview(self, session: Session, edits: Sequence[Edit] = ()) -> Tensor:
        """[3, H, W] uint8: the image into which the object is pasted, with it, as an edit shall make it.

        Raises:
            ValueError: see `images`; a session without an object or a place, or an object that is too large.
        """
        with self.lock:
            painted = self.check(session).painted(self.version(edits), self.z, tight=False)
            image = render(self.version(edits), painted.inputs, painted.whole)
        return _picture(session.paste.image if session.paste else 0, image)

    def search(self, context: Sequence[Selection], count: int = 9) -> Matches:
        """The images whose keys agree best with a context, and where they do; no edit of the layer changes that.

        Ranks by the largest ``d^T k`` of each image, where d is the context's first direction; see
        `dissect.rewriting.matches`. The keys of the z set are kept where they are not larger than 256 MiB.

        Raises:
            ValueError: an empty context, or see `selection`.
        """
        count = integer("count", count, 1)
        if not context:
            raise refusal(ValueError("context must have an image, but is empty."))
        with self.lock:
            self._weights.check("Rewriter")
            for selection in context:
                self.selection(*selection)
            keys, masks = selected_keys(self.memory, self.z, context)
            direction = column(self.memory, self.memory.direction(keys, 1, masks=masks))
            return ranked(torch.cat([responses(maps, direction) for maps in self._all_keys()]), count)

    def execute(
        self,
        session: Session,
        edits: Sequence[Edit] = (),
        rank: int = 1,
        *,
        watch: StepWatcher | None = None,
        stop: threading.Event | None = None,
        **options: Any,
    ) -> Edit:
        """Finds the edit by which the context's rule is what was pasted, in the weights that earlier edits left.

        Args:
            session: what is copied, where to, and the context; see `dissect.rewriting.Session.edit`.
            edits: earlier ones, in their order.
            rank: of the change.
            watch: called at each step with its number and the loss before it.
            stop: once it is set the next step is the last, and nothing has changed.
            options: of `dissect.rewriting.insert`, and `tight`.

        Returns:
            The edit, which belongs to no model, see `dissect.rewriting.Edit.apply`.

        Raises:
            ArithmeticError: the descent diverges.
            StoppedError: it was stopped.
            ValueError: see `dissect.rewriting.Session.edit`.
        """
        self.check(session)
        return self._found(
            edits, watch, stop, lambda memory, seen: session.edit(memory, self.z, rank, **seen, **options)
        )

    def erase(
        self,
        context: Sequence[Selection],
        edits: Sequence[Edit] = (),
        rank: int = 1,
        *,
        units: int | None = None,
        goal: int = 0,
        watch: StepWatcher | None = None,
        stop: threading.Event | None = None,
        **options: Any,
    ) -> Edit:
        """Finds the edit that unlearns what a context shows; see `dissect.rewriting.erase` and `execute`.

        Args:
            context: where it shows.
            edits: earlier ones, in their order.
            rank: of the change.
            units: how many keys are set to 0; 5.9 % of the layer's by default, 30 of 512.
            goal: the place in the context of the image that is aimed at.
            watch: see `execute`.
            stop: see `execute`.
            options: of `dissect.rewriting.insert`.

        Raises:
            StoppedError, ValueError: see `execute`.
        """
        self.check(Session(key=tuple(context)))
        count = erased_number(self.memory.inputs) if units is None else units

        def found(memory: Memory, seen: dict[str, Any]) -> Edit:
            masks = selected_keys(memory, self.z, context)[1]
            inputs = self.rows([selection.image for selection in context])
            return erase(memory, inputs, masks, goal=goal, units=count, rank=rank, **seen, **options)

        return self._found(edits, watch, stop, found)

    def version(self, edits: Sequence[Edit]) -> Memory:
        """The layer with edits, in a copy of the model that shares all other weights; to look at, not to change.

        Raises:
            RuntimeError, ValueError: see `images`.
        """
        with self.lock:
            self._weights.check("Rewriter")
            if not edits:
                return self.memory
            key = tuple((edit.before, edit.after) for edit in edits)
            if key not in self._versions:
                self._versions[key] = self._changed(edits)
                while len(self._versions) > KEPT:
                    self._versions.popitem(last=False)
            self._versions.move_to_end(key)
            return self._versions[key]

    def after(self, edits: Sequence[Edit], edit: Edit) -> Edit:
        """An edit that was made elsewhere, as it is after others: it says what weight it gives here, to the bit.

        Raises:
            RuntimeError, ValueError: see `images`.
        """
        changed = self._changed([*edits, edit]).weight  # not by `version`, which believes what an edit says
        return replace(edit, after=weight_digest(changed), _memory=None, _applied=None)

    def _changed(self, edits: Sequence[Edit]) -> Memory:
        if len(edits) > MOST_EDITS:
            raise refusal(ValueError(f"edits must be at most {MOST_EDITS}, but are {len(edits)}."))
        memory = self._copied(self.memory)
        name = f"{self.layer}.weight"
        state: dict[str, Tensor] = {name: memory.weight.detach()}
        for edit in edits:
            if edit.layer != self.layer:
                raise refusal(ValueError(f"edits must be of {self.layer!r}, but one is of {edit.layer!r}."))
            state = edit.merged(state)
        with torch.no_grad():
            memory.weight.copy_(state[name])
        return memory

    def _copied(self, memory: Memory) -> Memory:
        """The same layer in a copy of the model that shares all weights but its own."""
        shared = (*memory.model.parameters(), *memory.model.buffers())
        model = copy.deepcopy(memory.model, {id(value): value for value in shared if value is not memory.weight})
        found = Memory(model, memory.layer)
        found.moment = memory.moment
        return found

    def _found(
        self, edits: Sequence[Edit], watch: StepWatcher | None, stop: threading.Event | None,
        find: Callable[[Memory, dict[str, Any]], Edit],
    ) -> Edit:  # fmt: skip
        """What is found in a copy of its own, whose passes nobody else's hooks see."""

        def see(step: int, loss: float) -> None:
            if watch is not None:
                watch(step, loss)
            if stop is not None and stop.is_set():
                raise StoppedError(f"stopped after {step} steps; nothing has changed.")

        if len(edits) >= MOST_EDITS:
            raise refusal(ValueError(f"there are {MOST_EDITS} edits already, and there can be no more."))
        with self._turn(stop):
            with self.lock:
                memory = self._copied(self.version(edits))
            return replace(find(memory, {"watch": see, "progress": False}), _memory=None)

    @contextmanager
    def _turn(self, stop: threading.Event | None) -> Iterator[None]:
        """The block within which no other edit is found; what waits for it can be stopped too."""
        while not self._descends.acquire(timeout=WAIT):
            if stop is not None and stop.is_set():
                raise StoppedError("stopped before its turn; nothing has changed.")
        try:
            yield
        finally:
            self._descends.release()

    def _all_keys(self) -> list[Tensor]:
        """The keys of the z set, in batches."""
        if self._keys is not None:
            return self._keys
        found, size = [], 0
        for batch in batches_of(self.z, self.batch_size):
            also = batch.planes if isinstance(batch.planes, Tensor) else None
            found.append(self.memory.keys((batch.images, also)).maps)
            size += found[-1].nbytes
        if size <= KEPT_BYTES:
            self._keys = found
        return found


def _picture(number: int, images: Tensor) -> Tensor:
    if not bool(images.isfinite().all()):
        raise refusal(ValueError(f"edits must leave images finite, but number {number} is not."))
    return signed_pictures(images)[0].cpu()
