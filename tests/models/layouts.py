"""The published layouts of checkpoints, by their keys and shapes, filled with random numbers."""

from itertools import pairwise

import numpy as np
import torch


def normal(*shape):
    return torch.randn(*shape)


def progan_tensors(channels=(6, 5, 4), z_channels=3):
    """The published layout by its keys and shapes: layer{i}.conv.weight, layer{i}.wscale.b, output_{R}x{R}.*."""
    widths = [z_channels, *np.repeat(channels, 2).tolist()]
    tensors = {}
    for i in range(1, len(widths)):
        kernel = 4 if i == 1 else 3
        tensors[f"layer{i}.conv.weight"] = normal(widths[i], widths[i - 1], kernel, kernel)
        tensors[f"layer{i}.wscale.b"] = normal(widths[i])
    size = 2 ** (len(channels) + 1)
    tensors[f"output_{size}x{size}.conv.weight"] = normal(3, widths[-1], 1, 1)
    tensors[f"output_{size}x{size}.wscale.b"] = normal(3)
    return tensors


def ablation_tensors(layout, channels=(6, 5), z_channels=3):
    """features.{i}.*, output.*: with a stored scale, biases, or batch norm (as in files from before PyTorch 0.4.1)."""
    widths = [z_channels, *np.repeat(channels, 2).tolist(), 3]
    tensors = {}
    for i in range(len(widths) - 1):
        name = f"features.{i}" if i < len(widths) - 2 else "output"
        kernel = 4 if i == 0 else 1 if name == "output" else 3
        tensors[f"{name}.conv.weight"] = normal(widths[i + 1], widths[i], kernel, kernel)
        if layout == "stored_wscale":
            tensors[f"{name}.wscale.scale"] = normal(1)
            tensors[f"{name}.wscale.b"] = normal(widths[i + 1])
        elif layout == "wscale":
            tensors[f"{name}.wscale.b"] = normal(widths[i + 1])
        elif layout == "bias" or name == "output":
            tensors[f"{name}.conv.bias"] = normal(widths[i + 1])
        else:
            for part in ("weight", "bias", "running_mean"):
                tensors[f"{name}.norm.{part}"] = normal(widths[i + 1])
            tensors[f"{name}.norm.running_var"] = normal(widths[i + 1]).square() + 0.1
    return tensors


def stylegan2_tensors(channels=(6, 5, 4), width=8, mapping_layers=8):
    """g_ema in rosinality's layout, by its keys and shapes."""

    def modulated(name, inputs, outputs, kernel):
        return {
            f"{name}.conv.weight": normal(1, outputs, inputs, kernel, kernel),
            f"{name}.conv.modulation.weight": normal(inputs, width),
            f"{name}.conv.modulation.bias": normal(inputs),
        }

    def styled(name, inputs, outputs):
        rest = {f"{name}.noise.weight": normal(1), f"{name}.activate.bias": normal(outputs)}
        return modulated(name, inputs, outputs, 3) | rest

    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps) / 16
    tensors = {"input.input": normal(1, channels[0], 4, 4)}
    for i in range(1, mapping_layers + 1):
        tensors |= {f"style.{i}.weight": normal(width, width), f"style.{i}.bias": normal(width)}
    tensors |= styled("conv1", channels[0], channels[0])
    tensors |= modulated("to_rgb1", channels[0], 3, 1) | {"to_rgb1.bias": normal(1, 3, 1, 1)}
    tensors["noises.noise_0"] = normal(1, 1, 4, 4)
    for j, (inputs, outputs) in enumerate(pairwise(channels)):
        tensors |= styled(f"convs.{2 * j}", inputs, outputs) | {f"convs.{2 * j}.conv.blur.kernel": kernel.clone()}
        tensors |= styled(f"convs.{2 * j + 1}", outputs, outputs)
        tensors |= modulated(f"to_rgbs.{j}", outputs, 3, 1)
        tensors |= {f"to_rgbs.{j}.bias": normal(1, 3, 1, 1), f"to_rgbs.{j}.upsample.kernel": kernel.clone()}
        for k in (2 * j + 1, 2 * j + 2):
            tensors[f"noises.noise_{k}"] = normal(1, 1, 2 ** (j + 3), 2 ** (j + 3))
    return tensors
