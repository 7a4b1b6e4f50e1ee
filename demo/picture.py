"""Draw the picture at the top of the README: china.jpg (CC BY 2.0, danielbuechele) and a view made from it.

Run it after ``make demo``, which fetches the photo: ``.venv/bin/python demo/picture.py``.
"""

import tempfile
from pathlib import Path

import run

import veduta
from veduta.draw import encode
from veduta.images import load


def main():
    """Write docs/pictures/match.webp."""
    run.fetch()
    photo = run.PHOTOS / "china.jpg"
    out = run.HERE.parent / "docs" / "pictures" / "match.webp"
    with tempfile.TemporaryDirectory() as folder:
        view = Path(folder) / "a harder view, made.webp"
        view.write_bytes(encode(run.harder(load(photo).pixels, 3), "webp", 90))
        found = veduta.verify(view, photo, draw=out)
    print(f"{out}: {found.num_inliers} inliers")


if __name__ == "__main__":
    main()
