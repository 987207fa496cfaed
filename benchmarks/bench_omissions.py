"""``python benchmarks/bench_omissions.py``: what omissions cost, in processor time of one thread.

An inversion of images in one batch beside one at a time, whose losses must agree to 1e-4; and segmentation statistics
beside a plain loop that renders and segments the same images, whose pixels must agree.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import torch

import dissect
from dissect.omissions import LayerInverter, segmentation_statistics
from dissect.tiny import generator, segmenter, vgg

T = TypeVar("T")
#: Pairs of timings of which the middle ratio is told, and images of the statistics, which see the first 32 twice.
PAIRS, COUNT = 1, 256


def main() -> None:
    """Prints the two ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100, help="of a batch (100)")
    parser.add_argument("--alone", type=int, default=5, help="how many of them are inverted one at a time too (5)")
    parser.add_argument("--steps", type=int, default=3, help="of Adam (3)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    _inversion(options.images, options.alone, options.steps)
    _statistics()


def _inversion(count: int, alone: int, steps: int) -> None:
    street = generator("progan-street")
    inverter = LayerInverter.untrained(street, ["layer1", "layer2", "layer3", "layer4"])
    images = street(dissect.latents(street, count)).detach()
    how = {"steps": steps, "features": vgg().features[:21], "progress": False, "batch_size": count}
    inverter.invert(images[:2], **how)
    together, seconds = _timed(lambda: inverter.invert(images, **how).losses)
    apart, each = _timed(lambda: torch.cat([inverter.invert(images[at : at + 1], **how).losses for at in range(alone)]))
    far = float(((apart - together[:alone]) / apart).abs().max())
    print(f"(f), {steps} steps: {seconds / count:.4f} s per image in a batch of {count}, {each / alone:.4f} s "
          f"alone, {each / alone * count / seconds:.2f} times as fast; losses differ by {far:.1e}")  # fmt: skip


def _statistics() -> None:
    street, see = generator("progan-street"), segmenter(signed=True)
    z = dissect.latents(street, COUNT)

    @torch.no_grad()
    def plain() -> torch.Tensor:
        return torch.cat([see(street(part))[:, 0] for part in z.split(32)])

    ratios = []
    for _ in range(PAIRS):
        planes, loop = _timed(plain)
        found, ours = _timed(lambda: segmentation_statistics(street, see, count=COUNT, progress=False))
        if not torch.equal(torch.stack([plane.flatten().bincount(minlength=len(see.concepts)) for plane in planes]),
                           found.counts.long()):  # fmt: skip
            raise RuntimeError("statistics and a plain loop count other pixels")
        ratios.append(ours / loop)
    print(f"statistics of {COUNT} images: {sorted(ratios)[PAIRS // 2]:.2f} times rendering and segmenting alone")


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    begin = time.process_time()
    return call(), time.process_time() - begin


if __name__ == "__main__":
    main()
