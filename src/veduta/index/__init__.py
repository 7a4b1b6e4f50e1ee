"""Descriptors to neighbours."""

from veduta.index.blocks import search_blocks
from veduta.index.exact import ExactIndex

__all__ = ["ExactIndex", "search_blocks"]
