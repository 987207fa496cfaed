"""Encoders that invert a generator layer by layer, as a result that is trained, saved and loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dissect.arguments import integer, refusal, speaks
from dissect.files.checked import Each, Maybe, Of, Rule, Text, Whole, fields
from dissect.files.results import Result
from dissect.models import latents
from dissect.network.identity import fingerprint
from dissect.omissions import training
from dissect.omissions.chain import Chain, checked_images
from dissect.omissions.encoders import Encoder
from dissect.omissions.inversion import Inversion
from dissect.omissions.optimisation import (
    OPTIMISERS,
    RATE,
    Matching,
    PerceptualFeatures,
    as_it_is,
    at_a_time,
    joined,
    optimised,
)
from dissect.visits.run import finish

#: How images are inverted, see `LayerInverter.invert`.
METHODS = ("a", "d", "e", "f")


@speaks
class LayerInverter(Result):
    """An encoder E of images to z that was trained layer by layer, and the generator that it inverts (section 5.3.2).

    Make one with `train`, make it better with `fine_tune`; `save` writes the encoder, without the generator, which
    `load` takes again.

    Attributes:
        encoder: E, see `dissect.omissions.Encoder`.
        layers: the generator's layers g_1, ..., g_n.
        generator: the fingerprint of the generator.
        settings: how it was trained: a list of the options of `train` and of each `fine_tune`.
        log: stage, step, and mean loss since the line before.

    Example: see `train`.
    """

    kind = "layer-inverter"
    suffix = ".inverter"

    def __init__(
        self, encoder: Encoder, layers: tuple[str, ...], generator: str, made: dict[str, Any],
        settings: list[dict[str, Any]], log: list[dict[str, Any]], chain: Chain | None = None,
    ) -> None:  # fmt: skip
        self.encoder, self.layers, self.generator = encoder.eval(), layers, generator
        self.settings, self.log = settings, log
        self._made, self._chain = made, chain

    def __repr__(self) -> str:
        weights = sum(weight.numel() for weight in self.encoder.parameters())
        return f"<LayerInverter of {', '.join(self.layers)} ({weights:,} weights)>"

    @classmethod
    def train(
        cls, generator: nn.Module, layers: Sequence[str], *, loss: str = "cse", width: int | None = None,
        epochs: int = 100, image_epochs: int | None = None, batches: int = 100, batch_size: int = 32,
        rate: float = 1e-4, image_rate: float = 0.01, seed: int = 0, resume: str | Path | None = None,
        progress: bool = True,
    ) -> LayerInverter:  # fmt: skip
        """Trains e_1, ..., e_n and e_f, each alone, on new z at every step, and composes them (equations 5.3, 5.4).

        ::

            e_i  minimises  loss(r_(i-1), e_i(r_i)) + 0.01 loss(r_i, g_i(e_i(r_i)))
            e_f  minimises  mean (r_n - e_f(G_f(r_n)))^2

        with Adam. Numbers and losses are those of the published code; the thesis has L1 in equation 5.3. That code
        never clears its gradients; this does.

        Args:
            generator: a chain of its children, in evaluation mode, see `dissect.omissions.Chain`.
            layers: g_1, ..., g_n; published are the first four of a Progressive GAN.
            loss: "cse", which is one minus the cosine over channels and leaves scale alone, or "l1".
            width: of the ResNet's first maps; the default is an eighth of r_n's channels, 64 of 512, as published.
            epochs: for each of e_1, ..., e_n.
            image_epochs: for e_f; as many by default.
            batches: of an epoch.
            batch_size: z of a batch.
            rate: Adam's for e_i; a tenth after 20 % and 60 % of the steps (60 % and 80 % for e_2 and e_n).
            image_rate: Adam's for e_f.
            seed: of the initial weights and all z.
            resume: a folder for what an interrupted training needs to go on.
            progress: show a bar.

        Raises:
            KeyError, TypeError: see `dissect.omissions.Chain`.
            ValueError: see there; numbers below 1, a batch of one z, an unknown loss; a loss that is not finite; a
                folder that holds another run.

        Example:
            >>> model = dissect.models.ProGAN((4, 4, 4), z_channels=4).eval()
            >>> inverter = LayerInverter.train(
            ...     model, ["layer1", "layer2"], width=2, epochs=1, batches=2, batch_size=4, progress=False)
            >>> inverter
            <LayerInverter of layer1, layer2 (12,178 weights)>
            >>> tuple(inverter.encode(model(dissect.latents(model, 3))).shape)
            (3, 4)
        """
        if loss not in training.LOSSES:
            raise refusal(ValueError(f"loss must be one of {tuple(training.LOSSES)}, but got {loss!r}."))
        inverter = cls.untrained(generator, layers, width=width, seed=seed)
        steps = integer("epochs", epochs) * integer("batches", batches)
        image_steps = steps if image_epochs is None else integer("image_epochs", image_epochs) * batches
        settings = {
            "stage": "layers", "loss": loss, "steps": steps, "image_steps": image_steps,
            "batch_size": integer("batch_size", batch_size, 2), "rate": _rate("rate", rate),
            "image_rate": _rate("image_rate", image_rate), "seed": seed,
        }  # fmt: skip
        stages = training.layer_stages(inverter.chain, inverter.encoder, loss, steps, image_steps, rate, image_rate)
        return inverter._trained(stages, settings, resume, progress)

    def fine_tune(
        self, *, objective: str = "joint", epochs: int = 1000, batches: int = 100, batch_size: int = 32,
        rate: float = 1e-5, seed: int = 0, resume: str | Path | None = None, progress: bool = True,
    ) -> LayerInverter:  # fmt: skip
        """Another inverter, whose encoders were trained on all together, from where this one stands.

        ::

            joint            cse(r_n, e_f(x)) + cse(z, E(x)) + cse(r_n, g_n(... g_1(E(x)))) + mean (x - G(E(x)))^2
            reconstruction                                                                    mean (x - G(E(x)))^2

        The first is that of the published code, which leaves the last convolution of e_2, ..., e_n as it is; the
        second, with all weights and `untrained`, is how earlier methods train (baseline b). Adam's rate is halved
        after 5 %, 15 % and 35 % of the steps.

        Args:
            objective: "joint" or "reconstruction".
            epochs: how many.
            batches: of an epoch.
            batch_size: z of a batch.
            rate: Adam's.
            seed: of all z; other z than `train` draws.
            resume: see `train`.
            progress: show a bar.

        Raises:
            ValueError: see `train`; an inverter that was loaded without its generator.

        Example:
            >>> model = dissect.models.ProGAN((4, 4, 4), z_channels=4).eval()
            >>> inverter = LayerInverter.untrained(model, ["layer1", "layer2"], width=2)
            >>> better = inverter.fine_tune(epochs=1, batches=2, batch_size=4, rate=1e-3, progress=False)
            >>> [line["stage"] for line in better.log]
            ['joint', 'joint']
        """
        stages = {"joint": training.joint_stage, "reconstruction": training.reconstruction_stage}
        if objective not in stages:
            raise refusal(ValueError(f"objective must be one of {tuple(stages)}, but got {objective!r}."))
        chain = self.chain
        steps = integer("epochs", epochs) * integer("batches", batches)
        settings = {
            "stage": objective, "steps": steps, "batch_size": integer("batch_size", batch_size, 2),
            "rate": _rate("rate", rate), "seed": integer("seed", seed, 0, _SEEDS),
        }  # fmt: skip
        encoder = _encoder(self._made, chain.device)
        encoder.load_state_dict(self.encoder.state_dict())
        better = LayerInverter(encoder, self.layers, self.generator, self._made, self.settings, self.log, chain)
        return better._trained([stages[objective](chain, encoder, steps, rate)], settings, resume, progress)

    @classmethod
    def untrained(
        cls, generator: nn.Module, layers: Sequence[str], *, width: int | None = None, seed: int = 0
    ) -> LayerInverter:
        """An inverter with its initial weights, to be trained as a whole; arguments as those of `train`."""
        chain = Chain(generator, layers)
        width = max(1, chain.shapes[-1][0] // 8) if width is None else integer("width", width)
        made = {
            "shapes": [list(shape) for shape in chain.shapes], "image_shape": list(chain.image_shape), "width": width,
            "seed": integer("seed", seed, 0, _SEEDS),
        }  # fmt: skip
        return cls(_encoder(made, chain.device), tuple(layers), fingerprint(generator), made, [], [], chain)

    def _trained(
        self, stages: list[training.Stage], settings: dict[str, Any], resume: str | Path | None, progress: bool
    ) -> LayerInverter:
        run = training.EncoderTraining(self.encoder, stages)
        # Each call draws other z than those before it.
        offset = 8 * len(self.settings)
        draws = training.Draws(
            self.chain.shapes[0], {stage.name: stage.steps for stage in stages}, settings["batch_size"],
            settings["seed"], self.chain.device, offset,
        )  # fmt: skip
        weights = fingerprint(self.encoder)  # from which it starts
        about = {"generator": self.generator, "layers": list(self.layers), **self._made, **settings, "from": weights}
        finish(run, draws, resume=resume, about=about, progress=progress)
        self.settings, self.log = [*self.settings, settings], [*self.log, *run.log]
        self.encoder.eval()
        return self

    @property
    def chain(self) -> Chain:
        """The generator, split at the layers.

        Raises:
            ValueError: the inverter was loaded without its generator.
        """
        if self._chain is None:
            raise refusal(
                ValueError(
                    "generator must be known, but the inverter was loaded without it; load it with "
                    "LayerInverter.load(path, generator)."
                )
            )
        return self._chain

    def encode(self, images: Tensor) -> Tensor:
        """E(x): z [N, ...] of images [N, 3, H, W] in [-1, 1]; each image's are its own, whatever else is in the batch.

        Raises:
            TypeError, ValueError: images of another dtype, size or range.
        """
        checked_images(images, tuple(self._made["image_shape"]))
        with torch.no_grad():
            found: Tensor = self.encoder(images)
        return found

    def invert(
        self, images: Tensor, method: str = "f", *, steps: int = 3000, features: PerceptualFeatures | None = None,
        lambda_v: float = 1.0, lambda_reg: float = 1.0, last: bool = False, rate: float = RATE, seed: int = 0,
        batch_size: int = 50, progress: bool = True, optimiser: str = "adam", relative: bool = False,
    ) -> Inversion:  # fmt: skip
        """Images that the generator, or its later layers, make to be as those that are given (section 5.4.4).

        ::

            a    z from a random start, optimised
            d    z_0 = E(x)
            e    z from E(x), optimised
            f    r = g_n(... delta_2 + g_2(delta_1 + g_1(z_0))), the deltas optimised (equation 5.5)

        The loss is ``mean |x - y| + lambda_v mean |V(x) - V(y)|``, and for f ``lambda_reg sum_i mean delta_i^2`` beside
        it. Its baselines b and c are d and e with an encoder that was trained on reconstruction alone (`fine_tune`).
        Equation 5.5 has delta_1 to delta_n; the sentence after it and the published code leave the last one out, and so
        does this, unless `last`. Adam's rate is halved after 800, 1,200 and 1,800 of 3,000 steps, or these shares.
        Of all steps the best is kept, for each image; where a loss does not stay finite that is told.

        Args:
            images: [N, 3, H, W] in [-1, 1]; none has an effect on another.
            method: see above.
            steps: of the optimiser.
            features: V, from images in [-1, 1] to anything; published is VGG-16 up to conv4_2, on images that are not
                normalised. Without it only pixels are compared.
            lambda_v: see above.
            lambda_reg: see above.
            last: whether there is a delta_n.
            rate: Adam's; L-BFGS moves numbers by so much on average in its first step.
            seed: of the random starts of a.
            batch_size: images at a time, at most: a CPU takes no more than those of 32,768 pixels together (eight of
                64x64), beyond which each image costs more than alone.
            progress: show a bar.
            optimiser: "adam", or "lbfgs", whose steps look at the loss up to ten times, usually once. It treats
                each image for itself too, but makes what rounding does in a batch larger.
            relative: whether f counts each delta in units of its layer's root mean square, so that `rate` is a share of
                it and all layers move alike; published is one rate for all, whatever their sizes.

        Raises:
            TypeError, ValueError: images of another dtype, size or range; an unknown method or optimiser; numbers that
                are not positive; an inverter that was loaded without its generator.

        Example:
            >>> model = dissect.models.ProGAN((4, 4, 4), z_channels=4).eval()
            >>> inverter = LayerInverter.untrained(model, ["layer1", "layer2"], width=2)
            >>> images = model(dissect.latents(model, 3)).detach()
            >>> found = inverter.invert(images, steps=5, progress=False)
            >>> tuple(found.z.shape), [tuple(delta.shape) for delta in found.deltas]
            ((3, 4), [(3, 4, 4, 4)])
        """
        chain = self.chain
        checked_images(images, tuple(self._made["image_shape"]))
        if method not in METHODS:
            raise refusal(ValueError(f"method must be one of {', '.join(METHODS)}, but got {method!r}."))
        deltas = len(chain) - (0 if last else 1) if method == "f" else 0
        if method == "f" and not deltas:
            raise refusal(ValueError("last must be True where there is one layer, which has no other delta."))
        if optimiser not in tuple(OPTIMISERS):
            raise refusal(ValueError(f"optimiser must be one of {tuple(OPTIMISERS)}, but got {optimiser!r}."))
        steps, rate = integer("steps", steps), _rate("rate", rate)
        for name, value in (("lambda_v", lambda_v), ("lambda_reg", lambda_reg)):
            _rate(name, value or 1.0)  # 0 leaves a part of the loss out
        if features is not None and not callable(features):
            raise refusal(TypeError(f"features must be a function of images, but got {type(features).__name__}."))
        batch_size, parts = at_a_time(integer("batch_size", batch_size), images, chain.device), []
        for begin in range(0, len(images), batch_size):
            wanted = images[begin : begin + batch_size].to(chain.device)
            # By their place among all images: batches have no effect on random starts.
            start = self._starts(seed, begin, len(wanted)) if method == "a" else self.encode(wanted)
            matching = Matching(wanted, features, lambda_v)
            if method == "d":
                parts.append(as_it_is(chain, method, start, matching))
            else:
                parts.append(optimised(
                    chain, method, start, matching, deltas=deltas, lambda_reg=lambda_reg, steps=steps, rate=rate,
                    optimiser=optimiser, progress=progress, relative=relative,
                ))  # fmt: skip
        return joined(parts, self.generator)

    def _starts(self, seed: int, begin: int, count: int) -> Tensor:
        return latents(self.chain.shapes[0], count, integer("seed", seed, 0, 2**32 - 1), start=begin).to(
            self.chain.device
        )

    @classmethod
    def load(cls, path: str | Path, generator: nn.Module | None = None) -> LayerInverter:
        """Reads what `save` wrote; the suffix may be left out.

        Args:
            path: of the file.
            generator: that it inverts; without it only `encode` works.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a damaged file, another kind of file, a newer version, or content that cannot be; an inverter of
                another generator, as its weights tell.
        """
        found = super().load(path)
        if generator is not None:
            other = fingerprint(generator)
            if other != found.generator:
                raise refusal(
                    ValueError(
                        f"generator must be the one that {path} inverts, with fingerprint "
                        f"{found.generator}, but has {other}; its weights, modules or hooks are others."
                    )
                )
            found._chain = Chain(generator, found.layers)
            found.encoder.to(found._chain.device)
        return found

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        meta = {
            "layers": self.layers, "generator": self.generator, "made": self._made, "settings": self.settings,
            "log": self.log,
        }  # fmt: skip
        return dict(self.encoder.state_dict()), meta

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> LayerInverter:
        """See `Result`."""
        sizes = fields(what, meta, _META)
        # No larger than a network can be: sizes come from the file.
        rules: dict[str, Rule] = {"width": Whole(1, 1 << 12), "seed": Whole()}
        rules |= {"shapes": Each(Each(Whole(1, 1 << 16))), "image_shape": Each(Whole(1, 1 << 16), 3)}
        fields(what, meta["made"], rules)
        if len(meta["made"]["shapes"]) != sizes["n"] + 1:
            raise ValueError(f"{what} must hold a shape more than layers, but does not.")
        with torch.device("meta"):
            planned = _encoder(meta["made"])
        held = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if held != {name: tuple(tensor.shape) for name, tensor in planned.state_dict().items()}:
            raise ValueError(f"{what} must hold the weights of the encoder that it describes, but does not.")
        encoder = _encoder(meta["made"])
        training.load_weights(what, encoder, tensors)
        log = meta.get("log") or []  # files of before have none
        return cls(encoder, tuple(meta["layers"]), meta["generator"], meta["made"], meta["settings"], log)


_META = {
    "layers": Each(Text(), "n", different=True),
    "generator": Text(),
    "made": Of(dict),
    "settings": Each(Of(dict)),
    "log": Maybe(Each(Of(dict))),
}


def _encoder(made: dict[str, Any], device: torch.device | None = None) -> Encoder:
    shapes = [tuple(shape) for shape in made["shapes"]]
    encoder = Encoder(shapes, tuple(made["image_shape"]), made["width"], seed=made["seed"])
    return encoder.to(device) if device is not None else encoder


#: The largest seed of a training, whose steps' numbers are put behind it.
_SEEDS = 2**23 - 1


def _rate(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise refusal(ValueError(f"{name} must be a positive number, but is {value!r}."))
    return float(value)
