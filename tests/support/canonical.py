"""Inputs made of whole numbers alone, the same on every machine, and what torch once answered to them.

`data/record_canonical.py` writes `data/canonical.json` from the torch modules the shipped files were exported from;
the tests hold the files to it where torch is not installed.
"""

import json
from pathlib import Path

import numpy as np

FILE = Path(__file__).parents[1] / "data" / "canonical.json"

# height, width, seed; sizes that the classes under test pass on unchanged.
EMBEDDED = [(384, 384, 1), (320, 448, 2), (448, 320, 3)]
EXTRACTED = (256, 320, 4)
PAIRED = 128  # keypoints of each of two crops of one picture
PHOTO = (1000, 800)  # width and height in which the keypoints of `features` lie


def recorded():
    return json.loads(FILE.read_text("utf-8"))


def scattered(count, seed):
    """`count` whole numbers below 2**16 that follow no pattern: SplitMix64 (Steele et al., OOPSLA 2014)."""
    z = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(seed * 1_000_003)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(48)).astype(np.int64)


def picture(height, width, seed):
    """Blocks of many sizes and colors on top of each other, (H, W, 3) uint8: corners for a detector to find."""
    mixed = np.zeros((height, width, 3), np.int64)
    for layer, (side, weight) in enumerate([(61, 4), (23, 4), (11, 2), (5, 1)]):
        rows, columns = -(-height // side), -(-width // side)
        colors = scattered(rows * columns * 3, 10 * seed + layer).reshape(rows, columns, 3) >> 8
        mixed += weight * colors.repeat(side, 0).repeat(side, 1)[:height, :width]
    return (mixed // 11).astype(np.uint8)


def crops(seed=5):
    """Two (256, 320, 3) cuttings of one picture, and the (x, y) by which the second is off the first."""
    whole = picture(288, 384, seed)
    return whole[:256, :320], whole[24:280, 40:360], (40, 24)


def features(seed=6, count=160):
    """Keypoints (N, 2) and unit descriptors (N, 64) of two made-up photos; three in four have a partner.

    Returns keypoints, descriptors, keypoints, descriptors.
    """
    xy = np.stack([scattered(count, seed) % 1000, scattered(count, seed + 1) % 800], 1)
    raw = scattered(count * 64, seed + 2).reshape(count, 64) - 2**15
    shaken = raw + (scattered(count * 64, seed + 3).reshape(count, 64) - 2**15) // 16
    moved = xy * 9 // 10 + 30
    order = np.argsort(scattered(count, seed + 4), kind="stable")
    strangers = order[: count // 4]
    shaken[strangers] = raw[strangers][:, ::-1]
    return xy, unit(raw), moved[order], unit(shaken[order])


def unit(rows):
    """Whole-numbered (N, D) rows made float32 of norm 1."""
    return (rows / np.sqrt((rows * rows).sum(1, keepdims=True))).astype(np.float32)
