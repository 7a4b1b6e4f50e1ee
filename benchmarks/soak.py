"""Thousands of requests of all kinds at one server: what it answers, how long it takes, and whether it grows.

    python benchmarks/soak.py [--requests 5000] [--clients 8] [--out benchmarks/results/soak.json]

The gallery is drawn: facades that exist nowhere else. Clients on loopback ask one after the other for what a seed has
drawn: photos to recognize, pairs to verify, pages of landmarks, and photos that are none. Resident memory of the server
is read meanwhile; its slope is that of the second half, when everything has long been loaded.
"""

import argparse
import collections
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import httpx
import machine
import numpy as np

from veduta.gallery import Gallery

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support import world

SEED = 0
LANDMARKS = 12
LONGEST = 8 * 60  # seconds; what is not asked by then is not asked
EVERY = 0.5  # seconds between two looks at the memory
SHARES = {"recognize": 0.5, "verify": 0.15, "landmarks": 0.2, "bad": 0.15}
EXPECTED = {"recognize": {200}, "verify": {200}, "landmarks": {200}, "bad": {200, 400}}


def jpeg(pixels):
    """Return RGB pixels as the bytes of a photo."""
    return cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def draw(folder):
    """Make the gallery and return its folder and the photos to ask about."""
    world.build(folder / "photos", LANDMARKS, 2, 320, 240)
    with Gallery.create(folder / "gallery") as gallery:
        gallery.add(folder / "photos")
    known = [jpeg(world.view(world.facade(i, 320, 240), 7000 + i).pixels) for i in range(LANDMARKS)]
    unknown = [jpeg(world.view(world.facade(500 + i, 320, 240), i).pixels) for i in range(LANDMARKS)]
    return folder / "gallery", [*known, *unknown]


def hostile(photos):
    """Return photos that are none."""
    good, rng = photos[0], np.random.default_rng(SEED)
    at = good.index(b"\xff\xc0") + 5
    huge = good[:at] + b"\xea\x60\xea\x60" + good[at + 4 :]
    return [b"", b"<html></html>", good[:200], huge, rng.bytes(20_000), b"PK\x03\x04" + bytes(1000)]


def start(gallery):
    """Start a server and return its process and address when it is ready."""
    command = [sys.executable, "-m", "veduta", "serve", str(gallery), "--port", "0", "--queue", "256"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"VEDUTA_TOKEN": ""})
    address = re.search(r"http://\S+?:\d+", process.stderr.readline())[0]
    threading.Thread(target=process.stderr.read, daemon=True).start()
    while True:
        try:
            if httpx.get(f"{address}/readyz").status_code == 200:
                return process, address
        except httpx.ConnectError:
            time.sleep(0.01)


