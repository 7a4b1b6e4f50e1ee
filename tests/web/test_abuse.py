"""What the server does with those who mean it harm, and with kills: no 5xx, nothing left behind, nothing lost."""

import contextlib
import json
import re
import shutil
import signal
import socket
import struct
import threading
import time
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from support import world
from support.processes import PATIENCE, is_whole, veduta
from support.servers import (
    BEARER,
    TOKEN,
    answers,
    ask_raw,
    base64_of,
    check_error,
    connect,
    head_of,
    hear,
    inside,
    jpeg,
    json_of,
    listening,
    serving,
    status_of,
    wait_for,
)

from veduta.gallery import Gallery
from veduta.web.app import create_app

SOON = 60  # seconds within which the server has long hung up, though it gives two


@pytest.fixture(scope="module")
def copied(built, tmp_path_factory):
    """Folder of a gallery that this module's requests may change."""
    return shutil.copytree(built, tmp_path_factory.mktemp("abused") / "gallery")


@pytest.fixture(scope="module")
def client(copied):
    """Client, with the token, of a server in this process."""
    with inside(copied) as opened:
        yield opened


def check_folder(gallery):
    """Expect nothing in a gallery's folder that a request could have named."""
    names = {path.relative_to(gallery).as_posix() for path in gallery.rglob("*") if not path.is_dir()}
    allowed = r"(gallery|review)\.sqlite(-wal|-shm)?|photos/[0-9a-f]{64}"
    assert not [name for name in names if not re.fullmatch(allowed, name)]
    assert {path.name for path in gallery.parent.iterdir()} == {gallery.name}


# --- photos that are none ---------------------------------------------------------------------------------------


def png(width, height, data=b"", kind=2):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def zipped():
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../etc/passwd", b"0" * 1_000_000)
    return file.getvalue()


