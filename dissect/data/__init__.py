"""Data sets as batches: whatever a user has becomes an iterable of (numbers, images, planes)."""

from dissect.data.batches import Batch, Batches
from dissect.data.broden import Broden
from dissect.data.classes import ClassFolder
from dissect.data.folders import ImageFolder

__all__ = ["Batch", "Batches", "Broden", "ClassFolder", "ImageFolder"]
