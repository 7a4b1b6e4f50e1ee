"""The competition's machinery at full size: a run from nothing, kills, search, scoring, the full table.

    python benchmarks/competition.py DATA [--out benchmarks/results/competition.json] [--parts run kill ...]

DATA is a folder in the competition's layout with a solution (see recognize.py). Search uses clustered synthetic
descriptors, made on the spot with a seed, memory-mapped from disk as half precision.
"""

import argparse
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import faiss
import machine
import numpy as np

from veduta.competition.descriptor_table import DESCRIPTORS, IDS, META, TABLE_DTYPES, DescriptorTable, Provenance
from veduta.competition.score import score_submission
from veduta.datasets.gldv2 import read_train
from veduta.index import search_blocks

FULL, DIM, CLUSTERS = 1_580_470, 512, 81_313
FULL_TABLE = 4_132_914
TEST = 117_577
QUERIES, DEPTH = 1_024, 100


def command(data, out, *more):
    """Return the command line of a run."""
    return [
        sys.executable,
        "-m",
        "veduta",
        "competition",
        "run",
        str(data),
        "--out",
        str(out),
        "--format",
        "json",
        *more,
    ]


def timed(arguments):
    """Return what a command printed and how long it took."""
    start = time.perf_counter()
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(done.stdout), time.perf_counter() - start


def measure_run(data, folder):
    """Return figures of a run from nothing, the same again, and the notebook's recipe beside it."""
    reports, first = timed(command(data, folder / "run"))
    _, again = timed(command(data, folder / "run"))
    both, compare = timed(command(data, folder / "run", "--compare"))
    return {
        "first_seconds": round(first, 1),
        "again_seconds": round(again, 2),
        "stages": reports[0]["stages"],
        "compare_seconds": round(compare, 1),
        "scores": {r["recipe"]: r["scores"]["all"] for r in both},
        "stages_dna-2020": both[1]["stages"],
    }


def measure_kill(data, folder, whole):
    """SIGKILL at ten random moments; the submission must then be the same byte for byte."""
    moments, out = random.Random(0), folder / "killed"
    arguments = command(data, out)
    killed = 0
    for _ in range(10):
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(moments.uniform(2, 20))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
    timed(arguments)
    same = (out / "veduta/submission.csv").read_bytes() == (whole / "veduta/submission.csv").read_bytes()
    return {"kills": killed, "same_bytes": same}


def write_synthetic(path, n, seed=0):
    """Write a table of clustered descriptors: n points around as many centers as the data set has landmarks."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((CLUSTERS, DIM), np.float32)
    shard = path / "shard-0001-of-0001"
    shard.mkdir(parents=True)
    (shard / META).write_text(json.dumps(Provenance("synthetic", "", DIM).as_dict()))
    np.array([f"{i:016x}" for i in range(n)], "S32").tofile(shard / IDS)
    with (shard / DESCRIPTORS).open("wb") as file:
        for start in range(0, n, 65_536):
            count = min(65_536, n - start)
            rows = centers[rng.integers(0, CLUSTERS, count)] + 0.7 * rng.standard_normal((count, DIM), np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            file.write(rows.astype(TABLE_DTYPES["float16"]).tobytes())


def search_alone(path):
    """In a process of its own: open the table, search a batch, print times and peak memory."""
    start = time.perf_counter()
    table = DescriptorTable.open(path)
    opened = time.perf_counter() - start
    queries = table.rows(np.arange(0, len(table), len(table) // QUERIES)[:QUERIES])
    start = time.perf_counter()
    similarity, rows = search_blocks(table.blocks, queries, DEPTH)
    searched = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    np.savez(path / "found.npz", similarity=similarity, rows=rows)
    print(json.dumps({"open_seconds": opened, "search_seconds": searched, "peak_bytes": peak}))


def faiss_alone(path):
    """In a process of its own: the same rows in faiss's exact index in memory, the same queries."""
    table = DescriptorTable.open(path)
    index = faiss.IndexFlatIP(DIM)
    for block in table.blocks:
        for start in range(0, len(block), 65_536):
            index.add(np.asarray(block[start : start + 65_536], np.float32))
    queries = table.rows(np.arange(0, len(table), len(table) // QUERIES)[:QUERIES])
    start = time.perf_counter()
    similarity, rows = index.search(queries, DEPTH)
    searched = time.perf_counter() - start
    found = np.load(path / "found.npz")
    print(
        json.dumps(
            {
                "search_seconds": searched,
                "same_rows": float((found["rows"] == rows).mean()),
                "largest_difference": float(np.abs(found["similarity"] - similarity).max()),
            }
        )
    )


def measure_search(folder, n):
    """Return figures of opening and searching a memory-mapped table, against bare faiss, three times in turn."""
    path = folder / "table"
    write_synthetic(path, n)
    rounds = []
    for _ in range(3):
        ours, theirs = (
            json.loads(subprocess.run([sys.executable, __file__, which, str(path)], check=True, stdout=-1).stdout)
            for which in ("--search-alone", "--faiss-alone")
        )
        rounds.append({"ours": ours, "faiss": theirs, "ratio": ours["search_seconds"] / theirs["search_seconds"]})
    own = n * DIM * 2
    return {
        "references": n,
        "dim": DIM,
        "queries": QUERIES,
        "descriptor_bytes": own,
        "open_seconds": float(np.median([r["ours"]["open_seconds"] for r in rounds])),
        "ratio_to_faiss": float(np.median([r["ratio"] for r in rounds])),
        "peak_over_own": float(np.median([r["ours"]["peak_bytes"] for r in rounds])) / own,
        "rounds": rounds,
    }


def table_alone(path):
    """In a process of its own: read a table of the full train.csv's size, print time and peak memory."""
    start = time.perf_counter()
    labels = read_train(path)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"rows": len(labels), "seconds": seconds, "peak_bytes": peak}))


