"""The catalog's table of a person's verdicts, one for all contents with the same pixels."""

from __future__ import annotations

from datetime import UTC, datetime

from veduta.landmarks import Landmark
from veduta.library.catalog_content import ContentTable, format_landmark, parse_landmark
from veduta.library.model import Verdict
from veduta.sqlite import Database

VERDICTS = ("accepted", "rejected", "corrected", "named")


class VerdictTable:
    """A person's verdicts by content.

    Args:
        db: the catalog's file.
        contents: the catalog's contents, which know the first one with the same pixels.
    """

    def __init__(self, db: Database, contents: ContentTable) -> None:
        self._db, self._contents = db, contents

    def all(self) -> dict[str, Verdict]:
        """Return sha256 -> the person's verdict, for every content with the same pixels."""
        query = """SELECT coalesce(s.sha256, v.sha256), v.verdict, v.landmark, v.said FROM verdict AS v
                   LEFT JOIN (SELECT sha256, origin FROM same UNION SELECT origin, origin FROM same) AS s
                   ON s.origin = v.sha256 ORDER BY s.sha256 IS NOT NULL"""  # one on the first content replaces its own
        rows = self._db.rows(query)
        with self._db.decoding():
            return {row[0]: Verdict(row[1], parse_landmark(row[2]), row[3]) for row in rows}

    def put(self, sha256: str, verdict: str, landmark: Landmark | None) -> None:
        """Store a person's verdict on a content, in the place of an earlier one.

        Raises:
            ValueError: no such verdict, a landmark for ``rejected``, or none for another.
        """
        if verdict not in VERDICTS or (landmark is None) != (verdict == "rejected"):
            raise ValueError(f"expected one of {', '.join(VERDICTS)} with a landmark, or rejected, got {verdict}")
        moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        values = self._contents.origin(sha256), verdict, format_landmark(landmark), moment
        self._db.write("INSERT OR REPLACE INTO verdict VALUES (?, ?, ?, ?)", values)

    def clear(self, sha256: str) -> None:
        """Delete a person's verdict on a content."""
        self._db.write("DELETE FROM verdict WHERE sha256 = ?", (self._contents.origin(sha256),))
