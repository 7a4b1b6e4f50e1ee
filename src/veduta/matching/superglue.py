"""SuperGlue: the seed system's matcher, attention and optimal transport (Sarlin et al., CVPR 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from veduta.matching.mutual import NO_MATCHES, centered, pad
from veduta.models.torch_models import open_transformers, require_module, to_numpy
from veduta.types import LocalFeatures, Matches

SUPERGLUE_SIDE = 1024.0  # of the square frame both photos are seen in; what it is makes no difference


class SuperGlue:
    """SuperGlue as in ``transformers``, run by torch. Its weights are for non-commercial research only.

    Args:
        min_probability: least probability of a pair, in [0, 1]; the notebook's 0.2.
        iterations: of Sinkhorn's algorithm; the notebook's 150.
        provider: ``cpu`` or ``cuda``.

    Raises:
        ModelError: torch or the weights are not here.
    """

    def __init__(self, min_probability: float = 0.2, iterations: int = 150, provider: str = "cpu") -> None:
        self.min_probability, self.iterations = min_probability, iterations
        changes = {"matching_threshold": min_probability, "sinkhorn_iterations": iterations}
        self._model, weights = open_transformers(self.name, "SuperGlueForKeypointMatching", provider, **changes)
        self.sha256 = weights.sha256

    @property
    def name(self) -> str:
        """The name of its card."""
        return "superglue"

    def match(self, query: LocalFeatures, reference: LocalFeatures) -> Matches:
        """Return mutual pairs, each scored by its probability; empty when either photo has no keypoints."""
        return self.match_many(query, [reference])[0]

    def match_many(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        """Return the matches with each of the references, all of them looked at together."""
        present = [i for i, reference in enumerate(references) if len(query) and len(reference)]
        matched = [NO_MATCHES] * len(references)
        if present:
            for i, matches in zip(present, self._ask(query, [references[i] for i in present]), strict=True):
                matched[i] = matches
        return matched

    def _ask(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        torch = require_module("torch", self.name)
        photos = [photo for reference in references for photo in (query, reference)]
        longest = max(map(len, photos))

        def batch(rows: list[np.ndarray]) -> object:
            padded = pad(rows, longest)
            shape = len(references), 2, *padded.shape[1:]
            return torch.from_numpy(padded.reshape(shape)).to(self._model.device)

        with torch.inference_mode():
            output = self._model._match_image_pair(  # what its forward does once SuperPoint has spoken
                batch([centered(photo, SUPERGLUE_SIDE) for photo in photos]),
                batch([photo.descriptors for photo in photos]),
                batch([photo.scores for photo in photos]),
                SUPERGLUE_SIDE,
                SUPERGLUE_SIDE,
                mask=batch([np.ones(len(photo), np.float32) for photo in photos]),
            )
        partners, scores = output[0][:, 0].cpu().numpy(), to_numpy(output[1][:, 0])
        return [_pairs(*row, len(query)) for row in zip(partners, scores, strict=True)]


def _pairs(partner: np.ndarray, score: np.ndarray, length: int) -> Matches:
    """Return matches of (N,) partners, -1 for none, of which the first `length` are no padding."""
    matched = np.flatnonzero(partner[:length] >= 0)
    return Matches(np.stack((matched, partner[matched].astype(np.int64)), 1), score[matched])
