"""Random reads of local features from a large gallery: thirty references at once, from disk and from memory.

    python benchmarks/features_at_scale.py [--references 200000] [--out benchmarks/results/features_at_scale.json]

Layouts compared in one run, each with the same packed features: SQLite with pages of several sizes, and one flat file
whose offsets are in memory; read one row after another, all in one query, or dealt to several connections or threads.
Two sizes of features: as extracted (512 keypoints), and as kept once other photos have confirmed some. Before a cold
read the file's pages are dropped from the system's cache. `gallery` is `Store.features_of`, which is what recognizing
calls, with unpacking. What random reads of the disk itself cost is measured beside.
"""

import argparse
import json
import os
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import machine
import numpy as np

from veduta.concurrency import keep_memory
from veduta.features_codec import pack_features, unpack_features
from veduta.gallery.store import GALLERY_FILE, Store
from veduta.types import LocalFeatures

READ, ROUNDS, SEED, READERS = 30, 100, 0, 8
SIZES = {"512 keypoints": 512, "useful ones only": 320}
PAGES = (4_096, 16_384, 32_768, 65_536)
QUERY = """SELECT f.row, f.features, u.counts FROM features AS f LEFT JOIN usefulness AS u ON u.row = f.row
           WHERE f.row IN ({})"""


def packed(keypoints):
    """Return the bytes of a photo's features, drawn."""
    rng = np.random.default_rng(SEED)
    descriptors = rng.normal(size=(keypoints, 64)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    places = rng.uniform(0, 430, (keypoints, 2)).astype(np.float32)
    return pack_features(LocalFeatures(places, descriptors, rng.random(keypoints).astype(np.float32), (576, 432)))


def fill(db, count, content, keypoints):
    """Write the features of `count` references, and how many photos confirm each keypoint."""
    for start in range(1, count + 1, 2_000):
        rows = range(start, min(start + 2_000, count + 1))
        db.executemany("INSERT INTO features VALUES (?, ?)", ((row, content) for row in rows))
        db.executemany("INSERT INTO usefulness VALUES (?, ?, 1)", ((row, bytes(keypoints)) for row in rows))
    db.commit()


def table(path, page, count, content, keypoints):
    """Write a SQLite file with nothing but features."""
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA page_size = {page}")
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("PRAGMA synchronous = OFF")
    db.execute("CREATE TABLE features (row INTEGER PRIMARY KEY, features BLOB NOT NULL) STRICT")
    db.execute("CREATE TABLE usefulness (row INTEGER PRIMARY KEY, counts BLOB NOT NULL, compared INTEGER) STRICT")
    fill(db, count, content, keypoints)
    db.close()


def gallery(path, count, content, keypoints):
    """Make a gallery of references that have nothing but features worth reading."""
    settings = {"embedder": {"name": "-"}, "extractor": {"name": "-"}, "veduta": "0"}
    Store.create(path, settings).close()
    db = sqlite3.connect(path / GALLERY_FILE)
    db.execute("PRAGMA synchronous = OFF")
    db.execute("PRAGMA foreign_keys = OFF")
    db.execute("INSERT INTO landmark (id, name) VALUES ('l', 'l')")
    for start in range(1, count + 1, 2_000):
        rows = [(row, f"{row}.jpg", f"{row:064x}") for row in range(start, min(start + 2_000, count + 1))]
        db.executemany(
            "INSERT INTO reference (row, id, landmark, photo, sha256, descriptor) VALUES (?, ?, 'l', '', ?, x'')", rows
        )
    fill(db, count, content, keypoints)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.close()


def drop(path):
    """Drop a file's pages from the system's cache."""
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


def measure(path, count, read):
    """Return milliseconds of reading READ random references, cold and warm, in turns."""
    rng, times = np.random.default_rng(SEED), {"cold": [], "warm": []}
    read([1])
    for _ in range(ROUNDS):
        rows = rng.integers(1, count + 1, READ).tolist()
        drop(path)
        for kind in ("cold", "warm"):
            start = time.perf_counter()
            read(rows)
            times[kind].append(time.perf_counter() - start)
    return {kind: machine.spread(taken) for kind, taken in times.items()}


def one_query(db):
    """Return a reader of all rows in one query."""
    return lambda rows: db.execute(QUERY.format(",".join("?" * len(rows))), rows).fetchall()


def one_by_one(db):
    """Return a reader of row after row."""
    return lambda rows: [db.execute(QUERY.format("?"), (row,)).fetchall() for row in rows]


def dealt(readers, pool):
    """Return a reader whose rows are dealt to several readers."""
    return lambda rows: list(pool.map(lambda read, some: read(some) if some else [], readers, shares(rows)))


def shares(rows):
    """Return rows dealt to READERS."""
    ordered = sorted(rows)
    return [ordered[i::READERS] for i in range(READERS)]


def of_table(path, count):
    """Return the figures of one SQLite file, read in several ways."""
    dbs = [sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False) for _ in range(READERS)]
    with ThreadPoolExecutor(READERS) as pool:
        ways = {
            "row after row": one_by_one(dbs[0]),
            "one query": one_query(dbs[0]),
            "several connections": dealt([one_query(db) for db in dbs], pool),
        }
        made = {way: measure(path, count, read) for way, read in ways.items()}
    for db in dbs:
        db.close()
    return made


