"""A request costs no more than it should, stalls nobody else, and is told nothing of the server."""

import asyncio
import contextlib
import io
import json
import signal
import socket
import threading
import time
import urllib.parse
import zlib
from pathlib import Path

import httpx
import numpy as np
import PIL.Image
import pytest
from support import world
from support.servers import BEARER, PATIENCE, files, inside, listening, serving, wait_for

from veduta.errors import TooLargeError
from veduta.files import MEGABYTE
from veduta.gallery import Gallery
from veduta.images import decoding_bytes, load
from veduta.web.engine import CLIENT_GONE, Engine, MemoryBudget
from veduta.web.errors import ApiError
from veduta.web.limits import served_names
from veduta.web.request import MAX_VALUES
from veduta.web.settings import Settings


def encoded(mode="RGB", side=64, **how):
    file = io.BytesIO()
    PIL.Image.new(mode, (side, side)).save(file, **({"format": "PNG"} | how))
    return file.getvalue()


def many_scans(scans, side=64):
    """A progressive JPEG whose last scan comes many times: each is a pass over all pixels."""
    data = encoded(side=side, format="JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:-2] + data[start:-2] * scans + b"\xff\xd9"


# --- the price of a photo ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scans", [101, 1_000, 8_000])
def test_a_jpeg_of_many_scans_is_refused_by_its_header(scans):
    with pytest.raises(TooLargeError, match=r"has [\d,]+ scans, more than 100; save it again"):
        load(many_scans(scans))
    assert load(many_scans(20)).width == 64


@pytest.mark.parametrize(
    ("mode", "how", "least"),
    [
        ("RGB", {"format": "PNG"}, 4),
        ("RGBA", {"format": "PNG"}, 8),
        ("I;16", {"format": "PNG"}, 3),
        ("F", {"format": "TIFF"}, 5),
        ("CMYK", {"format": "TIFF"}, 8),
        ("RGB", {"format": "WEBP", "lossless": True}, 16),
        ("RGBA", {"format": "AVIF"}, 14),
        ("RGB", {"format": "JPEG", "progressive": True, "subsampling": 0}, 10),
        ("RGB", {"format": "BMP"}, 4),
        ("P", {"format": "GIF"}, 5),
    ],
)
def test_what_decoding_holds_is_known_before_and_limited(mode, how, least):
    side = 1_500
    data = encoded(mode, side, **how)
    held = decoding_bytes(data, "photo")
    assert least * side**2 <= held <= (least + 4) * side**2 + len(data) + MEGABYTE
    assert load(data, max_memory=held).width == side
    with pytest.raises(TooLargeError, match="MB to decode, more than"):
        load(data, max_memory=held - 1)


def test_a_plain_jpeg_is_reduced_while_it_is_decoded_and_held_small():
    assert decoding_bytes(encoded(side=8_000, format="JPEG"), "photo") < 8_000**2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"\xff\xd8\xff",
        encoded()[:20],
        b"\x89PNG\r\n\x1a\n" + bytes(40),
        b"II*\0",
        b"RIFF\0\0\0\0WEBP",
    ],
)
def test_a_header_that_cannot_be_read_costs_nothing(data):
    assert decoding_bytes(data, "photo") == len(data)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "I;16", "I", "F", "L", "RGB", "1", "P"])
def test_a_picture_flattened_by_bands_is_the_picture_flattened_at_once(mode, monkeypatch):
    rng = np.random.default_rng(3)
    gray = rng.integers(0, 256, (600, 40), dtype=np.uint8)
    if mode in ("RGBA", "LA", "PA"):
        picture = PIL.Image.fromarray(rng.integers(0, 256, (600, 40, 4), dtype=np.uint8))
        picture = picture if mode == "RGBA" else picture.convert("LA") if mode == "LA" else picture.quantize()
    elif mode == "F":
        picture = PIL.Image.fromarray(gray.astype(np.float32) / 200)
    elif mode.startswith("I"):
        picture = PIL.Image.fromarray(gray.astype(np.uint16 if mode == "I;16" else np.int32) * 250)
    else:
        picture = PIL.Image.fromarray(gray).convert(mode)
    file = io.BytesIO()
    picture.save(file, format="TIFF" if mode in ("F", "I") else "PNG")
    by_bands = load(file.getvalue()).pixels
    monkeypatch.setattr("veduta.images.decode.BAND", 10_000)
    assert np.array_equal(by_bands, load(file.getvalue()).pixels)


