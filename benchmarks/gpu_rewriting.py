"""Rewriting a rule on a GPU: the whole projected descent, on the clock, beside the published loop."""

import time

import torch
from bench_rewriting import Case, check

CHANNELS, STEPS = 512, 2001


def seconds(call):
    """Of a call, with what it left in the device's queue."""
    torch.cuda.synchronize()
    begin = time.perf_counter()
    found = call()
    torch.cuda.synchronize()
    return time.perf_counter() - begin, found


def descent_row():
    """512 to 512 channels, 3x3, 8x8 keys, rank one: no worse than the published loop in what it reaches."""
    case = Case(CHANNELS, torch.device("cuda"))
    case.edit(30)  # libraries prepare their work
    published, plain = seconds(lambda: case.plain(STEPS))
    ours, edit = seconds(lambda: case.edit(STEPS))
    watched, _ = seconds(lambda: case.edit(STEPS, watch=lambda *_: None))
    reached, wanted = (
        case.told(weight) for weight in (edit.merged(case.model.state_dict())["0.weight"].to(plain.device), plain)
    )
    check(reached, wanted)
    return {
        "seconds": ours, "seconds_watched": watched, "seconds_published": published,
        "times_published": published / ours, "loss": reached[0], "loss_published": wanted[0],
    }  # fmt: skip
