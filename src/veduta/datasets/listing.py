"""Which photo shows which landmark: read from a folder's subfolders or from a table."""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from veduta.errors import DatasetError
from veduta.images import SUFFIXES, PhotoBytes, walk
from veduta.landmarks import Landmark
from veduta.types import Failure

CSV_COLUMNS = ("photo", "landmark", "name", "latitude", "longitude", "url", "licence")


@dataclass(frozen=True)
class LabeledPhoto:
    """One photo to be added.

    Attributes:
        photo: where it is.
        id: the id its reference is to have.
        landmark: what it shows.
        license: under which it may be used, where that is known.
        name: the name in messages; its path unless given.
        content: its bytes, where they are at hand already.
    """

    photo: str
    id: str
    landmark: Landmark
    license: str | None = None
    name: str = ""
    content: PhotoBytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.photo)


# Names of folders that hold photos by time or by device: a year or date alone or before a title, those of cameras (DCF:
# 100CANON) and those that phones, their clouds and photo programs make.
_TIME = r"(19|20)\d\d([-_. ]?(0[1-9]|1[0-2])([-_. ]?(0[1-9]|[12]\d|3[01]))?)?([-_ .,]+\D.*)?|photos from (19|20)\d\d"
_DEVICE = r"dcim|camera( uploads| roll)?|screenshots?|(saved |my )?(pictures|photos)|downloads?"
_PROGRAM = r"whatsapp (images|video)|google photos|takeout|icloud photos|instagram|lightroom|imports?|photo stream"
_LIBRARY_FOLDER = re.compile(rf"(?i:{_TIME}|{_DEVICE}|{_PROGRAM})|\d{{3}}[A-Z0-9_]{{5}}")


def list_photos(
    folder: str | os.PathLike[str] | None, table: str | os.PathLike[str] | None, *, any_layout: bool
) -> tuple[list[LabeledPhoto], list[Failure]]:
    """Return the photos to add from a folder of landmarks, or from a table, and what was passed over.

    Args:
        folder: with one subfolder per landmark, or None.
        table: read where there is no folder.
        any_layout: take the folder even where it looks like a photo library.

    Raises:
        DatasetError: as `list_folder` and `list_csv`; or the folder looks like a photo library.
    """
    if folder is None:
        return list_csv(Path(os.fsdecode(table or "")))
    listed, failures = list_folder(Path(folder))
    if not any_layout:
        _refuse_library(Path(folder), listed)
    return listed, failures


def _refuse_library(folder: Path, listed: Sequence[LabeledPhoto]) -> None:
    """Raise DatasetError for a folder that holds photos by time or device, or deeper than in landmarks' folders."""
    paths = [Path(item.id).parts for item in listed]
    tops = sorted({parts[0] for parts in paths})
    library = [name for name in tops if _LIBRARY_FOLDER.fullmatch(name)]
    deep = next((parts for parts in paths if len(parts) > 2), None)
    if deep is None and 2 * len(library) < len(tops):
        return
    seen = f"{folder / library[0]} is no landmark" if library else f"{folder.joinpath(*deep or ())} lies deeper"
    raise DatasetError(
        f"{folder}: looks like a photo library, not like {folder}/LANDMARK/PHOTO: {seen}; nothing was added",
        f"name one's own photos with: veduta library scan {folder}; or add them all the same with --any-layout",
    )


