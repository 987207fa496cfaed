"""A GAN of faces that nobody here trained, and what labels the parts of its images."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from real_files import fetched, member
from torch import Tensor, nn

import dissect
from dissect.digests import digest
from dissect.extras import require
from dissect.models.checkpoint import read
from dissect.models.initial import draw

WEIGHTS = "gan_face_generate/weights.tar"
MODULES, LINES = "mediapipe/modules", "mediapipe/python/solutions/face_mesh_connections.py"
CHANNELS = (100, 512, 256, 128, 64, 3)
#: Rows and columns of the planes, of what shows a person, and of what shows the places of a face.
SIZE, PERSON, FACE = 128, 256, 192
#: Pixels of a picture of 64x64 that are added around it, since the face's network wants room around faces.
MARGIN = 12
CONCEPTS = (
    ("face", "object"), ("hair and clothes", "object"), ("background", "object"), ("eyes", "part"),
    ("eyebrows", "part"), ("nose", "part"), ("mouth", "part"),
)  # fmt: skip
#: The labels by name.
NUMBER = {name: label for label, (name, _) in enumerate(CONCEPTS, start=1)}
#: By part, the outlines that enclose it, as mediapipe calls them.
OUTLINES = {
    "face": ("FACE_OVAL",), "eyes": ("LEFT_EYE", "RIGHT_EYE"), "eyebrows": ("LEFT_EYEBROW", "RIGHT_EYEBROW"),
    "nose": ("NOSE",), "mouth": ("LIPS",),
}  # fmt: skip

#: Of all pixels that units fire on: the papers', and one at which whole objects can be matched.
FRACTIONS = (0.01, 0.2)

Runner = Callable[[np.ndarray], list[np.ndarray]]


class Dcgan(nn.Module):
    """The generator of Radford et al. 2016 for images of 64x64, as PyTorch's tutorial has it.

    Forward:
        z: float [N, 100], or [N, 100, 1, 1]. Returns images [N, 3, 64, 64] in [-1, 1].
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise(CHANNELS)):
            step = (2, 1) if number else (1, 0)
            layers.append(nn.ConvTranspose2d(before, after, 4, *step, bias=False))
            layers += [nn.Tanh()] if after == 3 else [nn.BatchNorm2d(after), nn.ReLU(True)]
        self.main = nn.Sequential(*layers)
        self.z_shape = (CHANNELS[0],)
        generator = torch.Generator().manual_seed(seed)
        for layer in layers:  # the tutorial's: N(0, 0.02), gains N(1, 0.02)
            if isinstance(layer, nn.ConvTranspose2d):
                draw(layer.weight.detach(), nn.init.normal_, generator, std=0.02)
            elif isinstance(layer, nn.BatchNorm2d):
                draw(layer.weight.detach(), nn.init.normal_, generator, mean=1.0, std=0.02)

    def forward(self, z: Tensor) -> Tensor:
        """Images [N, 3, 64, 64] in [-1, 1]."""
        images: Tensor = self.main(z.flatten(1)[:, :, None, None])
        return images


#: What is dissected: after each ReLU, with how many units and cells.
LAYERS = {
    "main.2": "512 units, 4x4",
    "main.5": "256 units, 8x8",
    "main.8": "128 units, 16x16",
    "main.11": "64 units, 32x32",
}


def faces(folder: Path) -> Dcgan:
    """The generator with published weights.

    Raises:
        Unavailable: the package cannot be had.
    """
    path = folder / "gan-face-generate.pth"
    path.write_bytes(member(fetched("gan-face-generate", folder), WEIGHTS))
    generator = Dcgan()
    generator.load_state_dict(read(path, "netG_state_dict")[0])
    return generator.eval()


def outlines(source: str) -> dict[str, list[int]]:
    """Of each outline the points that it goes through, from the lines between them that mediapipe lists."""
    found = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call) and statement.value.args:
            name, given = ast.unparse(statement.targets[0]), statement.value.args[0]
            if isinstance(given, ast.List):
                points = {int(point) for line in ast.literal_eval(given) for point in line}
                found[name.removeprefix("FACEMESH_")] = sorted(points)
    return found


