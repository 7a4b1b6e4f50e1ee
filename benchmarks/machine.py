"""What a result must say of where it was measured."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent


def describe():
    """Return commit, machine, versions and date, as they stand now."""
    dirty = bool(_git("status", "--porcelain", "--untracked-files=no", "--", "src"))
    return {
        "commit": _git("rev-parse", "HEAD") + ("+changes" if dirty else ""),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("veduta", "numpy", "onnxruntime", "faiss-cpu", "opencv-python-headless", "pillow")
        },
    }


def spread(seconds):
    """Return median, 10th and 90th percentile of some durations, in milliseconds."""
    low, middle, high = np.percentile(np.asarray(seconds) * 1000, [10, 50, 90]).tolist()
    return {"median_ms": round(middle, 2), "p10_ms": round(low, 2), "p90_ms": round(high, 2), "n": len(seconds)}


def _git(*arguments):
    return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False).stdout.strip()


def _cpu():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
