"""Whether images lie in [-1, 1], as generators give them."""

from __future__ import annotations

from torch import Tensor

from dissect.arguments import refusal, tell

#: Beyond this a value of an image can be no overshoot of [-1, 1].
FAR = 8.0
#: How many images tell: one may have no dark place, many do not.
LEAST = 8
#: Of their values, which generators' images have below and beyond: 18 % and more, 0.05 % and less of the shipped ones.
DARK, CUT = -0.25, 1.5
#: The shares at which this is in doubt. (x + 1) / 2 of the shipped ones' images has 0.01 % below, 2 x has 4 % beyond.
FEW_DARK, MANY_CUT = 0.01, 0.02


class SignedRange:
    """Looks at images batch by batch, until it has seen enough of them.

    Args:
        called: what they are, for messages.

    Example:
        >>> import torch
        >>> SignedRange("images").see(torch.linspace(-1.3, 1.3, 3 * 64).view(1, 3, 8, 8), "of the model")
    """

    def __init__(self, called: str) -> None:
        self._called = called
        self._ends, self._told = (0.0, 0.0), False
        self._images = self._values = self._dark = self._bright = self._cut = 0

    def see(self, images: Tensor, whose: str) -> None:
        """Looks at some.

        Args:
            images: [N, C, H, W].
            whose: which they are, for messages: "of batch 3".

        Warns:
            UserWarning: they look like (x + 1) / 2 of images in [-1, 1], or many values lie far outside.

        Raises:
            ValueError: what is certainly in another range: not finite, values beyond 8, none below 0 in all of many
                images, or more than half of them beyond 1.5.
        """
        low, high = (float(end) for end in images.aminmax())
        if not (-FAR <= low and high <= FAR):
            raise self._refused(f"those {whose} are in [{low:g}, {high:g}]")
        if self._images >= LEAST:
            return
        self._ends = min(low, self._ends[0] if self._images else low), max(high, self._ends[1])
        self._images += len(images)
        self._values += images.numel()
        self._dark += int((images < DARK).sum())
        self._bright += int((images > -2 * DARK).sum())
        self._cut += int((images.abs() > CUT).sum())
        if self._images >= LEAST or self._ends[0] >= 0:
            self._judge()

    def _judge(self) -> None:
        told = f"the {self._images} first are in [{self._ends[0]:g}, {self._ends[1]:g}]"
        dark, bright, cut = (number / self._values for number in (self._dark, self._bright, self._cut))
        if (self._ends[0] >= 0 and self._images >= LEAST) or cut > 0.5:
            raise self._refused(told)
        why = ""
        if dark < FEW_DARK < bright:
            why = f"{dark:.1%} of their values below {DARK}, as (x + 1) / 2 of such images would be"
        elif cut > MANY_CUT:
            why = f"{cut:.1%} of their values beyond {CUT}, which is more than generators overshoot"
        if why and not self._told:
            tell(f"{self._called} must be in [-1, 1], but {told}, {why}. They are taken as they are, and cut.")
            self._told = True

    def _refused(self, told: str) -> ValueError:
        text = f"{self._called} must be in [-1, 1], as generators give them, but {told}; bring them there."
        return refusal(ValueError(text))
