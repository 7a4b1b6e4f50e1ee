"""Faults put into the package one by one, and the tests that have to notice: a rule that no test states can be lost.

    python tests/support/mutants.py            # all of them
    python tests/support/mutants.py burst ece  # those whose names begin so

Each fault is made in a copy of `src`, of which the tests then import the package. A fault is "killed" when its tests
fail, and "SURVIVED" when they pass; "STALE" says that the text to be replaced does not stand in the file exactly once,
"BROKEN" that the tests fail without any fault. The exit status is 1 unless all are killed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Mutant(NamedTuple):
    """One fault: a name, a file of the package, a text in it and what stands there instead, and arguments of pytest."""

    name: str
    file: str
    old: str
    new: str
    tests: str


# Where modules and tests live; all that has to change when they move.
BURSTS = "photos/bursts.py"
CASCADE = "recognizer.py"
DECISION = "decide.py"
DOUBTS = "photos/library.py"
EVIDENCE = "evidence.py"
EXACT = "index/exact.py"
GEOMETRY = "geometry.py"
GROUPING = "photos/grouping.py"
LINKING = "photos/linking.py"
MASKS = "masks.py"
METRICS = "metrics.py"
SCAN = "photos/scan.py"
STORE = "store.py"
USEFULNESS = "usefulness.py"

T_BURSTS = "tests/library/cluster/test_near_duplicates.py"
T_DECISION = "tests/decision/test_model.py"
T_DOUBTS = "tests/library/test_uncertain.py"
T_EFFORT = "tests/test_cascade.py"
T_ESTIMATED = "tests/library/metadata/test_estimates.py"
T_EVIDENCE = "tests/decision/test_terms.py"
T_GEOMETRY = "tests/test_geometry.py"
T_GROUPING = "tests/library/cluster/test_linkage.py"
T_INDEX = "tests/index/test_exact.py -k by_id"
T_LINKING = "tests/library/cluster/test_pairs.py"
T_MASKS = "tests/test_masks.py"
T_METRICS = "tests/test_metrics.py"
T_POSITION = "tests/geo/test_position.py"
T_RETRIEVAL = "tests/test_recognizer.py -k retrieve"
T_SCAN = "tests/library/test_scan.py -k memory"
T_STORE = "tests/gallery/test_store.py"
T_USEFULNESS = "tests/gallery/test_match_graph.py"

MUTANTS = (
    # The library: what is evidence, what counts as one photo, what is one place, what a person is asked.
    Mutant("estimated position", SCAN, "and estimated(data):", "and False:", T_ESTIMATED),
    Mutant("memory at rest", SCAN, "700 * MEGABYTE", "70 * MEGABYTE", T_SCAN),
    Mutant("burst bits", BURSTS, "BITS = 6 ", "BITS = 9 ", T_BURSTS),
    Mutant("burst cosines", BURSTS, "ALIKE, ALIKE_IN_TIME = 0.5, 0.6", "ALIKE, ALIKE_IN_TIME = 0.3, 0.3", T_BURSTS),
    Mutant("place links", GROUPING, "LINKS = 3 ", "LINKS = 1 ", T_GROUPING),
    Mutant("place confirmed", GROUPING, "CONFIRMED = 0.5 ", "CONFIRMED = 0.1 ", T_GROUPING),
    Mutant("pair partners", LINKING, "LEAST_COMMON = 0.05 ", "LEAST_COMMON = 0.5 ", T_LINKING),
    Mutant("pair weight", LINKING, "(5.26, ", "(2.0, ", T_LINKING),
    Mutant(
        "doubts reversed",
        DOUBTS,
        "(abs(doubt.answer.confidence - 0.5),",
        "(-abs(doubt.answer.confidence - 0.5),",
        T_DOUBTS,
    ),
    Mutant("doubts of many last", DOUBTS, "- 0.5), -doubt.others", "- 0.5), doubt.others", T_DOUBTS),
    # Retrieval and the cascade.
    Mutant("spare of retrieval", CASCADE, "SPARE = 16 ", "SPARE = 0 ", T_RETRIEVAL),
    Mutant("ties of exact search", EXACT, "if wide == total or (", "if True or (", T_INDEX),
    Mutant("cascade ends early", CASCADE, "if not low < judged[0]", "if low < judged[0]", T_EFFORT),
    Mutant(
        "cascade answers without geometry", DECISION, '"similarity": (0.01, 1.1)', '"similarity": (0.01, 0.9)', T_EFFORT
    ),
    Mutant("cascade depth", CASCADE, "enumerate(result[:depth])", "enumerate(result)", "tests/test_recognizer.py"),
    # Evidence and decision.
    Mutant(
        "evidence chance",
        EVIDENCE,
        "(candidate.num_inliers or 0) - CHANCE)",
        "(candidate.num_inliers or 0))",
        T_DECISION,
    ),
    Mutant("evidence cap", EVIDENCE, "min(above_chance, CAP)", "above_chance", T_DECISION),
    Mutant("evidence margin", EVIDENCE, "top - float(crowd[0])", "top - float(crowd[-1])", T_EVIDENCE),
    Mutant("evidence distractors", EVIDENCE, "[:, ::-1][:, :KIN]", "[:, ::-1][:, :1]", T_EVIDENCE),
    Mutant("evidence rival", EVIDENCE, "math.log1p(found[0]) - math.log1p(rival)", "math.log1p(found[0])", T_EVIDENCE),
    Mutant("decision clip", DECISION, "/ self.scale, -4, 4)", "/ self.scale, -9, 9)", T_DECISION),
    Mutant("decision position makes an answer", DECISION, "if best.probability < floor:", "if False:", T_DECISION),
    Mutant("decision position takes an answer", DECISION, ">= floor] or judged", ">= 0] or judged", T_DECISION),
    Mutant("decision place prior", DECISION, "(2.0, 1.0, 0.0, -4.0)", "(2.0, 1.0, 0.0, -1.0)", T_DECISION),
    Mutant("decision floor", DECISION, "last_short[-1] + 1 if", "last_short[-1] if", T_DECISION),
    # Local features: what is kept of them and what geometry makes of pairs.
    Mutant("usefulness order", USEFULNESS, "np.argsort(-counts.astype", "np.argsort(counts.astype", T_USEFULNESS),
    Mutant("usefulness confirming", USEFULNESS, "if confirming < CONFIRMING or", "if", T_USEFULNESS),
    Mutant("usefulness counted twice", STORE, "if all(new):", "if True:", T_STORE + " " + T_USEFULNESS),
    Mutant("store landmark gone", STORE, "return int(count) if gone else -1", "return int(count)", T_STORE),
    Mutant("mask sky", MASKS, "sky = (y < 0.5)", "sky = (y < 1.0)", T_MASKS),
    Mutant("mask place", MASKS, "(keypoints + 0.5) * scale", "keypoints", T_MASKS),
    Mutant("geometry folded", GEOMETRY, "> 10 * np.abs(w).min()", "> 30 * np.abs(w).min()", T_GEOMETRY),
    Mutant("geometry line", GEOMETRY, "if _collinear(a) or _collinear(b):", "if False:", T_GEOMETRY),
    Mutant("geometry mirror", GEOMETRY, "np.linalg.det(H) * w[0] < 0", "False", T_GEOMETRY),
    Mutant("geometry same pairs", GEOMETRY, "_unique(a, b) < LEAST", "len(a) < LEAST", T_GEOMETRY),
    # Metrics.
    Mutant("ece bins", METRICS, "BINS = 15", "BINS = 10", T_METRICS),
)


def status(mutant, sources):
    """Make a fault in a copy of the sources, run its tests and return what became of it."""
    file = sources / "veduta" / mutant.file
    text = file.read_text("utf-8") if file.exists() else ""
    if text.count(mutant.old) != 1:
        return "STALE"
    file.write_text(text.replace(mutant.old, mutant.new), "utf-8")
    try:
        return "SURVIVED" if passes(mutant.tests, sources) else "killed"
    finally:
        file.write_text(text, "utf-8")


def passes(tests, sources):
    """Whether tests pass with the package in this folder."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests.split()]
    environment = os.environ | {"PYTHONPATH": str(sources), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest {tests}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def main(prefixes):
    """Print what becomes of each mutant whose name begins with one of the prefixes, and return the exit status."""
    chosen = [m for m in MUTANTS if not prefixes or m.name.startswith(tuple(prefixes))]
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(shutil.copytree(ROOT / "src", Path(folder) / "src"))
        sound = cache(lambda tests: passes(tests, sources))
        for mutant in chosen:
            result = status(mutant, sources) if sound(mutant.tests) else "BROKEN"
            survivors += result != "killed"
            print(f"{result:9} {mutant.name:36} {mutant.file:24} {mutant.tests}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} killed")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
