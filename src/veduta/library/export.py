"""A library as a table or a map: CSV, JSON lines, GeoJSON, KML, GPX.

The clocks of cameras have no zone. Times are written as the camera had them, without one, which all these formats
allow. GPX means UTC where nothing is said, so there a time may be off by the zone's hours; one made up would be worse.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timezone
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from veduta.errors import LibraryError
from veduta.files import utf8, write_atomic
from veduta.images.metadata.xmp import ESTIMATE
from veduta.library.metadata import keywords
from veduta.library.model import Asset

EXPORT_COLUMNS = (
    *("path", "sha256", "taken", "landmark", "name", "confidence", "by", "country"),
    *("latitude", "longitude", "position_source", "burst", "best", "group"),
)
Properties = dict[str, Any]


def export_assets(assets: Sequence[Asset], format: str, out: Path) -> int:
    """Write assets to a file atomically and return how many there are.

    Args:
        assets: the library's. The position is the camera's, else the landmark's, as `position_source` says.
        format: ``csv``, ``jsonl``, ``geojson``, ``kml`` or ``gpx``. The last three hold only assets with a position.
        out: the file; one that is there is replaced.

    Raises:
        LibraryError: if the file cannot be written.
    """
    if format not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
    write, is_map = FORMATS[format]
    rows = [row for row in map(_row, assets) if not is_map or row["position_source"]]
    write_text(out, write(rows))
    return len(rows)


def write_text(out: Path, parts: Iterable[str]) -> None:
    """Write text to a file atomically; LibraryError on failure."""
    try:
        write_atomic(out, parts)
    except OSError as error:
        raise LibraryError(f"{utf8(str(out))}: cannot be written ({error.strerror}); choose another place") from error


def _row(asset: Asset) -> Properties:
    label = asset.label
    position = asset.position or (keywords.place(label.landmark) if label else None)
    source = "camera" if asset.position else "landmark" if position else None
    fields = (
        (label.landmark.id, label.landmark.name, label.confidence, label.by, label.country) if label else (None,) * 5
    )
    values = (
        *(str(asset.file), asset.sha256, _moment(asset), *fields),
        *(*(position or (None, None)), source, asset.burst, asset.best, asset.group),
    )
    # What is no UTF-8, in a file's name or in a landmark's, is written out byte by byte.
    clean = (utf8(value) if isinstance(value, str) else value for value in values)
    return dict(zip(EXPORT_COLUMNS, clean, strict=True))


def _moment(asset: Asset) -> str | None:
    """Return when a photo was taken, as ISO 8601, with the zone of the camera's clock where that is known."""
    if asset.taken is None:
        return None
    zone = None if asset.utc_offset is None else timezone(asset.utc_offset)
    return asset.taken.replace(tzinfo=zone).isoformat()


def _in_utc(moment: str) -> str:
    """Return a moment in UTC, for GPX; one without a zone unchanged."""
    parsed = datetime.fromisoformat(moment)
    return moment if parsed.tzinfo is None else f"{parsed.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"


def _csv(rows: Sequence[Properties]) -> Iterator[str]:
    lines = io.StringIO(newline="")
    # With this end of lines, RFC 4180's, Python puts quotes around text with either of its bytes; with "\n", not so.
    table = csv.writer(lines, lineterminator="\r\n")
    for cells in [EXPORT_COLUMNS, *(row.values() for row in rows)]:
        table.writerow([_cell(cell) for cell in cells])
        yield lines.getvalue()
        lines.seek(0)
        lines.truncate()


