"""The files that belong to a photo, by their names: sidecars, films, voice notes, texts, and the records of exports.

A file belongs to the photo whose whole name it carries (``IMG.jpg.xmp``), else to the one that stands for its stem
(``IMG.xmp``), else by the rules that single programs have. docs/library.md lists them with the programs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Literal

from veduta.images import RAW_SUFFIXES, SUFFIXES
from veduta.library.organize.path_template import name_key

PHOTO_SUFFIXES = SUFFIXES | RAW_SUFFIXES
DEVELOPED = frozenset({".avif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg", ".jpg"})  # what a RAW lies beside
# Suffix -> whose settings and descriptions such a file holds.
SIDECARS = {
    ".aae": "Apple Photos",
    ".acr": "Adobe Camera Raw",
    ".arp": "ART",
    ".cos": "Capture One",
    ".dop": "DxO PhotoLab",
    ".dr4": "Canon Digital Photo Professional 4",
    ".exv": "Exiv2",
    ".lrv": "GoPro and Insta360, a small film",
    ".mie": "exiftool",
    ".nksc": "Nikon NX Studio",
    ".on1": "ON1 Photo RAW",
    ".pp3": "RawTherapee",
    ".rrdata": "RapidRAW",
    ".spd": "Silkypix",
    ".thm": "cameras, a thumbnail",
    ".txt": "people, darktable",
    ".vrd": "Canon Digital Photo Professional",
    ".xmp": "Adobe, darktable, digiKam, Immich and others",
}
FILMS = frozenset({".mov", ".mp", ".mp4"})  # the moving half of a live photo; alone it is a film and no photo
SOUNDS = frozenset({".aac", ".amr", ".m4a", ".wav"})  # voice notes of cameras and phones
EXPORT = ".json"  # Google Takeout, osxphotos
KEPT_SUFFIX = "_original"  # exiftool's copy of a photo that it wrote into: IMG.jpg_original
COMPANION_SUFFIXES = SIDECARS.keys() | FILMS | SOUNDS | {EXPORT} | {suffix + KEPT_SUFFIX for suffix in PHOTO_SUFFIXES}
KNOWN_SUFFIXES = PHOTO_SUFFIXES | COMPANION_SUFFIXES

SUPPLEMENT = ".supplemental-metadata"  # what Takeout adds to a name before .json, and cuts where that gets too long
CUTS = (45, 46, 47)  # characters of a name that Takeout leaves before .json: 46, one less or more in some languages
EDIT_WORDS = (  # what Google Photos adds to the name of an edited photo, by language, and osxphotos in English
    *("edited", "effects", "smile", "mix", "edytowane", "bearbeitet", "bewerkt", "編集済み", "modificato"),
    *("modifié", "ha editado", "editado", "editada", "editat", "redigerad", "redigeret", "muokattu"),
)
NUMBER = re.compile(r"(.*)(\(\d+\))", re.DOTALL)
_EDITED = re.compile(rf"(.+)[-_](?:{'|'.join(EDIT_WORDS)})(\(\d+\))?", re.DOTALL | re.IGNORECASE)
_EDITED_CUT = re.compile(r"(.{40,})-e(?:d(?:i(?:te?)?)?)?(\(\d+\))?", re.DOTALL)
_EDITED_BY_APPLE = re.compile(r"([A-Z]{3}_)[EO](\d{4,}.*)", re.DOTALL | re.IGNORECASE)  # IMG_E1234, IMG_O1234
_HEVC = re.compile(r"(.+)_HEVC", re.DOTALL | re.IGNORECASE)  # the film of a photo, by iCloud for Windows
_SOUND = re.compile(r"SND_(\d{4}.*)", re.DOTALL | re.IGNORECASE)  # Canon's voice note of IMG_1234.JPG
_VERSION = re.compile(r"(.+)_\d\d\d?", re.DOTALL)  # darktable's second development: IMG_01.jpg.xmp

Reference = tuple[Literal["name", "stem", "cut"], str]


def pair_companions(names: Iterable[str]) -> dict[str, list[str]]:
    """Return photo -> the files that belong to it, of the names in one folder; a RAW beside its JPEG is no photo.

    >>> pair_companions(["IMG_1.jpg", "IMG_1.CR2", "IMG_1_01.CR2.xmp", "IMG_1.jpg.supplemental-me.json", "a.txt"])
    {'IMG_1.jpg': ['IMG_1.CR2', 'IMG_1_01.CR2.xmp', 'IMG_1.jpg.supplemental-me.json']}
    """
    listing = sorted(names)
    folder = _Folder([name for name in listing if suffix_of(name) in PHOTO_SUFFIXES])
    others = [name for name in listing if suffix_of(name) in COMPANION_SUFFIXES]
    # The shorter ones first: IMG.MOV.xmp belongs to whatever IMG.MOV belongs to. Cut names come last.
    for name in sorted(others, key=lambda name: (suffix_of(name) == EXPORT, len(name))):
        folder.claim(name)
    return folder.companions


def is_companion(name: str, photo: str) -> bool:
    """Return whether a file belongs to a photo of the same folder, if no other photo has a better claim."""
    return name in pair_companions([photo, name]).get(photo, ())


def original_stem(stem: str) -> str | None:
    """Return the stem of the photo that one with this stem was edited from; None for one that tells of no edit.

    >>> original_stem("IMG_E1234"), original_stem("beach-edited(1)"), original_stem("beach")
    ('IMG_1234', 'beach(1)', None)
    """
    match = _EDITED_BY_APPLE.fullmatch(stem) or _EDITED.fullmatch(stem) or _EDITED_CUT.fullmatch(stem)
    return None if match is None else match[1] + (match[2] or "")


def sidecar_of(photo: str, names: Iterable[str]) -> str:
    """Return the name of a photo's XMP sidecar among the names of its folder, or the name for a new one.

    A card of a camera or Windows may have it in other letters: IMG.JPG.XMP.
    """
    usual = f"{photo}.xmp"
    spelled = sorted(name for name in names if name_key(name) == name_key(usual))
    return usual if usual in spelled or not spelled else spelled[0]


def export_tail(name: str) -> str:
    """Return the end of a record's name, without the number that belongs to the photo.

    >>> export_tail("IMG.jpg.supplemental-me(1).json")
    '.supplemental-me.json'
    """
    rest = name[: -len(EXPORT)]
    numbered = NUMBER.fullmatch(rest)
    title = numbered[1] if numbered else rest
    ends = (SUPPLEMENT[:length] for length in range(len(SUPPLEMENT), 1, -1))
    return next((end for end in ends if title.endswith(end)), "") + EXPORT


def suffix_of(name: str) -> str:
    """Return the last suffix of a name or path in lower case, with its dot."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a name is no path


