"""Text that can be stored and shown, made of names that a file system allowed."""

from __future__ import annotations


def utf8(name: str) -> str:
    """Return a file's name with undecodable bytes escaped, so that SQLite and JSON can hold the name."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
