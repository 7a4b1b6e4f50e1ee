"""File names for a photo and its companions, which keep their common stem."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePath

from veduta.library.organize.path_template import MAX_NAME_BYTES, name_key, truncate_utf8

LONGEST_SUFFIX = 20  # bytes; what is longer is part of the name


def split_name(name: str) -> tuple[str, str]:
    """Return a file's name as (stem, suffix), the suffix with its dot."""
    suffix = PurePath(name).suffix
    return (name.removesuffix(suffix), suffix) if len(os.fsencode(suffix)) <= LONGEST_SUFFIX else (name, "")


def with_stem(names: Sequence[str], stem: str, ending: str = "") -> list[str]:
    """Return the names with another stem: first the photo's, then those of its companions.

    Each has at most 255 bytes, for which the stem is cut, never the ending.

    Args:
        names: the photo's name first.
        stem: the new stem.
        ending: what comes after it.

    >>> with_stem(["IMG.jpg", "IMG.jpg.xmp", "IMG.mov"], "IMG", " (2)")
    ['IMG (2).jpg', 'IMG (2).jpg.xmp', 'IMG (2).mov']
    """
    old, _ = split_name(names[0])
    tails = [name[len(old) :] for name in names if _shares(name, old)]
    room = MAX_NAME_BYTES - len(os.fsencode(ending)) - max(len(os.fsencode(tail)) for tail in tails)
    head = truncate_utf8(stem, max(room, 1)) + ending
    return [
        truncate_utf8(head + name[len(old) :], MAX_NAME_BYTES) if _shares(name, old) else _own(name, ending)
        for name in names
    ]


def _shares(name: str, stem: str) -> bool:
    return name_key(name[: len(stem)]) == name_key(stem)


def _own(name: str, ending: str) -> str:
    stem, suffix = split_name(name)
    return truncate_utf8(stem, MAX_NAME_BYTES - len(os.fsencode(ending + suffix))) + ending + suffix
