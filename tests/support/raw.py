"""A RAW photo: a DNG written by hand, so that every byte of it is known."""

import importlib.util
import io
import struct
from datetime import datetime

import numpy as np
import PIL.Image
import pytest

from support import exif_writer as tiff

needs_rawpy = pytest.mark.skipif(importlib.util.find_spec("rawpy") is None, reason="the extra [raw] is not installed")


PLACE, TAKEN = (-33.5, 151.25), datetime(2024, 5, 1, 12, 34, 56)  # noqa: DTZ001 - a camera's clock
RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 160, 60), (30, 60, 200), (230, 230, 230)


def quarters(width, height):
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = RED, GREEN
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = BLUE, WHITE
    return pixels


def small(width=640, height=480, **options):
    out = io.BytesIO()
    PIL.Image.fromarray(quarters(width, height)).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def mosaic(width, height):
    """What a sensor under red, green, green and blue sees of the quarters, as 16-bit numbers."""
    light = (quarters(width, height) / 255.0) ** 2.2 * 60000
    seen = light[:, :, 1]
    seen[0::2, 0::2], seen[1::2, 1::2] = light[0::2, 0::2, 0], light[1::2, 1::2, 2]
    return seen.astype("<u2").tobytes()


def dng(preview=None, *, orientation=1, width=640, height=480, bitmap=False, facts=True):
    """A DNG: the mosaic and the preview each in a directory of its own, the facts in the first."""

    def short(tag, *values):
        return tiff.numbers(tag, tiff.SHORT, values, "<")

    def long(tag, *values):
        return tiff.numbers(tag, tiff.LONG, values, "<")

    def byte(tag, *values):
        return tiff.numbers(tag, tiff.BYTE, values, "<")

    def rational(tag, *values):
        return tiff.numbers(tag, tiff.RATIONAL, values, "<")

    raw = mosaic(width, height)
    block = tiff.Tiff(b"II*\0\0\0\0\0" + raw)
    size = [long(0x100, width), long(0x101, height), long(0x116, height), long(0x117, len(raw)), long(0x111, 8)]
    kind = [long(0xFE, 0), short(0x102, 16), short(0x103, 1), short(0x106, 32803), short(0x115, 1)]
    filters = [short(0x828D, 2, 2), byte(0x828E, 0, 1, 1, 2), long(0xC61D, 65535)]
    block, sensor = block.with_directory([*size, *kind, *filters])
    parts = [sensor]
    if preview is not None:
        start, shape = len(block.data), (bitmap or PIL.Image.open(io.BytesIO(preview)).size)
        block = tiff.Tiff(block.data + preview + bytes(len(preview) % 2))
        size = [long(0x100, shape[0]), long(0x101, shape[1]), long(0x116, shape[1]), long(0x117, len(preview))]
        kind = [
            long(0xFE, 1),
            short(0x102, 8, 8, 8),
            short(0x103, 1 if bitmap else 7),
            short(0x106, 2 if bitmap else 6),
        ]
        block, part = block.with_directory([*size, *kind, short(0x115, 3), long(0x111, start)])
        parts.append(part)
    pointers = [long(0x14A, *parts)]
    if facts:
        block, shot = block.with_directory([tiff.text(0x9003, f"{TAKEN:%Y:%m:%d %H:%M:%S}")])
        sides = [byte(0, 2, 3, 0, 0), tiff.text(1, "S"), tiff.text(3, "E")]
        block, place = block.with_directory([*sides, rational(2, 33, 1, 30, 1, 0, 1), rational(4, 151, 1, 15, 1, 0, 1)])
        pointers += [long(0x8769, shot), long(0x8825, place)]
    matrix = tiff.Field(0xC621, 10, 9, struct.pack("<18i", *(v for i in range(9) for v in (int(i % 4 == 0), 1))))
    camera = [
        tiff.text(0x10F, "Veduta"),
        tiff.text(0x110, "Box"),
        tiff.text(0xC614, "Veduta Box"),
        short(0x112, orientation),
    ]
    version = [
        long(0xFE, 1),
        byte(0xC612, 1, 4, 0, 0),
        byte(0xC613, 1, 1, 0, 0),
        matrix,
        rational(0xC628, 1, 1, 1, 1, 1, 1),
    ]
    block, first = block.with_directory([*pointers, *camera, *version, short(0xC65A, 21)])
    return block.at(4, struct.pack("<I", first)).data