def of_file(path, count, size):
    """Return the figures of one flat file, read one piece after another and by several threads."""
    file = os.open(path, os.O_RDONLY)

    def read(rows):
        return [os.pread(file, size, (row - 1) * size) for row in rows]

    with ThreadPoolExecutor(READERS) as pool:
        ways = {"row after row": read, "several threads": dealt([read] * READERS, pool)}
        made = {way: measure(path, count, read) for way, read in ways.items()}
    os.close(file)
    return made


def of_gallery(path, count):
    """Return the figures of what recognizing calls, and the share of unpacking in it."""
    store = Store.open(path)
    content = store._db.rows("SELECT features FROM features LIMIT 1")[0][0]
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        [unpack_features(content) for _ in range(READ)]
        taken.append(time.perf_counter() - start)
    made = {
        "features_of": measure(path / GALLERY_FILE, count, store.features_of),
        "unpacking": {"warm": machine.spread(taken)},
    }
    store.close()
    return made


def disk(path):
    """Return milliseconds of READ random reads of 4 and 36 kB from a file."""
    file, made = os.open(path, os.O_RDONLY), {}
    size, rng = os.fstat(file).st_size, np.random.default_rng(SEED)
    for length in (4_096, 36_864):
        taken = []
        for _ in range(ROUNDS):
            places = (rng.integers(0, (size - length) // 4_096, READ) * 4_096).tolist()
            drop(path)
            start = time.perf_counter()
            for place in places:
                os.pread(file, length, place)
            taken.append(time.perf_counter() - start)
        made[f"{READ} reads of {length} bytes"] = machine.spread(taken)
    os.close(file)
    return made


def main():
    """Measure all layouts and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--references", type=int, default=200_000)
    parser.add_argument("--work", type=Path, default=Path("benchmarks/runs/features"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_memory()  # as the command does
    result = machine.describe() | {"references": options.references, "seed": SEED, "rounds": ROUNDS, "read": READ}
    result["layouts"] = {}
    for name, keypoints in SIZES.items():
        content = packed(keypoints)
        made = {}
        for page in PAGES:
            with fresh(options.work) as folder:
                path = folder / "features.sqlite"
                table(path, page, options.references, content, keypoints)
                made[f"SQLite, pages of {page}"] = {
                    "bytes": path.stat().st_size // options.references,
                    **of_table(path, options.references),
                }
            print(name, page, made[f"SQLite, pages of {page}"], flush=True)
        with fresh(options.work) as folder:
            path = folder / "features.bin"
            with path.open("wb") as file:
                for _ in range(options.references):
                    file.write(content)
            made["flat file, offsets in memory"] = {
                "bytes": len(content),
                **of_file(path, options.references, len(content)),
            }
            result["disk"] = disk(path)
        with fresh(options.work) as folder:
            path = folder / "gallery"
            gallery(path, options.references, content, keypoints)
            made["gallery"] = {
                "bytes": (path / GALLERY_FILE).stat().st_size // options.references,
                **of_gallery(path, options.references),
            }
        print(name, made["flat file, offsets in memory"], made["gallery"], flush=True)
        result["layouts"][name] = made
    text = json.dumps(result, indent=1) + "\n"
    if options.out:
        options.out.write_text(text)
    print(text)


class fresh:  # noqa: N801
    """A folder that is empty at first and gone in the end."""

    def __init__(self, work):
        self.folder = work / "now"

    def __enter__(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        return self.folder

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
