"""``python benchmarks/bench_omissions.py``: what omissions cost, in processor time of one thread.

An inversion of images in one batch beside one at a time, whose losses must agree to 1e-4 at its start, and how near
both come to the fastest convolution of this processor, which no batch can pass; and segmentation statistics beside a
plain loop that renders and segments the same images, whose pixels must agree.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

import dissect
from dissect.omissions import LayerInverter, segmentation_statistics
from dissect.tiny import generator, segmenter, vgg

T = TypeVar("T")
#: Pairs of timings of which the middle ratio is told, and images of the statistics, which see the first 32 twice.
PAIRS, COUNT = 3, 256


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
    with FlopCounterMode(display=False) as counter:
        inverter.invert(images[:1], **how)
    work = counter.get_total_flops() / 1e9

    def apart(method: str) -> torch.Tensor:
        return torch.cat([inverter.invert(images[at : at + 1], method, **how).losses for at in range(alone)])

    begin = _far(apart("d"), inverter.invert(images, "d", **how).losses)
    if begin > 1e-4:
        raise RuntimeError(f"losses of a batch and of single images differ by {begin:.1e}")
    one, each = _timed(lambda: apart("f"))
    together, seconds = _timed(lambda: inverter.invert(images, **how).losses)
    each, seconds, most = each / alone, seconds / count, _most()
    print(f"(f), {steps} steps: {seconds:.4f} s per image in a batch of {count} ({work / seconds:.0f} GFLOP/s), "
          f"{each:.4f} s alone ({work / each:.0f}), {each / seconds:.2f} times as fast")  # fmt: skip
    print(f"the fastest convolution: {most:.0f} GFLOP/s, so no batch is {most * each / work:.1f} times as fast as that")
    print(f"losses differ by {begin:.1e} at the start, by {_far(one, together):.1e} at the end, where optimisation has "
          "made rounding larger")  # fmt: skip


def _far(apart: torch.Tensor, together: torch.Tensor) -> float:
    return float(((apart - together[: len(apart)]) / apart).abs().max())


@torch.no_grad()
def _most() -> float:
    """GFLOP/s of a convolution whose shape suits the processor."""
    maps, weights = (part.to(memory_format=torch.channels_last) for part in (torch.randn(8, 256, 16, 16),
                                                                             torch.randn(256, 256, 3, 3)))  # fmt: skip
    seconds = min(_timed(lambda: torch.conv2d(maps, weights, padding=1))[1] for _ in range(30))
    return 2 * 9 * 256 * maps.numel() / seconds / 1e9


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