def test_threads_share_the_memory_there_is():
    budget, most, held, lock = MemoryBudget(100), [0], [0], threading.Lock()

    def work(size):
        with budget.hold(size):
            with lock:
                held[0] += min(size, 100)
                most[0] = max(most[0], held[0])
            time.sleep(0.001)
            with lock:
                held[0] -= min(size, 100)

    threads = [threading.Thread(target=work, args=(size,)) for size in [30, 60, 100, 5, 500, 45] * 10]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert 60 < most[0] <= 100


def test_a_photo_that_takes_too_much_is_refused_and_the_others_of_the_request_are_answered(built, view):
    large = encoded("RGBA", 3_000)
    with inside(built, decode_memory=30 * MEGABYTE) as client:
        sent = [*files(view), ("photos", ("large.png", large, "image/png"))]
        results = client.post("/v1/recognize", files=sent).json()["results"]
    assert results[0]["landmark"]["id"] == "palazzo-0"
    assert "MB to decode" in results[1]["error"]["message"]


def test_photos_that_take_much_memory_leave_a_thread_to_all_others(built, monkeypatch):
    """With two workers one such photo is decoded at a time; others wait without a thread."""
    monkeypatch.setattr("veduta.web.engine.HEAVY_BYTES", MEGABYTE)
    engine, begun, go, calls = Engine([built], Settings(workers=2)), threading.Semaphore(0), threading.Event(), []

    def slow(*_, **__):
        begun.release()
        go.wait(PATIENCE)

    monkeypatch.setattr("veduta.web.engine.load", slow)
    large = encoded("RGB", 1_000)

    def work(number):
        calls.append(number)
        return engine.decode(large, "large")

    async def ask():
        waiting = [asyncio.create_task(engine.run(work, i)) for i in range(3)]
        assert await asyncio.to_thread(begun.acquire, timeout=PATIENCE)
        assert await asyncio.wait_for(engine.run(lambda: "small"), PATIENCE) == "small"
        assert not begun.acquire(blocking=False)
        go.set()
        await asyncio.gather(*waiting)

    try:
        asyncio.run(ask())
    finally:
        go.set()
        engine.close()
    assert sorted(calls) == [0, 0, 1, 1, 2, 2], "each is begun, and again when its turn has come"


def test_work_that_may_be_heavy_is_called_once(built, monkeypatch):
    monkeypatch.setattr("veduta.web.engine.HEAVY_BYTES", 1)
    engine, calls = Engine([built], Settings(workers=1)), []

    def work():
        calls.append(1)
        return engine.decode(encoded("RGB", 100), "a").width

    assert asyncio.run(engine.run(work, heavy=True)) == 100
    engine.close()
    assert calls == [1]


# --- nobody else waits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"photos":[' + b'"",' * 300_000 + b'""]}',
        b"{" + b",".join(b'"%d":1' % i for i in range(200_000)) + b"}",
        b'{"photos":[' + b"[]," * 50_000 + b"[]]}",
        b'{"requests":[' + b"{}," * 100_000 + b"{}]}",
    ],
)
@pytest.mark.parametrize("path", ["/v1/recognize", "/v1/images:annotate", "/api/v1/vision/labels", "/v1/references"])
def test_values_are_counted_before_they_are_parsed(built, monkeypatch, body, path):
    parsed = []
    real = json.loads
    with inside(built) as client:
        monkeypatch.setattr("veduta.web.request.json.loads", lambda *given: parsed.append(given) or real(*given))
        answer = client.post(path, content=body, headers=BEARER | {"content-type": "application/json"})
    assert answer.status_code == 400
    assert f"at most {MAX_VALUES:,} values" in answer.text
    assert parsed == []


def test_photos_are_counted_before_any_is_decoded(built, monkeypatch):
    decoded = []
    monkeypatch.setattr("veduta.web.fields.decode_base64", lambda content: decoded.append(content) or b"")
    with inside(built) as client:
        answer = client.post("/v1/recognize", json={"photos": ["AAAA"] * 17})
    assert answer.status_code == 400
    assert "photos: expected at most 16, got 17" in answer.text
    assert decoded == []


