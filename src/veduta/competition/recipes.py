"""Recipes: the choices of a run as data, the package's own pipeline and the 7th-place notebook of 2020."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from veduta.errors import ImageError
from veduta.images import load
from veduta.types import Image

NOTEBOOK_FRAME = (672, 896)  # (width, height) every photo is forced to before its keypoints are found
NOTEBOOK_CANDIDATES = 5  # nearest references that go on
NOTEBOOK_KEYPOINTS = 2048  # of SuperPoint, at most
NOTEBOOK_KEYPOINT_THRESHOLD = 0.001  # least score of one
NOTEBOOK_ITERATIONS = 150  # of Sinkhorn's algorithm in SuperGlue
NOTEBOOK_MATCH_THRESHOLD = 0.2  # least probability of a match of SuperGlue's matches0, which it does not count
NOTEBOOK_WEIGHTS = (2.0, 1.0, 0.5, 0.5)  # of its four descriptors, the best model first


@dataclass(frozen=True)
class Recipe:
    """Every choice a run makes.

    Attributes:
        name: what `--recipe` calls it.
        models: embedders, folders of trained ones, or folders with tables ``train`` and ``test`` made or imported
            earlier; several are fused.
        weights: of the models.
        depth: candidates retrieved.
        rerank_depth: how many of them are matched.
        extractor: name of the local features.
        max_keypoints: of each photo.
        max_side: photos are reduced so that their longer side has at most this many pixels.
        mask: what drops keypoints on things that move or grow, ``segformer`` or ``usefulness``; None for nothing.
        matcher: name of the matcher.
        match_threshold: least similarity or probability of a match; None for the matcher's own.
        squash: whether photos are forced into the notebook's frame before extraction, whatever their shape.
        averaged: whether that is done with the photo reduced to 1,024 pixels, averaging; not as the notebook does.
        geometry: whether matches must agree on a homography; if not, their scores are summed.
        fuse: how several models become one similarity: ``product``, the notebook's weighted geometric mean, or
            ``concatenate``, the weighted mean of the cosines; None for a single model's cosine.
        power: vote by the sum of cos ** power over each landmark's best five candidates; None for the recipe's score.
        penalty: how much of a reference's similarity to photos that show no landmark is subtracted; needs a bank.
    """

    name: str
    models: tuple[str, ...] = ("efficientnet-lite2-landmarks",)
    weights: tuple[float, ...] = (1.0,)
    depth: int = 100
    rerank_depth: int = 30
    extractor: str = "xfeat"
    max_keypoints: int = 512
    max_side: int = 576
    mask: str | None = None
    matcher: str = "nearest"
    match_threshold: float | None = None
    squash: bool = False
    averaged: bool = False
    geometry: bool = True
    fuse: str | None = None
    power: float | None = None
    penalty: float = 1.0

    def __post_init__(self) -> None:
        if len(self.models) != len(self.weights) or not self.models or min(self.weights) <= 0:
            raise ValueError(f"expected a positive weight per model, got {self.models} and {self.weights}")
        if self.fuse not in (None, "product", "concatenate"):
            raise ValueError(f"fuse: expected product or concatenate, got {self.fuse!r}")
        if len(self.models) > 1 and not self.fuse:
            raise ValueError(f"recipe {self.name!r} has one model; say how several are fused: product or concatenate")
        if self.power is not None and not 0 < self.power < float("inf"):
            raise ValueError(f"power: expected a positive number, got {self.power}")
        if not 1 <= self.rerank_depth <= self.depth:
            raise ValueError(f"expected 1 <= rerank_depth <= depth, got {self.rerank_depth}, {self.depth}")


# With the models that ship, XFeat and LighterGlue take the place of SuperPoint and SuperGlue, at a number of keypoints
# that two cores can match, and nothing is masked.
_DNA = Recipe(
    "dna-2020",
    models=("efficientnet-lite2-gem",),  # its score needs cosines that are not whitened
    weights=NOTEBOOK_WEIGHTS[:1],
    depth=NOTEBOOK_CANDIDATES,
    rerank_depth=NOTEBOOK_CANDIDATES,
    max_side=max(NOTEBOOK_FRAME),
    matcher="lighterglue",
    match_threshold=0.0,  # it sums SuperGlue's matching_scores0, which has every mutual pair, below 0.2 too
    squash=True,
    geometry=False,
    fuse="product",
)
# The notebook's local step as it was, for those who have the weights: needs .[torch] and `veduta models pull`.
_FAITHFUL = replace(
    _DNA,
    name="dna-2020-superglue",
    extractor="superpoint",
    max_keypoints=NOTEBOOK_KEYPOINTS,
    mask="segformer",
    matcher="superglue",
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("veduta"),
        _DNA,
        _FAITHFUL,
        replace(_FAITHFUL, name="dna-2020-own-shape", squash=False),  # the same, each photo in its own shape
    )
}


def squashed(image: Image) -> Image:
    """Return the photo forced into the notebook's frame of 672 x 896, its keypoints then being in that frame.

    The notebook takes four neighboring pixels of the photo as it is on disk. A photo that was reduced when it was
    loaded is therefore loaded again, if its file still has the same content.
    """
    return _framed(_in_full(image), cv2.INTER_LINEAR)


def squashed_averaged(image: Image) -> Image:
    """Return the photo in the notebook's frame, each pixel the average of those it stands for."""
    return _framed(image, cv2.INTER_AREA)


def _framed(image: Image, interpolation: int) -> Image:
    pixels = cv2.resize(image.pixels, NOTEBOOK_FRAME, interpolation=interpolation)
    return Image(np.asarray(pixels, np.uint8), *NOTEBOOK_FRAME, name=image.name, sha256=image.sha256)


def _in_full(image: Image) -> Image:
    """Return a photo with all its pixels, or unchanged where its file is gone or changed."""
    if image.pixels.shape[1::-1] == image.size or not image.sha256:
        return image
    try:
        whole = load(image.name, max_side=max(image.size))
    except ImageError:
        return image
    return whole if whole.sha256 == image.sha256 else image


def unsquashed(image: Image) -> Image:
    """Return the photo with its own shape."""
    return image


def frame_of(recipe: Recipe) -> Callable[[Image], Image]:
    """Return the function that brings a photo into the shape in which the recipe finds keypoints."""
    if not recipe.squash:
        return unsquashed
    return squashed_averaged if recipe.averaged else squashed


def resolve_recipe(recipe: str | Recipe) -> Recipe:
    """Return a recipe by its name, or the recipe given; ValueError for an unknown name."""
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise ValueError(f"recipe: expected one of {', '.join(RECIPES)}, got {recipe!r}")
    return RECIPES[recipe]


def with_overrides(recipe: str, **changes: Any) -> Recipe:
    """Return a recipe with some of its choices changed; None keeps a choice."""
    return replace(resolve_recipe(recipe), **{name: value for name, value in changes.items() if value is not None})
