"""The position and dates in an XMP packet of a photo; writing XMP is `veduta.library.metadata.xmp`'s."""

from __future__ import annotations

from contextlib import suppress
from typing import NoReturn
from xml.parsers import expat

from veduta.images.metadata.values import Moment, parse_coordinate, parse_moment, possible

ESTIMATE = "place of the landmark shown, not of the camera; estimated by Veduta"
"""The free text by which a position that Veduta wrote is recognized, in XMP and in EXIF; ASCII, as EXIF takes."""

MARKER_SPACE = "urn:veduta:xmp:1.0/"
MAX_PACKET_BYTES = 2**24
SAME_PLACE = 2e-6  # degrees: more than is lost by a program that writes four decimals of a minute
_EXIF, _XMP = "http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/xap/1.0/"
_PHOTOSHOP, _RDF = "http://ns.adobe.com/photoshop/1.0/", "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_AREA_INFORMATION = f"{_EXIF} GPSAreaInformation"
_POSITION = f"{_EXIF} GPSLatitude", f"{_EXIF} GPSLongitude"
_WROTE = f"{MARKER_SPACE} latitude", f"{MARKER_SPACE} longitude"
_TAKEN = f"{_EXIF} DateTimeOriginal", f"{_PHOTOSHOP} DateCreated", f"{_EXIF} DateTimeDigitized", f"{_XMP} CreateDate"
_CHANGED = f"{_XMP} ModifyDate"
_READ = {_AREA_INFORMATION, *_POSITION, *_WROTE, *_TAKEN, _CHANGED}
_RDF_ROOT, _DESCRIPTION = f"{_RDF} RDF", f"{_RDF} Description"


class XmpPacket:
    """What XMP says of when and where a photo was taken; of a packet that cannot be read, nothing.

    Args:
        packets: the XMP of one photo, as bytes; of a property in several the first counts.
    """

    def __init__(self, *packets: bytes) -> None:
        self._texts: dict[str, str] = {}
        for packet in packets:
            self._texts = _properties(packet) | self._texts

    @property
    def position(self) -> tuple[float, float] | None:
        """(degrees north, degrees east), or None where nothing, or nothing possible, is said."""
        return self._pair(_POSITION)

    @property
    def written_by_veduta(self) -> tuple[float, float] | None:
        """The position that Veduta's marker says was written as an estimate, or None."""
        return self._pair(_WROTE)

    @property
    def is_estimate(self) -> bool:
        """Whether the position is Veduta's: that of the marker or, where that was lost, one that says so."""
        position, wrote = self.position, self.written_by_veduta
        if position is None:
            return False
        return self._texts.get(_AREA_INFORMATION) == ESTIMATE if wrote is None else same_place(position, wrote)

    @property
    def moments(self) -> list[Moment]:
        """When the photo was taken, or made, as far as that is said; the best first."""
        return [moment for name in _TAKEN if (moment := parse_moment(self._texts.get(name, "")))]

    @property
    def changed(self) -> Moment | None:
        """When the file was last changed, or None."""
        return parse_moment(self._texts.get(_CHANGED, ""))

    def _pair(self, names: tuple[str, str]) -> tuple[float, float] | None:
        north, east = (parse_coordinate(self._texts.get(name, "")) for name in names)
        return possible(north, east)


def same_place(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Return whether two positions in degrees are one, but for how many digits were written of them."""
    return abs(a[0] - b[0]) < SAME_PLACE and abs(a[1] - b[1]) < SAME_PLACE


def _properties(packet: bytes) -> dict[str, str]:
    """Return name -> text of the properties that are read here."""
    reader, is_all = _Reader(), True
    # Programs end packets with zero bytes, and begin them with white space, both of which XML forbids.
    text = packet[:MAX_PACKET_BYTES]
    if not text.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        text = text.strip(b"\0 \t\r\n")
    with suppress(expat.ExpatError, ValueError):  # what stands before the damage counts
        reader.parser.Parse(text, is_all)
    return reader.texts


class _Reader:
    """Collects the simple properties of the descriptions directly in RDF, written as attributes or as elements."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self._said: list[str] = []
        self.parser = expat.ParserCreate(None, " ")
        self.parser.StartDoctypeDeclHandler = _refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._open.append(name)
        self._said = []
        if self._open[-2:] == [_RDF_ROOT, _DESCRIPTION]:
            for key in _READ & attributes.keys():
                self.texts.setdefault(key, attributes[key].strip())

    def _end(self, name: str) -> None:
        if name in _READ and self._open[-3:-1] == [_RDF_ROOT, _DESCRIPTION]:
            self.texts.setdefault(name, "".join(self._said).strip())
        self._open.pop()

    def _text(self, text: str) -> None:
        self._said.append(text)


def _refuse(*_: object) -> NoReturn:
    # Before any entity is declared: one that expands to gigabytes takes ten lines, and XMP needs none.
    raise ValueError("a document type, which no XMP has")