def trickle(address, stop, many=12):
    """Open connections that each send a body a byte at a time."""
    host, port = address.removeprefix("http://").split(":")
    opened = []
    for _ in range(many):
        connection = socket.create_connection((host, int(port)))
        connection.sendall(b"POST /v1/recognize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n")
        opened.append(connection)

    def send():
        while not stop.is_set():
            for connection in opened:
                try:
                    connection.sendall(b" ")
                except OSError:
                    continue
            stop.wait(0.05)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return opened, thread


def test_bodies_that_trickle_take_no_room(built, view):
    stop = threading.Event()
    with listening(built, workers=1, queue=1, chunk_seconds=2.0) as address:
        opened, thread = trickle(address, stop)
        try:
            for _ in range(3):
                answer = httpx.post(f"{address}/v1/recognize", files=files(view), timeout=PATIENCE)
                assert answer.status_code == 200, answer.text
            for connection in opened:  # and they are sent away in the end
                connection.settimeout(PATIENCE)
                assert b" 408 " in connection.recv(100)
        finally:
            stop.set()
            thread.join(PATIENCE)
            for connection in opened:
                connection.close()


def test_bodies_held_at_once_have_a_sum(built):
    with inside(built, max_waiting=50_000) as client:
        answer = client.post("/v1/recognize", content=b" " * 60_000, headers={"content-type": "application/json"})
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "2"
        assert client.post("/v1/recognize", json={"photos": [""]}).status_code != 429


def test_who_may_not_write_is_told_before_the_body_is_read(built, monkeypatch):
    read = []
    monkeypatch.setattr("veduta.web.engine.Engine.holding", lambda *_: read.append(1))
    with inside(built, headers={"authorization": "Bearer wrong-token"}) as client:
        for path in ("/v1/references", "/v1/review"):
            assert client.post(path, content=b" " * 1_000).status_code == 401
    assert read == []


def test_the_work_of_a_client_that_hung_up_is_dropped_at_the_next_stage(built, view, monkeypatch):
    begun, go = [], threading.Event()

    def slow(self, content, name):
        begun.append(name)
        go.wait(PATIENCE)
        return load(content, name=name)

    monkeypatch.setattr(Engine, "decode", slow)
    recognized = []
    real = Engine.best
    monkeypatch.setattr(Engine, "best", lambda *given, **named: recognized.append(1) or real(*given, **named))
    with listening(built, workers=1) as address:
        sent = [("photos", (f"{i}.jpg", Path(view).read_bytes())) for i in range(6)]
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}/v1/recognize", files=sent, timeout=1)
        wait_for(lambda: begun)
        time.sleep(1)  # the server notices within a fifth of a second
        go.set()
        answer = httpx.post(f"{address}/v1/recognize", files=files(view), timeout=PATIENCE)
        assert answer.status_code == 200
    assert len(begun) == 2, "one photo of the client that left, and the one of the next"


def test_nothing_is_begun_for_a_client_that_left_or_while_the_server_stops(built):
    engine = Engine([built], Settings(workers=1))
    gone = threading.Event()
    gone.set()
    ran = []

    async def ask():
        CLIENT_GONE.set(gone)
        await engine.run(lambda: ran.append(1))

    with pytest.raises(ApiError, match="hung up"):
        asyncio.run(ask())
    engine.close()
    with pytest.raises(ApiError, match="being stopped"):
        engine.check_wanted()
    assert ran == []


def test_a_server_that_is_told_to_stop_ends_soon_whatever_is_at_work(built):
    """Sixteen large pictures a request are minutes of work; what is begun ends, the rest is dropped."""
    large = [("photos", (f"{i}.png", encoded("RGB", 6_000), "image/png")) for i in range(16)]
    with serving(built, options=("--workers", "2")) as server:
        clients = [
            threading.Thread(target=lambda: ask_quietly(f"{server.address}/v1/recognize", large), daemon=True)
            for _ in range(2)
        ]
        for client in clients:
            client.start()
        time.sleep(2)  # both are at work
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
        assert not [line for line in server.lines if "Traceback" in line]


def ask_quietly(address, sent):
    with contextlib.suppress(httpx.HTTPError):
        httpx.post(address, files=sent, timeout=PATIENCE)