class _Folder:
    """The photos of one folder, and the names by which other files may refer to them.

    Args:
        photos: names of photos and RAWs.

    Attributes:
        companions: photo -> files that belong to it.
    """

    def __init__(self, photos: list[str]) -> None:
        self.companions: dict[str, list[str]] = {}
        self._tables: dict[str, dict[str, str]] = {"name": {}, "stem": {}, "cut": {}}
        by_stem: dict[str, list[str]] = {}
        for photo in photos:
            by_stem.setdefault(name_key(plain_stem(photo)), []).append(photo)
        for stem, same in by_stem.items():
            self._add_photos(stem, same)
        for photo in list(self.companions):
            self._add_edit(photo)

    def claim(self, name: str) -> None:
        """Note the photo that a file belongs to, if any."""
        for kind, key in _references(name):
            photo = self._tables[kind].get(name_key(key))
            if photo is not None and (kind == "name" or _may_have(photo, name)):
                self._attach(name, photo)
                return

    def _add_photos(self, stem: str, same: list[str]) -> None:
        """Take in the photos of one stem."""
        photos = [name for name in same if suffix_of(name) in SUFFIXES]
        raws = [name for name in same if suffix_of(name) in RAW_SUFFIXES]
        developed = next((name for name in photos if suffix_of(name) in DEVELOPED), None)
        if developed is None:
            photos, raws = photos + raws, []
        standing = developed or photos[0]
        self._tables["stem"][stem] = standing
        for photo in photos:
            self.companions[photo] = []
            self._refer(photo, photo)
        for raw in raws:
            self._attach(raw, standing)

    def _add_edit(self, photo: str) -> None:
        """Have an edited photo without its original stand for that: exports describe only the original."""
        stem, suffix = os.path.splitext(photo)  # noqa: PTH122
        original = original_stem(stem)
        if original is not None:
            self._tables["stem"].setdefault(name_key(original), photo)
            self._refer(original + suffix, photo)

    def _attach(self, name: str, photo: str) -> None:
        self.companions[photo].append(name)
        self._refer(name, photo)

    def _refer(self, name: str, photo: str) -> None:
        self._tables["name"].setdefault(name_key(name), photo)
        for cut in _cuts(name):
            self._tables["cut"].setdefault(name_key(cut), photo)


