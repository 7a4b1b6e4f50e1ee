"""The entries of a gallery as the bytes of a job's records: packed by shards, unpacked by the merge."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from typing import Any

import numpy as np

from veduta.datasets.listing import LabeledPhoto
from veduta.features_codec import FEATURES_HEADER, PLACES, pack_features, unpack_features
from veduta.gallery.store import NewReference
from veduta.jobs.stored import check_position, check_reference
from veduta.landmarks import Position, Reference
from veduta.types import LocalFeatures, Size

LENGTHS = struct.Struct("<III")  # of an entry's description, descriptor and packed features; the rest is the thumbnail


def pack_entry(entry: NewReference) -> bytes:
    """Return an entry as bytes, its features packed as the gallery will keep them."""
    fields = {"reference": asdict(entry.reference), "position": entry.position}
    reference, features = json.dumps(fields).encode(), pack_features(entry.features)
    descriptor = np.asarray(entry.descriptor, "<f4").tobytes()
    lengths = LENGTHS.pack(len(reference), len(descriptor), len(features))
    return b"".join((lengths, reference, descriptor, features, entry.thumbnail))


def unpack_entry(data: bytes, item: LabeledPhoto | None = None) -> NewReference:
    """Return the entry in the bytes of `pack_entry`.

    Args:
        data: the bytes.
        item: the photo it has to be of; None for any.

    Raises:
        ValueError, KeyError, TypeError, struct.error: the bytes are damaged, or of another item.
    """
    place, parts = LENGTHS.size, []
    for length in LENGTHS.unpack_from(data):
        parts.append(data[place : place + length])
        place += length
    descriptor = np.frombuffer(parts[1], "<f4").astype(np.float32)
    fields = json.loads(parts[0])
    if item is not None:
        check_reference(fields["reference"], item.id, item.landmark.id)
        check_position(fields["position"])
        unpack_features(parts[2])
        if not np.isfinite(descriptor).all():
            raise ValueError("the descriptor is not of numbers")
    position = Position(*fields["position"]) if fields["position"] else None
    reference, features = Reference(**fields["reference"]), unpack_to_repack(parts[2])
    return NewReference(reference, descriptor, features, data[place:], position)


def unpack_to_repack(data: bytes) -> LocalFeatures:
    """Return local features that `pack_features` turns into these very bytes, which `unpack_features`' may miss.

    In double precision, and without bringing descriptors back to norm 1: every rounding then ends where it began.
    """
    n, dim, width, height, step = FEATURES_HEADER.unpack_from(data)
    places = np.frombuffer(data, "<u2", 2 * n, FEATURES_HEADER.size).reshape(n, 2)
    steps = np.frombuffer(data, np.int8, dim * n, FEATURES_HEADER.size + 4 * n).reshape(n, dim)
    scores = np.frombuffer(data, "<f2", n, FEATURES_HEADER.size + (4 + dim) * n)
    keypoints: Any = places.astype(np.float64) / PLACES * np.array((width, height), np.float64) - 0.5
    descriptors: Any = steps.astype(np.float64) * step
    return LocalFeatures(keypoints, descriptors, scores.astype(np.float32), Size(width, height))
