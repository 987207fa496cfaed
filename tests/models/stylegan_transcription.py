"""StyleGAN (v1) as its two published codes compute it: functions of a file's tensors, with no module of ours."""

import math

import torch
from torch.nn.functional import conv2d, linear


def normal(*shape):
    return torch.randn(*shape)


def nvidia_tensors(channels=(6, 5, 4), width=7, mapping_layers=8):
    """The layout of the PyTorch conversions of NVIDIA's networks."""
    tensors = {}
    for number in range(mapping_layers):
        tensors[f"g_mapping.dense{number}.weight"] = normal(width, width) * 100
        tensors[f"g_mapping.dense{number}.bias"] = normal(width) * 10
    for level, count in enumerate(channels):
        block, inputs = f"g_synthesis.blocks.{4 << level}x{4 << level}", channels[max(0, level - 1)]
        if level:
            tensors[f"{block}.conv0_up.weight"] = normal(count, inputs, 3, 3)
            tensors[f"{block}.conv0_up.bias"] = normal(count)
            taps = torch.tensor([1.0, 2.0, 1.0])
            tensors[f"{block}.conv0_up.intermediate.kernel"] = (torch.outer(taps, taps) / 16)[None, None]
        else:
            tensors |= {f"{block}.const": normal(1, count, 4, 4), f"{block}.bias": normal(count)}
        second = "conv1" if level else "conv"
        tensors |= {f"{block}.{second}.weight": normal(count, count, 3, 3), f"{block}.{second}.bias": normal(count)}
        for epilogue in (f"{block}.epi1", f"{block}.epi2"):
            tensors[f"{epilogue}.top_epi.noise.weight"] = normal(count)
            tensors[f"{epilogue}.style_mod.lin.weight"] = normal(2 * count, width)
            tensors[f"{epilogue}.style_mod.lin.bias"] = normal(2 * count)
    return tensors | {"g_synthesis.torgb.weight": normal(3, channels[-1], 1, 1), "g_synthesis.torgb.bias": normal(3)}


def rosinality_tensors(channels=(6, 5, 4), width=7, mapping_layers=8):
    """The layout of the other code: `g_running`, with an image at every resolution."""
    tensors = {}
    for number in range(mapping_layers):
        tensors[f"style.{2 * number + 1}.linear.weight_orig"] = normal(width, width)
        tensors[f"style.{2 * number + 1}.linear.bias"] = normal(width)
    for level, count in enumerate(channels):
        block, inputs = f"generator.progression.{level}", channels[max(0, level - 1)]
        if level == 0:
            tensors[f"{block}.conv1.input"] = normal(1, count, 4, 4)
        else:
            fused = 4 << level >= 128
            at = 0 if fused else 1
            if fused:
                tensors[f"{block}.conv1.0.weight"] = normal(inputs, count, 3, 3)
                tensors[f"{block}.conv1.0.bias"] = normal(count)
            else:
                tensors[f"{block}.conv1.1.conv.weight_orig"] = normal(count, inputs, 3, 3)
                tensors[f"{block}.conv1.1.conv.bias"] = normal(count)
            taps = torch.tensor([1.0, 2.0, 1.0])
            for name in ("weight", "weight_flip"):
                tensors[f"{block}.conv1.{at + 1}.{name}"] = (torch.outer(taps, taps) / 16).repeat(count, 1, 1, 1)
        tensors[f"{block}.conv2.conv.weight_orig"] = normal(count, count, 3, 3)
        tensors[f"{block}.conv2.conv.bias"] = normal(count)
        for which in (1, 2):
            tensors[f"{block}.noise{which}.weight_orig"] = normal(1, count, 1, 1)
            tensors[f"{block}.adain{which}.style.linear.weight_orig"] = normal(2 * count, width)
            tensors[f"{block}.adain{which}.style.linear.bias"] = normal(2 * count)
        tensors[f"generator.to_rgb.{level}.conv.weight_orig"] = normal(3, count, 1, 1)
        tensors[f"generator.to_rgb.{level}.conv.bias"] = normal(3)
    return tensors


def lrelu(x):
    return torch.where(x > 0, x, 0.2 * x)


def mapping(x, layers, gain, multiplier):
    """`layers` are weights and biases."""
    x = x / (x.pow(2).mean(1, keepdim=True) + 1e-8).sqrt()
    for weight, bias in layers:
        x = lrelu(linear(x, weight * gain / math.sqrt(weight.shape[1]) * multiplier, bias * multiplier))
    return x


def blurred(x):
    """1 2 1 both ways, 0 outside: as sums of shifted maps."""
    around = torch.nn.functional.pad(x, (1, 1, 1, 1))
    rows = (around[:, :, :-2] + 2 * around[:, :, 1:-1] + around[:, :, 2:]) / 4
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4


