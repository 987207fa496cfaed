"""The generators as their papers write them: functions of a state dict and z, with no module of ours."""

import math

import torch
from torch.nn.functional import batch_norm, conv2d, leaky_relu, relu


def progan(state, z, norms, after):
    """The generator as Karras et al. write it: a state dict and z, and no module of ours."""
    scaled = "wscale" in after

    def normed(x):
        return x / (x.pow(2).mean(1, keepdim=True) + 1e-8).sqrt()

    def convolved(x, layer, padding, gain):
        weight = state[f"{layer}.conv.weight"]
        x = conv2d(x, weight, state.get(f"{layer}.conv.bias"), padding=padding)
        if scaled:
            scale = gain / math.sqrt(weight[0].numel())
            bias = state[f"{layer}.wscale.b"].view(1, -1, 1, 1)
            return x * state.get(f"{layer}.wscale.scale", scale) + bias
        if f"{layer}.norm.weight" in state:
            names = ("running_mean", "running_var", "weight", "bias")
            return batch_norm(x, *(state[f"{layer}.norm.{name}"] for name in names), eps=1e-5)
        return x

    def nonlinear(x):
        return relu(x) if after == "batch_norm" else leaky_relu(x, 0.2)

    x = z.view(*z.shape, 1, 1)
    depth = sum(key.startswith("layer") and key.endswith("conv.weight") for key in state)
    for number in range(1, depth + 1):
        if norms == "every" or (number == 1 and norms in ("ends", "first")):
            x = normed(x)
        if number in range(3, depth, 2):
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        x = nonlinear(convolved(x, f"layer{number}", 3 if number == 1 else 1, math.sqrt(2)))
    x = normed(x) if norms in ("every", "ends") else x
    size = 2 ** (depth // 2 + 1)
    return convolved(x, f"output_{size}x{size}", 0, 1.0)


def upfirdn(x, kernel, up, before, after):
    """Zeros between and around the pixels, then convolution: the definition, as a sum over the kernel's taps."""
    n, c, h, w = x.shape
    spread = x.new_zeros(n, c, h * up, w * up)
    spread[:, :, ::up, ::up] = x
    padded = x.new_zeros(n, c, h * up + before + after, w * up + before + after)
    padded[:, :, before : before + h * up, before : before + w * up] = spread
    size = len(kernel)
    rows, columns = (length - size + 1 for length in padded.shape[2:])
    out = x.new_zeros(n, c, rows, columns)
    for i in range(size):
        for j in range(size):
            out += kernel[size - 1 - i, size - 1 - j] * padded[:, :, i : i + rows, j : j + columns]
    return out


def modulated(x, style, weight, upsample, demodulate, kernel=None):
    """The published form: weights of its own for each image, one image at a time."""
    images = []
    for feature, factors in zip(x, style):
        scaled = weight / math.sqrt(weight[0].numel()) * factors.view(1, -1, 1, 1)
        if demodulate:
            scaled = scaled / (scaled.pow(2).sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if upsample:  # a transposed convolution by definition: zeros between the pixels, flipped taps
            h, w = feature.shape[1:]
            spread = feature.new_zeros(1, len(feature), 2 * h - 1, 2 * w - 1)
            spread[0, :, ::2, ::2] = feature
            full = conv2d(spread, scaled.flip(2, 3), padding=2)
            images.append(upfirdn(full, kernel, 1, 1, 1))
        else:
            images.append(conv2d(feature[None], scaled, padding=weight.shape[-1] // 2))
    return torch.cat(images)


def stylegan2_mapping(state, z):
    """The mapping network."""
    w = z / (z.pow(2).mean(1, keepdim=True) + 1e-8).sqrt()
    for n in range(1, 1 + sum(key.startswith("mapping.") and key.endswith(".weight") for key in state)):
        weight, bias = state[f"mapping.fc{n}.weight"], state[f"mapping.fc{n}.bias"]
        w = leaky_relu(w @ (weight * 0.01 / math.sqrt(weight.shape[1])).t() + 0.01 * bias, 0.2) * 2**0.5
    return w


def stylegan2(state, ws, noise_of):
    """The synthesis network of Karras et al. 2020: a state dict, w per layer, and no module of ours."""

    def styled(layer, w):
        weight, bias = state[f"{layer}.style.weight"], state[f"{layer}.style.bias"]
        return w @ weight.t() / math.sqrt(weight.shape[1]) + bias

    x = state["layer1.input"].repeat(len(ws), 1, 1, 1)
    image = 0
    for number in range(2, 2 * sum(key.startswith("to_rgb") and key.endswith("conv.weight") for key in state) + 1):
        layer, upsample = f"layer{number}", number % 2 == 1
        kernel = state.get(f"{layer}.blur.kernel")
        style = styled(layer, ws[:, number - 2])
        x = modulated(x, style, state[f"{layer}.conv.weight"], upsample, True, kernel)
        x = x + state[f"{layer}.noise.weight"] * noise_of(number)
        x = leaky_relu(x + state[f"{layer}.activate.bias"].view(1, -1, 1, 1), 0.2) * 2**0.5
        if number % 2 == 0:
            rgb = f"to_rgb{number // 2}"
            new = modulated(x, styled(rgb, ws[:, number - 1]), state[f"{rgb}.conv.weight"], False, False)
            new = new + state[f"{rgb}.bias"].view(1, 3, 1, 1)
            image = new if number == 2 else new + upfirdn(image, state[f"{rgb}.upsample.kernel"], 2, 2, 1)
    return image


def wgangp(state, z):
    """GoodGenerator of the published script, with the running statistics."""

    def normed(x, name):
        names = ("running_mean", "running_var", "weight", "bias")
        return batch_norm(x, *(state[f"{name}.{part}"] for part in names), eps=1e-5)

    def conv(x, name, padding):
        return conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), padding=padding)

    def twice(x):
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    x = (z @ state["layer1.linear.weight"].t() + state["layer1.linear.bias"]).view(len(z), -1, 4, 4)
    number = 2
    while f"layer{number}.conv1.weight" in state:
        block = f"layer{number}"
        inner = conv(twice(relu(normed(x, f"{block}.norm1"))), f"{block}.conv1", 1)
        inner = conv(relu(normed(inner, f"{block}.norm2")), f"{block}.conv2", 1)
        x = conv(twice(x), f"{block}.shortcut", 0) + inner
        number += 1
    return torch.tanh(conv(relu(normed(x, "output.norm")), "output.conv", 1))
