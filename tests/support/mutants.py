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
BURSTS = "library/cluster/near_duplicates.py"
CANDIDATES = "decision/candidates.py"
DECISION_ANSWER = "decision/answer.py"
DECISION_MODEL = "decision/model.py"
EXACT = "index/exact.py"
GEOMETRY = "geometry.py"
GROUPING = "library/cluster/linkage.py"
LIMITS = "library/scan.py"
MASKS = "masks.py"
MATCH_GRAPH = "gallery/match_graph.py"
METRICS = "metrics.py"
PAIRS = "library/cluster/pairs.py"
RECOGNIZER = "recognizer.py"
SCAN = "library/scan.py"
STORE = "gallery/store.py"
TERMS = "decision/terms.py"
TIES = "index/exact.py"
UNCERTAIN = "library/verdicts.py"

T_BURSTS = "tests/library/cluster/test_near_duplicates.py"
T_CASCADE = "tests/test_cascade.py"
T_DECISION = "tests/decision/test_model.py"
T_ESTIMATES = "tests/library/metadata/test_estimates.py"
T_EXACT = "tests/index/test_exact.py -k by_id"
T_GEOMETRY = "tests/test_geometry.py"
T_GROUPING = "tests/library/cluster/test_linkage.py"
T_MASKS = "tests/test_masks.py"
T_MATCH_GRAPH = "tests/gallery/test_match_graph.py"
T_METRICS = "tests/test_metrics.py"
T_PAIRS = "tests/library/cluster/test_pairs.py"
T_POSITION = "tests/geo/test_position.py"
T_RECOGNIZER = "tests/test_recognizer.py"
T_RETRIEVAL = "tests/test_recognizer.py -k retrieve"
T_SCAN = "tests/library/test_scan.py -k memory"
T_STORE = "tests/gallery/test_store.py"
T_TERMS = "tests/decision/test_terms.py"
T_UNCERTAIN = "tests/library/test_uncertain.py"

MUTANTS = (
    # The library: evidence, near-duplicates, places, and the order of the uncertain.
    Mutant("estimated position", SCAN, "and has_estimate(content.data):", "and False:", T_ESTIMATES),
    Mutant("memory at rest", LIMITS, "700 * MEGABYTE", "70 * MEGABYTE", T_SCAN),
    Mutant("burst bits", BURSTS, "MAX_BITS = 6 ", "MAX_BITS = 9 ", T_BURSTS),
    Mutant(
        "burst cosines",
        BURSTS,
        "MIN_SIMILARITY, MIN_BURST_SIMILARITY = 0.5, 0.6",
        "MIN_SIMILARITY, MIN_BURST_SIMILARITY = 0.3, 0.3",
        T_BURSTS,
    ),
    Mutant("place links", GROUPING, "MIN_LINKS = 3 ", "MIN_LINKS = 1 ", T_GROUPING),
    Mutant("place confirmed", GROUPING, "CONFIRMED_SHARE = 0.5 ", "CONFIRMED_SHARE = 0.1 ", T_GROUPING),
    Mutant("pair partners", PAIRS, "LEAST_COMMON = 0.05 ", "LEAST_COMMON = 0.5 ", T_PAIRS),
    Mutant("pair weight", PAIRS, "(5.26, ", "(2.0, ", T_PAIRS),
    Mutant("uncertain reversed", UNCERTAIN, "(abs(one.answer", "(-abs(one.answer", T_UNCERTAIN),
    Mutant("uncertain of many last", UNCERTAIN, "- 0.5), -one.others", "- 0.5), one.others", T_UNCERTAIN),
    # Retrieval and the cascade.
    Mutant("margin of retrieval", RECOGNIZER, "self.depth + TIE_MARGIN + hidden", "self.depth + hidden", T_RETRIEVAL),
    Mutant("ties of exact search", EXACT, "if wide == total or (", "if True or (", T_EXACT),
    Mutant("cascade ends early", RECOGNIZER, "if not low < scores[0]", "if low < scores[0]", T_CASCADE),
    Mutant(
        "cascade answers without geometry",
        DECISION_MODEL,
        '"similarity": (0.01, 1.1)',
        '"similarity": (0.01, 0.9)',
        T_CASCADE,
    ),
    Mutant("cascade depth", RECOGNIZER, "enumerate(result[:depth])", "enumerate(result)", T_RECOGNIZER),
    # Terms and decision.
    Mutant(
        "terms chance",
        CANDIDATES,
        "(candidate.num_inliers or 0) - CHANCE_INLIERS)",
        "(candidate.num_inliers or 0))",
        T_DECISION,
    ),
    Mutant("terms cap", CANDIDATES, "min(above_chance, SATURATED_INLIERS)", "above_chance", T_DECISION),
    Mutant("terms margin", TERMS, "e.top - float(e.crowd[0])", "e.top - float(e.crowd[-1])", T_TERMS),
    Mutant("terms distractors", CANDIDATES, "[:, ::-1][:, :NUM_RELATED]", "[:, ::-1][:, :1]", T_TERMS),
    Mutant("terms rival", TERMS, "math.log1p(e.inliers[0]) - math.log1p(e.rival)", "math.log1p(e.inliers[0])", T_TERMS),
    Mutant("decision clip", DECISION_MODEL, "/ self.scale, -4, 4)", "/ self.scale, -9, 9)", T_DECISION),
    Mutant("position makes an answer", DECISION_ANSWER, "if best.probability < floor:", "if False:", T_DECISION),
    Mutant("position takes an answer", DECISION_ANSWER, ">= floor] or scores", ">= 0] or scores", T_DECISION),
    Mutant("place prior", DECISION_ANSWER, "(2.0, 1.0, 0.0, -4.0)", "(2.0, 1.0, 0.0, -1.0)", T_DECISION),
    Mutant("decision floor", DECISION_MODEL, "last_short[-1] + 1 if", "last_short[-1] if", T_DECISION),
    # Local features: what is kept of them, and what geometry makes of pairs.
    Mutant("confirmed order", MATCH_GRAPH, "np.argsort(-counts.astype", "np.argsort(counts.astype", T_MATCH_GRAPH),
    Mutant("confirmed by few", MATCH_GRAPH, "if confirming < MIN_CONFIRMING or", "if", T_MATCH_GRAPH),
    Mutant("confirmed twice", MATCH_GRAPH, "if all(new):", "if True:", T_MATCH_GRAPH),
    Mutant("landmark gone", STORE, "return int(count) if removed else None", "return int(count)", T_STORE),
    Mutant("mask sky", MASKS, "sky = (y < 0.5)", "sky = (y < 1.0)", T_MASKS),
    Mutant("mask place", MASKS, "(keypoints + 0.5) * scale", "keypoints", T_MASKS),
    Mutant("geometry folded", GEOMETRY, "> 10 * np.abs(w).min()", "> 30 * np.abs(w).min()", T_GEOMETRY),
    Mutant("geometry line", GEOMETRY, "if _collinear(a) or _collinear(b):", "if False:", T_GEOMETRY),
    Mutant("geometry mirror", GEOMETRY, "np.linalg.det(H) * w[0] < 0", "False", T_GEOMETRY),
    Mutant("geometry same pairs", GEOMETRY, "_unique(a, b) < MIN_MATCHES", "len(a) < MIN_MATCHES", T_GEOMETRY),
    # Metrics.
    Mutant("ece bins", METRICS, "ECE_BINS = 15", "ECE_BINS = 10", T_METRICS),
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
