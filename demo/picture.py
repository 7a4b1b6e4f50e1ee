"""Draw the picture at the top of the README: china.jpg (CC BY 2.0, danielbuechele) and a view made from it.

``make pictures`` runs it, or ``.venv/bin/python demo/picture.py [FOLDER]``.
"""

import sys
import tempfile
from pathlib import Path

import run

import veduta
from veduta.images import load
from veduta.viz import encode


def main(folder=run.HERE.parent / "docs" / "pictures"):
    """Write match.webp into a folder."""
    run.fetch()
    photo, out = run.PHOTOS / "china.jpg", Path(folder) / "match.webp"
    with tempfile.TemporaryDirectory() as scratch:
        view = Path(scratch) / "a harder view, made.webp"
        view.write_bytes(encode(run.harder(load(photo).pixels, 3), "webp", 90))
        found = veduta.verify(view, photo, draw=out)
    print(f"{out}: {found.num_inliers} inliers")


if __name__ == "__main__":
    main(*sys.argv[1:2])
