"""Descriptors of norm 1, and the answers of indexes to them."""

import numpy as np

from veduta.index import ExactIndex

DIM, K = 32, 30


def unit(rows):
    """Descriptors as a gallery has them: of norm 1, from half precision."""
    half = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)
    return half / np.linalg.norm(half, axis=1, keepdims=True)


def clustered(count, dim=DIM, seed=0, stream=0):
    """Photos of landmarks: directions in common, and their own; another stream has other photos of the same."""
    centers = np.random.default_rng(seed).normal(size=(400, dim))
    rng = np.random.default_rng([seed, 1, stream])
    return unit((centers[rng.integers(0, 400, count)] + 0.6 * rng.normal(size=(count, dim))).astype(np.float32))


def source(ids, rows, piece=1_000):
    """Return a function of the last id seen that yields (ids, descriptors) piece by piece, as `build` takes it."""

    def pieces(after):
        first = int(np.searchsorted(ids, after, side="right"))
        for start in range(first, len(ids), piece):
            yield ids[start : start + piece], rows[start : start + piece]

    return pieces


def exact(ids, rows):
    """Return an exact index of these descriptors."""
    index = ExactIndex(rows.shape[1])
    index.add(ids, rows)
    return index


def search_all(index, queries, k=K, among=None):
    """Return the answers to queries searched one by one, as numbers that can be compared bit for bit."""
    answers = [index.search(query[None], k, among) for query in queries]
    return [(s[0].tolist(), i[0].tolist()) for s, i in answers]


def recall(index, truth, queries):
    """Return the share of the true neighbors that an index returns."""
    pairs = zip(search_all(index, queries), search_all(truth, queries), strict=True)
    return np.mean([len(set(a[1]) & set(b[1])) / len(b[1]) for a, b in pairs])
