"""The command ``dissect generator artifacts``: units whose images look unreal."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissect.arguments import integer, refusal, result_file
from dissect.cli.networks import called, imported, inputs_of, load_model
from dissect.cli.run import MODEL_HELP, check_device, resumed
from dissect.text import shown

if TYPE_CHECKING:
    from dissect.generators import ArtifactUnits


def add_artifacts_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect generator artifacts`` takes."""
    parser.add_argument("--model", required=True, metavar="NAME", help=MODEL_HELP)
    parser.add_argument("--weights", type=Path, help="a state dict, .safetensors or .pt (read as tensors only)")
    parser.add_argument("--layer", required=True, help="a name as in model.named_modules()")
    parser.add_argument(
        "--real", required=True, metavar="DATA",
        help="a folder of real images; or MODULE:CALLABLE, which gives a data set of them in [0, 1]",
    )  # fmt: skip
    parser.add_argument(
        "--features", metavar="MODULE:FUNCTION",
        help="from uint8 images [N, 3, H, W] to features [N, D] (those of the FID's Inception, extra fid)",
    )  # fmt: skip
    parser.add_argument("--count", type=int, default=2000, help="how many z, for the units and for their repair (2000)")
    parser.add_argument("--seed", type=int, default=5, help="of the z that find the units (5)")
    parser.add_argument("--repair-seed", type=int, default=6, help="of the z whose images are repaired (6)")
    parser.add_argument("--top", type=int, help="images that maximise a unit (a twentieth)")
    parser.add_argument("--units", type=int, default=20, help="how many of the worst are ablated (20)")
    parser.add_argument("--flags", type=Path, help="a file of the page on which units are flagged: ablated too")
    parser.add_argument("--dissection", type=Path, help="of the generator: writes the page to flag units of --layer on")
    parser.add_argument("--limit", type=float, help="with --dissection: units this far away get no concept there")
    parser.add_argument("--batch-size", type=int, default=32, help="images at a time (32)")
    parser.add_argument("--device", default="cpu", help="where the generator runs, cuda for example (cpu)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for results, charts and progress (out)")
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever --out holds")


def artifacts(options: argparse.Namespace) -> int:
    """Finds the units whose images are farthest from real ones, and prints how far images are without these."""
    from dissect import plots
    from dissect.generators import artifact_repair, artifact_units, read_flags

    check_device(options.device)
    if options.seed == options.repair_seed:
        raise refusal(ValueError(f"--repair-seed must be another than --seed, but both are {options.seed}."))
    if options.limit is not None and options.dissection is None:
        raise refusal(ValueError("--dissection must be given with --limit."))
    flags = None if options.flags is None else read_flags(options.flags)
    model = load_model(options.model, options.weights).eval().to(options.device)
    features = None if options.features is None else imported(options.features)
    real = _real(options.real, model, options)
    common: dict[str, Any] = {"features": features, "batch_size": integer("--batch-size", options.batch_size)}
    with resumed(options) as progress:
        found = artifact_units(
            model, options.layer, inputs_of(model, options), real, top=options.top, resume=progress, **common
        )
        worst = found.worst(integer("--units", options.units))
        sets: dict[str, Any] = {"worst": worst}
        if flags is not None:
            found.agreement(flags)  # refuses those of another network
            sets = {"flagged": flags, **sets, "both": sorted({*flags, *worst})}
        z = inputs_of(model, options, options.repair_seed)
        repair = artifact_repair(model, options.layer, sets, z, real, resume=progress / "repair", **common)
    found.settings["z"], repair.settings["z"] = (
        {"count": options.count, "seed": seed} for seed in (options.seed, options.repair_seed)
    )
    print(found, found.table.top(10, by="distance"), sep="\n")
    if flags is not None:
        print(found.agreement(flags))
    print(repair, repair.table, sep="\n")
    written = [found.save(options.out / "units"), plots.save(found.plot(flags), options.out / "units.png")]
    written += [repair.save(options.out / "repair"), plots.save(repair.plot(), options.out / "repair.png")]
    for path in [*written, *_of_dissection(options, found)]:
        print(f"wrote {shown(path)}")
    return 0


def _of_dissection(options: argparse.Namespace, found: ArtifactUnits) -> list[Path]:
    """The page to flag units on, and the dissection without concepts of unrealistic units."""
    import dissect
    from dissect.report import write_flagging

    if options.dissection is None:
        return []
    d = dissect.Dissection.load(result_file(options.dissection, ".dissection"))
    written = [write_flagging(d, options.out, layer=options.layer)]
    return (
        written if options.limit is None else [*written, found.withhold(d, options.limit).save(options.out / "result")]
    )


def _real(name: str, model: Any, options: argparse.Namespace) -> Any:
    """A folder's images at the size of the generator's, or what a callable gives."""
    import torch

    from dissect.data import ImageFolder
    from dissect.network.outputs import first_tensor

    if not Path(name).is_dir():
        return called(name)
    one = argparse.Namespace(count=1, seed=options.seed)
    inputs = inputs_of(model, one)
    z, noise = inputs if isinstance(inputs, tuple) else (inputs, None)
    with torch.no_grad():
        images = first_tensor(model(z) if noise is None else model(z, noise=noise))
    return ImageFolder(name, size=images.shape[-1], mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
