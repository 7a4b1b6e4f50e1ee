"""Perceptual hashes: 64 bits of a picture, few of which change with compression and size.

Two kinds, for their users need different things: the difference hash is cheap enough for every photo of a library, the
DCT hash tells two photos of one place from two copies of one photo better.
"""

from __future__ import annotations

import cv2
import numpy as np

from veduta.types import UInt8

SIDE = 8  # both hashes have SIDE x SIDE bits
DCT_SIDE = 32  # pixels of the picture whose lowest frequencies are hashed


def difference_hash(gray: UInt8) -> bytes:
    """Return the difference hash, eight bytes, of (H, W) gray pixels.

    Each bit says whether brightness rises from one of 9 x 8 cells to the next (dHash; N. Krawetz, "Kind of Like That",
    2013).
    """
    small = cv2.resize(gray, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes()


def perceptual_hash(pixels: UInt8) -> UInt8:
    """Return the DCT hash, (8,) uint8, of (H, W, 3) uint8 RGB pixels.

    Each bit is the sign of one of the 64 lowest frequencies of a small gray picture, from their median (pHash; C.
    Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010).
    """
    gray = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (DCT_SIDE, DCT_SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(gray.astype(np.float32))[:SIDE, :SIDE].ravel()
    return np.packbits(low > np.median(low[1:]))  # the first is the mean brightness, which says nothing
