"""File names for a photo and its companions, which keep their common stem and are taken by every common disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePath

from veduta.library.companions import EXPORT, export_tail, plain_stem, suffix_of
from veduta.library.organize.path_template import MAX_NAME_BYTES, RESERVED, is_unsafe, name_key, truncate_utf8

LONGEST_SUFFIX = 20  # bytes; what is longer is part of the name


def split_name(name: str) -> tuple[str, str]:
    """Return a file's name as (stem, suffix), the suffix with its dot."""
    suffix = PurePath(name).suffix
    return (name.removesuffix(suffix), suffix) if len(os.fsencode(suffix)) <= LONGEST_SUFFIX else (name, "")


def safe_file_name(name: str) -> str:
    """Return a file's name, or its stem, with an underscore for all that Windows and exFAT refuse.

    Spellings stay, such as the decomposed umlauts of a Mac: those are equal names to every disk that cares.

    >>> safe_file_name("12:34.jpg"), safe_file_name("aux.jpg"), safe_file_name("Ca' d'Oro.jpg")
    ('12_34.jpg', '_aux.jpg', "Ca' d'Oro.jpg")
    """
    plain = "".join("_" if is_unsafe(char) else char for char in name)
    bare = plain.rstrip(". ")  # Windows drops these at the end of a name
    plain = bare + "_" * (len(plain) - len(bare))
    return f"_{plain}" if RESERVED.fullmatch(plain) else plain


def with_stem(names: Sequence[str], stem: str, ending: str = "") -> list[str]:
    """Return the names with another stem: first the photo's, then those of its companions.

    Each is safe and has at most 255 bytes, for which the stem is cut, never the ending.

    Args:
        names: the photo's name first.
        stem: the new stem.
        ending: what comes after it.

    >>> with_stem(["IMG.jpg", "IMG.jpg.xmp", "IMG.mov"], "IMG", " (2)")
    ['IMG (2).jpg', 'IMG (2).jpg.xmp', 'IMG (2).mov']
    >>> with_stem(["IMG(1).jpg", "IMG.jpg(1).json"], "IMG(1)", " (2)")
    ['IMG(1) (2).jpg', 'IMG(1) (2).jpg.json']
    """
    old, suffix = split_name(names[0])
    tails = [safe_file_name("x" + name[len(old) :])[1:] if _shares(name, old) else None for name in names]
    room = MAX_NAME_BYTES - len(os.fsencode(ending)) - max(len(os.fsencode(tail)) for tail in tails if tail is not None)
    head = _head(stem, ending, max(room, 1), has_suffix=bool(suffix or ending))
    photo = truncate_utf8(head + (tails[0] or ""), MAX_NAME_BYTES)
    return [
        truncate_utf8(head + tail, MAX_NAME_BYTES) if tail is not None else _own(name, photo, ending, same=head == old)
        for name, tail in zip(names, tails, strict=True)
    ]


def _head(stem: str, ending: str, room: int, *, has_suffix: bool) -> str:
    """Return a safe stem of so many bytes with its ending, which goes before a suffix in the stem: IMG (2).CR2.jpg."""
    plain = plain_stem(f"{stem}.x")
    inner = stem[len(plain) :]
    safe = _safe_stem(plain, has_suffix=has_suffix or bool(inner))
    return truncate_utf8(safe, max(room - len(os.fsencode(inner)), 1)) + ending + inner


def _safe_stem(stem: str, *, has_suffix: bool) -> str:
    """Return a stem made safe; the dots and blanks at its end may stay where a suffix follows."""
    return safe_file_name(stem + ".x").removesuffix(".x") if has_suffix else safe_file_name(stem)


def _shares(name: str, stem: str) -> bool:
    return name_key(name[: len(stem)]) == name_key(stem)


def _own(name: str, photo: str, ending: str, *, same: bool) -> str:
    """Return the new name of a companion that does not begin with the stem of its photo.

    Args:
        name: the companion's.
        photo: the photo's new name.
        ending: what comes after the stem.
        same: whether the photo keeps its stem.
    """
    if not same and suffix_of(name) == EXPORT:  # IMG.jpg(1).json, or a name cut short
        tail = export_tail(name)
        return truncate_utf8(photo, MAX_NAME_BYTES - len(tail)) + tail
    stem = plain_stem(name)
    tail = ending + safe_file_name("x" + name[len(stem) :])[1:]
    return truncate_utf8(_safe_stem(stem, has_suffix=bool(tail)), MAX_NAME_BYTES - len(os.fsencode(tail))) + tail
