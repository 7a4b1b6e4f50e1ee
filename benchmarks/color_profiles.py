"""What color profiles do to recognition: photos in wide color spaces, with their profile and with it taken away.

    python benchmarks/color_profiles.py DATA [--photos 150] [--out FILE]

DATA is in the competition's layout. Each test photo of a landmark is converted from sRGB to a wider space by
littleCMS, as a camera would have written it, and looked up among the training photos by its descriptor: as it was,
with the profile in the file, and without it, which is how photos were read before profiles counted. References stay
in sRGB.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
from machine import describe
from PIL import ImageCms

from veduta.gallery import Gallery
from veduta.images import load

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support import icc

SPACES = {
    "Display P3": icc.rgb(icc.P3, 2.2),
    "Adobe RGB": icc.rgb(icc.ADOBE, 2.2),
    "ProPhoto RGB": icc.rgb(icc.PROPHOTO, 1.8),
}


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def photo(data: Path, split: str, id: str) -> Path:
    """Return the path of a photo in the competition's layout."""
    return data / split / id[0] / id[1] / id[2] / f"{id}.jpg"


def widened(path: Path, profile: bytes) -> tuple[bytes, bytes]:
    """Return a photo converted to a wider color space, with its profile and without."""
    with PIL.Image.open(path) as opened:
        target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        wide = ImageCms.profileToProfile(opened.convert("RGB"), ImageCms.createProfile("sRGB"), target)
    files = []
    for more in ({"icc_profile": profile}, {"icc_profile": None}):
        out = io.BytesIO()
        wide.save(out, "JPEG", quality=95, **more)
        files.append(out.getvalue())
    return files[0], files[1]


def main() -> None:
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=int, default=150, help="test photos of landmarks")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    data = options.data
    queries = [r for r in rows(data / "test_solution.csv") if r["landmarks"]][: options.photos]
    train = rows(data / "train.csv")
    with tempfile.TemporaryDirectory() as folder, Gallery.create(Path(folder) / "gallery") as gallery:
        embed = gallery.recognizer().embed
        references = np.stack([embed(load(photo(data, "train", r["id"]))) for r in train])
        labels = np.array([r["landmark_id"] for r in train])
        plain = np.stack([embed(load(photo(data, "test", r["id"]))) for r in queries])

        def judged(name: str, profile: str, descriptors: np.ndarray) -> dict[str, object]:
            nearest = labels[(descriptors @ references.T).argmax(1)]
            right = [label in r["landmarks"].split() for label, r in zip(nearest, queries, strict=True)]
            cosines = (descriptors * plain).sum(1)
            figures = {"right": sum(right), "cosine_median": round(float(np.median(cosines)), 4)}
            return {"space": name, "profile": profile, **figures, "cosine_least": round(float(cosines.min()), 4)}

        table = [judged("sRGB", "none", plain)]
        for name, profile in SPACES.items():
            files = [widened(photo(data, "test", r["id"]), profile) for r in queries]
            for column, told in enumerate(("honored", "ignored")):
                table.append(judged(name, told, np.stack([embed(load(file[column])) for file in files])))
    print(f"{'space':14}{'profile':10}{'right':>8}{'cosine, median':>16}{'least':>8}")
    for row in table:
        print(f"{row['space']:14}{row['profile']:10}{row['right']:8}{row['cosine_median']:16}{row['cosine_least']:8}")
    if options.out:
        result = {"machine": describe(), "photos": len(queries), "references": len(train), "rows": table}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
