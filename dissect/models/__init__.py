"""Networks to dissect: the architectures, without their weights."""

from dissect.models.vgg import VGG

__all__ = ["VGG"]
