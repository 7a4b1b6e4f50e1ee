"""The pictures of an album: photos as data URIs, links to their files, and the size that the page keeps to.

Policy. Every picture is embedded as WebP, so the page is whole wherever it is copied to.

* The best picture of each of the first `LARGE` places is made again from its file, 800 pixels wide (70 kB); where that
  is gone or has changed, the library's thumbnail stands in.
* Up to `CRISP` pictures are the library's own thumbnails, of 320 pixels (12 kB).
* A larger album has grids of 160 pixels (3 kB), and of each place as many as keep them all within `GRIDS`, at most
  `EACH`; the rest are links with their names.
* When all pictures together reach `ROOM` no more is embedded, whatever the library is like: names stand in for them.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import PIL.Image

from veduta.errors import GalleryError, ImageError
from veduta.gallery import Gallery
from veduta.images import load
from veduta.library import Library
from veduta.library.model import Asset
from veduta.library.scan import THUMBNAIL
from veduta.viz import encode, thumbnail

LARGE, LARGE_SIDE, LARGE_QUALITY = 60, 800, 72
CRISP, GRIDS, EACH = 1000, 5000, 60
SMALL_SIDE, SMALL_QUALITY = 160, 55
ROOM = 52_000_000  # characters of pictures; the words and links of 20,000 photos come to 6 million more


@dataclass(frozen=True)
class AlbumImage:
    """A picture ready to be put into a page.

    Attributes:
        source: its data URI.
        width: in pixels.
        height: in pixels.
    """

    source: str
    width: int
    height: int


def shown_of_each(counts: Iterable[int], total: int = GRIDS, limit: int = EACH) -> int:
    """Return how many pictures each grid may show, at most, so that all show no more than `total`.

    >>> shown_of_each([500, 500], total=100), shown_of_each([500, 3], total=100, limit=60)
    (50, 60)
    """
    numbers = list(counts)
    return next((per_grid for per_grid in range(limit, 0, -1) if sum(min(n, per_grid) for n in numbers) <= total), 0)


@dataclass
class AlbumImages:
    """The pictures of one album.

    Attributes:
        library: whose photos.
        out: the album's file, which links start from.
        gallery: what was asked about the photos, for pictures of its references; None where it is gone.
        grids: how many photos each grid of the page has.
    """

    library: Library
    out: Path
    gallery: Gallery | None
    grids: tuple[int, ...]
    _spent: int = field(default=0, init=False)
    _large: int = field(default=0, init=False)
    _links: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.max_each = shown_of_each(self.grids)
        self._crisp = sum(min(n, self.max_each) for n in self.grids) <= CRISP

    def large(self, asset: Asset) -> AlbumImage | None:
        """Return a photo as large as the page shows any, while there are few of these; else as `middling`."""
        if self._large >= LARGE:
            return self.middling(asset)
        self._large += 1
        return self._kept(lambda: _from_file(asset) or self.library.thumbnail(asset.sha256))

    def middling(self, asset: Asset) -> AlbumImage | None:
        """Return the library's thumbnail of a photo."""
        return self._kept(lambda: self.library.thumbnail(asset.sha256))

    def small(self, asset: Asset) -> AlbumImage | None:
        """Return a photo for a grid: the thumbnail in a small album, a smaller one in a large one."""
        make = self.library.thumbnail
        return self._kept(lambda: make(asset.sha256) if self._crisp else smaller(make(asset.sha256)))

    def reference(self, id: str) -> AlbumImage | None:
        """Return the gallery's picture of a reference, or None where the reference is gone."""
        if self.gallery is None:
            return None
        try:
            content = self.gallery.reference(id).thumbnail
        except GalleryError:  # removed since
            return None
        return self._kept(lambda: content)

    def _kept(self, make: Callable[[], bytes]) -> AlbumImage | None:
        """Return a picture while there is room for one."""
        if self._spent >= ROOM:
            return None
        content = make()
        source = "data:image/webp;base64," + base64.b64encode(content).decode("ascii")
        self._spent += len(source)
        with PIL.Image.open(io.BytesIO(content)) as picture:
            return AlbumImage(source, *picture.size)

    def link(self, file: Path) -> str | None:
        """Return the URL of a file as seen from the album; None on another drive, to which none leads."""
        name = str(file)
        if name not in self._links:
            try:
                # As the person named them, links and all: so the album is opened, and so the photos are found.
                path = os.path.relpath(file, self.out.absolute().parent)
            except ValueError:
                return None
            self._links[name] = quote(os.fsencode(path.replace(os.sep, "/")))
        return self._links[name]


def _from_file(asset: Asset) -> bytes | None:
    """Return a large picture made from a photo's file; None where that is gone or another by now."""
    try:
        image = load(asset.file, max_side=LARGE_SIDE)
    except ImageError:
        return None
    if image.sha256 != asset.sha256 or max(image.size) <= THUMBNAIL:
        return None
    return thumbnail(image, LARGE_SIDE, LARGE_QUALITY)


def smaller(content: bytes) -> bytes:
    """Return a WebP picture made so small that thousands fit into a page."""
    with PIL.Image.open(io.BytesIO(content)) as picture:
        small = picture.convert("RGB")
        small.thumbnail((SMALL_SIDE, SMALL_SIDE))
    return encode(small, "webp", SMALL_QUALITY)
