"""Append-only records of a shard on disk: each whole or not there.

A record is a header (number, length, failed or not, CRC-32) and its bytes, written by one call. What a killed process
or a machine without power left half-written is cut off when the next one opens the file, so it goes on where that was.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from veduta.errors import JobError
from veduta.files import first_irregular, write_json

RECORD_HEADER = struct.Struct("<QIBI")  # number, length, failed, checksum of these three and of the bytes
PART, DONE, MAKERS = "part.bin", "done.json", "makers.txt"


@dataclass(frozen=True)
class Record:
    """One item's result.

    Attributes:
        number: the item's place in the job's list, from 0.
        failed: whether it is the reason why there is none.
        content: its bytes.
    """

    number: int
    failed: bool
    content: bytes

    def to_bytes(self) -> bytes:
        """Return the record as stored in a file."""
        return RECORD_HEADER.pack(self.number, len(self.content), self.failed, self._checksum()) + self.content

    def _checksum(self) -> int:
        head = struct.pack("<QIB", self.number, len(self.content), self.failed)
        return zlib.crc32(self.content, zlib.crc32(head))

    @classmethod
    def read(cls, file: BinaryIO) -> Record | None:
        """Return the next record of a file; None where none is whole."""
        head = file.read(RECORD_HEADER.size)
        if len(head) < RECORD_HEADER.size:
            return None
        number, length, failed, checksum = RECORD_HEADER.unpack(head)
        if failed > 1 or length > os.fstat(file.fileno()).st_size:
            return None
        record = cls(number, bool(failed), file.read(length))
        return record if len(record.content) == length and record._checksum() == checksum else None


class RecordFile:
    """An append-only file of records; a half-written tail is cut off on opening.

    Args:
        path: the file; made if need be.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b", buffering=0)

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        """Yield where each record begins, and the record; then cut off what is left, if anything is."""
        place = 0
        with open(os.dup(self._file.fileno()), "rb") as file:  # noqa: PTH123 - a number, not a path
            file.seek(0)
            while (record := Record.read(file)) is not None:
                yield place, record
                place = file.tell()
        if os.fstat(self._file.fileno()).st_size != place:
            os.ftruncate(self._file.fileno(), place)

    def append(self, record: Record) -> int:
        """Write a record and return the offset of its first byte."""
        place = os.fstat(self._file.fileno()).st_size
        data = memoryview(record.to_bytes())
        while len(data):
            data = data[self._file.write(data) :]
        return place

    def at(self, place: int) -> Record:
        """Return the record that begins at a place; JobError when the file has changed since."""
        with open(os.dup(self._file.fileno()), "rb") as file:  # noqa: PTH123
            file.seek(place)
            record = Record.read(file)
        if record is None:
            raise JobError(f"{self._file.name}: is damaged at byte {place}; delete its folder and run the shard again")
        return record

    def sync(self) -> int:
        """Bring everything to the disk itself and return how long the file is."""
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True)
class FinishedShard:
    """The totals of a finished shard.

    Attributes:
        items: how many there were.
        failed: how many of them have no result.
        bytes: length of its part.
        makers: digests of what the machines that worked on it make of one drawn picture: one where all agree.
    """

    items: int
    failed: int
    bytes: int
    makers: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Write the totals into a shard's folder."""
        write_json(folder / DONE, vars(self), indent=None, sort_keys=True)

    @classmethod
    def read(cls, folder: Path) -> FinishedShard | None:
        """Return the totals of the shard in a folder; None for one not finished, or whose records have changed."""
        try:
            if (found := first_irregular(folder)) is not None:
                raise JobError(f"{found}: is no plain file, so it is not read; remove it, run the shard again")
            fields = json.loads((folder / DONE).read_text("utf-8"))
            done = cls(fields["items"], fields["failed"], fields["bytes"], tuple(fields["makers"]))
            if any(type(n) is not int for n in (done.items, done.failed, done.bytes)):
                raise ValueError("expected numbers")
            if any(type(maker) is not str for maker in done.makers):
                raise ValueError("expected digests")
            return done if (folder / PART).stat().st_size == done.bytes else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise JobError(f"{folder / DONE}: cannot be understood ({error}); delete it, run the shard again") from None


def count_records(path: Path) -> int:
    """Return the number of records by their headers alone, while another process may be writing."""
    count = 0
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            while len(head := file.read(RECORD_HEADER.size)) == RECORD_HEADER.size:
                if file.seek(RECORD_HEADER.unpack(head)[1], os.SEEK_CUR) > size:
                    break
                count += 1
    except FileNotFoundError:
        pass
    return count


def read_records(folder: Path, ahead: int = 64) -> Iterator[Record]:
    """Yield the records of a finished shard, in order; JobError where one is damaged.

    Args:
        folder: the shard's.
        ahead: records read at a time; the file is closed in between, for there may be thousands of shards.
    """
    path, place = folder / PART, 0
    while True:
        records: list[Record] = []
        with path.open("rb") as file:
            file.seek(place)
            while len(records) < ahead and (record := Record.read(file)) is not None:
                records.append(record)
                place = file.tell()
            over = not records and place == os.fstat(file.fileno()).st_size
        yield from records
        if over:
            return
        if not records:
            raise JobError(f"{path}: is damaged at byte {place}; delete {folder} and run the shard again")
