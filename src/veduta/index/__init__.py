"""Descriptors to neighbours."""

from veduta.index.exact import ExactIndex

__all__ = ["ExactIndex"]
