"""The similarity that every index reports: one number for a pair, whatever else the index holds."""

from __future__ import annotations

from typing import Any

import faiss as stubbed
import numpy as np

from veduta.types import Float32

faiss: Any = stubbed  # whose stubs know what C++ takes, not what its Python wrappers take
TIE_MARGIN = 16  # neighbors asked for beyond k, so that equal similarities at the edge are ordered by id
COSINE_ROWS = 4_096  # rows widened at a time
CLOSE = 1e-5  # single precision may be wrong by less than this, for any order in which products are added up


def cosines(rows: Float32, query: Float32) -> Float32:
    """Return the inner products (n,) of rows (n, D) and a query (D,), summed in double precision.

    faiss sums in an order that depends on how much there is to compare, and its last digits with it.
    """
    values, wide = np.empty(len(rows), np.float32), query.astype(np.float64)
    for start in range(0, len(rows), COSINE_ROWS):
        piece = rows[start : start + COSINE_ROWS].astype(np.float64)
        values[start : start + COSINE_ROWS] = np.einsum("nd,d->n", piece, wide)
    return values


def roughly(rows: Float32, query: Float32) -> Float32:
    """Return the same (n,) in single precision: for choosing.

    Not by BLAS, whose threads go on spinning for a while, on the cores that the next step needs.
    """
    values = np.empty(len(rows), np.float32)
    arrays = values, np.ascontiguousarray(query), np.ascontiguousarray(rows)
    faiss.fvec_inner_products_ny(*map(faiss.swig_ptr, arrays), rows.shape[1], len(rows))
    return values
