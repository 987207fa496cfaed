"""What a generator leaves out (thesis, chapter 5): of the distribution of segmented objects, and of single images."""

from dissect.omissions.inverter import LayerInverter

__all__ = ["LayerInverter"]
