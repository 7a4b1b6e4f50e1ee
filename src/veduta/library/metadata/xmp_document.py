"""A sidecar taken apart: the properties of its photo, which of them are ours, and the sidecar without those."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property

from veduta.errors import LibraryError
from veduta.images.metadata.values import parse_coordinate
from veduta.images.metadata.xmp import ESTIMATE, same_place
from veduta.library.metadata import keywords
from veduta.library.metadata.xml_edit import Edit, XmlAttribute, XmlDocument, XmlElement, parse, splice

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
SPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "rdf": RDF,
    "veduta": "urn:veduta:xmp:1.0/",
}
# The lists we add words to, and the kind each must be. What we added is recorded in our own list beside it.
LISTS = {"dc:subject": "Bag", "digiKam:TagsList": "Seq", "lr:hierarchicalSubject": "Bag"}
SHOWN, ID = "Iptc4xmpExt:LocationShown", "Iptc4xmpExt:LocationId"


def qualified_name(name: str) -> str:
    """Return a name as the parser gives it, with the namespace that its usual prefix stands for."""
    prefix, local = name.split(":")
    return f"{SPACES[prefix]} {local}"


def marker_property(name: str) -> str:
    """Return the property of ours that tells which words we added to a list.

    >>> marker_property("dc:subject")
    'veduta:addedSubject'
    """
    # Not the same local name: programs that look for a Subject take the first of any namespace.
    local = name.split(":")[1]
    return f"veduta:added{local[0].upper()}{local[1:]}"


RDF_ABOUT = qualified_name("rdf:about"), "about"
_LISTED = {qualified_name(name): name for name in LISTS}
_MARKER = SPACES["veduta"] + " "
_POSITION = qualified_name("exif:GPSLatitude"), qualified_name("exif:GPSLongitude")
_SAYING_SO = {
    qualified_name("exif:GPSProcessingMethod"): keywords.MANUAL,
    qualified_name("exif:GPSAreaInformation"): ESTIMATE,
}
_LOCATION = {*map(qualified_name, (ID, "Iptc4xmpExt:LocationName", "Iptc4xmpExt:CountryName")), *_POSITION}
_ARRAYS = {qualified_name(f"rdf:{kind}") for kind in ("Bag", "Seq", "Alt")}
_Part = XmlElement | XmlAttribute


class XmpDocument:
    """A sidecar taken apart.

    Args:
        data: its text in UTF-8.
        name: what to call it in messages.

    Raises:
        LibraryError: if it is damaged, hostile or no XMP.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.document: XmlDocument = parse(data, name)
        self.name = name
        roots = [element for element in self.document.elements if element.name == qualified_name("rdf:RDF")]
        if not roots:
            raise LibraryError(f"{name}: is not XMP", "move it away to have a new one")
        self.rdf = roots[0]

    def properties(self) -> Iterator[_Part]:
        """Yield the properties of the photo, whichever way each is written."""
        for description in self.rdf.children:
            yield from parts_of(description)

    def first(self, name: str) -> _Part | None:
        """Return the first property of this name."""
        full_name = qualified_name(name)
        return next((part for part in self.properties() if part.name == full_name), None)

    def text(self, name: str) -> str:
        """Return the text of a simple property, empty where there is none."""
        part = self.first(name)
        return part.text if part else ""

    def list_of(self, name: str) -> XmlElement | None:
        """Return a property's list, or None without such a property; LibraryError for another kind."""
        part = self.first(name)
        array = array_in(part) if part else None
        if part and array is None:
            raise LibraryError(f"{self.name}: its {name} is no list, as XMP wants it", "correct it, or move it away")
        return array

    @property
    def position(self) -> tuple[float, float] | None:
        """The photo's position, (degrees north, degrees east), or None where none is stated or readable."""
        return self._pair("exif:GPSLatitude", "exif:GPSLongitude")

    @property
    def wrote(self) -> tuple[float, float] | None:
        """The position that our marker says we wrote, or None."""
        return self._pair("veduta:latitude", "veduta:longitude")

    def _pair(self, *names: str) -> tuple[float, float] | None:
        north, east = (parse_coordinate(self.text(name)) for name in names)
        return None if north is None or east is None else (north, east)

    @cached_property
    def estimated(self) -> bool:
        """Whether the position is ours: the one our marker tells or, where that was lost, one that says so."""
        if self.position is None:
            return False
        if self.wrote is None:
            return self.text("exif:GPSAreaInformation") == ESTIMATE
        return same_place(self.position, self.wrote)

    def has_position(self) -> bool:
        """Return whether the photo has a position anywhere; those of the places shown do not count."""
        shown = [(e.start, e.end) for e in self.document.elements if e.name == qualified_name(SHOWN)]
        telling = (e for e in self.document.elements if {e.name, *(a.name for a in e.attributes)} & {*_POSITION})
        return any(all(not start <= e.start < end for start, end in shown) for e in telling)

    def without_ours(self) -> bytes:
        """Return the sidecar as if we had never written into one; empty lists go too."""
        our_words = {key: Counter(self._said(name)) for key, name in _LISTED.items()}
        edits = [edit for description in self.rdf.children for edit in self._ours_in(description, our_words)]
        return splice(self.document.data, edits)

    def _said(self, name: str) -> list[str]:
        """Return the words that our marker says we added to a list."""
        array = self.list_of(marker_property(name))
        return [item.text for item in array.children] if array else []

    def _ours_in(self, description: XmlElement, our_words: dict[str, Counter[str]]) -> list[Edit]:
        """Return the edits that remove our properties from a description, and the description if all were ours."""
        edits, has_others = [], False
        for part in parts_of(description):
            part_edits = self._ours(part, our_words)
            has_others |= part.name not in RDF_ABOUT and self.document.without(part) not in part_edits
            edits += part_edits
        if edits and not has_others and self.document.blank(description, edits):
            return [self.document.without(description)]
        return edits

    def _ours(self, part: _Part, our_words: dict[str, Counter[str]]) -> list[Edit]:
        """Return the edits that remove our values from one property."""
        if part.name in our_words:
            return self._out_of(part, [item for item in items(part) if _counted(our_words[part.name], item.text)])
        if part.name == qualified_name(SHOWN):
            return self._out_of(part, [item for item in items(part) if is_our_location(item)])
        is_ours = part.name.startswith(_MARKER)
        is_ours |= self.estimated and (part.name in _POSITION or _SAYING_SO.get(part.name) == part.text)
        # Someone may have moved our position on a map: then it is no estimate of ours, and must not say so.
        is_ours |= part.text == ESTIMATE == _SAYING_SO.get(part.name)
        return [self.document.without(part)] if is_ours else []

    def _out_of(self, part: _Part, taken: Sequence[XmlElement]) -> list[Edit]:
        """Return the edits that remove items from a list, and the list itself if that leaves it empty."""
        edits = [self.document.without(item) for item in taken]
        array = array_in(part)
        empty = self.document.blank(array, edits) if array else not part.text and not items(part)
        return [self.document.without(part)] if empty else edits


