"""The only place that decodes a photo: a file or its bytes in, upright RGB pixels or one ImageError out.

The content decides the format, and each format has its one decoder, called directly. That keeps Pillow's rarer plugins
(PostScript runs a program) out of reach, and its limits, which are global, out of the way of ours: nothing here changes
the state of the process, so any number of threads may load at once.
"""

from veduta.images.decode import check_limits, decoding_bytes, from_array, load
from veduta.images.folder import SUFFIXES, walk
from veduta.images.photo_bytes import RAW_SUFFIXES, PhotoBytes, read_bytes
from veduta.images.source import as_photos, checked, load_photo

__all__ = [
    "RAW_SUFFIXES",
    "SUFFIXES",
    "PhotoBytes",
    "as_photos",
    "check_limits",
    "checked",
    "decoding_bytes",
    "from_array",
    "load",
    "load_photo",
    "read_bytes",
    "walk",
]
