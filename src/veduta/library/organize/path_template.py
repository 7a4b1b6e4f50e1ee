"""Path templates, as a person writes them: ``Sorted/{country}/{landmark}/{date:%Y}``."""

from __future__ import annotations

import os
import re
import string
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from veduta.errors import LibraryError
from veduta.library.model import Asset

FIELDS = ("country", "landmark", "id", "date", "name")
DIRECTIVES = frozenset("aAbBdGHIjmMpSuUVwWyY%")  # of strftime, those that mean the same everywhere
DAY = "%Y-%m-%d"
NO_COUNTRY, NO_DATE, NO_NAME = "Unknown country", "Undated", "Unknown"
MAX_NAME_BYTES = 255  # bytes of a name on every common file system
ILLEGAL = frozenset('<>:"/\\|?*')  # on Windows and exFAT, where a library may be taken one day
RESERVED = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|COM[0-9¹²³]|LPT[0-9¹²³])\s*(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class TemplateField:
    """A place to fill in.

    Attributes:
        name: one of FIELDS.
        spec: the strftime format of a date, else empty.
    """

    name: str
    spec: str


Piece = str | TemplateField
Component = tuple[Piece, ...]


@dataclass(frozen=True)
class PathTemplate:
    """A folder with fields to fill in.

    Attributes:
        root: absolute; the part before the first component that holds a field. Nothing is placed outside it.
        components: the names below it, each made of texts and fields.
    """

    root: Path
    components: tuple[Component, ...]

    @classmethod
    def parse(cls, into: str, base: Path) -> PathTemplate:
        """Return the pattern a person wrote.

        Args:
            into: folder names separated by ``/``, with fields in braces.
            base: what a relative one starts at, absolute.

        Raises:
            LibraryError: it cannot be understood; the message says what is wrong.
        """
        components = list(_components(_pieces(into)))
        fields = (
            i for i, component in enumerate(components) if any(isinstance(piece, TemplateField) for piece in component)
        )
        first = next(fields, len(components))
        head = [_text(component) for component in components[:first]]
        tail = [component for component in components[first:] if component not in (("",), (".",))]
        if not any(name.strip(".") and not name.startswith("~") for name in head):
            raise LibraryError(f"{into}: begins with no fixed folder; write, for example, Sorted/{{country}}")
        if ("..",) in tail or "\0" in into:
            raise LibraryError(f"{into}: leads out of its fixed folder; leave out what comes after the first field")
        if any(isinstance(component[0], str) and component[0].startswith(".") for component in tail):
            raise LibraryError(f"{into}: a name that begins with a dot hides a folder from a scan; leave out the dot")
        try:
            start = Path("/".join(head)).expanduser()
        except RuntimeError as error:
            raise LibraryError(f"{into}: begins with a home that is not known; write the folder out") from error
        return cls(Path(os.path.normpath(base / start)), tuple(tail))

    def folder(self, asset: Asset) -> tuple[str, ...]:
        """Return the names of the folders below the root where a photo with a label belongs."""
        return tuple(
            safe_name(
                "".join(_value(asset, piece) if isinstance(piece, TemplateField) else piece for piece in component)
            )
            for component in self.components
        )


def safe_name(text: str) -> str:
    """Return a text as the name of one folder that every common file system takes.

    It is neither empty nor ``.`` nor ``..``, has no separator, and at most 255 bytes of UTF-8.

    >>> safe_name("AC/DC: live?")
    'AC_DC_ live_'
    >>> safe_name("...")
    'Unknown'
    """
    plain = "".join("_" if is_unsafe(char) else char for char in unicodedata.normalize("NFC", text))
    stripped = _stripped(plain)
    if RESERVED.fullmatch(stripped):
        stripped = f"_{stripped}"
    return _stripped(truncate_utf8(stripped, MAX_NAME_BYTES)) or NO_NAME


def truncate_utf8(text: str, limit: int) -> str:
    """Return as many of its first characters as fit into this many bytes of a file name."""
    if len(os.fsencode(text)) <= limit:
        return text
    text = text[:limit]
    while len(os.fsencode(text)) > limit:
        text = text[:-1]
    return text


def name_key(name: str) -> str:
    """Return a key that is equal for names which some file system takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def is_unsafe(char: str) -> bool:
    """Return whether some common file system refuses a character in a name, or shows none."""
    return char in ILLEGAL or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")


def _stripped(text: str) -> str:
    """Without dots and spaces around: leading dots hide a folder, Windows drops the trailing ones."""
    previous = None
    while text != previous:
        previous, text = text, text.strip().strip(".")
    return text


def _value(asset: Asset, field: TemplateField) -> str:
    label = asset.label
    if label is None:
        raise ValueError("asset: has no label")
    match field.name:
        case "country":
            return label.country or NO_COUNTRY
        case "landmark":
            return label.landmark.name
        case "id":
            return label.landmark.id
        case "name":
            return asset.file.stem
        case _:
            return asset.taken.strftime(field.spec) if asset.taken else NO_DATE


def _pieces(into: str) -> Iterator[Piece]:
    """Yield texts and fields in order."""
    try:
        parsed = list(string.Formatter().parse(into))
    except ValueError as error:
        raise LibraryError(f"{into}: {str(error).lower()}; write fields as in {{country}}") from error
    for text, name, spec, conversion in parsed:
        yield text
        if name is not None:
            yield _field(into, name, spec or "", conversion)


def _field(into: str, name: str, spec: str, conversion: str | None) -> TemplateField:
    if name not in FIELDS or conversion:
        raise LibraryError(f"{into}: there is no field {{{name}}}; there are {', '.join(FIELDS)}")
    if name != "date":
        if spec:
            raise LibraryError(f"{into}: {{{name}}} takes no format; only a date does, such as {{date:%Y}}")
        return TemplateField(name, "")
    directives = re.findall("%(.?)", spec, re.DOTALL)
    if not set(directives) <= DIRECTIVES or (spec and not directives) or "{" in spec:
        raise LibraryError(f"{into}: {spec!r} is no format for a date; write, say, {{date:%Y}} or {{date:%Y-%m-%d}}")
    return TemplateField(name, spec or DAY)


def _components(pieces: Iterator[Piece]) -> Iterator[Component]:
    """Yield the parts between separators, of which a date's format may hold one."""
    current: list[Piece] = []
    for piece in pieces:
        first, *rest = _split(piece)
        current.append(first)
        for part in rest:
            yield _joined(current)
            current = [part]
    yield _joined(current)


def _split(piece: Piece) -> Sequence[Piece]:
    if isinstance(piece, str):
        return piece.split("/")
    return (
        [TemplateField(piece.name, part) if part else "" for part in piece.spec.split("/")] if piece.spec else [piece]
    )


def _joined(pieces: list[Piece]) -> Component:
    """Return a component without the empty texts around its fields."""
    return (
        tuple(piece for piece in pieces if piece)
        if any(isinstance(p, TemplateField) for p in pieces)
        else (_text(pieces),)
    )


def _text(pieces: Sequence[Piece]) -> str:
    return "".join(piece for piece in pieces if isinstance(piece, str))
