"""XMP sidecars: labels merged into the properties of other programs, and recognized as ours the next time.

A sidecar is changed in two steps, both of which touch only bytes that are meant. First everything of ours is taken
out: the marker, properties in a namespace of our own, tells which keywords we added and which position we wrote, so
that what the person or another program added stays. Then the label is put in: into the lists that are there, and what
is not there yet into a description of our own, at the end. Taking out what was put in gives the bytes from before;
so a second run writes what the first did, and another label replaces the first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from veduta.errors import LibraryError
from veduta.images.metadata.xmp import ESTIMATE, same_place
from veduta.library.metadata import keywords
from veduta.library.metadata.xml_edit import Edit, XmlElement, splice
from veduta.library.metadata.xmp_document import (
    LISTS,
    RDF,
    RDF_ABOUT,
    SHOWN,
    SPACES,
    XmpDocument,
    location_ids,
    marker_property,
)
from veduta.library.model import Label

MAX_SIDECAR_BYTES = 16 * 2**20
_EMPTY = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Veduta">
 <rdf:RDF xmlns:rdf="{RDF}">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()
_DECLARED = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)""")
_CODECS = {"utf-8": "utf-8", "utf8": "utf-8", "iso-8859-1": "latin-1"}  # else ASCII, in which nearly all agree
_MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


def merge_sidecar(existing: bytes | None, label: Label, position_known: bool, *, name: str = "<sidecar>") -> bytes:  # noqa: FBT001
    """Return a sidecar with a photo's label, and with everything that others wrote into the existing one.

    Args:
        existing: the sidecar as it is, or None when there is none.
        label: what to say. What an earlier call said is replaced.
        position_known: whether the photo's position is known from elsewhere, such as its camera. When it is not, and no
            one has put one into the sidecar, the landmark's place is written as an estimate.
        name: what to call the sidecar in messages.

    Raises:
        LibraryError: if the existing sidecar is damaged, hostile or no XMP.
    """
    data, codec = (_EMPTY, "utf-8") if existing is None else _as_utf8(existing, name)
    without = XmpDocument(data, name).without_ours()
    done = _labeled(XmpDocument(without, name), label, position_known=position_known)
    return done.decode().encode(codec, "xmlcharrefreplace")


def remove_ours(existing: bytes, *, name: str = "<sidecar>") -> bytes:
    """Return a sidecar without anything of ours, and with all that others wrote; LibraryError as `merge_sidecar`."""
    data, codec = _as_utf8(existing, name)
    without = XmpDocument(data, name).without_ours()
    return existing if without == data else without.decode().encode(codec, "xmlcharrefreplace")


def estimates(sidecar: bytes, *, name: str = "<sidecar>") -> bool:
    """Return whether a sidecar has a position that we wrote and nobody has changed; LibraryError as `merge_sidecar`."""
    return XmpDocument(_as_utf8(sidecar, name)[0], name).estimated


def has_own_position(sidecar: bytes, *, name: str = "<sidecar>") -> bool:
    """Return whether a sidecar has a position that somebody else put there; LibraryError as `merge_sidecar`."""
    document = XmpDocument(_as_utf8(sidecar, name)[0], name)
    return document.has_position() and not document.estimated


def confirms(packet: bytes | None, position: tuple[float, float], *, name: str = "<sidecar>") -> bool:
    """Return whether a position in EXIF marked as our estimate is unchanged since we wrote that.

    Args:
        packet: the XMP in the same photo, whose marker tells what we wrote; None when there is none.
        position: (degrees north, degrees east) in EXIF.
        name: what to call the XMP in messages.

    Raises:
        LibraryError: as for `merge_sidecar`.
    """
    wrote = None if packet is None else XmpDocument(_as_utf8(packet, name)[0], name).wrote
    return wrote is None or same_place(wrote, position)


def _as_utf8(data: bytes, name: str) -> tuple[bytes, str]:
    """Return a sidecar in UTF-8, and the encoding to write the result in."""
    if len(data) > MAX_SIDECAR_BYTES:
        raise LibraryError(f"{name}: has {len(data):,} bytes, more than any sidecar", "move it away to have a new one")
    declared = _DECLARED.match(data)
    codec = _CODECS.get(declared[1].decode().lower(), "ascii") if declared else "utf-8"
    codec = _MARKS.get(data[:2], codec)
    if not codec.startswith("utf-16"):
        data = data.rstrip(b"\0")  # with which phones end a packet, and which XML forbids
    try:
        return data.decode(codec).encode(), codec
    except UnicodeError as error:
        raise LibraryError(f"{name}: is not in an encoding that XMP has", "correct it, or move it away") from error


def _labeled(sidecar: XmpDocument, label: Label, *, position_known: bool) -> bytes:
    """Return a sidecar without anything of ours, with a label added."""
    pen = _Pen(sidecar)
    texts = (
        keywords.keywords(label),
        keywords.hierarchical_keyword(label, "/"),
        keywords.hierarchical_keyword(label, "|"),
    )
    for (name, kind), words in zip(LISTS.items(), texts, strict=True):
        new = [escape(word) for word in _missing(sidecar.list_of(name), words)]
        pen.put(name, kind, new)
        pen.put(marker_property(name), "Bag", new)
    if not _is_shown(sidecar.list_of(SHOWN), keywords.uris(label.landmark)):
        pen.put(SHOWN, "Bag", [_location(label)], structured=True)
    pen.say("veduta:landmark", keywords.xml_line(label.landmark.id))
    pen.say("veduta:by", keywords.xml_line(label.by))
    pen.say("veduta:confidence", f"{label.confidence:.3f}")
    place = None if position_known or sidecar.has_position() else keywords.place(label.landmark)
    if place is not None:
        _estimate(pen, place)
    return pen.done()


