"""Descriptors to neighbors."""

from veduta.index.brute_force import search_blocks
from veduta.index.exact import ExactIndex
from veduta.index.ivf.index import ApproximateIndex
from veduta.index.ivf.manifest import Manifest
from veduta.index.overlay import OverlayIndex

__all__ = ["ApproximateIndex", "ExactIndex", "Manifest", "OverlayIndex", "search_blocks"]
