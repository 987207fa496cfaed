"""Rewriting a network: a layer is a memory of keys and values, and one rule in it is changed (Bau et al. 2020)."""

from dissect.rewriting.directions import Directions, directions
from dissect.rewriting.edit import Edit, combined
from dissect.rewriting.insertion import insert
from dissect.rewriting.memory import Keys, Memory
from dissect.rewriting.moment import SecondMoment, second_moment

__all__ = ["Directions", "Edit", "Keys", "Memory", "SecondMoment", "combined", "directions", "insert", "second_moment"]
