"""LightGlue: attention over both photos' keypoints, with early exit (Lindenberger et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from veduta.matching.mutual import NO_MATCHES, centered, match_with_session
from veduta.models.session import open_session
from veduta.models.torch_models import open_kornia, open_transformers, require_module, to_numpy
from veduta.models.weights import exported, find_weights
from veduta.types import LocalFeatures, Matches

LIGHTGLUE_SIDE = 1024.0  # of the square frame both photos are seen in; what it is makes no difference
MatchFunction = Callable[[dict[str, Any], dict[str, Any]], tuple[Any, Any]]


class LightGlue:
    """LightGlue for one kind of local features, run by torch, or by ONNX Runtime after an export.

    Torch leaves out layers and keypoints it is sure it needs no more; the exported graph always goes through all.

    Args:
        extractor: whose features it matches: ``superpoint``, ``disk`` or ``aliked``.
        min_probability: least probability of a pair, in [0, 1].
        provider: ``cpu`` or ``cuda``.

    Raises:
        ModelError: torch or the weights are not here.
    """

    def __init__(self, extractor: str, min_probability: float = 0.1, provider: str = "cpu") -> None:
        self.extractor, self.min_probability = extractor, min_probability
        weights = find_weights(self.name)
        self.sha256, exported_card = weights.sha256, exported(weights)
        self._session = None if exported_card is None else open_session(exported_card, provider)
        if exported_card is None:
            opened = _of_transformers if extractor == "superpoint" else _of_kornia
            self._ask, self._place = opened(self.name, min_probability, provider)

    @property
    def name(self) -> str:
        """The name of its card."""
        return f"lightglue-{self.extractor}"

    def match(self, query: LocalFeatures, reference: LocalFeatures) -> Matches:
        """Return mutual pairs, each scored by its probability; empty when either photo has no keypoints."""
        if not len(query) or not len(reference):
            return NO_MATCHES
        if self._session is not None:
            return match_with_session(self._session, query, reference, self.min_probability)
        torch = require_module("torch", self.name)
        with torch.inference_mode():
            partner, score = self._ask(*(self._tensors(torch, photo) for photo in (query, reference)))
        forth = partner.cpu().numpy()[: len(query)]
        matched = np.flatnonzero(forth >= 0)
        return Matches(np.stack((matched, forth[matched].astype(np.int64)), 1), to_numpy(score)[matched])

    def match_many(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        """Return the matches with each of the references, one after the other: each may stop at a different layer."""
        return [self.match(query, reference) for reference in references]

    def _tensors(self, torch: Any, features: LocalFeatures) -> dict[str, Any]:
        """Return the network's inputs for one photo: keypoints (1, N, 2) in the frame, descriptors (1, N, D)."""
        keypoints = np.clip(centered(features, LIGHTGLUE_SIDE), 0, LIGHTGLUE_SIDE)
        return {
            "keypoints": torch.from_numpy(keypoints)[None].to(self._place),
            "descriptors": torch.from_numpy(features.descriptors)[None].to(self._place),
            "image_size": torch.tensor([[LIGHTGLUE_SIDE, LIGHTGLUE_SIDE]], device=self._place),
        }


def _of_kornia(name: str, min_probability: float, provider: str) -> tuple[MatchFunction, Any]:
    """Return a function that runs kornia's LightGlue, and its device."""
    network, _ = open_kornia(name, min_probability, provider)

    def ask(query: dict[str, Any], reference: dict[str, Any]) -> tuple[Any, Any]:
        output = network({"image0": query, "image1": reference})
        return output["matches0"][0], output["matching_scores0"][0]

    return ask, next(network.parameters()).device


def _of_transformers(name: str, min_probability: float, provider: str) -> tuple[MatchFunction, Any]:
    """Return a function that runs the LightGlue of transformers, and its device."""
    model, _ = open_transformers(name, "LightGlueForKeypointMatching", provider, filter_threshold=min_probability)
    padding = require_module("torch", name).nn.functional.pad

    def ask(query: dict[str, Any], reference: dict[str, Any]) -> tuple[Any, Any]:
        longest = max(photo["keypoints"].shape[1] for photo in (query, reference))

        def pair(*parts: Any) -> Any:
            return require_module("torch", name).stack([padding(p, (0, 0, 0, longest - p.shape[1]))[0] for p in parts])[
                None
            ]

        ones = [photo["keypoints"][..., :1] * 0 + 1 for photo in (query, reference)]
        output = model._match_image_pair(  # what its forward does once SuperPoint has spoken
            pair(query["keypoints"], reference["keypoints"]),
            pair(query["descriptors"], reference["descriptors"]),
            LIGHTGLUE_SIDE,
            LIGHTGLUE_SIDE,
            mask=pair(*ones)[..., 0],
        )
        return output[0].reshape(2, -1)[0], output[1].reshape(2, -1)[0]

    return ask, model.device