def measure_table(folder, rows=FULL_TABLE):
    """Return figures of reading a full train.csv: id,url,landmark_id."""
    path = folder / "train.csv"
    with path.open("w") as file:
        file.write("id,url,landmark_id\n")
        for i in range(rows):
            id = f"{i * 2654435761 % 2**64:016x}"
            file.write(f"{id},https://example.org/commons/e/e7/A_file_of_a_landmark_{i}.jpg,{i % 203_094}\n")
    done = subprocess.run([sys.executable, __file__, "--table-alone", str(path)], check=True, stdout=-1)
    return json.loads(done.stdout)


def measure_score(folder, rows=TEST):
    """Scoring a submission of the real set's size, three times."""
    rng = np.random.default_rng(0)
    ids = [f"{i:016x}" for i in range(rows)]
    shows = rng.random(rows) < 0.0155
    usage = np.where(rng.random(rows) < 0.33, "Public", "Private")
    lines = [f"{a},{i % 999 if s else ''},{u}" for i, (a, s, u) in enumerate(zip(ids, shows, usage, strict=True))]
    (folder / "solution.csv").write_text("\n".join(["id,landmarks,Usage", *lines]) + "\n")
    answers = [f"{a},{i % 999} {rng.random():.6f}" for i, a in enumerate(ids)]
    (folder / "submission.csv").write_text("\n".join(["id,landmarks", *answers]) + "\n")
    seconds = {"with_interval": [], "without_interval": []}
    for _ in range(3):
        for name, resamples in (("with_interval", 200), ("without_interval", 0)):
            start = time.perf_counter()
            score_submission(folder / "solution.csv", folder / "submission.csv", resamples=resamples)
            seconds[name].append(time.perf_counter() - start)
    return {"rows": rows} | {name: machine.spread(times) for name, times in seconds.items()}


ALONE = {"--search-alone": search_alone, "--faiss-alone": faiss_alone, "--table-alone": table_alone}


def measure(parts, data, folder, references):
    """Return the figures of the parts asked for."""
    result = {}
    if "run" in parts or "kill" in parts:
        result["run"] = measure_run(data, folder)
    if "kill" in parts:
        result["kill"] = measure_kill(data, folder, folder / "run")
    if "search" in parts:
        result["search"] = measure_search(folder, references)
    if "score" in parts:
        result["score"] = measure_score(folder)
    if "table" in parts:
        result["table"] = measure_table(folder)
    return result


def main():
    """Run the parts asked for."""
    if len(sys.argv) == 3 and sys.argv[1] in ALONE:
        return ALONE[sys.argv[1]](Path(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--parts", nargs="+", default=["run", "kill", "search", "score", "table"])
    parser.add_argument("--references", type=int, default=FULL, help="size of the synthetic table")
    options = parser.parse_args()
    result = {"benchmark": "competition", **machine.describe(), "data": options.data.name, "seed": 0}
    with tempfile.TemporaryDirectory() as folder:
        result |= measure(options.parts, options.data, Path(folder), options.references)
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return None


if __name__ == "__main__":
    sys.exit(main())
