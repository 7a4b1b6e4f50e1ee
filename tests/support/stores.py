"""Entries of a store, made of random numbers."""

import hashlib

import numpy as np

from veduta.gallery.store import NewReference
from veduta.landmarks import Landmark, Reference
from veduta.types import LocalFeatures


def unit(rng, *shape):
    vectors = rng.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def features(rng, n=5, dim=64, size=(480, 360)):
    places = rng.uniform(-0.5, np.array(size) - 0.5, (n, 2)).astype(np.float32)
    return LocalFeatures(places, unit(rng, n, dim), np.sort(rng.random(n, np.float32))[::-1].copy(), size)


def entry(content, landmark="duomo", id=None, **parts):
    """Return the entry of a photo with this content, an int."""
    rng = np.random.default_rng(content)
    sha256 = hashlib.sha256(str(content).encode()).hexdigest()
    parts = {"descriptor": unit(rng, 32), "features": features(rng), "thumbnail": b"picture %d" % content} | parts
    return NewReference(Reference(id or f"{content}.jpg", landmark, f"/photos/{content}.jpg", sha256), **parts)


def put(store, *entries):
    return store.add([Landmark(e.reference.landmark) for e in entries], entries)
