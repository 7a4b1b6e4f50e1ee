"""Rows of tables, as the data set's own reader takes them: blank lines passed over, numbers of landmarks as numbers."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from veduta.errors import DatasetError

_FRACTION = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(\.\d*)?[eE][+-]?\d+)", re.ASCII)


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """Open a table as a csv reader; DatasetError for what cannot be read or is not CSV."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield csv.reader(file, strict=True)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"{path}: cannot be read ({reason})") from error


def read_rows(path: Path, *headers: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of a table whose header is one of `headers`; DatasetError for any other shape."""
    with reading(path) as reader:
        header = [name.strip() for name in next(reader, [])]
        if header not in [list(known) for known in headers]:
            expected = " or ".join(",".join(known) for known in headers)
            raise DatasetError(f"{path}, line 1: expected the header {expected}, got {','.join(header) or 'nothing'}")
        for fields in reader:
            if is_blank(fields):
                continue
            if len(fields) != len(header):
                problem = f"expected {len(header)} fields, got {len(fields)}"
                raise DatasetError(f"{path}, line {reader.line_num}: {problem}")
            yield reader.line_num, fields


def is_blank(fields: Sequence[str]) -> bool:
    """Return whether a row of a table is a blank line, as at the end of many files."""
    return len(fields) < 2 and not "".join(fields).strip()


def landmark_number(text: str) -> str:
    """Return a landmark id in the form that is compared: a number without leading zeros, any other name unchanged.

    >>> landmark_number("0027"), landmark_number("tower")
    ('27', 'tower')

    Raises:
        ValueError: it is a number with a fraction, as pandas writes a column in which some cells are empty.
    """
    name = text.strip()
    if name.isascii() and name.isdigit():
        return name.lstrip("0") or "0"
    if _FRACTION.fullmatch(name):
        raise ValueError(f"{name} is no landmark id but a number with a fraction; write whole numbers")
    return name


def landmark_of(path: Path, line: int, text: str) -> str:
    """Return the landmark id in a cell of a table; DatasetError for a number with a fraction."""
    try:
        return landmark_number(text)
    except ValueError as error:
        raise DatasetError(f"{path}, line {line}: {error}") from None


def landmark_rows(path: Path, *header: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (landmark id, further fields) of a table with one row for each; DatasetError for a second one."""
    lines: dict[str, int] = {}
    for line, (text, *fields) in read_rows(path, header):
        landmark = landmark_of(path, line, text)
        if landmark in lines:
            raise DatasetError(
                f"{path}, line {line}: landmark {landmark} occurs twice, first on line {lines[landmark]}"
            )
        lines[landmark] = line
        yield landmark, fields


def photo_id(path: Path, line: int, id: str) -> str:
    """Return the photo id in a cell of a table; DatasetError for one that is empty, no ASCII, or has blanks."""
    if not id or not id.isascii() or " " in id:
        raise DatasetError(f"{path}, line {line}: {id!r} is not a photo id")
    return id