GOOD = jpeg(world.facade(90, 192, 144))
SIZE = GOOD.index(b"\xff\xc0") + 5  # where a JPEG says how high and wide it is
EXIF = b"\xff\xe1" + struct.pack(">H", 40) + b"Exif\0\0" + b"MM\0*\xff\xff\xff\xff" + b"\xff" * 24
HOSTILE = {
    "empty": b"",
    "one byte": b"\xff",
    "truncated JPEG": GOOD[: len(GOOD) // 3],
    "JPEG without a picture": GOOD[:SIZE],
    "JPEG of 60000 x 60000": GOOD[:SIZE] + struct.pack(">HH", 60000, 60000) + GOOD[SIZE + 4 :],
    "JPEG of no height": GOOD[:SIZE] + struct.pack(">HH", 0, 192) + GOOD[SIZE + 4 :],
    "JPEG with broken EXIF": GOOD[:2] + EXIF + GOOD[2:],
    "PNG of 50000 x 50000": png(50_000, 50_000, b"\0" * 100),
    "PNG of 2 thousand million": png(2**31 - 1, 2**31 - 1),
    "PNG with less than it says": png(2000, 2000, b"\0" * 100),
    "PNG with text that inflates": png(8, 8, b"\0" * 200)[:33] + b"\0\0\0\x10zTXt" + b"\xff" * 20,
    "GIF with a broken head": b"GIF89a\xff\xff\xff\xff\xf7\0\0" + b"\xff" * 40,
    "WebP of nothing": b"RIFF\xff\xff\xff\xffWEBPVP8X" + b"\xff" * 30,
    "TIFF that points at itself": b"II*\0\x08\0\0\0" + b"\x01\0" + b"\xff" * 12 + b"\x08\0\0\0",
    "HEIF of boxes in boxes": b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + b"\0\0\x10\0meta" * 500,
    "BMP of minus one": b"BM" + b"\xff" * 60,
    "zip": zipped(),
    "HTML": b"<!doctype html><script>alert(1)</script>",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "PDF": b"%PDF-1.7\n" + b"1 0 obj<</Type/Catalog>>endobj\n" * 20,
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n",
    "random": np.random.default_rng(0).bytes(5000),
    "JSON in JSON": b"[" * 10_000,
    "good": GOOD,
}


def form(route, field, **fields):
    def ask(client, content, name="photo.jpg"):
        sent = [(field, (name, content, "image/jpeg"))]
        if field == "other":
            sent.append(("photo", ("good.jpg", GOOD, "image/jpeg")))
        return client.post(route, files=sent, data=fields)

    return ask


ROUTES = {
    "recognize": form("/v1/recognize", "photos"),
    "recognize json": lambda client, content, name="photo.jpg": client.post(
        "/v1/recognize", json={"photos": [{"name": name, "content": base64_of(content)}], "keypoints": True}
    ),
    "verify": form("/v1/verify", "photo", reference="palazzo-0/photo-0.jpg"),
    "verify other": form("/v1/verify", "other"),
    "references": form("/v1/references", "photos", landmark="new"),
    "review": form("/v1/review", "photos"),
    "vision": lambda client, content, name="photo.jpg": client.post(
        "/v1/images:annotate",
        json={"requests": [{"image": {"content": base64_of(content)}, "features": [{"type": "LANDMARK_DETECTION"}]}]},
    ),
    "labels": lambda client, content, name="photo.jpg": client.post(
        "/api/v1/vision/labels", json={"images": [f"data:image/jpeg;base64,{base64_of(content)}"]}
    ),
}


def fault_of(route, response):
    """Return what is told of the one photo that was sent, or None if it was taken."""
    assert response.status_code < 500, response.text
    body = response.json()
    if response.status_code == 400:
        return body["error"] if route == "labels" else check_error(response, 400)
    assert response.status_code in (200, 201)
    if "failures" in body:
        return body["failures"][0]["error"]["message"] if body["failures"] else None
    for key in ("results", "responses"):
        if key in body:
            return body[key][0].get("error", {}).get("message")
    return None


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_photo_is_one_line_of_error_wherever_it_is_sent(client, copied, kind, route):
    fault = fault_of(route, ROUTES[route](client, HOSTILE[kind]))
    if kind == "good":
        assert fault is None
    elif kind not in ("truncated JPEG", "JPEG with broken EXIF"):  # of which something may be seen
        assert fault
    if fault:
        assert len(fault.splitlines()) == 1
        assert str(copied) not in fault
    assert client.get("/healthz").status_code == 200


def test_afterwards_nothing_but_the_good_photo_is_there(client, copied):
    check_folder(copied)
    assert is_whole(copied)
    (answer,) = ROUTES["recognize"](client, jpeg(world.facade(0))).json()["results"]
    assert answer["landmark"]["id"] == "palazzo-0"


def test_a_photo_is_known_by_its_content_whatever_it_calls_itself(client):
    png_of_facade = png(192, 144, b"".join(b"\0" + row.tobytes() for row in world.facade(90, 192, 144)))
    for name in ("a.jpg", "a.png", "a.exe", "a.svg", "a"):
        assert fault_of("recognize", ROUTES["recognize"](client, png_of_facade, name)) is None


def test_a_photo_of_more_bytes_or_pixels_than_allowed_is_told(built):
    with inside(built, token=None, max_photo=1000, max_pixels=10_000) as client:
        for content in (GOOD, png(101, 100)):
            for route in ("recognize", "recognize json", "verify", "vision", "labels"):
                assert "more than" in fault_of(route, ROUTES[route](client, content))


# --- names ------------------------------------------------------------------------------------------------------

NAMES = [
    b"../../etc/passwd",
    b"..\\..\\windows\\system32",
    b"/etc/passwd",
    b"~/.ssh/authorized_keys",
    b"..",
    b".",
    b"CON",
    b"a\0b.jpg",
    b"\x1b[2J\x07.jpg",
    "\u202egpj.exe\u200b\ufeff".encode(),
    b"\xff\xfe\xfd",
    b"x" * 10_000,
    b"gallery.sqlite",
    b"$(touch pwned);`touch pwned`|",
    b"%2e%2e%2fpwned",
    b"<script>alert(1)</script>",
]


def multipart(fields, name, content):
    lines = [b'--cut\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % pair for pair in fields.items()]
    lines.append(b'--cut\r\nContent-Disposition: form-data; name="photos"; filename="%s"\r\n\r\n' % name)
    return b"".join(lines) + content + b"\r\n--cut--\r\n"


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:24])
def test_a_name_is_shown_at_most_and_never_reaches_the_disk(client, copied, name):
    kind = {"Content-Type": "multipart/form-data; boundary=cut"}
    content = GOOD + str(NAMES.index(name)).encode()  # each a photo of its own
    for route in ("/v1/recognize", "/v1/references", "/v1/review"):
        body = multipart({b"landmark": b"../../" + name.replace(b"\0", b"")[:400]}, name, content)
        response = client.post(route, content=body, headers=kind)
        assert response.status_code < 500
        if response.status_code >= 400:
            check_error(response, response.status_code)
            continue
        answer = response.json()
        for row in answer.get("results", []) + answer.get("items", []):
            assert row["photo"].isprintable()
            assert 0 < len(row["photo"]) <= 200
            assert not set(row["photo"]) & set("/\\\0")
    check_folder(copied)


