"""What the services cost beside the library, in one run: throughput, what HTTP adds to a photo, and the start.

    python benchmarks/service.py DATA [--photos 200] [--out benchmarks/results/service.json]

DATA is in the competition's layout; its train photos become the gallery. Rounds alternate between the library and the
server, so that whatever else the machine does befalls both: the library recognizes photos one after the other as
`Gallery.recognize` does (the next one is decoded meanwhile), the server is asked by one client and by several.
"""

import argparse
import asyncio
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

import httpx
import machine
import numpy as np
from recognize import Data, build, photo

from veduta.images import load

ROUNDS, CLIENTS = 5, 4


def start(gallery):
    """Start a server; return the process, its address, and the seconds until it was ready."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "veduta", "serve", str(gallery), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"VEDUTA_TOKEN": ""})
    address = re.search(r"http://\S+?:\d+", process.stderr.readline())[0]
    threading.Thread(target=process.stderr.read, daemon=True).start()
    while True:
        try:
            if httpx.get(f"{address}/readyz").status_code == 200:
                return process, address, time.perf_counter() - begun
        except httpx.ConnectError:
            time.sleep(0.005)


def library(gallery, paths):
    """Return the seconds each photo and all of them take the library."""
    begun = time.perf_counter()
    each = [answer.seconds for answer in gallery.recognize(paths)]
    return each, time.perf_counter() - begun


def beside(recognizer, address, contents):
    """Return the seconds each photo takes the library, from its bytes to its answer, and a request for it, in turns."""
    bare, served = [], []

    def direct(content):
        begun = time.perf_counter()
        recognizer.recognize(load(content))
        bare.append(time.perf_counter() - begun)

    with httpx.Client(base_url=address, timeout=60) as session:

        def request(content):
            begun = time.perf_counter()
            session.post("/v1/recognize", files={"photos": ("p.jpg", content, "image/jpeg")}).raise_for_status()
            served.append(time.perf_counter() - begun)

        for number, content in enumerate(contents):
            for ask_one in (direct, request)[:: 1 if number % 2 else -1]:
                ask_one(content)
    return bare, served


async def ask(address, contents, clients):
    """Return the seconds of each request and of all, asked by so many clients at once."""
    seconds, waiting = [], list(contents)

    async def client(session):
        while waiting:
            content = waiting.pop()
            begun = time.perf_counter()
            answer = await session.post("/v1/recognize", files={"photos": ("p.jpg", content, "image/jpeg")})
            answer.raise_for_status()
            seconds.append(time.perf_counter() - begun)

    async with httpx.AsyncClient(base_url=address, timeout=60) as session:
        begun = time.perf_counter()
        await asyncio.gather(*(client(session) for _ in range(clients)))
        return seconds, time.perf_counter() - begun


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=int, default=200, help="of a round")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    data = Data(options.data, None)
    chosen = np.random.default_rng(0).permutation(len(data.test))[: options.photos]
    paths = [str(photo(data.folder, "test", data.test[i][0])) for i in chosen]
    contents = [Path(path).read_bytes() for path in paths]
    result = {"benchmark": "service", **machine.describe(), "photos": len(paths), "rounds": ROUNDS, "clients": CLIENTS}
    with tempfile.TemporaryDirectory() as folder:
        gallery, _ = build(data, Path(folder))
        result["references"] = gallery.info().references
        starts = []
        for _ in range(ROUNDS):
            process, address, seconds = start(gallery.path)
            starts.append(seconds)
            if len(starts) < ROUNDS:
                process.terminate()
                process.wait(30)
        result["ready_s"] = {"median": round(statistics.median(starts), 2), "all": [round(s, 2) for s in starts]}
        measure(result, gallery, address, paths, contents)
        process.terminate()
        result["exit"] = process.wait(60)
        gallery.close()
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def measure(result, gallery, address, paths, contents):
    """Alternate between the library and the server and note both."""
    recognizer = gallery.recognizer()
    beside(recognizer, address, contents[:10])
    added, ratios, rates = [], [], []
    alone, served = [], []
    for _ in range(ROUNDS):
        bare, one = beside(recognizer, address, contents)
        alone += bare
        served += one
        added.append(1000 * statistics.median(np.subtract(one, bare)))
        _, seconds = library(gallery, paths)
        _, asked = asyncio.run(ask(address, contents, CLIENTS))
        ratios.append(seconds / asked)
        rates.append((len(paths) / seconds, len(paths) / asked))
    result["a_photo"] = machine.spread(alone)
    result["a_request"] = machine.spread(served)
    result["added_ms"] = {"median": round(statistics.median(added), 2), "all": [round(x, 2) for x in added]}
    result["photos_per_second"] = [{"library": round(a, 2), "server": round(b, 2)} for a, b in rates]
    result["throughput_of_library"] = {
        "median": round(statistics.median(ratios), 3),
        "all": [round(x, 3) for x in ratios],
    }


if __name__ == "__main__":
    sys.exit(main())
