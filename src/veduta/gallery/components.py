"""The models of one gallery: checked against the weights at hand, stored inside when they do not ship."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from veduta import __version__
from veduta.embedders import make_embedder
from veduta.errors import GalleryError, VedutaError
from veduta.features import make_extractor
from veduta.gallery.options import DEFAULT_MATCHER
from veduta.gallery.store import MODELS_FOLDER
from veduta.geometry import HomographyVerifier
from veduta.matching import make_matcher
from veduta.models.cards import ModelCard, card
from veduta.models.folder import is_model, read_card, write_card
from veduta.models.session import read_file
from veduta.models.weights import SOURCES
from veduta.protocols import Embedder, Extractor, Matcher
from veduta.recognizer import Components
from veduta.trust import is_accepted

# What a gallery says of its models, and the largest number that makes sense there.
SETTINGS_LIMITS = {"embedder": {"side": 8_192}, "extractor": {"max_keypoints": 65_535, "max_side": 8_192}}
MAX_NAME = 200  # bytes of a model's name, which is that of a folder
SHA256 = re.compile(r"([0-9a-f]{64})?")  # empty for a method without weights
FINE_MATCHER = "lighterglue"
FINE_MATCHER_INPUTS = ("xfeat", DEFAULT_MATCHER)  # extractor and matcher beside which the fine matcher can be asked


class GalleryModels:
    """The models of one gallery, loaded when they are first needed.

    Args:
        path: the gallery's folder.
        settings: the settings it was made with.
        provider: execution provider for the networks.

    Raises:
        GalleryError: this Veduta does not have the very models that made the gallery.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], provider: str) -> None:
        _check_settings(path, settings)
        self._path, self._settings, self._provider = path, settings, provider
        self._pair: tuple[Embedder, Extractor] | None = None
        self._matchers: dict[str, Matcher] = {}
        model = own_model(path, settings["embedder"]["name"])
        self._embedder_name = model if isinstance(model, str) else ""

    def close(self) -> None:
        """Let the models go: their memory is free as soon as no recognizer holds them."""
        self._pair = None
        self._matchers.clear()

    def pair(self) -> tuple[Embedder, Extractor]:
        """Return the embedder and the extractor that made the gallery; GalleryError if the weights here are others."""
        if self._pair is None:
            self._pair = make_components(self._path, self._settings, self._provider)
        return self._pair

    def matcher(self, name: str = DEFAULT_MATCHER) -> Matcher:
        """Return a matcher of the gallery's local features; ModelError when they do not fit."""
        if name not in self._matchers:
            self._matchers[name] = make_matcher(name, self._settings["extractor"]["name"], self._provider)
        return self._matchers[name]

    def components(self, matcher: str, *, fine: bool) -> Components:
        """Return the parts of a recognizer.

        Args:
            matcher: name of the matcher asked about every candidate.
            fine: whether the fine matcher is asked too, where it fits.
        """
        embedder, extractor = self.pair()
        fits = fine and (extractor.name, matcher) == FINE_MATCHER_INPUTS
        fine_matcher = self.matcher(FINE_MATCHER) if fits else None
        return Components(embedder, extractor, self.matcher(matcher), HomographyVerifier(), fine_matcher)

    def embedder_name(self) -> str:
        """Return the name of the embedder that ships, empty for the gallery's own."""
        return self._embedder_name


def new_settings(embedder: str | os.PathLike[str], extractor: str, max_keypoints: int, max_side: int) -> dict[str, Any]:
    """Return the settings of a gallery to be made by these models; arguments and errors as `Gallery.create`."""
    embedding, extraction = make_embedder(embedder), make_extractor(extractor, max_keypoints, max_side)
    return {
        "embedder": {"name": embedding.name, "sha256": embedding.sha256, **embedding.settings},
        "extractor": {"name": extraction.name, "sha256": extraction.sha256, **extraction.settings},
        "veduta": __version__,
    }


def keep_model(gallery: Path, model: ModelCard) -> None:
    """Copy a trained model into the gallery, so that the training's folder can be moved or deleted."""
    folder = gallery / MODELS_FOLDER / model.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / model.file).write_bytes(read_file(model))
    write_card(folder, model)