def test_a_name_in_json_is_no_other(client, copied):
    for name in (b"../../etc/passwd".decode(), "a\0b", "\ud800", "x" * 10_000, "", "\u202e"):
        sent = {"photos": [{"name": name, "content": base64_of(GOOD)}], "landmark": "json"}
        for route in ("/v1/recognize", "/v1/references", "/v1/review"):
            body = json.dumps(sent).encode()
            response = client.post(route, content=body, headers={"Content-Type": "application/json"})
            assert response.status_code in (200, 201), response.text
    check_folder(copied)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../engine.py",
        "/static/..%2fengine.py",
        "/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/static/%2e%2e/engine.py",
        "/static/..%5cengine.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/%00",
        "/static/" + "a" * 5000,
        "/v1/pictures/../../etc/passwd",
        "/v1/pictures/..%2f..%2fetc%2fpasswd",
        "/v1/pictures/%2fetc%2fpasswd?size=large",
        "/v1/landmarks/..%2f..%2f..%2fgallery.sqlite",
        "/v1/references?gallery=..%2f..%2f&landmark=..%2f",
        "//etc/passwd",
        "/..",
        "/gallery.sqlite",
    ],
    ids=lambda path: path[:40],
)
def test_no_path_leads_out(abused, path):
    heard = ask_raw(abused, head_of("GET", path, Connection="close"))
    assert 400 <= status_of(heard) < 500
    assert b"root:" not in heard
    assert b"import " not in heard
    assert set(json_of(heard)) == {"error"}


# --- sizes and numbers ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def abused(copied):
    """Address of a server with small limits; what is sent at once keeps those of time on a busy machine, too."""
    limits = {"max_body": 200_000, "max_photos": 4, "header_seconds": 2, "chunk_seconds": 2, "body_seconds": 3}
    with listening(copied, **limits) as address:
        yield address


FORM = "multipart/form-data; boundary=cut"
START = {FORM: b'--cut\r\nContent-Disposition: form-data; name="photos"; filename="a"\r\n\r\n'}
BODIES = {
    "/v1/recognize": FORM,
    "/v1/verify": "application/json",
    "/v1/references": FORM,
    "/v1/review": "application/json",
    "/v1/review/1": "application/json",
    "/v1/images:annotate": "application/json",
    "/api/v1/vision/labels": "application/json",
}


@pytest.mark.parametrize("path", BODIES)
def test_a_body_that_says_it_is_too_large_is_not_read(abused, path):
    headers = {"Content_Type": BODIES[path], "Authorization": f"Bearer {TOKEN}", "Content_Length": "200001"}
    heard = ask_raw(abused, head_of("POST", path, **headers))
    assert status_of(heard) == 413
    assert json_of(heard)["error"]["code"] == 413
    assert b"connection: close" in heard.lower()


