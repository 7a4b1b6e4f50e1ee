"""Text that can be stored and shown, made of names that a file system allowed."""

from __future__ import annotations


def utf8(name: str) -> str:
    """Return a file's name with undecodable bytes escaped, so that SQLite and JSON can hold the name."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(name: str) -> str:
    """Return a name fit for a message: on one line, whatever a file system allowed."""
    return name if name and name.isprintable() else ascii(name)
