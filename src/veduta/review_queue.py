"""Photos kept for a person to look at, and the verdicts: one SQLite file inside the gallery's folder.

Each photo is kept as it came, so that a verdict can make a reference of it, and all verdicts together are photos that
a calibration can learn from.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from veduta.errors import GalleryError, NotFoundError
from veduta.sqlite import Database
from veduta.sqlite.faults import gallery_fault

REVIEW_FILE = "review.sqlite"
REVIEW_VERDICTS = ("accepted", "rejected", "corrected")
REVIEW_SCHEMA = """
CREATE TABLE IF NOT EXISTS item (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    photo TEXT NOT NULL,
    sha256 TEXT NOT NULL UNIQUE,
    added TEXT NOT NULL,
    answer TEXT NOT NULL,
    verdict TEXT,
    landmark TEXT,
    content BLOB NOT NULL
) STRICT;
"""
ITEM = "SELECT number, photo, sha256, added, answer, verdict, landmark FROM item"


@dataclass(frozen=True)
class ReviewItem:
    """A photo kept for review.

    Attributes:
        number: its number; never given twice.
        photo: its name.
        sha256: hex digest of its bytes; a photo is kept once.
        added: when, in UTC, as ISO 8601.
        answer: the answer of that time.
        verdict: ``accepted``, ``rejected`` (it shows no landmark of the gallery), ``corrected``, or None.
        landmark: id of the landmark it shows by the verdict, or None.
    """

    number: int
    photo: str
    sha256: str
    added: str
    answer: dict[str, Any]
    verdict: str | None
    landmark: str | None


class ReviewQueue:
    """The photos of one gallery kept for review. Use from one thread at a time.

    Args:
        gallery: the gallery's folder.
    """

    def __init__(self, gallery: str | os.PathLike[str]) -> None:
        self.file = Path(gallery) / REVIEW_FILE
        self._db = Database(self.file, gallery_fault, synchronous="FULL", private=True)
        self._db.script(REVIEW_SCHEMA)

    def close(self) -> None:
        """Close the file; everything is already on disk."""
        self._db.close()

    def keep(self, photo: str, content: bytes, answer: Mapping[str, Any]) -> ReviewItem:
        """Add a photo with the answer for it, and return the item; one that is there already stays unchanged."""
        digest, now = hashlib.sha256(content).hexdigest(), datetime.now(UTC).isoformat(timespec="seconds")
        self._db.write(
            "INSERT INTO item (photo, sha256, added, answer, content) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (photo, digest, now.replace("+00:00", "Z"), json.dumps(dict(answer)), content),
        )
        return _item(self._db.rows(f"{ITEM} WHERE sha256 = ?", (digest,))[0])

    def items(self, state: str = "open") -> list[ReviewItem]:
        """Return the photos that are ``open``, ``done`` or ``all``, those longest there first."""
        where = {"open": "WHERE verdict IS NULL", "done": "WHERE verdict IS NOT NULL", "all": ""}[state]
        return [_item(row) for row in self._db.rows(f"{ITEM} {where} ORDER BY number")]

    def item(self, number: int) -> ReviewItem:
        """Return one photo's item; NotFoundError if there is none of this number."""
        rows = self._db.rows(f"{ITEM} WHERE number = ?", (number,))
        if not rows:
            raise self._missing(number)
        return _item(rows[0])

    def content(self, number: int) -> bytes:
        """Return one photo's bytes; NotFoundError if there is none of this number."""
        rows = self._db.rows("SELECT content FROM item WHERE number = ?", (number,))
        if not rows:
            raise self._missing(number)
        return bytes(rows[0][0])

    def set_verdict(self, number: int, verdict: str, landmark: str | None) -> ReviewItem:
        """Store a verdict with the landmark the photo shows, and return the item.

        Raises:
            NotFoundError: there is no photo of this number.
            ValueError: no such verdict, a landmark for ``rejected``, or none for another.
        """
        if verdict not in REVIEW_VERDICTS or (landmark is None) != (verdict == "rejected"):
            raise ValueError(f"expected accepted or corrected with a landmark, or rejected, got {verdict}, {landmark}")
        self.item(number)
        self._db.write("UPDATE item SET verdict = ?, landmark = ? WHERE number = ?", (verdict, landmark, number))
        return self.item(number)

    def forget(self, number: int) -> None:
        """Forget a photo and its verdict; NotFoundError if there is none of this number."""
        self.item(number)
        self._db.write("DELETE FROM item WHERE number = ?", (number,))

    def export(self, folder: str | os.PathLike[str]) -> int:
        """Write the photos with a verdict, and `photos.csv` for `veduta calibrate`; return how many.

        Files are named by their content, so that exporting again adds what is new.

        Raises:
            GalleryError: the folder cannot be written.
        """
        target, done = Path(folder), self.items("done")
        try:
            target.mkdir(parents=True, exist_ok=True)
            for item in done:
                (target / item.sha256).write_bytes(self.content(item.number))
            with (target / "photos.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerows([("photo", "landmark"), *((item.sha256, item.landmark or "none") for item in done)])
        except OSError as error:
            raise GalleryError(f"{target}: cannot be written ({error.strerror}); choose another folder") from error
        return len(done)

    def _missing(self, number: int) -> NotFoundError:
        return NotFoundError("photo", number, str(self.file), "it was forgotten")


def _item(row: tuple[Any, ...]) -> ReviewItem:
    number, photo, sha256, added, answer, verdict, landmark = row
    return ReviewItem(number, photo, sha256, added, json.loads(answer), verdict, landmark)
