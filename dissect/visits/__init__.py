"""Visits to a data set: where each step's maps and planes come from, and how outputs become maps."""