@pytest.mark.parametrize("path", [*BODIES, "/v1/landmarks/palazzo-0"])
def test_a_body_that_turns_out_too_large_is_read_no_further(abused, path):
    kind = BODIES.get(path, "application/json")
    headers = {"Content_Type": kind, "Authorization": f"Bearer {TOKEN}", "Transfer_Encoding": "chunked"}
    pieces = [START.get(kind, b"["), *[b" " * 50_000] * 5]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    heard = ask_raw(abused, head_of("PUT" if "landmarks" in path else "POST", path, **headers) + chunks)
    assert status_of(heard) == 413
    body = json_of(heard)
    assert 413 in (body.get("code"), body["error"]["code"] if isinstance(body["error"], dict) else 0)
    assert answers(abused)


def test_a_client_that_streams_too_much_reads_why(abused):
    response = httpx.post(
        f"{abused}/v1/images:annotate", content=(b" " * 50_000 for _ in range(5)), headers={"Content-Type": "text/json"}
    )
    assert "more than" in check_error(response, 413)


def test_too_many_photos_or_fields_are_refused(abused):
    sent = [("photos", (f"{i}.jpg", b"x", "image/jpeg")) for i in range(40)]
    for count in (5, 6, 40):
        check_error(httpx.post(f"{abused}/v1/recognize", files=sent[:count], timeout=PATIENCE), 400)
    photos = [{"content": ""}] * 5
    check_error(httpx.post(f"{abused}/v1/recognize", json={"photos": photos}, timeout=PATIENCE), 400)
    fields = {f"field-{i}": "x" for i in range(100)}
    check_error(httpx.post(f"{abused}/v1/recognize", files=sent[:1], data=fields, timeout=PATIENCE), 400)
    labels = httpx.post(f"{abused}/api/v1/vision/labels", json={"images": ["data:,"] * 5}, timeout=PATIENCE)
    assert (labels.status_code, labels.json()["code"]) == (400, 400)
    assert httpx.post(f"{abused}/v1/recognize", files=sent[:4], timeout=PATIENCE).status_code == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        head_of("GET", "/", X_Large="a" * 1_000_000),
        head_of("GET", "/" + "a" * 1_000_000),
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(20_000)),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 200,
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\x07" * 300,
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/recognize HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/recognize HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST /v1/recognize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:30]),
)
def test_what_is_no_http_is_refused_or_hung_up_on(abused, request_bytes):
    status = status_of(ask_raw(abused, request_bytes))
    assert status is None or 400 <= status < 500
    assert answers(abused)


# --- slowness ---------------------------------------------------------------------------------------------------


def drip(connection, pieces, pause=0.1):
    """Send pieces slowly until the server hangs up; return what it said and whether it did."""
    end = time.monotonic() + SOON
    connection.settimeout(pause)
    heard = b""
    while time.monotonic() < end:
        try:
            connection.sendall(next(pieces))
            got = connection.recv(65536)
        except TimeoutError:
            continue
        except (ConnectionError, StopIteration):
            return heard, True
        if not got:
            return heard, True
        heard += got
    return heard, False


def endlessly(start, piece):
    yield start
    while True:
        yield piece


def test_a_head_that_comes_byte_by_byte_is_hung_up_on_while_others_are_served(abused):
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(abused)) for _ in range(30)]
        for connection in slow[1:]:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-")
        served = httpx.get(f"{abused}/v1/server", timeout=PATIENCE).status_code
        heard, hung_up = drip(slow[0], endlessly(b"GET / HTTP/1.1\r\nHost: x\r\nX-", b"y"))
        assert (served, heard, hung_up) == (200, b"", True)
        for connection in slow[1:]:
            connection.settimeout(SOON)
            assert hear(connection) == b""