def resident(process):
    """Return the resident memory of a process in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


class Soak:
    """The requests that are left, shared by the clients, and what became of the others.

    Args:
        address: where the server is.
        kinds: the kind of each request, in order.
        photos: to ask about.
    """

    def __init__(self, address, kinds, photos):
        self.address, self.kinds, self.photos, self.bad = address, kinds, photos, hostile(photos)
        self.until = time.monotonic() + LONGEST
        self.lock, self.next = threading.Lock(), 0
        self.seconds, self.statuses = collections.defaultdict(list), collections.Counter()
        self.faults = []

    def run(self):
        """Ask until nothing is left or the time is over."""
        with httpx.Client(base_url=self.address, timeout=120) as client:
            while (number := self._take()) is not None:
                kind = self.kinds[number]
                begun = time.perf_counter()
                try:
                    status = self._ask(client, kind, number).status_code
                except httpx.TransportError as error:
                    status = type(error).__name__
                spent = time.perf_counter() - begun
                with self.lock:
                    self.seconds[kind].append(spent)
                    self.statuses[f"{kind} {status}"] += 1
                    if status not in EXPECTED[kind]:
                        self.faults.append(f"{kind}: {status}")

    def _take(self):
        with self.lock:
            if self.next >= len(self.kinds) or time.monotonic() > self.until:
                return None
            self.next += 1
            return self.next - 1

    def _ask(self, client, kind, number):
        photo = self.photos[number % len(self.photos)]
        if kind == "recognize":
            return client.post("/v1/recognize", files={"photos": ("p.jpg", photo, "image/jpeg")})
        if kind == "verify":
            fields = {"reference": f"palazzo-{number % LANDMARKS}/photo-0.jpg"}
            return client.post("/v1/verify", files={"photo": ("p.jpg", photo, "image/jpeg")}, data=fields)
        if kind == "landmarks":
            return client.get("/v1/landmarks", params={"search": f"zzo-{number % 10}", "limit": 10})
        content, route = self.bad[number % len(self.bad)], ("recognize", "verify")[number % 2]
        field = {"recognize": "photos", "verify": "photo"}[route]
        fields = {"reference": "palazzo-0/photo-0.jpg"} if route == "verify" else {}
        return client.post(f"/v1/{route}", files={field: ("p.jpg", content, "image/jpeg")}, data=fields)


def grown(samples):
    """Return what became of the memory: MB at start, middle and end, and the slope over the second half."""
    times, values = np.array(samples).T
    half = times >= times[-1] / 2
    slope = float(np.polyfit(times[half] / 60, values[half], 1)[0]) if half.sum() > 2 else None
    return {
        "start_mb": round(values[0], 1),
        "middle_mb": round(float(np.median(values[half][:5])), 1),
        "end_mb": round(float(np.median(values[-5:])), 1),
        "most_mb": round(float(values.max()), 1),
        "second_half_slope_mb_per_minute": None if slope is None else round(slope, 3),
        "samples": [[round(t, 1), round(v, 1)] for t, v in samples[:: max(1, len(samples) // 60)]],
    }


def main():
    """Run the soak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    kinds = np.random.default_rng(SEED).choice(list(SHARES), options.requests, p=list(SHARES.values())).tolist()
    result = {"benchmark": "soak", **machine.describe(), "requests": options.requests, "clients": options.clients}
    with tempfile.TemporaryDirectory() as folder:
        gallery, photos = draw(Path(folder))
        process, address = start(gallery)
        soak = Soak(address, kinds, photos)
        begun = time.monotonic()
        threads = [threading.Thread(target=soak.run) for _ in range(options.clients)]
        for thread in threads:
            thread.start()
        samples = []
        while any(thread.is_alive() for thread in threads) and process.poll() is None:
            samples.append((time.monotonic() - begun, resident(process)))
            time.sleep(EVERY)
        for thread in threads:
            thread.join()
        spent = time.monotonic() - begun
        process.terminate()
        result["exit"] = process.wait(60)
    report(result, soak, samples, spent)
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if soak.faults else 0


def report(result, soak, samples, spent):
    """Note what a soak came to."""
    asked = soak.next
    result["asked"], result["seconds"] = asked, round(spent, 1)
    if asked < len(soak.kinds):
        result["stopped"] = f"after {LONGEST} s, with {len(soak.kinds) - asked} requests not asked"
    result["requests_per_second"] = round(asked / spent, 1)
    result["statuses"] = dict(sorted(soak.statuses.items()))
    result["unexpected"] = soak.faults[:20]
    result["latency"] = {}
    for kind, seconds in sorted(soak.seconds.items()):
        low, middle, high = np.percentile(np.array(seconds) * 1000, [50, 95, 99])
        result["latency"][kind] = {
            "n": len(seconds),
            "p50_ms": round(low, 1),
            "p95_ms": round(middle, 1),
            "p99_ms": round(high, 1),
            "mean_ms": round(1000 * statistics.fmean(seconds), 1),
        }
    result["memory"] = grown(samples)


if __name__ == "__main__":
    sys.exit(main())
