"""One of each component, loaded once per process, and the geometry the tests know the truth by."""

from dataclasses import replace
from functools import cache

import numpy as np

from support import world
from veduta.cascade import CascadeSettings
from veduta.decision.model import shipped_decider
from veduta.embedders import make_embedder
from veduta.features import make_extractor
from veduta.geometry import HomographyVerifier
from veduta.images import from_array
from veduta.index import ExactIndex
from veduta.landmarks import Landmark
from veduta.matching import make_matcher
from veduta.recognizer import Components, Recognizer, ReferenceSet
from veduta.types import LocalFeatures, Matches

embedder = cache(make_embedder)
extractor = cache(make_extractor)
matcher = cache(make_matcher)


def clear():
    """Let all components and what they found go."""
    for cached in (embedder, extractor, matcher, seen, extracted):
        cached.cache_clear()


def stages(matching="nearest"):
    return Components(embedder(), extractor("xfeat"), matcher(matching), HomographyVerifier())


@cache
def seen(seed, strength=1.0):
    """A facade seen another way, and the same facade straight on: two photos, and the homography between them."""
    view = world.view(world.facade(seed), seed, strength)
    return from_array(view.pixels), from_array(world.facade(seed)), np.linalg.inv(view.homography)


@cache
def extracted(name, seed, strength=1.0):
    """The local features of both photos of `seen`."""
    query, reference, _ = seen(seed, strength)
    return extractor(name).extract(query), extractor(name).extract(reference)


def references(photos):
    """The references of {reference id: (landmark id, image)}, all in memory."""
    index, labels, features, counts = ExactIndex(embedder().dim), {}, {}, {}
    for number, (reference, (landmark, image)) in enumerate(photos.items()):
        index.add(np.array([number]), embedder().embed([image]))
        labels[number] = (reference, landmark)
        local = extractor("xfeat").extract(image)
        features[number] = local, np.zeros(len(local), np.uint8)
        counts[landmark] = counts.get(landmark, 0) + 1
    landmarks = {landmark: Landmark(landmark, landmark.title()) for _, landmark in labels.values()}
    return ReferenceSet(index, lambda numbers: labels, landmarks, among(features), counts)


def without(shelf, reference):
    """A shelf one of whose references has just been removed."""
    labels = shelf.labels(range(len(shelf.index)))
    return replace(
        shelf,
        features=lambda numbers: {n: f for n, f in shelf.features(numbers).items() if labels[n][0] != reference},
    )


def among(stored):
    """Return the function a shelf takes for local features, of those in a dict by number."""
    return lambda numbers: {number: stored[number] for number in numbers if number in stored}


def recognizer(shelf, matching="nearest", floor=0.5, decider=None, **effort):
    """A recognizer over these references, with the decision that ships unless another is given."""
    decider = decider or shipped_decider(embedder().name, "xfeat", matching)
    return Recognizer(stages(matching), shelf, decider, CascadeSettings(**effort), floor)


def carry(H, xy):
    """(N, 2) points moved by a (3, 3) homography."""
    moved = np.c_[xy, np.ones(len(xy))] @ np.asarray(H).T
    return moved[:, :2] / moved[:, 2:]


def distance(a, b):
    """How far each of (N, 2) points is from its partner."""
    return np.hypot(*(np.asarray(a, float) - b).T)


def corners(size):
    """The (4, 2) outermost pixels of a photo of this width and height."""
    width, height = size
    return np.array([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)], float)


def points(xy, size=(640, 480), dim=8):
    """Local features at these places; their descriptors say nothing."""
    xy = np.asarray(xy, np.float32).reshape(-1, 2)
    descriptors = np.full((len(xy), dim), dim**-0.5, np.float32)
    return LocalFeatures(xy, descriptors, np.ones(len(xy), np.float32), size)


def paired(n):
    """Matches of the first n keypoints with the first n."""
    return Matches(np.repeat(np.arange(n)[:, None], 2, axis=1), np.ones(n, np.float32))
