"""Small photos with the time and place a camera would have written."""

from datetime import datetime
from pathlib import Path

import PIL.Image

from support import world


def picture(path, seed=0, taken=None, position=None, pixels=None):
    """Write a small photo, of a facade unless told otherwise, with the time and place a camera would have written."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pixels = world.facade(seed, 240, 180) if pixels is None else pixels
    PIL.Image.fromarray(pixels).save(path, quality=90, exif=camera(taken, position))
    return Path(path)


def camera(taken=None, position=None):
    """EXIF as a camera writes it."""
    exif = PIL.Image.Exif()
    if taken:
        exif.get_ifd(0x8769)[0x9003] = taken.strftime("%Y:%m:%d %H:%M:%S")
    if position:
        sides = "NS"[position[0] < 0], "EW"[position[1] < 0]
        for i, (side, degrees) in enumerate(zip(sides, position, strict=True)):
            exif.get_ifd(0x8825)[1 + 2 * i] = side
            exif.get_ifd(0x8825)[2 + 2 * i] = (abs(degrees), 0.0, 0.0)
    return exif


def at(day, second):
    """A moment of January 2020, by a camera's clock."""
    return datetime(2020, 1, day, 12, 0, second)  # noqa: DTZ001


def grouped_library(folder, sizes, seed=0):
    """Make a library of groups of these sizes, photos named by their number, and return its folder.

    The groups are written into the catalog: to find them would take seconds, and is tested elsewhere.
    """
    from veduta.errors import LibraryError
    from veduta.library import Library
    from veduta.library.catalog import CATALOG_FILE, STATE_FOLDER
    from veduta.sqlite import Database

    groups = [group for group, size in enumerate(sizes, 1) for _ in range(size)]
    for number in range(len(groups)):
        position = (45.4 + number / 100, 12.3)
        picture(folder / f"{number}.jpg", seed=seed + number, position=position, taken=at(1 + number, 0))
    with Library(folder) as library:
        library.scan()
        contents = {asset.file.name: asset.sha256 for asset in library.assets()}
    db = Database(folder / STATE_FOLDER / CATALOG_FILE, lambda action, error, file: LibraryError(str(error)))
    for number, group in enumerate(groups):
        db.write("INSERT INTO member VALUES (?, ?, ?)", (contents[f"{number}.jpg"], group, number))
    db.close()
    return folder
