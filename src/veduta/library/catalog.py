"""The catalog of a library: one SQLite file, in which every answer belongs to a content, whatever its path.

Each photo is one transaction in write-ahead mode, so a scan killed at any moment loses the photo in hand at most. What
a person said is in tables of its own, which no scan writes to.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from veduta.errors import LibraryError
from veduta.types import Float32, Landmark

STATE_FOLDER, FILE = ".veduta", "library.sqlite"
CATALOG_VERSION = 2
BUSY_SECONDS = 60.0
CATALOG_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE content (
    sha256 TEXT PRIMARY KEY,
    width INTEGER NOT NULL, height INTEGER NOT NULL,
    taken TEXT, latitude REAL, longitude REAL,
    fingerprint BLOB NOT NULL, sharpness REAL NOT NULL,
    thumbnail BLOB NOT NULL,
    model TEXT NOT NULL, descriptor BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE file (
    path BLOB PRIMARY KEY,
    size INTEGER NOT NULL, mtime INTEGER NOT NULL, device TEXT NOT NULL, inode TEXT NOT NULL,
    sha256 TEXT, error TEXT, companions TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX file_sha256 ON file (sha256);
CREATE TABLE answer (
    sha256 TEXT PRIMARY KEY, gallery TEXT NOT NULL, revision INTEGER NOT NULL,
    landmark TEXT, confidence REAL NOT NULL, guesses TEXT NOT NULL, evidence TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE verdict (
    sha256 TEXT PRIMARY KEY, verdict TEXT NOT NULL, landmark TEXT, said TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE burst (
    sha256 TEXT PRIMARY KEY, number INTEGER NOT NULL, best INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE member (
    sha256 TEXT PRIMARY KEY, number INTEGER NOT NULL, rank INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE same (sha256 TEXT PRIMARY KEY, origin TEXT NOT NULL) STRICT, WITHOUT ROWID
"""
VERDICTS = ("accepted", "rejected", "corrected", "named")


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


