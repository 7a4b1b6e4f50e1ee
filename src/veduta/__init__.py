"""Veduta names the landmark in a photo, shows the evidence, or says that none is known.

    import veduta

    with veduta.Gallery.open("sights") as gallery:
        for answer in gallery.recognize(["holiday.jpg"]):
            print(answer.landmark, answer.confidence)

Public names load on first use, so importing this package loads none of its dependencies.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> the module it lives in.
_HOMES = {
    "AddReport": "veduta.gallery.ingest",
    "Asset": "veduta.library.model",
    "BusyError": "veduta.errors",
    "Candidate": "veduta.types",
    "Circle": "veduta.geo",
    "ConflictError": "veduta.errors",
    "Coverage": "veduta.types",
    "DatasetError": "veduta.errors",
    "Decision": "veduta.types",
    "Failure": "veduta.types",
    "Gallery": "veduta.gallery",
    "GalleryCounts": "veduta.landmarks",
    "GalleryError": "veduta.errors",
    "GalleryInfo": "veduta.gallery",
    "Guess": "veduta.landmarks",
    "Image": "veduta.types",
    "ImageError": "veduta.errors",
    "JobError": "veduta.errors",
    "KeypointCounts": "veduta.pair",
    "Label": "veduta.library.model",
    "Landmark": "veduta.landmarks",
    "LandmarkConfidence": "veduta.landmarks",
    "LandmarkCount": "veduta.landmarks",
    "Library": "veduta.library",
    "LibraryError": "veduta.errors",
    "LocalFeatures": "veduta.types",
    "Matches": "veduta.types",
    "ModelCard": "veduta.models.cards",
    "ModelError": "veduta.errors",
    "NoRoomError": "veduta.errors",
    "NotFoundError": "veduta.errors",
    "NotInstalledError": "veduta.errors",
    "PairComparison": "veduta.types",
    "PairVerification": "veduta.pair",
    "Position": "veduta.landmarks",
    "PrecisionError": "veduta.errors",
    "Recognition": "veduta.types",
    "RecognizeOptions": "veduta.gallery.options",
    "Recognizer": "veduta.recognizer",
    "Reference": "veduta.landmarks",
    "ReplacedError": "veduta.errors",
    "Size": "veduta.types",
    "TermValue": "veduta.landmarks",
    "TooLargeError": "veduta.errors",
    "TrainingError": "veduta.errors",
    "UnwritableError": "veduta.errors",
    "VedutaError": "veduta.errors",
    "Verification": "veduta.types",
    "cards": "veduta.models.cards",
    "evidence_picture": "veduta.gallery.evidence.explain",
    "load": "veduta.images",
    "verify": "veduta.pair",
}

__all__ = [
    "AddReport",
    "Asset",
    "BusyError",
    "Candidate",
    "Circle",
    "ConflictError",
    "Coverage",
    "DatasetError",
    "Decision",
    "Failure",
    "Gallery",
    "GalleryCounts",
    "GalleryError",
    "GalleryInfo",
    "Guess",
    "Image",
    "ImageError",
    "JobError",
    "KeypointCounts",
    "Label",
    "Landmark",
    "LandmarkConfidence",
    "LandmarkCount",
    "Library",
    "LibraryError",
    "LocalFeatures",
    "Matches",
    "ModelCard",
    "ModelError",
    "NoRoomError",
    "NotFoundError",
    "NotInstalledError",
    "PairComparison",
    "PairVerification",
    "Position",
    "PrecisionError",
    "Recognition",
    "RecognizeOptions",
    "Recognizer",
    "Reference",
    "ReplacedError",
    "Size",
    "TermValue",
    "TooLargeError",
    "TrainingError",
    "UnwritableError",
    "VedutaError",
    "Verification",
    "cards",
    "evidence_picture",
    "load",
    "verify",
]

if TYPE_CHECKING:
    from veduta.errors import (
        BusyError,
        ConflictError,
        DatasetError,
        GalleryError,
        ImageError,
        JobError,
        LibraryError,
        ModelError,
        NoRoomError,
        NotFoundError,
        NotInstalledError,
        PrecisionError,
        ReplacedError,
        TooLargeError,
        TrainingError,
        UnwritableError,
        VedutaError,
    )
    from veduta.gallery import Gallery, GalleryInfo
    from veduta.gallery.evidence.explain import evidence_picture
    from veduta.gallery.ingest import AddReport
    from veduta.gallery.options import RecognizeOptions
    from veduta.geo import Circle
    from veduta.images import load
    from veduta.landmarks import (
        GalleryCounts,
        Guess,
        Landmark,
        LandmarkConfidence,
        LandmarkCount,
        Position,
        Reference,
        TermValue,
    )
    from veduta.library import Library
    from veduta.library.model import Asset, Label
    from veduta.models.cards import ModelCard, cards
    from veduta.pair import KeypointCounts, PairVerification, verify
    from veduta.recognizer import Recognizer
    from veduta.types import (
        Candidate,
        Coverage,
        Decision,
        Failure,
        Image,
        LocalFeatures,
        Matches,
        PairComparison,
        Recognition,
        Size,
        Verification,
    )


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'veduta' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