def list_folder(folder: Path) -> tuple[list[LabeledPhoto], list[Failure]]:
    """Return the photos below the subfolders of `folder`, each named for its landmark, and what was passed over.

    Raises:
        DatasetError: it is not a folder, or has no subfolder with photos.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: is not a folder; expected one with a subfolder of photos per landmark")
    failures: list[Failure] = []
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be listed ({error.strerror})") from error
    listed = [
        LabeledPhoto(photo, Path(photo).relative_to(folder).as_posix(), Landmark(composed(sub.name)))
        for sub in entries
        if sub.is_dir() and not sub.name.startswith(".")
        for photo in walk(sub, report=failures.append)
    ]
    loose = [p for p in entries if p.is_file() and p.suffix.lower() in SUFFIXES]
    failures += [Failure(str(p), f"{p}: lies in no landmark's folder; move it into one", "unsorted") for p in loose]
    if not listed:
        raise DatasetError(f"{folder}: has no photos in subfolders; expected {folder}/LANDMARK/PHOTO")
    return listed, failures


def list_csv(table: Path) -> tuple[list[LabeledPhoto], list[Failure]]:
    """Return the photos of a table: photo, landmark and perhaps name, latitude, longitude, url, licence.

    Relative paths start at the table's folder; a reference's id is the path as the table has it.

    Raises:
        DatasetError: a column is missing or a row malformed; the message names the line.
    """
    reader = csv.DictReader(io.StringIO(_text(table), newline=""))
    try:
        listed = list(_rows(table, reader))
    except csv.Error as error:
        raise DatasetError(f"{table}, line {reader.reader.line_num}: is not CSV ({error})") from error
    if not listed:
        raise DatasetError(f"{table}: has no rows")
    return listed, []


def _text(table: Path) -> str:
    try:
        return table.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{table}, line {line}: is not UTF-8; save the table in that encoding") from error
    except OSError as error:
        raise DatasetError(f"{table}: cannot be read ({error.strerror})") from error


def _rows(table: Path, reader: csv.DictReader[str]) -> Iterator[LabeledPhoto]:
    columns = _columns(table, reader.fieldnames or ())
    reader.fieldnames = columns
    unknown = set(columns) - set(CSV_COLUMNS)
    if not {"photo", "landmark"} <= set(columns) or unknown:
        raise DatasetError(
            f"{table}, line 1: expected the columns photo,landmark and perhaps {','.join(CSV_COLUMNS[2:])}, "
            f"got {','.join(columns) or 'nothing'}"
        )
    names: dict[str, tuple[str, int]] = {}  # landmark -> the first name it has here, and the line
    for row in reader:
        where = f"{table}, line {reader.line_num}"
        if None in row or None in row.values():
            raise DatasetError(f"{where}: expected {len(columns)} fields like the header")
        item = _listed(table, where, {key: value.strip() for key, value in row.items()})
        if row.get("name", "").strip():
            name, line = names.setdefault(item.landmark.id, (item.landmark.name, reader.line_num))
            if name != item.landmark.name:
                told = f"{where}: landmark {item.landmark.id!r} is called {item.landmark.name!r}"
                raise DatasetError(f"{told}, and {name!r} in line {line}; give it one name")
        yield item


def _columns(table: Path, fields: Sequence[str]) -> list[str]:
    """Return the columns of a table in small letters; DatasetError for one that is there twice."""
    columns = [column.strip().lower() for column in fields]
    twice = next((column for column in columns if columns.count(column) > 1), None)
    if twice is not None:
        raise DatasetError(f"{table}, line 1: has the column {twice or 'without a name'} twice; leave one out")
    return columns


def composed(text: str) -> str:
    """Return a text with its letters composed (Unicode NFC), as they are typed; a Mac's folders may have them apart."""
    return unicodedata.normalize("NFC", text)


def _listed(table: Path, where: str, row: dict[str, str]) -> LabeledPhoto:
    if not row["photo"] or not row["landmark"]:
        raise DatasetError(f"{where}: photo and landmark may not be empty")
    latitude, longitude = _degrees(where, row, "latitude", 90), _degrees(where, row, "longitude", 180)
    if (latitude is None) != (longitude is None):
        missing = "latitude" if latitude is None else "longitude"
        raise DatasetError(f"{where}: half a position, without its {missing}; give both or neither")
    names = composed(row["landmark"]), composed(row.get("name", ""))
    landmark = Landmark(*names, latitude, longitude, row.get("url") or None)
    path = os.path.join(table.parent, row["photo"])  # noqa: PTH118  keeps "./" as given
    return LabeledPhoto(path, row["photo"], landmark, row.get("licence") or None)


def _degrees(where: str, row: dict[str, str], column: str, most: float) -> float | None:
    text = row.get(column, "")
    try:
        value = float(text) if text else None
    except ValueError:
        raise DatasetError(f"{where}: {column} {text!r} is not a number") from None
    if value is not None and not -most <= value <= most:
        raise DatasetError(f"{where}: {column} {text} is not within {-most:g} and {most:g} degrees")
    return value