def runner(content: bytes) -> Runner:
    """A network of a .tflite file, for one picture [H, W, 3] in [0, 1].

    Raises:
        ImportError: ai-edge-litert is missing; names the extra.
    """
    require("a network in a .tflite file", "real-networks", "ai_edge_litert.interpreter")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (taken,), given = interpreter.get_input_details(), interpreter.get_output_details()

    def run(picture: np.ndarray) -> list[np.ndarray]:
        interpreter.set_tensor(taken["index"], picture[None].astype(np.float32))
        interpreter.invoke()
        return [interpreter.get_tensor(one["index"])[0] for one in given]

    return run


class FaceParts:
    """Labels of generated faces [N, 3, 64, 64] in [-1, 1]: planes [N, 2, SIZE, SIZE], of objects and of parts.

    What is no person is background; a person is face within the outline of the face and hair or clothes elsewhere;
    parts are the convex hulls of the points of their outlines. Without a face there, only the background has a label.
    What was seen once is not looked at again.

    Args:
        person: gives [256, 256, 1], how sure each place shows a person.
        places: gives 468 points [.., 3] in a picture of 192x192, and a logit: whether there is a face.
        points: of each outline.
    """

    def __init__(self, person: Runner, places: Runner, points: Mapping[str, Sequence[int]]) -> None:
        self.concepts = dissect.Concepts.of(CONCEPTS)
        self._person, self._places, self._points = person, places, points
        self._known: dict[str, Tensor] = {}
        self.seen, self.found = 0, 0

    def __call__(self, images: Tensor) -> Tensor:
        """The planes, int64."""
        key = digest([images])
        if key not in self._known:
            pixels = ((images.detach().float() + 1) / 2).clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).numpy()
            self._known[key] = torch.stack([torch.from_numpy(self._planes(picture)) for picture in pixels])
        return self._known[key].long()

    def _planes(self, picture: np.ndarray) -> np.ndarray:
        sure = self._person(_sized(picture, PERSON))[0][..., 0]
        person = np.array(Image.fromarray(sure).resize((SIZE, SIZE), Image.Resampling.BILINEAR)) > 0.5
        around = np.pad(picture, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="edge")
        where, there = sorted(self._places(_sized(around, FACE)), key=lambda one: -one.size)[:2]
        planes = np.zeros((2, SIZE, SIZE), np.uint8)
        planes[0][~person] = NUMBER["background"]
        self.seen += 1
        if there.item() > 0:
            self.found += 1
            spots = where.reshape(-1, 3)[:, :2] / FACE * len(around) - MARGIN
            spots = spots * SIZE / len(picture)
            masks = {name: self._mask(spots, given) for name, given in OUTLINES.items()}
            planes[0][person] = NUMBER["hair and clothes"]
            planes[0][person & masks.pop("face")] = NUMBER["face"]
            for name, mask in masks.items():
                planes[1][person & mask] = NUMBER[name]
        return planes

    def _mask(self, spots: np.ndarray, names: Sequence[str]) -> np.ndarray:
        picture = Image.new("1", (SIZE, SIZE))
        for name in names:
            corners = [tuple(corner) for corner in hull(spots[list(self._points[name])])]
            ImageDraw.Draw(picture).polygon(corners, fill=1)
        return np.array(picture)


def _sized(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture in [0, 1] of side x side."""
    return np.array(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)) / np.float32(255)


def hull(points: np.ndarray) -> np.ndarray:
    """The corners of the convex hull of points [N, 2], in order."""
    from scipy.spatial import ConvexHull

    corners: np.ndarray = points[ConvexHull(points).vertices]
    return corners


def face_parts(folder: Path) -> FaceParts:
    """The segmenter, of mediapipe's networks.

    Raises:
        Unavailable: the package cannot be had.
        ImportError: ai-edge-litert is missing.
    """
    wheel = fetched("mediapipe", folder)
    person = runner(member(wheel, f"{MODULES}/selfie_segmentation/selfie_segmentation.tflite"))
    places = runner(member(wheel, f"{MODULES}/face_landmark/face_landmark.tflite"))
    return FaceParts(person, places, outlines(member(wheel, LINES).decode()))
