"""Labels to write as metadata, and exiftool, which knows the standards better than we do, as a witness."""

import json
import shutil
import subprocess

import pytest

from veduta.images import PhotoBytes, formats
from veduta.images.metadata import read_metadata
from veduta.landmarks import Landmark
from veduta.library.model import Label

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")

EIFFEL = Label(
    Landmark("Q243 & co", "Eiffel & <Tower> – ”é”", 48.858222, 2.2945, "https://www.wikidata.org/wiki/Q243"),
    0.9341,
    "veduta",
    "France",
)
OPERA = Label(Landmark("opera", "Sydney Opera House", -33.856784, 151.215297), 1.0, "person", "Australia")
NOWHERE = Label(Landmark("x", "Somewhere"), 0.6, "veduta")
FILE_FACTS = ("SourceFile", "ExifTool:", "System:", "File:", "Composite:")


def exiftool(*arguments):
    command = ["exiftool", "-config", "", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True, timeout=60, encoding="utf-8").stdout


def complaints(path):
    """Return the faults exiftool reports of a file, one line each."""
    lines = exiftool("-validate", "-warning", "-error", "-a", path).splitlines()
    return [line for line in lines if line.split(":")[1].strip() != "OK"]


def tags(path):
    """Return the tags of a file by group and name, but for those of the file itself."""
    (fields,) = json.loads(exiftool("-json", "-struct", "-n", "-G1", "-a", "-u", path))
    return {tag: value for tag, value in fields.items() if not tag.startswith(FILE_FACTS)}


def stored_position(photo):
    """Return the position in a photo, given as bytes or a path, whoever wrote it."""
    data = photo if isinstance(photo, bytes) else photo.read_bytes()
    said = read_metadata(data, formats.identify(PhotoBytes.of(data)))
    return said.position or said.estimate
