"""Search from a thousand descriptors to five million: build, memory, disk, opening, latency, recall; beside its peers.

    python benchmarks/scale.py [--sizes 1000 ... 5000000] [--work DIR] [--out benchmarks/results/scale.json]

Descriptors are drawn, clustered as a real gallery's are (see descriptors_like.py); queries are new photos of the same
landmarks. Every index is opened and asked in a process of its own, one query at a time, so that memory and the time of
opening are its own; first what it was asked is compared with exact search. Peers, on the same descriptors: exact search
(one query on all cores), faiss's inverted file with codes of 8 bits, whose lists looked at are the fewest that reach a
recall of 0.97, and its graph (HNSW, up to a hundred thousand). Drawn descriptors stay in DIR and are used again.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import faiss
import machine
import numpy as np
from descriptors_like import SHAPE, World

from veduta.index import search_blocks

SIZES, DIM, SEED = (1_000, 10_000, 100_000, 1_000_000, 5_000_000), 256, 0
QUERIES, ASKED, K = 1_000, 500, 30  # of all queries, those whose true neighbors are known
PIECE = 65_536
RECALL = 0.97
SLOW = 100  # queries that exact search is timed with
GRAPH_MOST = 100_000  # the graph of a million takes ten minutes to build
KINDS = ("veduta", "exact", "ivf sq8", "hnsw")


def draw(folder, size):
    """Return a memory map of `size` drawn descriptors in half precision, and queries (n, D)."""
    path, asked = folder / f"{size}.f16", folder / f"{size}.queries.npy"
    if not path.exists():
        world, draft = World(size, DIM, seed=SEED), path.with_suffix(".part")
        with draft.open("wb") as file:
            for block in world.blocks():
                block.astype(np.float16).tofile(file)
        np.save(asked, world.queries(2 * QUERIES))
        draft.replace(path)
    return np.memmap(path, np.float16, "r", shape=(size, DIM)), np.load(asked)[:QUERIES]


def widened(rows):
    """Return half-precision rows as a gallery has them: float32 of norm 1."""
    wide = np.asarray(rows, np.float32)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def source(rows):
    """Return what `build` asks for descriptors: rows numbered from 0."""

    def pieces(after):
        for start in range(after + 1, len(rows), PIECE):
            stop = min(start + PIECE, len(rows))
            yield np.arange(start, stop), widened(rows[start:stop])

    return pieces


# --- building, each in a process of its own ------------------------------------------------------------------------


def build(kind, rows, folder, recall):
    """Build an index of a kind in a folder."""
    if kind == "veduta":
        from veduta.index.ivf.build import build as build_index

        build_index(folder, DIM, source(rows), recall)
    elif kind != "exact":
        lists = int(4 * np.sqrt(len(rows)))
        index = faiss.index_factory(DIM, "HNSW16" if kind == "hnsw" else f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
        if kind == "ivf sq8":
            chosen = np.sort(np.random.default_rng(SEED).choice(len(rows), min(len(rows), 40 * lists), replace=False))
            index.cp.min_points_per_centroid = 1
            index.train(widened(rows[chosen]))
        for start in range(0, len(rows), PIECE):
            index.add(widened(rows[start : start + PIECE]))
        faiss.write_index(index, str(folder / "index.faiss"))


def opened(kind, rows, folder):
    """Return a function of one query (D,) that returns rows (K,), and the index if it is faiss's."""
    if kind == "veduta":
        from veduta.index import ApproximateIndex

        index = ApproximateIndex(DIM, folder)
        return lambda query: index.search(query[None], K)[1][0], None
    if kind == "exact":
        index = faiss.IndexFlatIP(DIM)
        for start in range(0, len(rows), PIECE):
            index.add(widened(rows[start : start + PIECE]))
    else:
        index = faiss.read_index(str(folder / "index.faiss"))
    return lambda query: index.search(query[None], K)[1][0], index


def recall_of(ask, queries, truth):
    """Return the mean share of the true neighbors found."""
    return float(
        np.mean([len(set(ask(q).tolist()) & set(t.tolist())) / len(t) for q, t in zip(queries, truth, strict=True)])
    )


def loosened(ask, index, kind, queries, truth):
    """Have a peer look no further than it must for RECALL; return the setting."""
    for effort in (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048):
        if kind == "hnsw":
            index.hnsw.efSearch = effort
        else:
            index.nprobe = effort
        if recall_of(ask, queries, truth) >= RECALL:
            return effort
    return effort


