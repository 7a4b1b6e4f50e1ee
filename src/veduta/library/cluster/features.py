"""Photos of a library that show the same place, found without a gallery: retrieval, verified geometry, grouping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from veduta.concurrency import in_order, one_blas_thread
from veduta.decision.candidates import distractor_similarity
from veduta.decision.model import shipped_decider
from veduta.errors import ImageError
from veduta.files import utf8
from veduta.geometry import HomographyVerifier
from veduta.images import load
from veduta.library.catalog_content import model_key
from veduta.library.cluster.cache import FeatureCache
from veduta.library.cluster.linkage import average_linkage
from veduta.library.cluster.pairs import NEIGHBORS, PhotoPairs, nearest_photos, pairs_of, score_pairs
from veduta.matching import make_matcher
from veduta.progress import VerbProgress
from veduta.protocols import Embedder, Extractor
from veduta.types import Failure, Float32, Float64, Int64, LocalFeatures

EMBEDDER, EXTRACTOR, MATCHER = "efficientnet-lite2-landmarks", "xfeat", "nearest"  # what the weights were fitted for
FEATURE_BATCH = 64  # photos whose pairs are verified and kept at once


@dataclass(frozen=True)
class GroupingModels:
    """The models that photos are grouped by.

    Attributes:
        embedder: photo to descriptor.
        extractor: photo to local features.
    """

    embedder: Embedder
    extractor: Extractor

    @property
    def embedding(self) -> str:
        """The key of the descriptors' model."""
        return model_key(self.embedder.name, self.embedder.sha256)

    @property
    def model(self) -> str:
        """The key of the models behind descriptors and local features."""
        return f"{self.embedding} {model_key(self.extractor.name, self.extractor.sha256)}"


def extract_features(
    cache: FeatureCache,
    models: GroupingModels,
    files: Mapping[str, str],
    max_memory: int,
    descriptors: Mapping[str, Float32] | None = None,
    progress: VerbProgress | None = None,
) -> list[Failure]:
    """Make the features of contents that have none yet, and return the failures.

    Args:
        cache: where they are kept, photo by photo, so that a run that was killed goes on.
        models: the models.
        files: sha256 -> a file with this content.
        max_memory: most bytes that decoding one photo may hold.
        descriptors: sha256 -> descriptor (D,) by the same embedder, where it is known.
        progress: called with photos done, photos in all, and ``looking``.
    """
    known, descriptors_by_content, failures = cache.appearances(), descriptors or {}, list[Failure]()
    waiting = [sha256 for sha256 in files if sha256 not in known]

    def extract(sha256: str) -> tuple[Float32, LocalFeatures] | Failure:
        try:
            image = load(files[sha256], name=utf8(files[sha256]), max_memory=max_memory)
        except ImageError as error:
            return Failure(utf8(files[sha256]), utf8(str(error)), error.code)
        descriptor = descriptors_by_content.get(sha256)
        return models.embedder.embed([image])[0] if descriptor is None else descriptor, models.extractor.extract(image)

    for done, (sha256, extracted) in enumerate(in_order(extract, waiting), 1):
        if isinstance(extracted, Failure):
            failures.append(extracted)
        else:
            cache.put_appearance(sha256, *extracted)
        if progress:
            progress(done, len(waiting), "looking")
    return failures


def find_groups(cache: FeatureCache, contents: Sequence[str], progress: VerbProgress | None = None) -> list[list[str]]:
    """Return sets of contents that show one place, the largest first, in each the one with the most links first.

    Args:
        cache: their features, and the pairs verified before.
        contents: sha256 of each, features known.
        progress: called with photos done, photos in all, and ``matching``.
    """
    contents = sorted(contents)
    if len(contents) < 2:
        return []
    descriptors = cache.descriptors(contents)
    neighbors = nearest_photos(descriptors, NEIGHBORS)
    a, b = pairs_of(neighbors)
    inliers = verify_pairs(cache, contents, a, b, progress)
    similarity = np.einsum("ij,ij->i", descriptors[a], descriptors[b]).astype(np.float32)
    pairs = PhotoPairs(a, b, similarity, inliers, np.ones(len(a), bool))
    nothing = distractor_similarity(descriptors, shipped_decider(EMBEDDER, EXTRACTOR, MATCHER).centers)
    scored, probabilities = score_pairs(pairs, descriptors, nothing, neighbors)
    places = average_linkage(len(contents), scored, probabilities)
    weight = _weights(len(contents), scored, probabilities, places)
    return [[contents[i] for i in sorted(members, key=lambda i: (-weight[i], contents[i]))] for members in places]


