"""What takes long in this process, again and again, and changes nothing that tests look at.

Not in the processes that tests start: those are as a user's are.
"""

import os
from functools import lru_cache

import numpy as np
import torch

from dissect.tiny import dataset


def make_quick() -> None:
    """Called once per process, before the first test."""
    os.fsync = os.fstat  # no test takes away the power; a file that is not open is refused all the same
    if not torch.cuda.is_available():  # for a GPU that was never asked for it notes the whole stack, three times
        torch.manual_seed = torch.default_generator.manual_seed
    dataset.render = drawn_once(dataset.render)


def drawn_once(render):
    """The same scenes are looked at by many tests; those of tests/tiny, which are about drawing, draw theirs anew."""

    @lru_cache(maxsize=2000)
    def kept(*given):
        return render(*given)

    def drawn(*given) -> tuple[np.ndarray, np.ndarray]:
        image, planes = kept(*given)
        return image.copy(), planes.copy()

    drawn.anew = render
    return drawn