def parts_of(element: XmlElement) -> list[_Part]:
    """Return the properties of an element, those written as attributes first: RDF knows no difference."""
    return [*element.attributes, *element.children]


def array_in(part: _Part) -> XmlElement | None:
    """Return a property's list, or None for another kind of property."""
    children = part.children if isinstance(part, XmlElement) else []
    return next((child for child in children if child.name in _ARRAYS), None)


def items(part: _Part) -> list[XmlElement]:
    """Return the items of the list that a property is."""
    array = array_in(part)
    return array.children if array else []


def location_ids(item: XmlElement) -> list[str]:
    """Return the URIs of the place in an item of LocationShown."""
    return [item_text.text for field in _fields(item) if field.name == qualified_name(ID) for item_text in items(field)]


def is_our_location(item: XmlElement) -> bool:
    """Return whether an item of LocationShown is ours: with our id, and unchanged by others."""
    ours = any(uri.startswith(keywords.URN) for uri in location_ids(item))
    return ours and all(field.name in _LOCATION for field in _fields(item))


def _fields(item: XmlElement) -> list[_Part]:
    """Return the fields of a structure, which may be written in the item or in a description within it."""
    inner = next((child for child in item.children if child.name == qualified_name("rdf:Description")), item)
    return [field for field in parts_of(inner) if not field.name.startswith(RDF)]


def _counted(left: Counter[str], word: str) -> bool:
    """Return whether a word is one of those left, and reduce its count."""
    left[word] -= 1
    return left[word] >= 0
