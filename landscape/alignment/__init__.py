"""Alignment of two networks: permutations of hidden units that bring the weights of one close to those of another."""

from landscape.alignment.aligned import Alignment, align

__all__ = ["Alignment", "align"]