def test_a_connection_that_says_nothing_is_hung_up_on(abused):
    with connect(abused) as connection:
        connection.settimeout(SOON)
        assert hear(connection) == b""


def test_a_second_head_that_comes_slowly_is_hung_up_on_too(abused):
    with connect(abused) as connection:
        connection.sendall(head_of("GET", "/healthz"))
        heard = b""
        while not heard.endswith(b'"ok"}'):
            heard += connection.recv(65536)
        assert status_of(heard) == 200
        heard, hung_up = drip(connection, endlessly(b"GET /healthz HTTP/1.1\r\n", b"X"))
        assert (heard, hung_up) == (b"", True)


@pytest.mark.parametrize("path", ["/v1/recognize", "/v1/references", "/v1/images:annotate", "/v1/review/1"])
def test_a_body_that_stops_or_never_ends_is_answered_and_hung_up_on(abused, path):
    headers = {"Content_Type": BODIES[path], "Authorization": f"Bearer {TOKEN}", "Content_Length": "100000"}
    start = head_of("POST", path, **headers) + START.get(BODIES[path], b"[")
    with connect(abused) as stopped, connect(abused) as endless:
        stopped.sendall(start)
        heard, hung_up = drip(endless, endlessly(start, b" "))
        assert hung_up
        assert httpx.get(f"{abused}/v1/server", timeout=PATIENCE).status_code == 200
        stopped.settimeout(SOON)
        for answer in (heard, hear(stopped)):
            assert status_of(answer) == 408
            assert json_of(answer)["error"]["status"] == "DEADLINE_EXCEEDED"


def test_a_client_that_leaves_before_its_answer_harms_nobody(abused, caplog):
    body = multipart({}, b"x.jpg", GOOD)
    head = head_of("POST", "/v1/recognize", Content_Type=BODIES["/v1/recognize"], Content_Length=len(body))
    for sent in (head, head + body[:100], head + body):
        with connect(abused) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, no goodbye
            connection.sendall(sent)
    wait_for(lambda: b"veduta_requests_admitted 0.0" in httpx.get(f"{abused}/metrics", timeout=PATIENCE).content)
    assert answers(abused)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# --- more than there is room for --------------------------------------------------------------------------------


def test_who_finds_no_room_is_told_when_to_come_again(built):
    with inside(built, token=None, workers=1, queue=0) as client:
        engine = client.app.state.engine
        results = []
        with engine.served["gallery"].lock:  # the gallery is busy
            first = threading.Thread(target=lambda: results.append(ROUTES["recognize"](client, GOOD)))
            first.start()
            wait_for(lambda: engine.load == 1)
            for route in ("recognize", "recognize json", "verify", "vision"):
                refused = ROUTES[route](client, GOOD)
                assert "try again" in check_error(refused, 429)
                assert int(refused.headers["retry-after"]) >= 1
            labels = ROUTES["labels"](client, GOOD)
            assert (labels.status_code, labels.json()["code"]) == (429, 429)
            assert int(labels.headers["retry-after"]) >= 1
            assert client.get("/healthz").status_code == 200
        first.join()
        assert results[0].status_code == 200
        assert engine.load == 0
        for route in ("recognize", "verify", "vision", "labels"):
            assert ROUTES[route](client, GOOD).status_code == 200


def test_many_at_once_are_all_answered_or_told_to_come_again(copied):
    with listening(copied, workers=1, queue=1) as address:
        codes = []

        def ask():
            codes.append(httpx.post(f"{address}/v1/recognize", files={"photos": GOOD}, timeout=PATIENCE).status_code)

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(codes) == 12
        assert set(codes) <= {200, 429}
        assert 200 in codes
        assert httpx.post(f"{address}/v1/recognize", files={"photos": GOOD}, timeout=PATIENCE).status_code == 200


