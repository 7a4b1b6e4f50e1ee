"""One drawn picture in every format, turned as EXIF can say, but for two HEICs: nothing at hand can write that format.

Those are `drawn()` saved by pillow-heif 1.8.1 with EXIF orientations 6 and 5, which it turns into an `irot`
box and, for the second, an `imir` box; patching the boxes gives all eight.
"""

import base64
import io

import PIL.Image
from PIL import ImageDraw

TURNED_HEIC = base64.b64decode("""
AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9j
AAAAAERAAAIAAQAAAAAB7AABAAAAAAAAAMYAAgAAAAACsgABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAA
ABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNg
AAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZE
AcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AA
AAACAAAAEHBpeGkAAAAAAwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEAAQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAA
APJtZGF0AAAAwigBrwngITip//It3/8THZe5lyeVp79Y//rpvvItv/ksbdH6Nrzf+HIf03v9+VxMLJ8XaY8CeHwVp7qKa/vLpY1g6IbDPDDw
muv4VEDzPqwgBF47FWA9muezhx84a6z2UetWvsfAWGFIFhBMYBNvHSfNP3Ib9DIROStNQDYcfJQbXOdmyoR5/Eoa+FrS6v4bJgaV6AaYbARF
HL1KORkIGkKsb3hWgiCW8IFgy+AqL80x5lhbfWvakCSQYLMnv4S3MVPSAAAABkV4aWYAAE1NACoAAAAIAAEBEgADAAAAAQAGAAAAAAAA
""")
MIRRORED_HEIC = base64.b64decode("""
AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAdJtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9j
AAAAAERAAAIAAQAAAAAB9gABAAAAAAAAAMYAAgAAAAACvAABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAA
ABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABEWlwcnAAAADvaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNg
AAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZE
AcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AA
AAACAAAAEHBpeGkAAAAAAwgICAAAAAlpcm90AwAAAAlpbWlyAQAAABppcG1hAAAAAAAAAAEAAQeBAgMFhIaHAAAAGmlyZWYAAAAAAAAADmNk
c2MAAgABAAEAAADybWRhdAAAAMIoAa8J4CE4qf/yLd//Ex2XuZcnlae/WP/66b7yLb/5LG3R+ja83/hyH9N7/flcTCyfF2mPAnh8Fae6imv7
y6WNYOiGwzww8Jrr+FRA8z6sIAReOxVgPZrns4cfOGus9lHrVr7HwFhhSBYQTGATbx0nzT9yG/QyETkrTUA2HHyUG1znZsqEefxKGvha0ur+
GyYGlegGmGwERRy9SjkZCBpCrG94VoIglvCBYMvgKi/NMeZYW31r2pAkkGCzJ7+EtzFT0gAAAAZFeGlmAABNTQAqAAAACAABARIAAwAAAAEA
BQAAAAAAAA==
""")
T = PIL.Image.Transpose
STORED = {  # how an upright picture is turned to be stored under each EXIF orientation
    1: None,
    2: T.FLIP_LEFT_RIGHT,
    3: T.ROTATE_180,
    4: T.FLIP_TOP_BOTTOM,
    5: T.TRANSPOSE,
    6: T.ROTATE_90,
    7: T.TRANSVERSE,
    8: T.ROTATE_270,
}
# format -> how to save it, and how far a channel may then be off on average
FORMATS = {
    "JPEG": ({"quality": 95, "subsampling": 0}, 2),
    "PNG": ({}, 0),
    "WEBP": ({"lossless": True}, 0),
    "AVIF": ({"quality": 90, "subsampling": "4:4:4"}, 2),
    "TIFF": ({}, 0),
    "GIF": ({}, 0),
    "BMP": ({}, 0),
}
WITH_EXIF = ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"]


def drawn(width=64, height=48):
    """Four quarters of four colors, so that each of the eight orientations looks different."""
    picture = PIL.Image.new("RGB", (width, height), (230, 230, 230))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, width // 2 - 1, height // 2 - 1), fill=(220, 30, 30))
    draw.rectangle((width // 2, 0, width - 1, height // 2 - 1), fill=(30, 160, 60))
    draw.rectangle((0, height // 2, width // 2 - 1, height - 1), fill=(30, 60, 200))
    return picture


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def with_exif(picture, kind, orientation, **options):
    exif = PIL.Image.Exif()
    exif[0x010F] = "Veduta"
    exif[0x0112] = orientation
    stored = picture.transpose(STORED[orientation]) if STORED[orientation] is not None else picture
    return encoded(stored, kind, exif=exif, **FORMATS[kind][0], **options)


def heic(turns=0, *, mirrored=False):
    """The drawn HEIC that its boxes turn left this often, by 90 degrees, and then mirror left to right."""
    return patched(MIRRORED_HEIC if mirrored else TURNED_HEIC, b"irot", turns)


def patched(data, box, value):
    place = data.index(box) + 4
    return data[:place] + bytes([value]) + data[place + 1 :]
