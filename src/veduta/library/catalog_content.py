"""The catalog's tables of contents: facts of each photo, bursts, aliases, and a gallery's answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from veduta.errors import LibraryError
from veduta.landmarks import Guess, Landmark
from veduta.library.model import StoredAnswer, StoredCandidate
from veduta.sqlite import Database
from veduta.types import Float32

FINGERPRINT_BYTES = 8


@dataclass(frozen=True, eq=False)
class PhotoContent:
    """The stored facts of a photo's content.

    Attributes:
        sha256: hex digest of its bytes.
        size: (width, height) in pixels, upright.
        taken: when, by the camera's clock, or None.
        position: (degrees north, degrees east) as the camera wrote it, or None.
        fingerprint: eight bytes that near-duplicates share but for a few bits.
        sharpness: the larger, the sharper; comparable between photos of one burst.
        thumbnail: a small WebP picture.
        model: name and sha256 of the embedder.
        descriptor: (D,) float32 of norm 1.
        utc_offset: how much the camera's clock was ahead of UTC, or None where that is not known.
    """

    sha256: str
    size: tuple[int, int]
    taken: datetime | None
    position: tuple[float, float] | None
    fingerprint: bytes
    sharpness: float
    thumbnail: bytes
    model: str
    descriptor: Float32
    utc_offset: timedelta | None = None


@dataclass(frozen=True, eq=False)
class Appearances:
    """The fields by which N photos are compared, side by side, in the order of sha256.

    Attributes:
        sha256: hex digest of each content.
        descriptors: (N, D) float32 of norm 1.
        fingerprints: eight bytes each.
        sharpness: of each.
        models: name and sha256 of each descriptor's embedder.
        taken: when each was taken, or None.
    """

    sha256: tuple[str, ...]
    descriptors: Float32
    fingerprints: tuple[bytes, ...]
    sharpness: tuple[float, ...]
    models: tuple[str, ...]
    taken: tuple[datetime | None, ...]


class ContentTable:
    """The contents of a library's photos.

    Args:
        db: the catalog's file.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    def sha256s(self) -> set[str]:
        """Return the sha256 of every content known."""
        return {sha256 for (sha256,) in self._db.rows("SELECT sha256 FROM content")}

    def put(self, content: PhotoContent) -> None:
        """Store the facts of a content, in the place of earlier ones."""
        self._db.write(
            "INSERT OR REPLACE INTO content VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                content.sha256,
                *content.size,
                content.taken.isoformat() if content.taken else None,
                *(content.position or (None, None)),
                content.fingerprint,
                content.sharpness,
                content.thumbnail,
                content.model,
                content.descriptor.astype(np.float16).tobytes(),
                None if content.utc_offset is None else round(content.utc_offset.total_seconds()),
            ),
        )

    def appearances(self) -> Appearances:
        """Return the appearance of every content that a readable file of the library has."""
        query = """SELECT sha256, descriptor, fingerprint, sharpness, model, taken FROM content
                   WHERE sha256 IN (SELECT sha256 FROM file WHERE error IS NULL) ORDER BY sha256"""
        rows = self._db.rows(query)
        with self._db.decoding():
            if any(len(row[2]) != FINGERPRINT_BYTES for row in rows):
                raise ValueError(f"a fingerprint has not {FINGERPRINT_BYTES} bytes")
            width = max((len(row[1]) for row in rows), default=0)  # models may differ in length
            data = b"".join(row[1].ljust(width, b"\0") for row in rows)
            matrix = np.frombuffer(data, np.float16).astype(np.float32).reshape(len(rows), width // 2)
            norms = np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
            if not np.isfinite(norms).all():
                raise ValueError("a descriptor is not of numbers")
            sha256, _, fingerprints, sharpness, models, taken = zip(*rows, strict=True) if rows else ((),) * 6
            dates = tuple(None if moment is None else datetime.fromisoformat(moment) for moment in taken)
            if any(moment is not None and moment.tzinfo is not None for moment in dates):
                raise ValueError("a time has a zone")
            return Appearances(sha256, matrix / norms, fingerprints, sharpness, models, dates)

    def thumbnail(self, sha256: str) -> bytes:
        """Return the small WebP picture of a content; LibraryError when there is none."""
        rows = self._db.rows("SELECT thumbnail FROM content WHERE sha256 = ?", (sha256,))
        if not rows:
            raise LibraryError(f"{self._db.file}: knows no photo {sha256[:16]}; scan the library again")
        return bytes(rows[0][0])

    # --- bursts -------------------------------------------------------------------------------------------------

    def set_bursts(self, bursts: Sequence[Sequence[str]]) -> None:
        """Store bursts, the best of each first, in the place of those before."""
        rows = [(sha, number, i == 0) for number, members in enumerate(bursts, 1) for i, sha in enumerate(members)]
        with self._db.transaction() as connection:
            connection.execute("DELETE FROM burst")
            connection.executemany("INSERT INTO burst VALUES (?, ?, ?)", rows)

    def followers(self) -> set[str]:
        """Return the contents for which another one of their burst stands."""
        return {sha256 for (sha256,) in self._db.rows("SELECT sha256 FROM burst WHERE NOT best")}

    def burst_members(self, sha256: str) -> list[str]:
        """Return the contents of a content's burst that are in the library now, or only the content itself."""
        query = """SELECT sha256 FROM burst WHERE number = (SELECT number FROM burst WHERE sha256 = ?)
                   AND sha256 IN (SELECT sha256 FROM file WHERE error IS NULL) ORDER BY sha256"""
        members = [member for (member,) in self._db.rows(query, (sha256,))]
        return members if sha256 in members else [sha256]

    # --- contents with the same pixels, which differ in their metadata only ----------------------------------------

    def aliases(self) -> dict[str, str]:
        """Return sha256 -> the first content with the same pixels, for those that are not the first."""
        return dict(self._db.rows("SELECT sha256, origin FROM same"))

    def origin(self, sha256: str) -> str:
        """Return the first content with the same pixels."""
        rows = self._db.rows("SELECT origin FROM same WHERE sha256 = ?", (sha256,))
        return str(rows[0][0]) if rows else sha256

    def alias(self, old: str, new: str) -> None:
        """Record that a content has become another with the same pixels, and copy its rows there."""
        origin = self.origin(old)
        if origin in (new, self.origin(new)):
            return
        with self._db.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO same VALUES (?, ?)", (new, origin))
            for table in ("content", "answer", "burst", "member"):
                rows = connection.execute(f"SELECT * FROM {table} WHERE sha256 = ?", (old,)).fetchall()  # noqa: S608
                for row in rows:
                    marks = ",".join("?" * len(row))
                    connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", (new, *row[1:]))  # noqa: S608

    def looks_same(self, old: str, new: str) -> bool:
        """Return whether two contents have the same pixels, by their size, fingerprint and sharpness."""
        query = "SELECT count(DISTINCT width || ' ' || height || ' ' || hex(fingerprint) || ' ' || sharpness), count(*)"
        distinct, count = self._db.rows(f"{query} FROM content WHERE sha256 IN (?, ?)", (old, new))[0]
        return bool(distinct == 1 and count == 2)


class AnswerTable:
    """A gallery's answers by content.

    Args:
        db: the catalog's file.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    def all(self) -> dict[str, StoredAnswer]:
        """Return sha256 -> answer, of every content that has one."""
        return self._read("", ())

    def between(self, low: float, high: float) -> dict[str, StoredAnswer]:
        """Return sha256 -> answer, of the answers whose confidence is at least `low` and below `high`."""
        return self._read("WHERE confidence >= ? AND confidence < ?", (low, high))

    def get(self, sha256: str) -> StoredAnswer | None:
        """Return the answer for a content, or None."""
        return self._read("WHERE sha256 = ?", (sha256,)).get(sha256)

    def _read(self, where: str, values: Sequence[Any]) -> dict[str, StoredAnswer]:
        query = f"SELECT sha256, gallery, revision, landmark, confidence, guesses, evidence FROM answer {where}"  # noqa: S608
        rows = self._db.rows(query, values)
        with self._db.decoding():
            return {
                sha256: StoredAnswer(
                    gallery,
                    revision,
                    parse_landmark(landmark),
                    confidence,
                    tuple(Guess(landmark_of(fields), float(p)) for fields, p in json.loads(guesses)),
                    tuple(
                        StoredCandidate(str(a), str(b), float(c), d and int(d)) for a, b, c, d in json.loads(evidence)
                    ),
                )
                for sha256, gallery, revision, landmark, confidence, guesses, evidence in rows
            }

    def revisions(self) -> dict[str, tuple[str, int]]:
        """Return sha256 -> (gallery, its revision) of the contents that have an answer."""
        return {row[0]: (row[1], row[2]) for row in self._db.rows("SELECT sha256, gallery, revision FROM answer")}

    def put(self, sha256: str, answer: StoredAnswer) -> None:
        """Store a gallery's answer for a content, in the place of an earlier one."""
        guesses = [(asdict(landmark), p) for landmark, p in answer.guesses]
        self._db.write(
            "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                sha256,
                answer.gallery,
                answer.revision,
                format_landmark(answer.landmark),
                answer.confidence,
                json.dumps(guesses),
                json.dumps(answer.evidence),
            ),
        )


def _stored_candidate(reference: Any, landmark: Any, similarity: Any, inliers: Any) -> StoredCandidate:
    return StoredCandidate(str(reference), str(landmark), float(similarity), inliers and int(inliers))


def model_key(name: str, sha256: str) -> str:
    """Return the key by which the records of a model are stored."""
    return f"{name} {sha256[:16]}"


def format_landmark(landmark: Landmark | None) -> str | None:
    """Return a landmark as the catalog stores one."""
    return None if landmark is None else json.dumps(asdict(landmark))


def parse_landmark(text: str | None) -> Landmark | None:
    """Return a landmark as stored by `format_landmark`; ValueError or TypeError for other text."""
    return None if text is None else landmark_of(json.loads(text))


def landmark_of(fields: dict[str, Any]) -> Landmark:
    """Return a landmark of stored fields, after checking that each is of its kind."""
    landmark = Landmark(**fields)
    texts = [landmark.id, landmark.name, *([] if landmark.url is None else [landmark.url])]
    numbers = [number for number in (landmark.latitude, landmark.longitude) if number is not None]
    if not all(type(text) is str for text in texts) or not all(type(number) in (int, float) for number in numbers):
        raise ValueError(f"a landmark with a field of another type: {fields}")
    return landmark
