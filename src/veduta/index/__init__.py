"""Descriptors to neighbours."""

from veduta.index.approximate import ApproximateIndex, Manifest
from veduta.index.blocks import search_blocks
from veduta.index.exact import ExactIndex
from veduta.index.narrowed import Narrowed

__all__ = ["ApproximateIndex", "ExactIndex", "Manifest", "Narrowed", "search_blocks"]
