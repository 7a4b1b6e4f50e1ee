"""XML taken apart without losing a byte: where each element and attribute stands, so that only those meant are changed.

A sidecar holds what other programs wrote, down to prefixes, comments and padding. Nothing of it survives a tree that is
written out again as surely as bytes nobody touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from veduta.errors import LibraryError

Edit = tuple[int, int, bytes]  # from, to, and what stands there instead
MAX_PARTS = 200_000  # elements and attributes; the largest sidecars have some thousands
_BLANKS = b" \t\r\n"
_NAME = re.compile(rb"<([^\s/>]+)")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=]+)\s*=\s*(?:"[^"]*"|'[^']*')""")
_CLOSE = re.compile(rb"\s*(/?)>")


@dataclass(frozen=True)
class XmlAttribute:
    """One attribute.

    Attributes:
        name: ``namespace local``, with a space between, or only the local name.
        text: its value.
        start: byte where the white space before it begins.
        end: byte after it.
    """

    name: str
    text: str
    start: int
    end: int


@dataclass(eq=False)
class XmlElement:
    """One element and its content.

    Attributes:
        name: ``namespace local``, with a space between, or only the local name.
        raw: its name as written, with its prefix.
        attributes: those that declare no namespace.
        start: byte where its start tag begins.
        opened: byte after its start tag.
        alone: whether it is written as one tag, ``<a/>``.
        closing: byte where its end tag begins; `opened` when it stands alone.
        end: byte after its end tag.
        children: the elements directly in it.
        text: the text directly in it, without white space around.
    """

    name: str
    raw: str
    attributes: list[XmlAttribute]
    start: int
    opened: int
    alone: bool
    closing: int = 0
    end: int = 0
    children: list[XmlElement] = field(default_factory=list)
    text: str = ""


@dataclass(frozen=True, eq=False)
class XmlDocument:
    """XML with the places of all its elements.

    Attributes:
        data: UTF-8.
        elements: in the order of their start tags; the first is the root.
    """

    data: bytes
    elements: list[XmlElement]

    def blanks_before(self, place: int) -> bytes:
        """Return the white space that ends at a byte."""
        start = place
        while start and self.data[start - 1] in _BLANKS:
            start -= 1
        return self.data[start:place]

    def without(self, part: XmlElement | XmlAttribute) -> Edit:
        """Return the edit that removes an element or attribute, and the white space before."""
        blanks = self.blanks_before(part.start) if isinstance(part, XmlElement) else b""
        return part.start - len(blanks), part.end, b""

    def blank(self, element: XmlElement, edits: Iterable[Edit] = ()) -> bool:
        """Return whether an element has only white space left after these edits."""
        start, end = element.opened, element.closing
        inside = [(a - start, b - start, new) for a, b, new in edits if start <= a and b <= end]
        return not splice(self.data[start:end], inside).strip(_BLANKS)

    def append(self, element: XmlElement, new: bytes) -> Edit:
        """Return the edit that puts `new` behind an element's last child."""
        if element.alone:
            slash = self.data.rindex(b"/", element.start, element.opened)
            return slash, element.end, b">" + new + f"</{element.raw}>".encode()
        place = element.children[-1].end if element.children else element.opened
        return place, place, new


def splice(data: bytes, edits: Iterable[Edit]) -> bytes:
    """Return the bytes with each edit's range replaced; an edit inside a removed range is left out."""
    parts, place = [], 0
    for start, end, new in sorted(edits, key=lambda edit: (edit[0], -edit[1])):
        if start >= place:
            parts += [data[place:start], new]
            place = end
    return b"".join([*parts, data[place:]])


def parse(data: bytes, name: str) -> XmlDocument:
    """Return UTF-8 XML with the places of its elements.

    Raises:
        LibraryError: if it is no well-formed XML, or is hostile: it declares entities or has very many parts.
    """
    reader, is_all = _Reader(data, name), True
    try:
        reader.parser.Parse(data, is_all)
    except expat.ExpatError as error:
        problem = f"{expat.errors.messages[error.code]}, line {error.lineno}"
        raise LibraryError(
            f"{name}: is damaged ({problem})", "correct it, or move it away to have a new one"
        ) from error
    return XmlDocument(data, reader.elements)


class _Reader:
    """Collects elements as expat meets them."""

    def __init__(self, data: bytes, name: str) -> None:
        self.elements: list[XmlElement] = []
        self._data, self._name = data, name
        self._open: list[XmlElement] = []
        self._texts: list[list[str]] = []
        self._parts = 0
        # Told that it is UTF-8, expat counts bytes of what it is given, whatever the XML declaration says.
        self.parser = expat.ParserCreate("UTF-8", " ")
        self.parser.ordered_attributes = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _refuse(self, *_: object) -> NoReturn:
        # Before any entity is declared: one that expands to gigabytes takes ten lines, and XMP needs none.
        raise LibraryError(f"{self._name}: has a document type, which no sidecar needs", "correct it, or move it away")

    def _start(self, name: str, values: list[str]) -> None:
        self._parts += 1 + len(values) // 2
        if self._parts > MAX_PARTS:
            raise LibraryError(f"{self._name}: has more than {MAX_PARTS:,} parts, which is no sidecar", "move it away")
        start = self.parser.CurrentByteIndex
        match = self._match(_NAME, start)
        attributes, place = self._attributes(values, match.end())
        close = self._match(_CLOSE, place)
        element = XmlElement(name, match[1].decode(), attributes, start, close.end(), bool(close[1]))
        if self._open:
            self._open[-1].children.append(element)
        self.elements.append(element)
        self._open.append(element)
        self._texts.append([])

    def _match(self, pattern: re.Pattern[bytes], place: int) -> re.Match[bytes]:
        match = pattern.match(self._data, place)
        if match is None:  # expat has taken it, so this never happens; were it to, nothing may be changed
            raise LibraryError(f"{self._name}: cannot be taken apart at byte {place}", "move it away to have a new one")
        return match

    def _attributes(self, values: list[str], place: int) -> tuple[list[XmlAttribute], int]:
        """Return the attributes of a start tag whose name ends at this byte, and the byte after the last."""
        pairs = iter(zip(values[::2], values[1::2], strict=True))
        attributes = []
        while match := _ATTRIBUTE.match(self._data, place):
            place = match.end()
            if match[1] != b"xmlns" and not match[1].startswith(b"xmlns:"):
                attributes.append(XmlAttribute(*next(pairs), match.start(), place))
        return attributes, place

    def _end(self, _: str) -> None:
        element = self._open.pop()
        element.text = "".join(self._texts.pop()).strip()
        element.closing = element.opened if element.alone else self.parser.CurrentByteIndex
        element.end = element.opened if element.alone else self._data.index(b">", element.closing) + 1

    def _text(self, text: str) -> None:
        self._texts[-1].append(text)
