"""Draw every picture of the README and of the pages, and compare those with the ones that are kept.

    python docs/pictures.py FOLDER                           # draw all into FOLDER
    python docs/pictures.py FOLDER --like docs/pictures      # and fail where a kept one shows something else

Kept pictures (docs/pictures) are what the README shows; ``make pictures`` draws them again. The album's and the page's
are taken by the tests that look at both in a browser; without Chromium the kept ones are copied.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image

ROOT = Path(__file__).parent.parent
SCRIPTS = {"match.webp": "demo/picture.py", "scale.webp": "benchmarks/scale_plots.py"}
TESTS = {
    "page.webp": "tests/web/test_page.py::test_a_photo_is_named_and_the_matching_points_are_shown",
    "album.webp": "tests/library/album/test_album.py::TestInABrowser::test_all_pictures_are_shown",
    "album-place.webp": "tests/library/album/test_album.py::TestInABrowser::test_all_pictures_are_shown",
    "album-map.webp": "tests/library/album/test_album.py::TestInABrowser::test_all_pictures_are_shown",
}
ALIKE = 12.0  # mean difference of 48 x 48 gray pixels, of 255: fonts and a few lines may differ, the contents may not


def draw(folder, kept):
    """Draw all pictures into a folder; a picture that cannot be drawn here is copied from the kept ones, and named."""
    folder.mkdir(parents=True, exist_ok=True)
    for script in SCRIPTS.values():
        subprocess.run([sys.executable, ROOT / script, folder], check=True)
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *dict.fromkeys(TESTS.values())],
        cwd=ROOT,
        env=os.environ | {"VEDUTA_PICTURES": str(folder)},
        check=True,
    )
    for name in TESTS:
        if not (folder / name).exists():
            print(f"{name}: not drawn, for want of a browser; the kept one stands in")
            shutil.copyfile(kept / name, folder / name)


def difference(one, other):
    """Return how far two pictures are apart: the mean difference of their gray pixels at 48 x 48, of 255."""
    small = [np.asarray(PIL.Image.open(path).convert("L").resize((48, 48)), np.float32) for path in (one, other)]
    return float(np.abs(small[0] - small[1]).mean())


def main():
    """Draw, and compare if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--like", type=Path, help="a folder of pictures that should show the same")
    options = parser.parse_args()
    draw(options.folder.resolve(), (options.like or ROOT / "docs" / "pictures").resolve())
    if options.like:
        apart = {name: difference(options.folder / name, options.like / name) for name in (*SCRIPTS, *TESTS)}
        print("; ".join(f"{name} {value:.1f}" for name, value in apart.items()))
        if old := [name for name, value in apart.items() if value > ALIKE]:
            raise SystemExit(f"{', '.join(old)} in {options.like} show something else by now: make pictures")


if __name__ == "__main__":
    main()
