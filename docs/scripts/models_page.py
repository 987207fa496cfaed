"""Writes the table of docs/models.md: what was loaded of each published layout, and what came out.

python docs/scripts/models_page.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pages import DOCS, ROOT, command_line, table
from torch import Tensor, nn

from dissect import latents
from dissect.models import (
    PROGAN_VARIANTS,
    WGANGP,
    ProGAN,
    StyleGAN2,
    load_progan,
    load_stylegan2,
    load_wgangp,
    progan_channels,
    stylegan2_channels,
    stylegan2_checkpoint,
)

sys.path.insert(0, str(ROOT / "tests"))

from models import layouts, transcriptions

RESOLUTIONS = (32, 64, 128, 256, 512, 1024)
#: The transcriptions are slow.
COMPARED = 256

#: Follows the page's text, which is written by hand.
TABLE = "<!-- The table is written by docs/scripts/models_page.py. -->\n\n"
COLUMNS = ("layout", "tensors", "file", "loading", "back", "equations")


@dataclass(frozen=True)
class Shown:
    """One checkpoint.

    Attributes:
        layout: in words.
        tensors: what is saved.
        load: the file's loader.
        back: the loaded model's tensors under the names of the layout.
        written: z to images, as the paper writes it.
    """

    layout: str
    tensors: dict[str, Tensor]
    load: Callable[[Path], nn.Module]
    back: Callable[[nn.Module], dict[str, Tensor]]
    written: Callable[[dict[str, Tensor], Tensor], Tensor]


def tamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same with unscaled weights as small as a trained network's, so that images stay finite."""
    return {
        key: value / value[0].numel() ** 0.5 if value.dim() == 4 and value.shape[0] > 1 else value
        for key, value in tensors.items()
    }


def progans() -> Iterator[Shown]:
    """The published layout at each resolution, then its older keys and the ablations."""
    for resolution in RESOLUTIONS:
        yield Shown(
            f"Progressive GAN, {resolution}x{resolution}",
            layouts.progan_tensors(progan_channels(resolution), 512),
            load_progan,
            nn.Module.state_dict,
            lambda state, z: transcriptions.progan(state, z, "every", "wscale"),
        )
    for name, after, norms in [
        ("older keys (`features.0.*`)", "wscale", "every"),
        *((f"ablation {name}", str(o["after_conv"]), str(o["pixel_norm"])) for name, o in PROGAN_VARIANTS.items()),
    ]:
        tensors = layouts.ablation_tensors(after, progan_channels(128), 512)
        yield Shown(
            f"Progressive GAN, {name}, 128x128",
            tensors if after == "wscale" else tamed(tensors),
            lambda path, after=after, norms=norms: load_progan(  # type: ignore[misc]
                path, pixel_norm=norms if after == "stored_wscale" else None
            ),
            old_keys,
            lambda state, z, after=after, norms=norms: transcriptions.progan(state, z, norms, after),  # type: ignore[misc]
        )


def old_keys(model: nn.Module) -> dict[str, Tensor]:
    """`layer1.*` as `features.0.*`, `output_RxR.*` as `output.*`; without what PyTorch 0.4.1 introduced."""
    renamed = {}
    for key, value in model.state_dict().items():
        layer, rest = key.split(".", 1)
        if "num_batches" not in rest:
            renamed[f"{'output' if 'output' in layer else f'features.{int(layer[5:]) - 1}'}.{rest}"] = value
    return renamed


def stylegan2s() -> Iterator[Shown]:
    """Rosinality's layout at each resolution, and with two mapping layers, as the paper on rewriting has them."""
    for resolution, mapping_layers in [*((resolution, 8) for resolution in RESOLUTIONS), (256, 2)]:
        yield Shown(
            f"StyleGAN2, {resolution}x{resolution}, {mapping_layers} mapping layers",
            layouts.stylegan2_tensors(stylegan2_channels(resolution), 512, mapping_layers),
            lambda path: load_stylegan2(path, latent_avg_samples=64),
            lambda model: stylegan2_checkpoint(model)["g_ema"],  # type: ignore[arg-type]
            stylegan2,
        )


def stylegan2(state: dict[str, Tensor], z: Tensor) -> Tensor:
    """The published network without truncation, with the noise of the file."""
    w = transcriptions.stylegan2_mapping(state, z)
    layers = 2 * sum(key.startswith("to_rgb") and key.endswith("conv.weight") for key in state)
    return transcriptions.stylegan2(state, w[:, None].repeat(1, layers, 1), lambda n: state[f"layer{n}.noise.fixed"])


def wgangps() -> Iterator[Shown]:
    """`WGANGP` under its own names, since no file of it was published."""
    tensors = WGANGP().state_dict()
    yield Shown("WGAN-GP, 64x64", tensors, load_wgangp, nn.Module.state_dict, transcriptions.wgangp)


@torch.no_grad()
def row(shown: Shown, folder: Path) -> tuple[object, ...]:
    """A line of the table."""
    path = folder / "checkpoint.pt"
    torch.save(shown.tensors, path)
    started = time.perf_counter()
    model = shown.load(path)
    seconds = time.perf_counter() - started
    if not isinstance(model, (ProGAN, StyleGAN2, WGANGP)):
        raise TypeError(type(model))
    back = shown.back(model)
    same = back.keys() == shown.tensors.keys() and all(
        torch.equal(back[key], value) for key, value in shown.tensors.items()
    )
    deviation = "not compared"
    if model.resolution <= COMPARED:
        z = latents(model, 1)
        image, expected = model(z), shown.written(model.state_dict(), z)
        difference = float((image - expected).abs().max() / expected.abs().max())
        deviation = f"{difference:.0e}" if difference else "equal"
    megabytes = path.stat().st_size / 1e6
    return (
        shown.layout, len(shown.tensors), f"{megabytes:.0f} MB", f"{seconds:.2f} s",
        "equal" if same else "DIFFERENT", deviation,
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the page."""
    out = command_line(__doc__).parse_args(arguments).out
    torch.manual_seed(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for shown in (*progans(), *stylegan2s(), *wgangps()):
            rows.append(row(shown, Path(folder)))
            print(*rows[-1], sep=" | ", flush=True)
    text = (DOCS / "models.md").read_text().partition(TABLE)[0]
    (out / "models.md").write_text(text + TABLE + table(COLUMNS, rows))


if __name__ == "__main__":
    main()
