"""The errors Veduta raises for faults of the world: a bad file, a wrong gallery, a missing model.

::

    VedutaError
    ├── ImageError      a photo cannot be read: missing, truncated, not a photo
    │   └── TooLargeError   it has more bytes or pixels than it may have here
    ├── ModelError      a model is unknown, damaged or cannot run here
    ├── DatasetError    a folder, CSV or data set is malformed (file, line, reason)
    ├── GalleryError    a gallery is missing, foreign, busy or made by other models
    ├── JobError        a job of many shards cannot begin, go on or be merged as asked
    ├── LibraryError    a library of photos or what is known of it cannot be read, changed or put back
    └── TrainingError   a training run cannot go on: out of memory, a loss that is no number, other settings

Each message says what is wrong, which thing it concerns and what to do about it. Faults of the
programmer (a wrong shape, an unknown option value) are ``ValueError`` and ``TypeError`` instead.
"""

from __future__ import annotations


class VedutaError(Exception):
    """The parent of every error Veduta raises on purpose; catch it to catch them all."""


class ImageError(VedutaError):
    """A photo cannot be read; the message names the file and the reason."""


class TooLargeError(ImageError):
    """A photo has more bytes or pixels than it may have here; with other limits it might be read."""


class ModelError(VedutaError):
    """A model is unknown, its file is damaged, or its execution provider is not installed."""


class DatasetError(VedutaError):
    """A folder or table of photos is malformed; the message names the file, the line and the reason."""


class GalleryError(VedutaError):
    """A gallery is missing, is not a gallery, is in use, or was made by other models or settings."""


class JobError(VedutaError):
    """A job of many shards cannot begin, go on or be merged; the message names the folder or shard and the reason."""


class LibraryError(VedutaError):
    """A library of photos, or what is known of it, cannot be read, changed or put back as asked."""


class TrainingError(VedutaError):
    """A training run cannot start or go on; the message says why, what is kept and what to change."""
