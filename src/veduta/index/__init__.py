"""Descriptors to neighbours."""

from veduta.index.approximate import ApproximateIndex, Manifest
from veduta.index.blocks import search_blocks
from veduta.index.changed import ChangedIndex
from veduta.index.exact import ExactIndex

__all__ = ["ApproximateIndex", "ChangedIndex", "ExactIndex", "Manifest", "search_blocks"]
