"""Memory that decoding one photo takes, of each format and kind of pixels, beside what its header says it will.

    python benchmarks/decode_memory.py [--side 6000] [--out FILE]

Each photo is drawn, written and decoded in a separate process; the figure is the rise of its peak memory. The
constants of `veduta.images.cost` are these, rounded up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
from machine import describe

from veduta.images import decoding_bytes

CASES: dict[str, tuple[str, dict[str, object]]] = {
    "JPEG": ("RGB", {"format": "JPEG"}),
    "JPEG progressive": ("RGB", {"format": "JPEG", "progressive": True}),
    "JPEG progressive 4:4:4": ("RGB", {"format": "JPEG", "progressive": True, "subsampling": 0}),
    "PNG": ("RGB", {"format": "PNG"}),
    "PNG with alpha": ("RGBA", {"format": "PNG"}),
    "PNG gray": ("L", {"format": "PNG"}),
    "PNG gray of 16 bits": ("I;16", {"format": "PNG"}),
    "PNG of a palette": ("P", {"format": "PNG"}),
    "TIFF float": ("F", {"format": "TIFF"}),
    "TIFF CMYK": ("CMYK", {"format": "TIFF"}),
    "BMP": ("RGB", {"format": "BMP"}),
    "GIF": ("P", {"format": "GIF"}),
    "WebP": ("RGB", {"format": "WEBP", "lossless": True, "method": 0}),
    "WebP with alpha": ("RGBA", {"format": "WEBP", "lossless": True, "method": 0}),
    "AVIF": ("RGB", {"format": "AVIF", "speed": 10}),
}
CHILD = """
import sys
from pathlib import Path
from veduta.images import load

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

data = Path(sys.argv[1]).read_bytes()
load(Path(sys.argv[2]).read_bytes(), max_side=1024)  # a small one first: the decoder is loaded
before = peak()
load(data, max_side=1024)
print(peak() - before)
"""


def draw(mode: str, side: int) -> PIL.Image.Image:
    """Return a picture of smooth gradients with some noise, in a mode."""
    row = np.linspace(0, 255, side)
    gray = (row[None, :] + row[:, None]) / 2
    if mode == "F":
        return PIL.Image.fromarray(gray.astype(np.float32))
    if mode == "I;16":
        return PIL.Image.fromarray((gray * 257).astype(np.uint16))
    return PIL.Image.fromarray(gray.astype(np.uint8)).convert(mode)


def main() -> None:
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=6000, help="pixels of each side")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (mode, how) in CASES.items():
            files = [Path(folder) / f"{side}.photo" for side in (options.side, 64)]
            for file, side in zip(files, (options.side, 64), strict=True):
                draw(mode, side).save(file, **how)  # type: ignore[arg-type]
            done = subprocess.run(
                [sys.executable, "-c", CHILD, *map(str, files)], capture_output=True, text=True, check=True
            )
            taken = int(done.stdout) * 1024
            said = decoding_bytes(files[0].read_bytes(), name) - files[0].stat().st_size
            pixels = options.side**2
            rows.append({"photo": name, "file": files[0].stat().st_size, "taken": taken, "said": said})
            print(f"{name:24} {taken / pixels:6.2f} bytes a pixel, said {said / pixels:6.2f}")
    if options.out:
        options.out.write_text(json.dumps({"side": options.side, "rows": rows, **describe()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