def _cell(value: Any) -> Any:
    """Return a value for a spreadsheet: text that would be a formula begins with an apostrophe."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return _plain(value) if isinstance(value, bool) else value


def _plain(value: Any) -> str:
    """Return a value as text, with JSON's words for true and false."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _jsonl(rows: Sequence[Properties]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _geojson(rows: Sequence[Properties]) -> Iterator[str]:
    """Yield RFC 7946, which has the longitude first."""
    yield '{"type": "FeatureCollection", "features": ['
    for i, row in enumerate(rows):
        properties = {key: value for key, value in row.items() if key not in ("latitude", "longitude")}
        point = {"type": "Point", "coordinates": [row["longitude"], row["latitude"]]}
        feature = {"type": "Feature", "geometry": point, "properties": properties}
        yield ("\n" if i == 0 else ",\n") + json.dumps(feature, ensure_ascii=False)
    yield "\n]}\n"


def _kml(rows: Sequence[Properties]) -> Iterator[str]:
    """Yield KML 2.2: a folder for each landmark, by name, and one for photos of none."""
    folders: dict[tuple[bool, str, str], list[Properties]] = {}
    for row in rows:
        folders.setdefault((row["landmark"] is None, row["name"] or "", row["landmark"] or ""), []).append(row)
    yield _XML + '<kml xmlns="http://www.opengis.net/kml/2.2">\n<Document>\n'
    for key in sorted(folders):
        none, name, _ = key
        yield f"<Folder>\n{_tag('name', 'no landmark' if none else name)}\n"
        yield from map(_placemark, folders[key])
        yield "</Folder>\n"
    yield "</Document>\n</kml>\n"


def _placemark(row: Properties) -> str:
    properties = (
        (key, row[key]) for key in EXPORT_COLUMNS if key not in ("latitude", "longitude") and row[key] is not None
    )
    data = "".join(f'<Data name="{key}">{_tag("value", _plain(value))}</Data>' for key, value in properties)
    parts = [
        _tag("name", _title(row)),
        _tag("description", _description(row)),
        f"<TimeStamp>{_tag('when', row['taken'])}</TimeStamp>" if row["taken"] else "",
        f"<ExtendedData>{data}</ExtendedData>",
        f"<Point><coordinates>{row['longitude']:.8f},{row['latitude']:.8f}</coordinates></Point>",
    ]
    return f"<Placemark>{''.join(parts)}</Placemark>\n"


def _gpx(rows: Sequence[Properties]) -> Iterator[str]:
    """Yield GPX 1.1: a waypoint for each asset."""
    yield _XML + '<gpx version="1.1" creator="Veduta" xmlns="http://www.topografix.com/GPX/1/1">\n'
    for row in rows:
        # For GPX the 180th meridian is west only.
        east = -180.0 if row["longitude"] == 180 else row["longitude"]
        parts = [
            _tag("time", _in_utc(row["taken"])) if row["taken"] else "",
            _tag("name", _title(row)),
            _tag("desc", _description(row)),
            _tag("src", "camera" if row["position_source"] == "camera" else ESTIMATE),
        ]
        yield f'<wpt lat="{row["latitude"]:.8f}" lon="{east:.8f}">{"".join(parts)}</wpt>\n'
    yield "</gpx>\n"


def _title(row: Properties) -> str:
    return str(row["name"] or Path(row["path"]).name)


def _description(row: Properties) -> str:
    """Return in one line a photo's path, its landmark with the confidence, and the source of its position."""
    sure = [] if row["landmark"] is None else [f"confidence {row['confidence']:.2f}, said by {row['by']}"]
    guessed = [ESTIMATE] if row["position_source"] == "landmark" else []
    return "; ".join([row["path"], *sure, *guessed])


def _tag(name: str, text: str) -> str:
    return f"<{name}>{escape(keywords.xml_text(text))}</{name}>"


_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
FORMATS: dict[str, tuple[Callable[[Sequence[Properties]], Iterator[str]], bool]] = {
    "csv": (_csv, False),
    "jsonl": (_jsonl, False),
    "geojson": (_geojson, True),
    "kml": (_kml, True),
    "gpx": (_gpx, True),
}
"""Format -> how it is written, and whether it is a map, which has only assets with a position."""
