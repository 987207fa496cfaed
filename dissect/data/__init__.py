"""Data sets as batches: whatever a user has becomes an iterable of (numbers, images, planes)."""

from dissect.data.batches import Batch, Batches
from dissect.data.broden import Broden
from dissect.data.classes import ClassFolder
from dissect.data.coco import Coco, CocoPanoptic
from dissect.data.concept_masks import read_concept_masks, write_concept_masks
from dissect.data.folders import ImageFolder
from dissect.data.labelled import LabelledImages
from dissect.data.pictures import Normalisation
from dissect.data.published import Ade20k, Cityscapes, SceneParsing, Voc
from dissect.data.records import Records, TarShards

__all__ = [
    "Ade20k",
    "Batch",
    "Batches",
    "Broden",
    "Cityscapes",
    "ClassFolder",
    "Coco",
    "CocoPanoptic",
    "ImageFolder",
    "LabelledImages",
    "Normalisation",
    "Records",
    "SceneParsing",
    "TarShards",
    "Voc",
    "read_concept_masks",
    "write_concept_masks",
]
