"""Networks that say which concept is where in an image."""

from dissect.segmentation.grouped import Segmenter

__all__ = ["Segmenter"]