# --- nothing leaks -------------------------------------------------------------------------------------------------


def test_a_damaged_picture_names_no_path_of_the_server(tmp_path):
    private = tmp_path / "private" / "album 7"
    photo = world.save(world.facade(0, 240, 180), private / "a0.jpg")
    with Gallery.create(tmp_path / "gallery") as gallery:
        reference = gallery.add_photo(photo, "palazzo").added[0].id
        with gallery._store._db.transaction() as db:
            db.execute("UPDATE thumbnail SET thumbnail = x'00'")
    photo.unlink()
    with inside(tmp_path / "gallery") as client:
        for size in ("small", "large"):
            answer = client.get(f"/v1/pictures/{urllib.parse.quote(reference, safe='')}?size={size}")
            assert "private" not in answer.text
            assert str(tmp_path) not in answer.text
    assert answer.status_code == 404


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::", "192.0.2.7", "photos.example"])
def test_the_server_answers_to_its_own_names_wherever_it_listens(host, built):
    names = served_names(host, ("given.example",))
    assert {"localhost", "127.0.0.1", "given.example"} <= set(names)
    assert (host in names) == (host not in ("0.0.0.0", "::"))
    assert "" not in names
    with inside(built, hosts=tuple(name.lower() for name in names)) as client:
        for name in ("evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "evil.example:8000", "[::2]"):
            assert client.get("/v1/server", headers={"host": name}).status_code == 421
        assert client.get("/v1/server", headers={"host": "localhost:8000"}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/server", "/v1/landmarks", "/v1/pictures/x", "/", "/metrics"])
@pytest.mark.parametrize("mode", ["no-cors", "cors", "same-origin", "websocket", ""])
def test_a_page_elsewhere_may_load_nothing(built, path, mode):
    with inside(built) as client:
        answer = client.get(path, headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": mode})
        assert answer.status_code == 403
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        link = client.get(path, headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})
        assert link.status_code in (200, 404)


@pytest.mark.parametrize("path", ["/v1/review/", "/v1/recognize/", "/v1/landmarks/", "/healthz/", "/v1/server/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nobody_is_sent_elsewhere(built, method, path):
    with inside(built) as client:
        answer = client.request(method, path, follow_redirects=False)
    assert answer.status_code in (400, 404, 405)
    assert "location" not in answer.headers


def test_the_token_of_a_review_is_in_no_command_line(tmp_path):
    from veduta.cli.library.review import _door

    page = _door(tmp_path, "http://127.0.0.1:1/#/review?token=secret&x=1")
    assert "secret" not in page.as_uri()
    assert page.stat().st_mode & 0o077 == 0
    assert "url=http://127.0.0.1:1/#/review?token=secret&amp;x=1" in page.read_text()


# --- hostile photos ------------------------------------------------------------------------------------------------


def bombs():
    """Yield small files that claim or hold much."""
    yield many_scans(5_000)
    for mode, side in (("RGB", 9_000), ("RGBA", 9_000), ("L", 9_999)):
        yield encoded(mode, side)
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0\0\x27\x0f\0\0\x27\x0f\x10\6\0\0\0")
    yield head + chunk(b"IDAT", zlib.compress(bytes(1_000_000))) + chunk(b"IEND", b"")
    yield encoded("RGB", 3_000, format="WEBP", lossless=True)
    yield encoded()[:60]


def chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def test_hostile_photos_are_refused_or_read_and_the_server_goes_on(built, view):
    with serving(built, options=("--workers", "2")) as server:
        hostile = [("photos", (f"{i}", data)) for i, data in enumerate(bombs())]
        for _ in range(2):
            answer = httpx.post(f"{server.address}/v1/recognize", files=hostile, timeout=PATIENCE)
            assert answer.status_code == 200, answer.text
            assert len(answer.json()["results"]) == len(hostile)
            assert httpx.get(f"{server.address}/healthz").status_code == 200
        answer = httpx.post(f"{server.address}/v1/recognize", files=files(view), timeout=PATIENCE)
        assert answer.json()["results"][0]["landmark"]["id"] == "palazzo-0"
        peak = Path(f"/proc/{server.process.pid}/status").read_text().split("VmHWM:")[1].split()[0]
        assert int(peak) * 1024 < 1_300 * MEGABYTE
