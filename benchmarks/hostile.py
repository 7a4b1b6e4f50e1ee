"""What hostile photos cost the service: its memory, an honest client's wait, and whether it stays alive, in one run.

    python benchmarks/hostile.py [--photos 10000] [--quiet 60] [--out benchmarks/results/hostile.json]

A server with two workers is asked by one honest client, first alone, then beside four that send hostile photos as fast
as they are answered, eight a request. Hostile are photos of many scans, of more pixels or memory than allowed, of as
many as allowed, cut short, and with bytes changed; each request is drawn anew from a seed. /healthz is asked four times
a second.
"""

import argparse
import io
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

import httpx
import machine
import numpy as np
import PIL.Image

from veduta.gallery import Gallery

SENDERS, BATCH = 4, 8


def encoded(mode, side, **how):
    """Return a gray picture in a format."""
    file = io.BytesIO()
    PIL.Image.new(mode, (side, side)).save(file, **({"format": "PNG"} | how))
    return file.getvalue()


def noisy(side, seed, **how):
    """Return a picture of noise and rectangles: what an honest photo costs."""
    rng = np.random.default_rng(seed)
    pixels = cv_like(rng, side)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, **({"format": "JPEG", "quality": 88} | how))
    return file.getvalue()


def cv_like(rng, side):
    """Return (side, side * 3 / 4, 3) pixels of rectangles with some noise."""
    pixels = np.full((side * 3 // 4, side, 3), 200, np.uint8)
    for _ in range(200):
        y, x, h, w = (int(rng.integers(*span)) for span in ((0, side // 2), (0, side), (9, side // 4), (9, side // 4)))
        pixels[y : y + h, x : x + w] = rng.integers(0, 255, 3)
    return np.clip(pixels.astype(np.int16) + rng.integers(-6, 7, pixels.shape), 0, 255).astype(np.uint8)


def chunk(kind, data):
    """Return a chunk of a PNG."""
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def hostile():
    """Return hostile photos, a few kilobytes to a megabyte each."""
    progressive = encoded("RGB", 9_000, format="JPEG", progressive=True)
    last = progressive.rindex(b"\xff\xda")
    found = [progressive[:-2] + progressive[last:-2] * scans + b"\xff\xd9" for scans in (60, 500, 8_000)]
    found += [encoded(mode, side) for mode in ("RGB", "RGBA", "L", "P") for side in (3_000, 6_000, 9_900)]
    found += [encoded("RGB", side, format="WEBP", lossless=True, method=0) for side in (3_000, 9_000)]
    found += [encoded("RGB", side, format="AVIF", speed=10) for side in (3_000, 9_000)]
    found += [encoded("F", 4_000, format="TIFF", compression="tiff_lzw"), encoded("I;16", 9_000)]
    for side in (9_999, 60_000):
        head = chunk(b"IHDR", side.to_bytes(4, "big") * 2 + b"\x10\6\0\0\0")
        data = chunk(b"IDAT", zlib.compress(bytes(1_000_000)))
        found.append(b"\x89PNG\r\n\x1a\n" + head + data + chunk(b"IEND", b""))
    return found


def changed(data, rng):
    """Return a photo as it is, cut short, or with bytes changed."""
    kind = rng.random()
    if kind < 0.5:
        return data
    if kind < 0.7:
        return data[: rng.randrange(1, len(data))]
    content = bytearray(data)
    for _ in range(rng.choice((1, 5, 50))):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


class Server:
    """A server with two workers, and the peak of its memory."""

    def __init__(self, gallery):
        command = [sys.executable, "-m", "veduta", "serve", str(gallery), "--port", "0", "--workers", "2"]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=os.environ | {"VEDUTA_TOKEN": ""}
        )
        self.address = re.search(r"http://\S+?:\d+", self.process.stderr.readline())[0]
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        while True:
            try:
                if httpx.get(f"{self.address}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.01)

    def megabytes(self, field):
        """Return VmRSS or VmHWM of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+)", status)[1]) / 1024


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=10_000, help="hostile photos in all")
    parser.add_argument("--quiet", type=int, default=60, help="honest requests before")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for i in range(12):
            path = Path(folder) / "photos" / f"l{i}" / "0.jpg"
            path.parent.mkdir(parents=True)
            path.write_bytes(noisy(800, i))
        with Gallery.create(Path(folder) / "gallery") as gallery:
            gallery.add(Path(folder) / "photos")
        server = Server(Path(folder) / "gallery")
        try:
            result = measure(server, options)
        finally:
            server.process.terminate()
            server.process.wait()
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result | machine.describe(), indent=1) + "\n")


def measure(server, options):  # noqa: C901 - three clients, each a function of its own
    """Return the figures of one run."""
    honest = [noisy(4_000, 100 + i) for i in range(6)]  # twelve megapixels, as telephones make them
    waits, health, sent, stop = [], [], [0, 0], threading.Event()

    def ask():
        begun = time.perf_counter()
        photo = honest[len(waits) % len(honest)]
        answer = httpx.post(f"{server.address}/v1/recognize", files={"photos": ("a.jpg", photo)}, timeout=600)
        waits.append((time.perf_counter() - begun, answer.status_code))

    def send(number):
        rng, photos = random.Random(f"{options.seed} {number}"), hostile()
        with httpx.Client(timeout=600) as client:
            while not stop.is_set() and sent[0] < options.photos:
                sent[0] += BATCH
                batch = [("photos", (str(i), changed(rng.choice(photos), rng))) for i in range(BATCH)]
                status = client.post(f"{server.address}/v1/recognize", files=batch).status_code
                sent[1] += status not in (200, 413, 429)

    def watch():
        while not stop.is_set():
            begun = time.perf_counter()
            alive = httpx.get(f"{server.address}/healthz", timeout=600).status_code == 200
            health.append((time.perf_counter() - begun, alive))
            stop.wait(0.25)

    for _ in range(options.quiet):
        ask()
    quiet, before = [wait for wait, _ in waits], server.megabytes("VmHWM")
    waits.clear()
    threads = [threading.Thread(target=send, args=(i,)) for i in range(SENDERS)]
    watcher = threading.Thread(target=watch)
    begun = time.perf_counter()
    for thread in (*threads, watcher):
        thread.start()
    while any(thread.is_alive() for thread in threads):
        ask()
    stop.set()
    watcher.join()
    beside = [wait for wait, _ in waits]
    return {
        "hostile_photos": sent[0],
        "other_statuses": sent[1],
        "seconds": round(time.perf_counter() - begun, 1),
        "peak_megabytes_before": round(before),
        "peak_megabytes": round(server.megabytes("VmHWM")),
        "honest_statuses": sorted({status for _, status in waits}),
        "honest_requests": len(beside),
        "wait_quiet": spread(quiet),
        "wait_beside": spread(beside),
        "ratio_of_medians": round(statistics.median(beside) / statistics.median(quiet), 2),
        "healthz": spread([seconds for seconds, _ in health]),
        "healthz_alive": all(alive for _, alive in health),
        "seed": options.seed,
    }


def spread(values):
    """Return the least, median, 95th percentile and largest of some seconds."""
    ordered = sorted(values)
    places = {"least": 0, "median": len(ordered) // 2, "p95": int(len(ordered) * 0.95), "largest": len(ordered) - 1}
    return {name: round(ordered[place], 3) for name, place in places.items()}


if __name__ == "__main__":
    main()
