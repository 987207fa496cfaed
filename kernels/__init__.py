"""Triton kernels, one file per op; installed as `dissect.kernels`."""