def _may_have(photo: str, name: str) -> bool:
    """Return whether a photo may have a file of the same stem: only cameras' own formats have films."""
    return suffix_of(name) not in FILMS or suffix_of(photo) in DEVELOPED | RAW_SUFFIXES


def plain_stem(name: str) -> str:
    """Return a name without its suffixes; IMG.CR2.jpg and IMG.MOV.xmp have the stem of IMG.CR2 and IMG.MOV."""
    stem, _ = os.path.splitext(name)  # noqa: PTH122
    return os.path.splitext(stem)[0] if suffix_of(stem) in KNOWN_SUFFIXES else stem  # noqa: PTH122


def _references(name: str) -> Iterator[Reference]:
    """Yield the names and stems of photos that a file may belong to, the likeliest first."""
    rest, suffix = os.path.splitext(name)  # noqa: PTH122
    if suffix.endswith(KEPT_SUFFIX):
        yield "name", name.removesuffix(KEPT_SUFFIX)
        return
    if suffix.lower() in FILMS:
        yield "stem", name  # PXL_1.MP beside PXL_1.MP.jpg
    yield "name", rest
    yield "stem", rest
    if suffix.lower() == EXPORT:
        yield from _export_references(rest)
    else:
        yield from _sidecar_references(rest)


def _sidecar_references(rest: str) -> Iterator[Reference]:
    stem, suffix = os.path.splitext(rest)  # noqa: PTH122
    if suffix.lower() in KNOWN_SUFFIXES:  # IMG.CR2.xmp beside IMG.jpg, IMG_01.jpg.xmp
        if version := _VERSION.fullmatch(stem):
            yield "name", version[1] + suffix
        yield "stem", stem
        if version:
            yield "stem", version[1]
    elif suffix == ".out":  # RawTherapee's IMG.jpg.out.pp3
        yield "name", stem
    yield from (("stem", alias) for alias in _aliases(rest))


def _aliases(stem: str) -> Iterator[str]:
    """Yield the stems of photos that a file with another stem may belong to."""
    original = original_stem(stem)
    if original is not None:
        yield original
    if film := _HEVC.fullmatch(stem):
        yield film[1]
    if sound := _SOUND.fullmatch(stem):
        yield f"IMG_{sound[1]}"


def _export_references(rest: str) -> Iterator[Reference]:
    """Yield the photos that a record of Takeout may describe; IMG.jpg(1).json describes IMG(1).jpg."""
    numbered = NUMBER.fullmatch(rest)
    title, number = (numbered[1], numbered[2]) if numbered else (rest, "")
    for length in range(len(SUPPLEMENT) + 1):
        if title.endswith(SUPPLEMENT[:length]):
            yield from _title_references(title[: len(title) - length], number)


def _title_references(title: str, number: str) -> Iterator[Reference]:
    stem, suffix = os.path.splitext(title)  # noqa: PTH122
    yield "name", stem + number + suffix
    yield "stem", title + number
    if suffix and any(known.startswith(suffix.lower()) for known in KNOWN_SUFFIXES):  # another, or cut short: IMG.jp
        yield "stem", stem + number
    yield "cut", title + number


def _cuts(name: str) -> Iterator[str]:
    """Yield a long name as Takeout may cut that; an (1) at the end of its stem stays."""
    if len(name) <= CUTS[0] // 2:
        return
    stem, suffix = os.path.splitext(name)  # noqa: PTH122
    numbered = NUMBER.fullmatch(stem)
    plain, number = (numbered[1] + suffix, numbered[2]) if numbered else (name, "")
    units = plain.encode("utf-16-le", "surrogatepass")
    for cut in CUTS:
        if len(units) > 2 * cut:
            yield units[: 2 * cut].decode("utf-16-le", "ignore") + number