# --- ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_work_is_answered_before_the_server_ends(built, view, number):
    with serving(built, token=None) as started, connect(started.address) as connection:
        body = multipart({}, b"x.jpg", Path(view).read_bytes())
        headers = {"Content_Type": BODIES["/v1/recognize"], "Content_Length": len(body), "Expect": "100-continue"}
        connection.sendall(head_of("POST", "/v1/recognize", **headers))
        assert status_of(connection.recv(65536)) == 100  # it has been let in
        started.process.send_signal(number)
        wait_for(lambda: not answers(started.address))
        connection.sendall(body)
        heard = hear(connection)
        assert status_of(heard) == 200
        assert json_of(heard)["results"][0]["landmark"]["id"] == "palazzo-0"
        assert started.process.wait(PATIENCE) == (0 if number == signal.SIGTERM else 130)
    assert not any("Traceback" in line for line in started.lines), "".join(started.lines)


def test_what_was_acknowledged_is_there_after_a_kill(copied, tmp_path, view):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    path = shutil.copytree(copied, tmp_path / "galleries" / "gallery")
    photos = [jpeg(world.facade(300 + i, 96, 72)) for i in range(200)]
    acknowledged = []

    def send(address):
        with httpx.Client(base_url=address, headers=BEARER, timeout=PATIENCE) as client:
            for i, content in enumerate(photos):
                sent = {"photos": (f"{i}.jpg", content, "image/jpeg")}
                response = client.post("/v1/references", files=sent, data={"landmark": f"tower {i % 3}"})
                assert response.status_code == 201
                acknowledged.extend(reference["sha256"] for reference in response.json()["added"])

    def stream(address):
        with contextlib.suppress(httpx.TransportError):
            send(address)

    with serving(path, TMPDIR=str(temporary)) as started:
        thread = threading.Thread(target=stream, args=(started.address,))
        thread.start()
        wait_for(lambda: len(acknowledged) >= 5 or not thread.is_alive())
        started.process.send_signal(signal.SIGKILL)
        thread.join()
    assert 5 <= len(acknowledged) < len(photos)
    with Gallery.open(path) as gallery:
        assert set(acknowledged) <= {reference.sha256 for reference in gallery.references()}
        answer = next(gallery.recognize([view]))
        assert answer.landmark.id == "palazzo-0"
    assert is_whole(path)
    assert list(temporary.iterdir()) == []
    # Of the one photo that was in work a draft may be there; all others are whole.
    drafts = list((path / "photos").glob(".*"))
    assert len(drafts) <= 1
    for draft in drafts:
        draft.unlink()
    check_folder(path)
    with serving(path) as started:
        listed = httpx.get(f"{started.address}/v1/references?limit=1000", timeout=PATIENCE).json()
        assert set(acknowledged) <= {reference["sha256"] for reference in listed["references"]}


def test_a_port_that_is_taken_is_one_line_and_no_server(built):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = veduta("serve", built, "--port", str(taken.getsockname()[1]))
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "cannot listen" in line


# --- anything at all --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def calm(copied):
    """Address of a server that listens, with the limits it has unless told."""
    with listening(copied) as address:
        yield address


def operations():
    """Every method and path of the description."""
    paths = create_app([], warm=False).openapi()["paths"]
    return [(method, path) for path, methods in paths.items() for method in methods]


@pytest.mark.parametrize(("method", "path"), operations())
@pytest.mark.filterwarnings("ignore")  # of what generates requests, not of anything of ours
def test_whatever_fits_the_description_is_answered(calm, copied, method, path):
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance

    schema = schemathesis.openapi.from_dict(httpx.get(f"{calm}/openapi.json", timeout=PATIENCE).json())
    operation = schema[path][method]
    how = settings(
        max_examples=30, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )

    def check(case):
        response = case.call(base_url=calm, headers=BEARER)
        case.validate_response(response, checks=[not_a_server_error, response_schema_conformance])
        if response.status_code >= 400 and "vision/labels" not in path:
            assert list(response.json()) == ["error"]

    how(given(case=operation.as_strategy())(check))()
    check_folder(copied)