@dataclass(frozen=True)
class FileRecord:
    """A file as of its last scan.

    Attributes:
        size: its length in bytes.
        mtime: when it was last changed, in nanoseconds.
        node: (device, number) of the file.
        sha256: hex digest of its content, or None where it could not be read.
        error: why it is no photo, without its path, or None.
        companions: files that belong to it, absolute or relative as the file itself.
    """

    size: int
    mtime: int
    node: tuple[int, int]
    sha256: str | None
    error: str | None
    companions: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredAnswer:
    """A gallery's answer for a photo.

    Attributes:
        gallery: its folder.
        revision: the gallery's, when it was asked.
        landmark: what it answered, or None.
        confidence: probability that the best guess is right.
        guesses: (landmark, probability), best first.
        evidence: (reference id, landmark id, similarity, inliers or None), best first.
    """

    gallery: str
    revision: int
    landmark: Landmark | None
    confidence: float
    guesses: tuple[tuple[Landmark, float], ...] = ()
    evidence: tuple[tuple[str, str, float, int | None], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A person's verdict on a photo.

    Attributes:
        verdict: ``accepted``, ``rejected`` (none of the landmarks known), ``corrected``, or ``named`` with its group.
        landmark: what it shows, or None when rejected.
        at: when, in UTC, as ISO 8601.
    """

    verdict: str
    landmark: Landmark | None
    at: str


class Catalog:
    """The rows of one library. Use from one thread at a time.

    Args:
        root: the library's folder; paths are kept below it.
        folder: where the file lies; made when it is not there.

    Raises:
        LibraryError: it cannot be made, read, or is of another Veduta.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder, self.file = root, folder, folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LibraryError(
                f"{folder}: cannot be made ({error.strerror}); name a folder that can be written with --state"
            ) from error
        with self._faults("cannot be opened"):
            self._db = sqlite3.connect(self.file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
        self._make()
        self._check_root()

    def _make(self) -> None:
        """Make the tables where there are none; another process may be doing the same."""
        with self.changing():
            version = int(self._ask("PRAGMA user_version")[0][0])
            if version == 0:
                for statement in (*CATALOG_SCHEMA.split(";"), f"PRAGMA user_version = {CATALOG_VERSION}"):
                    self._db.execute(statement)
            elif version == 1:  # it kept a file's path within the reason; such files are looked at again
                self._db.execute("DELETE FROM file WHERE error IS NOT NULL")
                self._db.execute(f"PRAGMA user_version = {CATALOG_VERSION}")
        if version not in (0, 1, CATALOG_VERSION):
            wrong = f"has schema {version}, this Veduta reads {CATALOG_VERSION}"
            raise LibraryError(f"{self.file}: {wrong}; use the Veduta that made it")

    def _check_root(self) -> None:
        """Raise LibraryError when this is the state of another library, one that is still there."""
        before, now = self.noted("root"), str(self.root)
        if before == now:
            return
        within = self.folder.is_relative_to(self.root)  # it came along when the library was moved or copied
        if before is not None and not within and Path(before).is_dir():
            other = f"{self.file}: is what is known of {before.encode('utf-8', 'backslashreplace').decode()}"
            raise LibraryError(f"{other}; name another folder with --state for this library")
        self.note("root", now)

    def close(self) -> None:
        """Close the file; everything is already on disk."""
        self._db.close()

    @contextmanager
    def _faults(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            raise LibraryError(
                f"{self.file}: {what} ({error}); give the right, make room, or name another folder with --state"
            ) from error

    def _ask(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._faults("cannot be used"):
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Run the body as one transaction, or as part of the one that is running."""
        if self._busy():
            yield
            return
        with self._faults("cannot be written"):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._busy():
                    self._db.execute("ROLLBACK")
                raise

    def _busy(self) -> bool:
        return self._db.in_transaction

    # --- remarks ------------------------------------------------------------------------------------------------

    def note(self, key: str, value: Any) -> None:
        """Keep a remark under a key, in the place of an older one."""
        self._ask("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def noted(self, key: str) -> Any:
        """Return the remark under a key, or None."""
        rows = self._ask("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else None

    # --- files --------------------------------------------------------------------------------------------------

    def files(self) -> dict[str, FileRecord]:
        """Return path -> what its file was, for every file, paths as beneath the root."""
        query = "SELECT path, size, mtime, device, inode, sha256, error, companions FROM file ORDER BY path"
        return {
            self._whole(path): FileRecord(
                size, mtime, (int(device), int(inode)), sha256, error, tuple(map(self._whole, json.loads(beside)))
            )
            for path, size, mtime, device, inode, sha256, error, beside in self._ask(query)
        }

    def put_file(self, path: str, row: FileRecord) -> None:
        """Store a file's record, in the place of an earlier one."""
        self._ask(
            "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                os.fsencode(self._below(path)),
                row.size,
                row.mtime,
                *map(str, row.node),  # numbers of 64 bits without sign do not fit SQLite's
                row.sha256,
                row.error,
                json.dumps([self._below(beside) for beside in row.companions]),
            ),
        )

    def drop_files(self, paths: Iterable[str]) -> None:
        """Forget files that are gone; what is known of their content stays."""
        with self.changing():
            self._db.executemany("DELETE FROM file WHERE path = ?", [(os.fsencode(self._below(p)),) for p in paths])

    def _below(self, path: str) -> str:
        return os.path.relpath(path, self.root)

    def _whole(self, path: bytes | str) -> str:
        return os.path.join(self.root, os.fsdecode(path))  # noqa: PTH118 - twenty thousand of them

    # --- contents and answers -----------------------------------------------------------------------------------

    def contents(self) -> set[str]:
        """Return the sha256 of every content known."""
        return {sha256 for (sha256,) in self._ask("SELECT sha256 FROM content")}

    def put_content(self, content: PhotoContent) -> None:
        """Keep what is known of a content."""
        self._ask(
            "INSERT OR REPLACE INTO content VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
            ),
        )

    def facts(self) -> dict[str, tuple[tuple[int, int], datetime | None, tuple[float, float] | None]]:
        """Return sha256 -> (size, taken, position) of every content."""
        query = "SELECT sha256, width, height, taken, latitude, longitude FROM content"
        return {
            sha256: (
                (width, height),
                datetime.fromisoformat(taken) if taken else None,
                None if north is None else (north, east),
            )
            for sha256, width, height, taken, north, east in self._ask(query)
        }

    def appearances(self, present: Iterable[str]) -> tuple[list[str], Float32, list[bytes], list[float], list[str]]:
        """Return the fields near-duplicates are found by, of the contents present, in the order of sha256.

        sha256 of each; descriptors (N, D) float32 of norm 1; fingerprints; sharpness; models.
        """
        requested = set(present)
        query = "SELECT sha256, descriptor, fingerprint, sharpness, model FROM content ORDER BY sha256"
        rows = [row for row in self._ask(query) if row[0] in requested]
        width = max((len(row[1]) for row in rows), default=0)  # models may differ in length
        data = b"".join(row[1].ljust(width, b"\0") for row in rows)
        matrix = np.frombuffer(data, np.float16).astype(np.float32).reshape(len(rows), width // 2)
        norms = np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
        return ([r[0] for r in rows], matrix / norms, *([r[i] for r in rows] for i in (2, 3, 4)))

    def thumbnail(self, sha256: str) -> bytes:
        """Return the small WebP picture of a content; LibraryError when there is none."""
        rows = self._ask("SELECT thumbnail FROM content WHERE sha256 = ?", (sha256,))
        if not rows:
            raise LibraryError(f"{self.file}: knows no photo {sha256[:16]}; scan the library again")
        return bytes(rows[0][0])

    def answers(self) -> dict[str, StoredAnswer]:
        """Return sha256 -> the gallery's answer."""
        query = "SELECT sha256, gallery, revision, landmark, confidence, guesses, evidence FROM answer"
        return {
            sha256: StoredAnswer(
                gallery,
                revision,
                _landmark(landmark),
                confidence,
                tuple((Landmark(**fields), p) for fields, p in json.loads(guesses)),
                tuple((a, b, c, d) for a, b, c, d in json.loads(evidence)),
            )
            for sha256, gallery, revision, landmark, confidence, guesses, evidence in self._ask(query)
        }

    def answered(self) -> dict[str, tuple[str, int]]:
        """Return sha256 -> (gallery, its revision) of those that have an answer."""
        return {row[0]: (row[1], row[2]) for row in self._ask("SELECT sha256, gallery, revision FROM answer")}

    def put_answer(self, sha256: str, answer: StoredAnswer) -> None:
        """Keep what a gallery says of a content, in the place of what was said before."""
        guesses = [(asdict(landmark), p) for landmark, p in answer.guesses]
        self._ask(
            "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                sha256,
                answer.gallery,
                answer.revision,
                _text(answer.landmark),
                answer.confidence,
                json.dumps(guesses),
                json.dumps(answer.evidence),
            ),
        )

    # --- what a person said -------------------------------------------------------------------------------------

    def verdicts(self) -> dict[str, Verdict]:
        """Return sha256 -> the person's verdict, for every content with the same pixels."""
        query = """SELECT coalesce(s.sha256, v.sha256), v.verdict, v.landmark, v.said FROM verdict AS v
                   LEFT JOIN (SELECT sha256, origin FROM same UNION SELECT origin, origin FROM same) AS s
                   ON s.origin = v.sha256"""
        return {row[0]: Verdict(row[1], _landmark(row[2]), row[3]) for row in self._ask(query)}

    def set_verdict(self, sha256: str, verdict: str, landmark: Landmark | None) -> None:
        """Keep what a person says of a content, in the place of what was said before.

        Raises:
            ValueError: no such verdict, or one that says what the photo shows and needs not, or the reverse.
        """
        if verdict not in VERDICTS or (landmark is None) != (verdict == "rejected"):
            raise ValueError(f"expected one of {', '.join(VERDICTS)} with a landmark, or rejected, got {verdict}")
        moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        values = self.origin(sha256), verdict, _text(landmark), moment
        self._ask("INSERT OR REPLACE INTO verdict VALUES (?, ?, ?, ?)", values)

    def clear_verdict(self, sha256: str) -> None:
        """Forget what a person said of a content."""
        self._ask("DELETE FROM verdict WHERE sha256 = ?", (self.origin(sha256),))

    # --- contents that differ in what is written about them only -------------------------------------------------

    def content_aliases(self) -> dict[str, str]:
        """Return sha256 -> the first content with the same pixels, for those that are not the first."""
        return dict(self._ask("SELECT sha256, origin FROM same"))

    def origin(self, sha256: str) -> str:
        """Return the first content with the same pixels."""
        rows = self._ask("SELECT origin FROM same WHERE sha256 = ?", (sha256,))
        return str(rows[0][0]) if rows else sha256

    def alias_content(self, old: str, new: str) -> None:
        """Record that a content has become another with the same pixels, and move its rows there."""
        origin = self.origin(old)
        if origin in (new, self.origin(new)):
            return
        with self.changing():
            self._ask("INSERT OR REPLACE INTO same VALUES (?, ?)", (new, origin))
            for table in ("content", "answer", "burst", "member"):
                rows = self._ask(f"SELECT * FROM {table} WHERE sha256 = ?", (old,))  # noqa: S608
                for row in rows:
                    marks = ",".join("?" * len(row))
                    self._ask(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", (new, *row[1:]))  # noqa: S608

    def looks_same(self, old: str, new: str) -> bool:
        """Return whether two contents have the same pixels, as far as is kept of them."""
        query = "SELECT count(DISTINCT width || ' ' || height || ' ' || hex(fingerprint) || ' ' || sharpness), count(*)"
        distinct, count = self._ask(f"{query} FROM content WHERE sha256 IN (?, ?)", (old, new))[0]
        return bool(distinct == 1 and count == 2)

    # --- bursts and groups --------------------------------------------------------------------------------------

    def bursts(self) -> dict[str, tuple[int, bool]]:
        """Return sha256 -> (number of its burst, whether the content is the best of the burst)."""
        return {row[0]: (row[1], bool(row[2])) for row in self._ask("SELECT sha256, number, best FROM burst")}

    def set_bursts(self, bursts: Sequence[Sequence[str]]) -> None:
        """Store bursts, the best of each first, in the place of those before."""
        rows = [(sha, number, i == 0) for number, members in enumerate(bursts, 1) for i, sha in enumerate(members)]
        with self.changing():
            self._db.execute("DELETE FROM burst")
            self._db.executemany("INSERT INTO burst VALUES (?, ?, ?)", rows)

    def groups(self) -> dict[int, list[str]]:
        """Return number -> contents that show one place, the most typical first."""
        groups: dict[int, list[str]] = {}
        for number, sha256 in self._ask("SELECT number, sha256 FROM member ORDER BY number, rank"):
            groups.setdefault(number, []).append(sha256)
        return groups

    def set_groups(self, groups: Mapping[int, Sequence[str]]) -> None:
        """Store groups, the most typical content of each first, in the place of those before."""
        rows = [(sha, number, i) for number, members in groups.items() for i, sha in enumerate(members)]
        with self.changing():
            self._db.execute("DELETE FROM member")
            self._db.executemany("INSERT INTO member VALUES (?, ?, ?)", rows)


def _text(landmark: Landmark | None) -> str | None:
    return None if landmark is None else json.dumps(asdict(landmark))


def _landmark(text: str | None) -> Landmark | None:
    return None if text is None else Landmark(**json.loads(text))
