"""A library's first scan beside the recognizer by itself, and a scan of what has not changed.

    python benchmarks/library.py DATA [--photos 60] [--files 20000] [--out benchmarks/results/library.json]

DATA is in the competition's layout; its train photos become the gallery, its test photos are scanned. Rounds alternate:
some photos are recognized by `Gallery.recognize`, and the same photos scanned as a new library, so that whatever else
the machine does befalls both. For the second figure --files small photos of different content are drawn, scanned once
without a gallery, and then scanned again by the command, start of Python included.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import machine
import numpy as np
from recognize import Data, build, photo

from veduta.library import Library

ROUNDS, SEED = 5, 0


def beside(gallery, photos, work):
    """Return photos a second of the recognizer, and of a first scan of the same photos, for each round."""
    rounds = []
    size = len(photos) // ROUNDS
    for number in range(ROUNDS):
        some = photos[number * size : (number + 1) * size]
        folder = work / f"round-{number}"
        folder.mkdir()
        for path in some:
            shutil.copy2(path, folder)

        def recognize(folder=folder):
            assert sum(1 for _ in gallery.recognize([folder])) == size

        def scan(folder=folder):
            with Library(folder) as library:
                assert library.scan(gallery).recognized == size

        taken = {}
        for name, what in (("recognize", recognize), ("scan", scan))[:: 1 if number % 2 else -1]:
            begun = time.perf_counter()
            what()
            taken[name] = size / (time.perf_counter() - begun)
        rounds.append({name: round(rate, 2) for name, rate in taken.items()})
        print(rounds[-1], flush=True)
    return rounds


def draw(folder, count):
    """Draw small photos, each with a content of its own, a thousand a folder."""
    rng = np.random.default_rng(SEED)
    for i in range(count):
        path = folder / f"{i // 1000:03}" / f"{i:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 255, (6, 8, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_CUBIC))


def again(folder, count):
    """Return seconds of the first scan of drawn photos, and of scans of the same by the command."""
    draw(folder, count)
    begun = time.perf_counter()
    with Library(folder) as library:
        library.scan(progress=lambda done, total: print(f"{done}/{total}", flush=True) if done % 2000 == 0 else None)
    first = time.perf_counter() - begun
    seconds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        command = [sys.executable, "-m", "veduta", "library", "scan", str(folder), "--format", "json"]
        told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        seconds.append(time.perf_counter() - begun)
        assert (told["unchanged"], told["looked_at"]) == (count, 0)
    return {"files": count, "first_s": round(first, 1), "again": machine.spread(seconds)}


def main():
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=int, default=60, help="photos a round")
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    report = {"machine": machine.describe(), "seed": SEED, "photos_a_round": options.photos}
    with tempfile.TemporaryDirectory(prefix="veduta-library-") as held:
        work = Path(held)
        data = Data(options.data, None)
        gallery, _ = build(data, work / "made")
        photos = [photo(options.data, "test", id) for id, _ in data.test]
        photos = [photos[i] for i in np.random.default_rng(SEED).permutation(len(photos))[: ROUNDS * options.photos]]
        with gallery:
            list(gallery.recognize(photos[:2]))  # the networks are loaded
            report["rounds"] = beside(gallery, photos, work)
        shares = [each["scan"] / each["recognize"] for each in report["rounds"]]
        report["share"] = {"median": round(float(np.median(shares)), 3), "all": [round(s, 3) for s in shares]}
        print(report["share"], flush=True)
        report["again"] = again(work / "drawn", options.files)
    print(json.dumps(report, indent=1))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
