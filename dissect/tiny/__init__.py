"""Procedural scenes with exact segmentations, and small networks trained on them.

`TinyScenes` is a data set that needs no files: item i of a split is drawn when it is asked for, image and label planes
together, from integers alone, so that it has the same bytes everywhere. Trained on them, and shipped, are `vgg()`,
which names the scenes, `generator()`, which invents more of them, and `segmenter()`, which sees what an image shows.

`world` says how scenes are drawn, and how to add a thing or a class; `training` holds what the scripts `train`,
`train_gan` and `train_segmenter` share; `twins()` are scenes with and without a concept; `survey` tells what a sample
of scenes shows, `judge` how good a generator is.
"""

from dissect.tiny.dataset import TinyScenes
from dissect.tiny.networks import generator, segmenter, vgg
from dissect.tiny.twins import Twins, twins

__all__ = ["TinyScenes", "Twins", "generator", "segmenter", "twins", "vgg"]
