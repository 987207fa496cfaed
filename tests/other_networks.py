"""Small networks as transformers, timm and torchvision build them, untrained; and which of their layers have units."""

import torch
from torch import nn

SIDE = 64
#: Sizes of axes of places: sides of maps, tokens, windows. No layer has as many units: an axis is known by its size.
PLACES = (64, 32, 16, 8, 4, 3, 2, 1, 256, 17)


class ChannelsLastNorm(nn.LayerNorm):
    """timm's and torchvision's LayerNorm2d: over the channels of maps [N, U, h, w]."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """torchvision's CNBlock, timm's ConvNeXtBlock: channels come last inside, first outside."""

    def __init__(self, width):
        super().__init__()
        self.conv_dw, self.norm = nn.Conv2d(width, width, 7, padding=3, groups=width), nn.LayerNorm(width)
        self.fc1, self.act, self.fc2 = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.rand(width))

    def forward(self, x):
        inside = self.norm(self.conv_dw(x).permute(0, 2, 3, 1))
        return x + (self.fc2(self.act(self.fc1(inside))) * self.gamma).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 4, 4), ChannelsLastNorm(12))
        self.stages = nn.Sequential(ConvNeXtBlock(12), nn.Sequential(ChannelsLastNorm(12), nn.Conv2d(12, 20, 2, 2)))
        self.last, self.head = ConvNeXtBlock(20), nn.Linear(20, 7)

    def forward(self, x):
        return self.head(self.last(self.stages(self.stem(x))).mean((2, 3)))


class SwinBlock(nn.Module):
    """As torchvision's and timm's: windows of a shifted map [N, h, w, U], attention within each, an MLP."""

    def __init__(self, width, heads=2, window=4, shift=2):
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.norm1, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2, self.mlp = nn.LayerNorm(width), nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(),
                                                                  nn.Linear(2 * width, width))  # fmt: skip

    def attend(self, x):
        n, h, w, u = x.shape
        side = self.window
        x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        x = x.view(n, h // side, side, w // side, side, u).permute(0, 1, 3, 2, 4, 5).reshape(-1, side * side, u)
        q, k, v = self.qkv(x).reshape(len(x), -1, 3, self.heads, u // self.heads).permute(2, 0, 3, 1, 4)
        x = ((q * 0.3) @ k.transpose(-2, -1)).softmax(-1) @ v
        x = self.proj(x.transpose(1, 2).reshape(-1, side * side, u))
        x = x.view(n, h // side, w // side, side, side, u).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, u)
        return torch.roll(x, (self.shift, self.shift), (1, 2))

    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x):
        parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(parts, -1)))


class Swin(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 12, 4, 4), nn.LayerNorm(12)
        self.block1, self.merging, self.block2 = SwinBlock(12), PatchMerging(12), SwinBlock(24)
        self.head = nn.Linear(24, 7)

    def forward(self, x):
        x = self.norm(self.patches(x).permute(0, 2, 3, 1))
        return self.head(self.block2(self.merging(self.block1(x))).mean((1, 2)))


class TimmBlock(nn.Module):
    def __init__(self, width, heads=2):
        super().__init__()
        self.heads = heads
        self.norm1, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2, self.fc1, self.act, self.fc2 = (
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width),
        )  # fmt: skip

    def forward(self, x):
        n, t, u = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, u // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.proj(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, u))
        return x + self.fc2(self.act(self.fc1(self.norm2(x))))


class TimmViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_embed, self.cls_token = nn.Conv2d(3, 20, 16, 16), nn.Parameter(torch.rand(1, 1, 20))
        self.pos_embed = nn.Parameter(torch.rand(1, 17, 20))
        self.blocks, self.norm = nn.Sequential(TimmBlock(20), TimmBlock(20)), nn.LayerNorm(20)
        self.head = nn.Linear(20, 7)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class SequenceFirst(nn.Module):
    """CLIP's own residual blocks: tokens [T, N, U]."""

    def __init__(self):
        super().__init__()
        self.patches, self.attend = nn.Conv2d(3, 10, 16, 16), nn.MultiheadAttention(10, 2)
        self.ln, self.mlp, self.head = nn.LayerNorm(10), nn.Linear(10, 10), nn.Linear(10, 7)

    def forward(self, x):
        x = self.patches(x).flatten(2).permute(2, 0, 1)
        x = x + self.attend(x, x, x, need_weights=False)[0]
        return self.head((x + self.mlp(self.ln(x))).mean(0))


def of_transformers(transformers):
    """By name, networks of the library transformers in small configurations."""
    small = {"hidden_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 28}
    image = {"image_size": SIDE, "patch_size": 16}
    return {
        "ViT": transformers.ViTModel(transformers.ViTConfig(**small, **image), add_pooling_layer=False),
        "CLIP's vision tower": transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**small, **image)),
        "ResNet": transformers.ResNetModel(
            transformers.ResNetConfig(embedding_size=10, hidden_sizes=[12, 20], depths=[1, 1], layer_type="basic")
        ),
        "ConvNeXt": transformers.ConvNextModel(
            transformers.ConvNextConfig(hidden_sizes=[12, 20], depths=[1, 1], num_stages=2)
        ),
        "Swin": transformers.SwinModel(
            transformers.SwinConfig(
                image_size=SIDE, patch_size=4, embed_dim=12, depths=[2, 2], num_heads=[2, 2], window_size=4
            ),
            add_pooling_layer=False,
        ),
        "SegFormer": transformers.SegformerForSemanticSegmentation(
            transformers.SegformerConfig(
                num_encoder_blocks=2,
                depths=[1, 1],
                sr_ratios=[2, 1],
                hidden_sizes=[12, 20],
                patch_sizes=[7, 3],
                strides=[4, 2],
                num_attention_heads=[1, 2],
                mlp_ratios=[2, 2],
                decoder_hidden_size=14,
                num_labels=5,
            )
        ),
    }


def of_others():
    """By name, the blocks of timm, torchvision and CLIP, and this library's U-Net."""
    from dissect.models import UNet

    return {
        "ConvNeXt (torchvision's and timm's block)": ConvNeXt(),
        "Swin (torchvision's and timm's block)": Swin(),
        "ViT (timm's block)": TimmViT(),
        "CLIP (its own block)": SequenceFirst(),
        "U-Net": UNet((10, 12, 20), 5),
    }
