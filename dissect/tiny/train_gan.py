"""Train a generator on the scenes: `python -m dissect.tiny.train_gan NAME --out DIR`.

NAME is one of `RECIPES`, or "all" of them, or the "rest", those whose weights do not come with the package. DIR
receives the rendered scenes, a checkpoint from which a stopped run goes on, snapshots of the averaged generator at the
size to which it had grown (`snapshots/NAME/IMAGES.safetensors`) and, at the end, `NAME.safetensors`; both are read by
`dissect.tiny.networks.load_generator`. `NAME.log` has one JSON object per snapshot.

Order and z are functions of the seed and the step: on a CPU, with as many threads, a run that was killed and goes on
ends with the weights of one that was not. Only the losses in its log are then means over fewer steps. (A GPU does not
take its sums in the same order twice.)
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate
from torch.optim.swa_utils import update_bn

from dissect.arguments import refusal
from dissect.files.tensors import save_tensors
from dissect.models import ProGAN, StyleGAN2
from dissect.models.discriminator import STDDEV_GROUP
from dissect.models.latent import normal_blocks
from dissect.tiny.dataset import TinyScenes
from dissect.tiny.networks import GENERATORS, vgg
from dissect.tiny.training.adversarial import Adversaries
from dissect.tiny.training.feature_critic import FeatureCritic
from dissect.tiny.training.growing import Growing
from dissect.tiny.training.recipes import RECIPES, Recipe
from dissect.tiny.training.run import (
    Checkpoint,
    Training,
    add_arguments,
    order,
    parsed,
    rendered,
    scenes_version,
    set_pace,
)
from dissect.tiny.weight_files import FORMAT, narrowed

SNAPSHOT_EVERY = 50_000
#: z over which a batch norm's statistics are taken.
STATISTICS = 4096


def images_of(recipe: Recipe, folder: Path) -> np.ndarray:
    """The scenes of a recipe, uint8 [count, 3, R, R]; rendered once, then read from the folder."""
    scenes = TinyScenes("train", recipe.resolution, recipe.scenes, family=recipe.family, watermark=recipe.watermark)
    name = f"{recipe.family}{'-watermark' * recipe.watermark}-{recipe.resolution}-{recipe.scenes}"
    return rendered(scenes, folder / f"{name}-{_version(recipe)}.npy")


def _version(recipe: Recipe) -> str:
    return scenes_version(recipe.resolution, recipe.family, recipe.watermark)


def shown(images: Tensor, resolution: int, fade: float) -> Tensor:
    """Of uint8 images, float32 [N, 3, resolution, resolution] in [-1, 1], smaller and faded as the generator's are."""
    pixels = images.float() / 127.5 - 1
    pixels = avg_pool2d(pixels, pixels.shape[-1] // resolution)
    if fade < 1:
        pixels = torch.lerp(interpolate(avg_pool2d(pixels, 2), scale_factor=2.0), pixels, fade)
    return pixels.contiguous(memory_format=torch.channels_last)


class GanTraining(Training):
    """One training run.

    Args:
        name: of the recipe.
        out: the folder; a run that it holds goes on.
        seed: of the initial weights, the order and z.
        device: where it runs; it holds all scenes.
        batch: images in a step.

    Raises:
        ValueError: the folder holds a run of another recipe, seed or batch, or on other scenes; or a batch that the
            discriminator or the scenes have no use for.
    """

    def __init__(self, name: str, out: Path, seed: int, device: str, batch: int = 16) -> None:
        super().__init__()
        recipe = RECIPES[name]
        if not 1 <= batch <= recipe.scenes or (recipe.minibatch_stddev and batch % min(batch, STDDEV_GROUP)):
            raise refusal(
                ValueError(
                    f"batch must be positive, a multiple of {STDDEV_GROUP} if it is more (for the minibatch standard "
                    f"deviation), and at most the {recipe.scenes} scenes of {name}, but is {batch}."
                )
            )
        self.name, self.recipe, self.out, self.seed, self.device = name, recipe, out, seed, device
        self.batch, self.steps = batch, math.ceil(recipe.images / batch)
        self.images = torch.tensor(images_of(recipe, out), device=device)
        generator, average = (Growing(recipe.generator(seed), seed) for _ in range(2))
        discriminator = recipe.discriminator(seed + 1)
        networks: dict[str, nn.Module] = {"generator": generator, "average": average, "discriminator": discriminator}
        feature_critic = FeatureCritic(vgg(), seed + 2) if recipe.feature_critic else None
        if feature_critic is not None:
            networks["feature_critic"] = feature_critic
        for network in networks.values():
            network.to(device=device)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = average
        self.adversaries = Adversaries(
            generator, average, discriminator, recipe.loss, recipe.rate, recipe.r1_gamma, recipe.half_life,
            feature_critic,
        )  # fmt: skip
        self._losses: list[tuple[float, float]] = []
        written = json.loads(json.dumps(asdict(recipe)))
        self.about = {"recipe": written, "seed": seed, "batch": batch, "scenes": _version(recipe)}
        self._resume(Checkpoint(out / f"{name}.checkpoint", networks, self.adversaries.optimizers, self.about))

    @property
    def seen(self) -> int:
        """Images shown so far."""
        return self.step * self.batch

    def _train_step(self) -> None:
        resolution, fade = self.recipe.stage(self.seen)
        epoch, at = divmod(self.step, len(self.images) // self.batch)
        places = order(self.seed, epoch, len(self.images))[at * self.batch : (at + 1) * self.batch]
        index = torch.from_numpy(places).to(self.device)
        real = shown(self.images[index], resolution, fade)
        chance = torch.Generator().manual_seed((self.seed << 32) + self.step)
        z = torch.randn(self.batch, self.recipe.z_channels, generator=chance).to(self.device)
        seeds = torch.randint(1 << 62, (self.batch,), generator=chance).to(self.device)
        set_pace(self.adversaries.optimizers, self.recipe.pace(self.seen))
        self._losses.append(self.adversaries.step(self.step, real, z, seeds, fade, chance))
        self.step += 1
        if self.seen % SNAPSHOT_EVERY < self.batch or self.step == self.steps:
            self._snapshot()

    def _snapshot(self) -> None:
        resolution = self.recipe.grown(self.seen)
        self._write(self.out / "snapshots" / self.name / f"{self.seen:09}.safetensors", resolution)
        loss_g, loss_d = np.mean(self._losses, axis=0).round(4).tolist()
        self._losses.clear()
        self._tell({
            "images": self.seen, "resolution": self.recipe.stage(self.seen)[0],
            "generator_loss": loss_g, "discriminator_loss": loss_d, "minutes": round(self.minutes, 2),
        })  # fmt: skip

    def _finish(self) -> None:
        self._write(self.out / f"{self.name}.safetensors", self.recipe.resolution)
        self._write_log()

    def averaged(self, resolution: int) -> ProGAN | StyleGAN2:
        """A copy of the averaged generator up to a resolution, with statistics of its own."""
        model = self.recipe.generator(self.seed, resolution).to(self.device)
        self.average.give(model)
        if isinstance(model, StyleGAN2):
            model.measure_latent_avg()
        elif self.recipe.after_conv == "batch_norm":
            # Those of the generator, which are copied after each step, are of weights that were not averaged.
            update_bn((z.to(self.device) for z in normal_blocks(self.recipe.z_channels, STATISTICS, 0)), model)
        return model

    def _write(self, path: Path, resolution: int) -> None:
        """Writes the averaged generator as float16."""
        model = self.averaged(resolution)
        save_tensors(path, *FORMAT, narrowed(model.state_dict()), {
            "architecture": type(model).__name__, **self.about, "resolution": resolution, "images": self.seen,
            "minutes": self.minutes, "machine": self.machine,
        })  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train a generator on the tiny scenes.")
    parser.add_argument("names", nargs="+", choices=["all", "rest", *RECIPES], help="what is trained, in turn")
    add_arguments(parser)
    parser.add_argument("--batch", type=int, default=16, help="images in a step (default 16)")
    arguments = parsed(parser)
    end = time.monotonic() + arguments.minutes * 60
    rest = [name for name in RECIPES if name not in GENERATORS]
    several = {"all": list(RECIPES), "rest": rest}
    for name in dict.fromkeys(name for given in arguments.names for name in several.get(given, [given])):
        run = GanTraining(name, arguments.out, arguments.seed, arguments.device, arguments.batch)
        if not run.train((end - time.monotonic()) / 60):
            print(f"{name}: stopped after {run.seen} of {run.recipe.images} images; the same command goes on.")
            return


if __name__ == "__main__":
    main()