def make_components(gallery: Path, settings: Mapping[str, Any], provider: str = "cpu") -> tuple[Embedder, Extractor]:
    """Return the embedder and the extractor that made a gallery.

    Args:
        gallery: its folder, which keeps a model of the user's own.
        settings: those it was made with, as `GalleryInfo.settings` has them.
        provider: execution provider.

    Raises:
        GalleryError: the weights here are others.
    """
    embedding, extraction = dict(settings["embedder"]), dict(settings["extractor"])
    request = model_request(gallery, settings)
    if request is not None and not is_accepted(None, request):
        remedy = f"look where the gallery comes from, then: veduta trust {gallery}"
        raise GalleryError(f"{gallery}: asks to {request}, which this user has not accepted", remedy)
    embedder = make_embedder(own_model(gallery, embedding["name"]), embedding["side"], provider)
    sizes = extraction["max_keypoints"], extraction["max_side"]
    extractor = make_extractor(extraction["name"], *sizes, provider)
    _check_same(gallery, embedding["name"], embedding["sha256"], embedder.sha256)
    _check_same(gallery, extraction["name"], extraction["sha256"], extractor.sha256)
    return embedder, extractor


def own_model(gallery: Path, name: str) -> str | Path:
    """Return the folder of the gallery's own model of this name, or the name of one that ships."""
    folder = gallery / MODELS_FOLDER / name
    plain = (
        Path(name).name == name
        and len(os.fsencode(name)) <= MAX_NAME
        and not folder.is_symlink()
        and not folder.parent.is_symlink()
    )
    return folder if plain and is_model(folder) else name


def model_request(gallery: Path, settings: Mapping[str, Any]) -> str | None:
    """Return the request of a gallery with its own model to run that, or None for one whose models ship."""
    embedder = settings["embedder"]
    own = isinstance(own_model(gallery, embedder["name"]), Path)
    return f"run its own network {embedder['name']!r}, sha256 {embedder['sha256']}" if own else None


def check_shape(path: Path, settings: Any) -> None:
    """Raise GalleryError unless settings have the fields, of the kinds and in the ranges, that Veduta writes."""
    try:
        for stage, limits in SETTINGS_LIMITS.items():
            fields = settings[stage]
            texts = all(type(fields[name]) is str for name in ("name", "sha256"))
            numbers = all(type(fields[name]) is int and 1 <= fields[name] <= limit for name, limit in limits.items())
            if not texts or not numbers or not SHA256.fullmatch(fields["sha256"]):
                raise ValueError(f"{stage} is out of range")
    except (KeyError, TypeError, ValueError) as error:
        wrong = f"the settings it was made with are damaged ({error!r})"
        raise GalleryError(f"{path}: {wrong}; restore the gallery from a copy") from error


def card_of(path: Path, settings: Mapping[str, Any], stage: str) -> ModelCard:
    """Return the card of a gallery's ``embedder`` or ``extractor``; ModelError for a name that nothing has."""
    model = own_model(path, settings[stage]["name"])
    return read_card(model) if isinstance(model, Path) else card(model)


def _check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Raise GalleryError unless this Veduta has the very models that made the gallery.

    Weights that do not ship are checked when they are needed: without them a gallery can still be listed.
    """
    check_shape(path, settings)
    for stage in ("embedder", "extractor"):
        name, sha256 = settings[stage]["name"], settings[stage]["sha256"]
        model = own_model(path, name)
        try:
            known = read_card(model) if isinstance(model, Path) else card(name)
        except VedutaError as error:
            raise GalleryError(f"{path}: was made with {stage} {name!r}, which this Veduta does not have") from error
        if name not in SOURCES:
            _check_same(path, name, sha256, known.sha256)


def _check_same(path: Path, name: str, expected: str, here: str) -> None:
    """Raise GalleryError unless the weights here are those that made the gallery."""
    if here != expected:
        raise GalleryError(
            f"{path}: was made with another {name!r} (sha256 {expected[:12]}, here {here[:12]}); "
            "use the Veduta that made it, or create a new gallery and add the photos again"
        )
