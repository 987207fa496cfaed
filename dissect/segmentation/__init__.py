"""Segmenters: what says which concept is where in an image, behind one protocol, `SegmenterProtocol`."""

from dissect.segmentation.colors import ColorNamer, read_w2c
from dissect.segmentation.evaluation import Evaluation, evaluate
from dissect.segmentation.grouped import Segmenter
from dissect.segmentation.hugging_face import HuggingFaceSegmenter, load_hugging_face
from dissect.segmentation.inputs import ImageInput
from dissect.segmentation.label_store import LabelStore, StoreSize
from dissect.segmentation.merged import MergedSegmenter
from dissect.segmentation.protocol import Fitted, SegmenterProtocol, fitted
from dissect.segmentation.sources import ReaderSource, Renaming, SourceImage
from dissect.segmentation.storing import store_labels
from dissect.segmentation.unifying import build_broden, category_table
from dissect.segmentation.upp import ICLR_OWNERS, UppSegmenter

__all__ = [
    "category_table",
    "build_broden",
    "SourceImage",
    "Renaming",
    "ReaderSource",
    "ICLR_OWNERS",
    "ColorNamer",
    "Evaluation",
    "Fitted",
    "HuggingFaceSegmenter",
    "ImageInput",
    "LabelStore",
    "MergedSegmenter",
    "Segmenter",
    "SegmenterProtocol",
    "StoreSize",
    "UppSegmenter",
    "evaluate",
    "fitted",
    "load_hugging_face",
    "read_w2c",
    "store_labels",
]
