"""Local features of photos on disk, append-only, so that no photo is extracted twice and a killed run goes on."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from veduta.concurrency import in_order
from veduta.datasets.layout import PhotoFolder
from veduta.errors import DatasetError, ImageError
from veduta.features_codec import pack_features, unpack_features
from veduta.files import first_irregular
from veduta.images import load
from veduta.progress import Progress
from veduta.protocols import Extractor
from veduta.types import Image, LocalFeatures

RECORD = struct.Struct("<32sQI")  # photo id, where its features begin, how long they are
FLUSH_RECORDS = 64  # photos between writes


class FeatureFile:
    """Packed local features by photo id, in ``features.bin``, found through ``features.idx``.

    Args:
        folder: where both files are; made if need be. What a killed run left half-written is cut off.

    Raises:
        DatasetError: a file is damaged, or is a link.
    """

    def __init__(self, folder: Path) -> None:
        if (found := first_irregular(folder)) is not None:
            raise DatasetError(f"{found}: is no plain file, so nothing is written there; remove it")
        folder.mkdir(parents=True, exist_ok=True)
        self._data, self._index = folder / "features.bin", folder / "features.idx"
        self._places = self._read_index()
        self._file = self._data.open("rb")

    def __contains__(self, id: str) -> bool:
        return bool(self._places.get(id, (0, 0))[1])

    def __len__(self) -> int:
        return len(self._places)

    def get(self, id: str) -> LocalFeatures | None:
        """Return the local features of a photo, or None for one that is unreadable or was never extracted."""
        start, length = self._places.get(id, (0, 0))
        try:
            return unpack_features(os.pread(self._file.fileno(), length, start)) if length else None
        except ValueError as error:
            raise DatasetError(f"{self._data}: {id} is damaged ({error}); remove the folder and run again") from error

    def put(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Append packed features and write them to disk; empty ones, of photos that cannot be read, are left out."""
        items = [(id, data) for id, data in items if data]
        end = self._data.stat().st_size
        records = []
        for id, data in items:
            records.append((id, end, len(data)))
            end += len(data)
        with self._data.open("ab") as file:
            file.write(b"".join(data for _, data in items))
        with self._index.open("ab") as file:
            file.write(b"".join(RECORD.pack(id.encode("ascii"), *place) for id, *place in records))
        self._places.update((id, (start, length)) for id, start, length in records)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_index(self) -> dict[str, tuple[int, int]]:
        for path in (self._data, self._index):
            path.touch()
        size, raw = self._data.stat().st_size, self._index.read_bytes()
        places: dict[str, tuple[int, int]] = {}
        whole = 0
        for id, start, length in RECORD.iter_unpack(raw[: len(raw) // RECORD.size * RECORD.size]):
            if start + length > size:
                break
            if not id.isascii():
                raise DatasetError(f"{self._index}: is damaged; remove the folder and run again")
            places[id.rstrip(b"\0").decode("ascii")] = (start, length)
            whole += 1
        os.truncate(self._index, whole * RECORD.size)
        os.truncate(self._data, max((start + length for start, length in places.values()), default=0))
        return places


def extract_all(
    features: FeatureFile,
    extractor: Extractor,
    photos: Iterable[tuple[str, PhotoFolder]],
    frame: Callable[[Image], Image],
    progress: Progress | None = None,
) -> int:
    """Add the local features of photos that have none yet and return how many got some.

    Args:
        features: what is there already, and where new ones go.
        extractor: makes them.
        photos: (id, folder) of each; ids must differ.
        frame: what a photo is brought to before, such as the notebook's squashed frame.
        progress: called with photos done and photos in all.
    """
    todo = [(id, folder) for id, folder in photos if id not in features]

    def work(item: tuple[str, PhotoFolder]) -> bytes:
        try:
            return pack_features(extractor.extract(frame(load(item[1].path(item[0])))))
        except ImageError:
            return b""

    waiting: list[tuple[str, bytes]] = []
    try:
        for done, ((id, _), data) in enumerate(in_order(work, todo), 1):
            waiting.append((id, data))
            if len(waiting) == FLUSH_RECORDS:
                features.put(waiting)
                waiting = []
            if progress:
                progress(done, len(todo))
    finally:
        features.put(waiting)
    return sum(id in features for id, _ in todo)


def check_ids_differ(train: Iterable[str], test: Iterable[str]) -> None:
    """Raise DatasetError when a photo id occurs in both splits: features are kept by id."""
    both = set(train) & set(test)
    if both:
        raise DatasetError(f"{len(both)} photo ids are in both train and test, such as {min(both)}")