def _missing(array: XmlElement | None, words: Sequence[str]) -> list[str]:
    """Return the words that are not in a list yet, whichever way they are cased and composed there."""
    present = {_key(item.text) for item in array.children} if array else set()
    return [word for i, word in enumerate(words) if _key(word) not in present | {_key(w) for w in words[:i]}]


def _key(word: str) -> str:
    return unicodedata.normalize("NFC", word).casefold()


def _is_shown(array: XmlElement | None, uris: Sequence[str]) -> bool:
    """Return whether one of the places shown is this already, by the person's own word."""
    return array is not None and any(uri in uris for item in array.children for uri in location_ids(item))


def _location(label: Label) -> str:
    """Return the structure that LocationShown has for a landmark; its position is that of the place, so no estimate."""
    place, country = keywords.place(label.landmark), keywords.xml_line(label.country or "")
    ids = "".join(f"<rdf:li>{escape(uri)}</rdf:li>" for uri in keywords.uris(label.landmark))
    name = f'<rdf:li xml:lang="x-default">{escape(keywords.display_name(label.landmark))}</rdf:li>'
    fields = [
        ("Iptc4xmpExt:LocationId", f"<rdf:Bag>{ids}</rdf:Bag>"),
        ("Iptc4xmpExt:LocationName", f"<rdf:Alt>{name}</rdf:Alt>"),
        ("Iptc4xmpExt:CountryName", escape(country)),
        ("exif:GPSLatitude", keywords.xmp_coordinate(place[0], "NS") if place else ""),
        ("exif:GPSLongitude", keywords.xmp_coordinate(place[1], "EW") if place else ""),
    ]
    return "".join(f"<{tag}>{inner}</{tag}>" for tag, inner in fields if inner)


def _estimate(pen: _Pen, place: tuple[float, float]) -> None:
    """Write a landmark's place as the photo's position, in a way that nobody takes for a measurement.

    The EXIF standard, whose words XMP takes over, has a field for how a position was found, and MANUAL is the one of
    its four values that does not claim a device; what else there is to say goes into the free text beside it.
    """
    north, east = keywords.xmp_coordinate(place[0], "NS"), keywords.xmp_coordinate(place[1], "EW")
    pen.say("veduta:latitude", north)
    pen.say("veduta:longitude", east)
    pen.say("exif:GPSLatitude", north)
    pen.say("exif:GPSLongitude", east)
    pen.say_once("exif:GPSProcessingMethod", keywords.MANUAL)
    pen.say_once("exif:GPSAreaInformation", ESTIMATE)


class _Pen:
    """Adds properties to a sidecar: to the lists there are, the rest to one description of our own."""

    def __init__(self, sidecar: XmpDocument) -> None:
        self._sidecar, self._document = sidecar, sidecar.document
        self._edits: list[Edit] = []
        self._own: list[str] = []

    def say(self, name: str, text: str) -> None:
        """Add a simple property."""
        self._own.append(f"<{name}>{escape(text)}</{name}>")

    def say_once(self, name: str, text: str) -> None:
        """Add a simple property unless there is one of this name; two would be no valid XMP."""
        if self._sidecar.first(name) is None:
            self.say(name, text)

    def put(self, name: str, kind: str, items: Sequence[str], *, structured: bool = False) -> None:
        """Add items, as XML, to a list."""
        array = self._sidecar.list_of(name)
        if array is not None:
            self._edits += [self._appended(array, items, structured=structured)] if items else []
        elif items:
            start = '<rdf:li rdf:parseType="Resource">' if structured else "<rdf:li>"
            self._own += [f"<{name}>", f" <rdf:{kind}>", *(f"  {start}{item}</rdf:li>" for item in items)]
            self._own += [f" </rdf:{kind}>", f"</{name}>"]

    def _appended(self, array: XmlElement, items: Sequence[str], *, structured: bool) -> Edit:
        blanks = self._document.blanks_before((array.children[-1] if array.children else array).start).decode()
        li = array.raw.rpartition(":")[0] + ":li" if ":" in array.raw else "li"  # with the prefix used here
        # Which prefixes are declared here, and for what, is another program's choice.
        attributes = f' {_declarations()} rdf:parseType="Resource"' if structured else ""
        new = "".join(f"{blanks}<{li}{attributes}>{item}</{li}>" for item in items)
        return self._document.append(array, new.encode())

    def done(self) -> bytes:
        """Return the sidecar with all that was added."""
        lines = [f"<rdf:Description rdf:about={self._about()} {_declarations()}>", *(f" {line}" for line in self._own)]
        description = "".join(f"\n  {line}" for line in [*lines, "</rdf:Description>"])
        return splice(
            self._document.data, [*self._edits, self._document.append(self._sidecar.rdf, description.encode())]
        )

    def _about(self) -> str:
        """Return the rdf:about of the existing descriptions: all of a file's are the same."""
        attributes = (a for description in self._sidecar.rdf.children for a in description.attributes)
        return quoteattr(next((a.text for a in attributes if a.name in RDF_ABOUT), ""))


def _declarations() -> str:
    return " ".join(f'xmlns:{prefix}="{space}"' for prefix, space in SPACES.items())
