"""The commands ``dissect rewrite ...``: one rule of a generator, changed in its weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissect.arguments import refusal, result_file
from dissect.cli.generator import inputs_of
from dissect.cli.networks import load_model
from dissect.cli.run import MODEL_HELP, check_device, resumed
from dissect.text import printable, shown

if TYPE_CHECKING:
    from dissect.rewriting import Memory


def add_commands(commands: Any) -> None:
    """The commands ``dissect rewrite ...``, to what `argparse` gives for them."""
    gathered = commands.add_parser(
        "moments", help="the second moment of a layer's keys, which edits are to leave alone"
    )
    _add_common(gathered)
    gathered.set_defaults(command=moments)
    replayed = commands.add_parser("apply", help="replay an editing session; write the edit, and the weights with it")
    replayed.add_argument("session", type=Path, help="a JSON file in the published format")
    _add_common(replayed)
    _add_insertion(replayed)
    replayed.set_defaults(command=apply)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="NAME", help=MODEL_HELP)
    parser.add_argument("--weights", type=Path, help="a state dict, .safetensors or .pt (read as tensors only)")
    parser.add_argument("--layer", required=True, help="a name as in model.named_modules(), layer6 for example")
    parser.add_argument("--count", type=int, default=1000, help="how many z (1000, as published)")
    parser.add_argument("--seed", type=int, default=1, help="of the z set, and of its noise (1, as published)")
    parser.add_argument("--truncation", type=float, help="of a StyleGAN2 (the model's; 0.5 is published)")
    parser.add_argument("--batch-size", type=int, default=32, help="z at a time (32)")
    parser.add_argument("--device", default="cpu", help="where the generator runs, cuda for example (cpu)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for what is written (out)")
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever --out holds")


def _add_insertion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--moment", type=Path, help="what dissect rewrite moments wrote (gathered anew)")
    parser.add_argument("--rank", type=int, default=1, help="of the change (1)")
    parser.add_argument("--mode", default="projected", help="projected, lambda or closed (projected)")
    parser.add_argument("--steps", type=int, default=2001, help="of the descent (2001)")
    parser.add_argument("--every", type=int, default=10, help="steps between projections (10)")
    parser.add_argument("--rate", type=float, default=0.05, help="of Adam (0.05)")
    parser.add_argument("--loss", default="l1", help="l1 or l2 (l1, as the published code)")
    parser.add_argument("--whole", action="store_true", help="compare whole maps, not the crop around what is pasted")


def moments(options: argparse.Namespace) -> int:
    """Gathers and saves a second moment; an interrupted run goes on when called again."""
    memory, inputs = _memory(options)
    with resumed(options) as progress:
        found = memory.second_moment(inputs, batch_size=options.batch_size, resume=progress)
    path = found.save(options.out / "result")
    print(f"{found!r}: rank {found.rank}, condition {found.condition:.3g}\nresult: {shown(path)}")
    return 0


def apply(options: argparse.Namespace) -> int:
    """Replays a session; saves the edit, and all weights with it applied."""
    from dissect.files.tensors import save_file
    from dissect.rewriting import SecondMoment, load_session

    session = load_session(options.session)
    memory, inputs = _memory(options)
    if options.moment is None:
        with resumed(options) as progress:
            memory.second_moment(inputs, batch_size=options.batch_size, resume=progress)
    else:
        memory.moment = SecondMoment.load(result_file(options.moment, SecondMoment.suffix))
    edit = session.edit(
        memory, inputs, options.rank, tight=not options.whole, mode=options.mode, steps=options.steps,
        every=options.every, rate=options.rate, loss=options.loss,
    )  # fmt: skip
    path, weights = edit.save(options.out / "result"), options.out / "weights.safetensors"
    state = {name: value.cpu().contiguous().clone() for name, value in edit.merged(memory.model.state_dict()).items()}
    save_file(state, weights)
    before, after = (edit.settings[f"loss_{when}"] for when in ("before", "after"))
    print(f"{printable(repr(memory))}\nrank {edit.rank}, loss {before:.4g} before and {after:.4g} after")
    print(f"edit: {shown(path)}\nweights: {shown(weights)}")
    return 0


def _memory(options: argparse.Namespace) -> tuple[Memory, Any]:
    """The layer, and the z that the options ask for."""
    from dissect.rewriting import Memory

    check_device(options.device)
    model: Any = load_model(options.model, options.weights).eval().to(options.device)
    if options.truncation is not None:
        if not hasattr(model, "truncation"):
            raise refusal(ValueError(f"--truncation must not be given for a {type(model).__name__}, which has none."))
        model.truncation = options.truncation
    return Memory(model, options.layer), inputs_of(model, options)
