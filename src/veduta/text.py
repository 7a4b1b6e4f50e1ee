"""Text that can be stored and shown, made of names that a file system allowed."""

from __future__ import annotations


def utf8(name: str) -> str:
    """Return a file's name with each byte that is no text written out, so that SQLite and JSON can hold it."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(name: str) -> str:
    """Return a name as a message may show it: on one line, whatever a file system allowed."""
    return name if name and name.isprintable() else ascii(name)
