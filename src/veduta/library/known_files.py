"""Which record of an earlier scan a file has: by its path and inode, and by its content where these may mislead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from veduta.library.catalog import FileRecord
from veduta.library.discover import DiscoveredPhoto
from veduta.library.journal.fsops import content_sha256


class KnownFiles:
    """The records of an earlier scan, for the files of this one.

    An inode tells a moved file from another on most disks. exFAT and FAT number their files anew at every mount, FUSE
    whenever a number was forgotten, and then a number may be that of another photo. Such a photo has to have the same
    size and time to be mistaken, so only files that share both with another are read for their content.

    Args:
        records: path -> record, of the earlier scan.
        discovered: the files of this scan.
    """

    def __init__(self, records: Mapping[str, FileRecord], discovered: Iterable[DiscoveredPhoto]) -> None:
        self._records = records
        self._by_node: dict[tuple[object, ...], str] = {}
        self._by_content: dict[tuple[int, int], dict[str, str]] = {}
        self._nodes: dict[tuple[int, int], set[tuple[int, int]]] = {}
        for path, row in records.items():
            self._by_node[row.node, row.size, row.mtime] = path
            if row.sha256 is not None:
                self._by_content.setdefault((row.size, row.mtime), {}).setdefault(row.sha256, path)
        for photo in discovered:
            self._nodes.setdefault((photo.size, photo.mtime), set()).add(photo.node)

    def find(self, photo: DiscoveredPhoto) -> str | None:
        """Return the earlier path of a file that has not changed since, or None for one that is new or changed."""
        own = self._records.get(photo.path)
        is_same = own is not None and (own.size, own.mtime) == (photo.size, photo.mtime)
        if own is not None and is_same and own.node == photo.node:
            return photo.path
        likely = self._by_node.get((photo.node, photo.size, photo.mtime), photo.path if is_same else None)
        if likely is None or not self._is_ambiguous(photo):
            return likely
        return self._by_reading(photo, likely)

    def _is_ambiguous(self, photo: DiscoveredPhoto) -> bool:
        """Return whether several files or contents have the size and time of this file."""
        key = photo.size, photo.mtime
        return len(self._by_content.get(key, ())) > 1 or len(self._nodes[key]) > 1

    def _by_reading(self, photo: DiscoveredPhoto, likely: str) -> str | None:
        """Return the path of a record with the content of a file, the likely one if that has it; None without one."""
        try:
            sha256 = content_sha256(Path(photo.path))
        except OSError:
            return None
        if self._records[likely].sha256 == sha256:
            return likely
        return self._by_content.get((photo.size, photo.mtime), {}).get(sha256)