def measure(kind, rows, queries, truth, folder):
    """Return what opening and asking an index costs, and what it finds."""
    before = _memory()
    start = time.perf_counter()
    ask, index = opened(kind, rows, folder)
    made = {"open_s": round(time.perf_counter() - start, 3)}
    start = time.perf_counter()
    ask(queries[0])
    made["first_query_ms"] = round(1000 * (time.perf_counter() - start), 1)
    half = len(truth) // 2
    if kind == "exact":
        half = len(truth) - SLOW
    if kind in ("ivf sq8", "hnsw"):
        made["effort"] = loosened(ask, index, kind, queries[:half], truth[:half])
    made["recall"] = round(recall_of(ask, queries[half : len(truth)], truth[half:]), 4)
    for query in queries if kind == "veduta" else ():  # whose codes come from the disk at first
        ask(query)
    times = []
    for query in queries[: SLOW if kind == "exact" else None]:
        start = time.perf_counter()
        ask(query)
        times.append(time.perf_counter() - start)
    after = _memory()
    p50, p99 = np.percentile(np.array(times) * 1000, [50, 99])
    spread = {"p50_ms": round(p50, 3), "p99_ms": round(p99, 3), "mean_ms": round(1000 * np.mean(times), 3)}
    return (
        made
        | spread
        | {
            "memory_mb": round((after["RssAnon"] + after["RssFile"] - before["RssAnon"] - before["RssFile"]) / 1024),
            "private_mb": round((after["RssAnon"] - before["RssAnon"]) / 1024),
            "process_mb": round((after["RssAnon"] + after["RssFile"]) / 1024),
        }
    )


def _memory():
    """Return kilobytes of this process: private ones, and those of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssFile"))}


class Peak:
    """The most private memory that this process had, in megabytes, looked at ten times a second."""

    def __enter__(self):
        self.most, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._done.wait(0.1):
            self.most = max(self.most, _memory()["RssAnon"] / 1024)

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()


def alone(*arguments):
    """Run one step in a process of its own and return its figures."""
    polite = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}  # as the command does: threads that wait do not spin
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=polite)
    return json.loads(done.stdout)


# --- all of it -----------------------------------------------------------------------------------------------------


def figures(work, size, kinds, recall):
    """Return the figures of every kind at one size."""
    rows, queries = draw(work, size)
    known = work / f"{size}.truth.npy"
    if not known.exists():
        wide = np.memmap(rows.filename, np.float16, "r", shape=rows.shape)
        np.save(known, search_blocks([wide], queries[:ASKED], K)[1])
    made = {}
    for kind in kinds:
        if kind == "hnsw" and size > GRAPH_MOST:
            continue
        folder = work / f"{size}-{kind.replace(' ', '-')}"
        if not (folder / "built.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            built = alone("--step", "build", "--kind", kind, "--sizes", size, "--work", work, "--recall", recall)
            (folder / "built.json").write_text(json.dumps(built))
        built = json.loads((folder / "built.json").read_text())
        asked = alone("--step", "ask", "--kind", kind, "--sizes", size, "--work", work)
        made[kind] = built | asked
        print(size, kind, made[kind], flush=True, file=sys.stderr)
    return made


def step(options):
    """Do one step of one kind at one size, in this process, and print its figures."""
    size = options.sizes[0]
    folder = options.work / f"{size}-{options.kind.replace(' ', '-')}"
    rows, queries = draw(options.work, size)
    if options.step == "build":
        start = time.perf_counter()
        with Peak() as peak:
            build(options.kind, rows, folder, options.recall)
        disk = sum(file.stat().st_size for file in folder.iterdir())
        took = round(time.perf_counter() - start, 1)
        print(json.dumps({"build_s": took, "build_private_mb": round(peak.most), "disk_mb": round(disk / 2**20)}))
    else:
        truth = np.load(options.work / f"{size}.truth.npy")
        print(json.dumps(measure(options.kind, rows, queries, truth, folder)))


def main():
    """Measure all kinds at all sizes and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--work", type=Path, default=Path("benchmarks/runs/scale"))
    parser.add_argument("--recall", type=float, default=0.98)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--step", choices=("build", "ask"))
    parser.add_argument("--kind", choices=KINDS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.step:
        step(options)
        return
    result = machine.describe() | {"dim": DIM, "seed": SEED, "shape": asdict(SHAPE), "recall_wanted": options.recall}
    result |= {"queries": QUERIES, "asked": ASKED, "k": K, "threads": os.cpu_count()}
    result["sizes"] = {str(size): figures(options.work, size, options.kinds, options.recall) for size in options.sizes}
    text = json.dumps(result, indent=1) + "\n"
    if options.out:
        options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
