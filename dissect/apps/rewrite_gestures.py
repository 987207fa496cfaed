"""What the rewriting page asks."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Mapping
from typing import Any

from dissect.apps.answers import Answer
from dissect.apps.jobs import Find, Jobs
from dissect.apps.published import MOST_IMAGES, data_url
from dissect.apps.rewriter import MOST_CONTEXT, MOST_EDITS, Rewriter
from dissect.apps.rewriting import Rewriting
from dissect.apps.strokes import MOST_PIXELS, number_within
from dissect.arguments import refusal
from dissect.files.checked import Each, Maybe, Of, Text, Whole, fields, require
from dissect.files.results import data_of, result_of
from dissect.rewriting import Edit, Session
from dissect.rewriting.session import session_of

#: Steps of a descent, and edits that are kept, at most.
MOST_STEPS, MOST_KEPT = 20_001, 256
#: What a search goes by.
BY = ("context", "query")


class RewriteGestures:
    """What the page asks, as functions of plain data.

    A session goes in, in the published format, with the names of the edits before it; what is executed gets a name.
    An edit is never changed, and the server keeps no other state, so that tabs do not disturb each other.

    Args:
        rewriter: who rewrites.
    """

    def __init__(self, rewriter: Rewriter) -> None:
        self.rewriter, self._jobs = rewriter, Jobs()
        self._edits: dict[str, Edit] = {}
        self._lock = threading.Lock()

    def gets(self) -> dict[str, Callable[..., Any]]:
        """By path, what answers a query."""
        return {"/rewrite/progress": self.progress}

    def posts(self) -> dict[str, Callable[..., Any]]:
        """By path, what answers a body."""
        work = (self.images, self.preview, self.search, self.execute, self.erase, self.cancel, self.open, self.edit)
        return {f"/rewrite/{each.__name__}": each for each in (*work, self.take)}

    def state(self, rewriting: Rewriting) -> dict[str, Any]:
        """What a page begins with: the session, and the edits by their names, which are kept."""
        return {"session": rewriting.session.as_json(), "edits": [self._keep(edit) for edit in rewriting.edits]}

    def opened(self, asked: Any) -> Rewriting:
        """What a page shows, as an engine's: {"session", "edits"}."""
        return Rewriting(self.rewriter, self._session(asked), self._chain(asked))

    def images(self, asked: Any) -> dict[str, Any]:
        """Images after edits: {"numbers", "edits"}."""
        fields("a request", asked, {"numbers": Each(Whole(0, len(self.rewriter) - 1))})
        numbers = asked["numbers"]
        require("a request", 1 <= len(numbers) <= MOST_IMAGES, f"1 to {MOST_IMAGES} images are asked for at once")
        pictures = self.rewriter.images(numbers, self._chain(asked))
        return {"images": [{"number": at, "image": data_url(each)} for at, each in zip(numbers, pictures)]}

    def preview(self, asked: Any) -> dict[str, Any]:
        """The image with what is pasted in it: {"session", "edits"}."""
        return {"image": data_url(self.rewriter.preview(self._session(asked), self._chain(asked)))}

    def search(self, asked: Any) -> dict[str, Any]:
        """The images that agree best with the context, or with the query: {"session", "by", "count"}.

        Of each the score, how much each cell agrees, from 0 to 255, that of the best being 255, and which are above
        the level that one of 1,000 cells of all images is.
        """
        fields("a request", asked, {"by": Text(BY), "count": Whole(1, MOST_IMAGES)})
        session = self._session(asked)
        query = () if session.query is None else (session.query,)
        found = self.rewriter.search(query if asked["by"] == "query" else session.context, asked["count"])
        best = max(float(found.maps[0].amax()), 1e-30)
        heat = (found.maps / best).clamp(0, 1).mul(255).round().int()
        rows = zip(found.images.tolist(), heat, found.maps > found.level)
        told = [
            {"number": at, "score": float(found.scores[at]), "heat": each.tolist(), "above": above.int().tolist()}
            for at, each, above in rows
        ]
        return {"images": told, "level": found.level}

    def execute(self, asked: Any) -> dict[str, str]:
        """Begins an edit: {"session", "edits", "rank", "steps", "every", "rate"}; gives the name of the job."""
        session, chain, options = self._session(asked), self._chain(asked), self._options(asked)
        if session.object is None or session.paste is None:
            raise refusal(ValueError("copy an object and say where to paste it first."))
        return self._start(
            lambda watch, stop: self.rewriter.execute(session, chain, watch=watch, stop=stop, **options),
            options,
        )

    def erase(self, asked: Any) -> dict[str, str]:
        """Begins to erase what the context shows: as `execute`, and "units", how many keys are set to 0."""
        fields("a request", asked, {"units": Maybe(Whole(1, self.rewriter.memory.inputs))})
        context, units = self._session(asked).context, asked.get("units")
        chain, options = self._chain(asked), self._options(asked)
        if not context:
            raise refusal(ValueError("add what shall be erased to the context first."))
        return self._start(
            lambda watch, stop: self.rewriter.erase(context, chain, units=units, watch=watch, stop=stop, **options),
            options,
        )

    def progress(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """How far a job is: {"job"}."""
        return self._jobs.of(str(asked.get("job", ""))).told()

    def cancel(self, asked: Any) -> dict[str, Any]:
        """Stops a job within a step: {"job"}."""
        fields("a request", asked, {"job": Text()})
        job = self._jobs.of(asked["job"])
        job.stop()
        return job.told()

    def open(self, asked: Any) -> dict[str, Any]:
        """A session, if it can be replayed here: {"session"}."""
        return {"session": self._session(asked).as_json()}

    def edit(self, asked: Any) -> Answer:
        """Edits as one, the bytes of its file: {"edits"}."""
        found = Rewriting(self.rewriter, edits=self._chain(asked)).edit
        return Answer(200, "application/octet-stream", data_of(found))

    def take(self, asked: Any) -> dict[str, Any]:
        """An edit from its file, after others: {"edits", "file"}, its bytes in base64; gives its name."""
        fields("a request", asked, {"file": Text()})
        chain = self._chain(asked)
        try:
            data = base64.b64decode(asked["file"], validate=True)
        except ValueError as error:
            raise refusal(ValueError("a file must be in base64, but is not.")) from error
        self._check_room()
        edit = self.rewriter.after(chain, result_of(Edit, "the file", data))
        return {"edit": self._keep(edit), "rank": edit.rank}

    def _check_room(self) -> None:
        with self._lock:
            if len(self._edits) >= MOST_KEPT:
                raise refusal(ValueError(f"{MOST_KEPT} edits were made; save yours, and start the command anew."))

    def _start(self, find: Find, options: dict[str, Any]) -> dict[str, str]:
        self._check_room()
        return {"job": self._jobs.start(find, options["steps"], options["every"], self._keep)}

    def _keep(self, edit: Edit) -> str:
        with self._lock:
            name = f"edit-{len(self._edits) + 1}"
            self._edits[name] = edit
        return name

    def _session(self, asked: Any) -> Session:
        fields("a request", asked, {"session": Of(dict)})
        return self.rewriter.check(session_of(asked["session"], sides=MOST_PIXELS, count=MOST_CONTEXT))

    def _chain(self, asked: Any) -> list[Edit]:
        fields("a request", asked, {"edits": Each(Text())})
        require("a request", len(asked["edits"]) <= MOST_EDITS, f"there are at most {MOST_EDITS} edits")
        with self._lock:
            known = [self._edits.get(name) for name in asked["edits"]]
        found = [edit for edit in known if edit is not None]
        require("a request", len(found) == len(known), "edits are names of those that were made since the server began")
        return found

    def _options(self, asked: Any) -> dict[str, Any]:
        inputs = self.rewriter.memory.inputs
        fields(
            "a request", asked, {"rank": Whole(1, inputs), "steps": Whole(1, MOST_STEPS), "every": Whole(1, MOST_STEPS)}
        )
        rate = number_within("a request", "rate", asked.get("rate"), 1e-9, 1e3)
        return {"rank": asked["rank"], "steps": asked["steps"], "every": asked["every"], "rate": rate}