def repeated(x, weight):
    """Each pixel twice, then the convolution."""
    return conv2d(x.repeat_interleave(2, 2).repeat_interleave(2, 3), weight, padding=1)


def scattered(x, weight):
    """The transposed convolution with the sum of four shifts of a kernel [O, I, 3, 3]: each pixel spreads over 4x4."""
    wide = weight.new_zeros(*weight.shape[:2], 4, 4)
    for i in (0, 1):
        for j in (0, 1):
            wide[:, :, i : i + 3, j : j + 3] += weight
    n, _, h, w = x.shape
    out = x.new_zeros(n, len(weight), 2 * h + 2, 2 * w + 2)
    for i in range(4):
        for j in range(4):
            out[:, :, i : i + 2 * h : 2, j : j + 2 * w : 2] += torch.einsum("oi,nihw->nohw", wide[:, :, i, j], x)
    return out[:, :, 1:-1, 1:-1]


def normed(x, epsilon):
    x = x - x.mean((2, 3), keepdim=True)
    return x / (x.pow(2).mean((2, 3), keepdim=True) + epsilon).sqrt()


def nvidia(state, ws, noise_of, epsilon=1e-8):
    """What each layer gives, by its name, and at last the image; `noise_of(number)` [N, 1, R, R]."""
    found, x = {}, None
    sides = sorted({int(key.split(".")[2].split("x")[0]) for key in state if ".blocks." in key})

    def epilogue(x, name, number):
        strength = state[f"{name}.top_epi.noise.weight"].view(1, -1, 1, 1)
        found[f"{name}.top_epi"] = x = normed(lrelu(x + strength * noise_of(number)), epsilon)
        weight, bias = state[f"{name}.style_mod.lin.weight"], state[f"{name}.style_mod.lin.bias"]
        style = linear(ws[:, number], weight / math.sqrt(weight.shape[1]), bias)
        factor, shift = style.view(len(style), 2, -1, 1, 1).unbind(1)
        found[name] = x = x * (factor + 1) + shift
        return x

    def weight_of(name, gain=2.0):
        weight = state[f"{name}.weight"]
        return weight * math.sqrt(gain) / math.sqrt(weight[0].numel()), state[f"{name}.bias"].view(1, -1, 1, 1)

    for level, side in enumerate(sides):
        block = f"g_synthesis.blocks.{side}x{side}"
        if level == 0:
            x = (state[f"{block}.const"] + state[f"{block}.bias"].view(1, -1, 1, 1)).repeat(len(ws), 1, 1, 1)
        else:
            weight, bias = weight_of(f"{block}.conv0_up")
            found[f"{block}.conv0_up"] = x = blurred((scattered if side >= 128 else repeated)(x, weight)) + bias
        x = epilogue(x, f"{block}.epi1", 2 * level)
        second = f"{block}.conv1" if level else f"{block}.conv"
        weight, bias = weight_of(second)
        found[second] = x = conv2d(x, weight, padding=1) + bias
        found[block] = x = epilogue(x, f"{block}.epi2", 2 * level + 1)
    weight, bias = weight_of("g_synthesis.torgb", 1.0)
    found["g_synthesis.torgb"] = conv2d(x, weight) + bias
    return found


def rosinality(state, w, noise_of, step, epsilon=1e-5):
    """The image at 4 * 2^step of one w per image; `noise_of(level)` [N, 1, R, R] for both layers of a resolution."""
    x = None

    def equal(name, kind="weight_orig"):
        weight = state[f"{name}.{kind}"]
        return weight * math.sqrt(2 / (weight.shape[1] * weight[0][0].numel()))

    for level in range(step + 1):
        block = f"generator.progression.{level}"
        if level == 0:
            x = state[f"{block}.conv1.input"].repeat(len(w), 1, 1, 1)
        elif 4 << level >= 128:
            weight = state[f"{block}.conv1.0.weight"].transpose(0, 1)
            weight = weight * math.sqrt(2 / (weight.shape[1] * 9)) / 4
            x = blurred(scattered(x, weight) + state[f"{block}.conv1.0.bias"].view(1, -1, 1, 1))
        else:
            name = f"{block}.conv1.1.conv"
            x = blurred(repeated(x, equal(name)) + state[f"{name}.bias"].view(1, -1, 1, 1))
        for which in (1, 2):
            if which == 2:
                name = f"{block}.conv2.conv"
                x = conv2d(x, equal(name), padding=1) + state[f"{name}.bias"].view(1, -1, 1, 1)
            x = lrelu(x + equal(f"{block}.noise{which}") * noise_of(level))
            style = f"{block}.adain{which}.style.linear"
            gamma, beta = linear(w, equal(style), state[f"{style}.bias"])[:, :, None, None].chunk(2, 1)
            x = gamma * normed(x, epsilon) + beta
    name = f"generator.to_rgb.{step}.conv"
    return conv2d(x, equal(name)) + state[f"{name}.bias"].view(1, -1, 1, 1)
