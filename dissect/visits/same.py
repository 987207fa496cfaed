"""Whether a data set is the same at every visit, as its batches' checksums tell."""

from __future__ import annotations

from typing import Any

from dissect.arguments import refusal
from dissect.files.checked import Each, Of, Whole, fields, require


class Same:
    """Checksums of the batches of a data set that were met, with which every later visit is compared.

    Args:
        title: of the data set, for messages.

    Example:
        >>> same = Same("val images")
        >>> same.check(0, [12, 7]), same.end(1), same.check(0, [12, 7]), same.count
        (None, None, None, 1)
        >>> same.check(0, [13, 7])
        Traceback (most recent call last):
        ValueError: val images must be the same at every visit, but those of batch 0 have changed; ...
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self.sums: list[list[int]] = []
        self._whole = False

    @property
    def count(self) -> int | None:
        """How many batches there are; None before the end of a whole visit."""
        return len(self.sums) if self._whole else None

    def check(self, index: int, sums: list[int]) -> None:
        """Compares a batch's checksums, or the first of them, with what they were, or, of a new one, notes them.

        Raises:
            ValueError: it is another batch.
        """
        if index == len(self.sums) and not self._whole:
            self.sums.append(sums)
        elif index >= len(self.sums) or self.sums[index][: len(sums)] != sums:
            raise refusal(
                ValueError(
                    f"{self._title} must be the same at every visit, but those of batch {index} have changed; does the "
                    "data set shuffle or augment at random, or is this another one than the run to resume began with? "
                    "Then resume from another folder, or delete what is in this one (dissect run, dissect classify: "
                    "--fresh)."
                )
            )

    def end(self, count: int) -> None:
        """After a whole visit of so many batches.

        Raises:
            ValueError: there are none, or not as many as at an earlier visit.
        """
        if not count:
            raise refusal(ValueError(f"{self._title} must hold at least one batch, but held none."))
        if count != len(self.sums):
            raise refusal(ValueError(f"{self._title} must be the same at every visit, but are {count} batches now."))
        self._whole = True

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {"sums": self.sums, "whole": self._whole}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it holds what cannot be.
        """
        fields("the checksums", state, {"sums": Each(Each(Whole(-(1 << 63)))), "whole": Of(bool)})
        require("the checksums", bool(state["sums"]) or not state["whole"], "a whole visit has batches")
        self.sums, self._whole = state["sums"], state["whole"]