def _weights(count: int, pairs: PhotoPairs, chances: Float64, places: Sequence[Sequence[int]]) -> Float64:
    """Return (N,) how well each photo represents its place: inliers with its others, weighted by probability."""
    of = np.full(count, -1)
    for number, members in enumerate(places):
        of[members] = number
    inside = (of[pairs.a] == of[pairs.b]) & (of[pairs.a] >= 0)
    weight = np.zeros(count)
    for ends in (pairs.a, pairs.b):
        np.add.at(weight, ends[inside], (chances * np.minimum(pairs.inliers, 60))[inside])
    return weight


def verify_pairs(
    cache: FeatureCache, contents: Sequence[str], a: Int64, b: Int64, progress: VerbProgress | None
) -> Int64:
    """Return (P,) the inliers of each pair, those not known yet verified and kept in batches."""
    known = cache.pairs(MATCHER)
    waiting: dict[int, list[int]] = {}
    for i, j in zip(a.tolist(), b.tolist(), strict=True):
        if (contents[i], contents[j]) not in known:
            waiting.setdefault(i, []).append(j)
    verified: list[tuple[str, str, int]] = []
    with one_blas_thread():
        for done, (i, partners) in enumerate(_matched(cache, contents, waiting), 1):
            verified += [(contents[i], contents[j], count) for j, count in partners]
            if done % FEATURE_BATCH == 0 or done == len(waiting):
                cache.put_pairs(MATCHER, verified)
                known.update({(x, y): count for x, y, count in verified})
                verified = []
            if progress:
                progress(done, len(waiting), "matching")
    return np.array([known[contents[i], contents[j]] for i, j in zip(a.tolist(), b.tolist(), strict=True)], np.int64)


def _matched(
    cache: FeatureCache, contents: Sequence[str], waiting: Mapping[int, list[int]]
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield each photo with its partners and their inliers."""
    matcher, verifier = make_matcher(MATCHER, EXTRACTOR), HomographyVerifier()

    def gathered() -> Iterator[tuple[int, list[int], list[LocalFeatures]]]:
        for i, others in waiting.items():
            yield i, others, [cache.features(contents[j]) for j in (i, *others)]

    def verify(job: tuple[int, list[int], list[LocalFeatures]]) -> list[tuple[int, int]]:
        _, others, (query, *references) = job
        matches = matcher.match_many(query, references)
        counts = (verifier.verify(query, r, m).num_inliers for r, m in zip(references, matches, strict=True))
        return list(zip(others, counts, strict=True))

    for (i, _, _), counts in in_order(verify, gathered()):
        yield i, counts


def number_groups(
    places: Sequence[Sequence[str]], before: Mapping[int, Sequence[str]], last: int = 0
) -> dict[int, list[str]]:
    """Return number -> place, numbered like the earlier one with most photos in common, or anew.

    Args:
        places: contents of each.
        before: number -> contents, of the earlier ones.
        last: the largest number that was ever given.
    """
    of = {sha256: number for number, members in before.items() for sha256 in members}
    free, taken = max([last, *before]) + 1, set[int]()
    numbered: dict[int, list[str]] = {}
    for members in places:
        shared = Counter(of[sha256] for sha256 in members if sha256 in of)
        number = next((number for number, _ in shared.most_common() if number not in taken), None)
        if number is None:
            number, free = free, free + 1
        taken.add(number)
        numbered[number] = list(members)
    return numbered
