"""Small ICC profiles of color spaces that cameras write: three primaries, or gray, and one gamma."""

import struct

WHITE = 0.9642, 1.0, 0.8249  # D50, as profiles have it
P3 = (0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841)
ADOBE = (0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)
PROPHOTO = (0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249)


def rgb(primaries, gamma, name=b"test"):
    """Return a profile of RGB with these primaries, as XYZ each."""
    tags = {
        tag: b"XYZ \0\0\0\0" + _fixed(*xyz) for tag, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)
    }
    return profile(b"RGB ", tags | {tag: curve(gamma) for tag in (b"rTRC", b"gTRC", b"bTRC")}, name)


def profile(space, tags, name=b"test"):
    """Return a profile of a color space, with its tags but for white and name."""
    text = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name + bytes(79)
    parts = {b"wtpt": b"XYZ \0\0\0\0" + _fixed(*WHITE), b"desc": text + bytes(-len(text) % 4), **tags}
    place, table, body = 128 + 4 + 12 * len(parts), b"", b""
    for tag, part in parts.items():
        table += tag + struct.pack(">II", place + len(body), len(part))
        body += part
    head = struct.pack(">I", place + len(body)) + b"\0\0\0\0\2\x20\0\0mntr" + space + b"XYZ " + bytes(12) + b"acsp"
    return (head.ljust(68, b"\0") + _fixed(*WHITE)).ljust(128, b"\0") + struct.pack(">I", len(parts)) + table + body


def curve(gamma):
    """Return the tag of a curve that is one power."""
    return b"curv\0\0\0\0\0\0\0\1" + struct.pack(">H", round(gamma * 256)) + b"\0\0"


def _fixed(*numbers):
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)
