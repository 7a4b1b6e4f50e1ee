"""Photos fetched from sites that are slow, endless or odd: one time for all of it, and nobody else waits."""

import asyncio
import contextlib
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest
from support.processes import PATIENCE
from support.servers import files, listening

from veduta.web import image_source
from veduta.web.image_source import FaultError, Sources
from veduta.web.settings import Settings

OK = b"HTTP/1.1 200 OK\r\n"
HEAD = OK + b"Content-Length: 1000000\r\n\r\n"


@contextlib.contextmanager
def site(answer):
    """Give the address of a site on loopback that answers each connection by `answer(send, stop)`."""
    stop, bound = threading.Event(), socket.create_server(("127.0.0.1", 0), backlog=200)

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE)
            if answer is not never_read:
                connection.recv(65536)
            answer(connection.sendall, stop)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(bound.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
    finally:
        stop.set()
        bound.close()


def dripping(start, piece):
    def answer(send, stop):
        send(start)
        while not stop.wait(0.02):
            send(piece)

    return answer


def silent(send, stop):
    stop.wait()


def never_read(send, stop):
    stop.wait()


SLOW = {
    "says nothing": silent,
    "reads nothing": never_read,
    "drips its status": dripping(b"HTTP/1.1", b" "),
    "drips its head": dripping(OK, b"X-A: b\r\n"),
    "drips one line of its head": dripping(OK + b"X-A: ", b"b"),
    "stops in its head": lambda send, stop: (send(OK + b"Content-"), stop.wait()),
    "drips its body": dripping(HEAD, b"x"),
    "stops in its body": lambda send, stop: (send(HEAD + b"x" * 1000), stop.wait()),
    "drips without a length": dripping(OK + b"\r\n", b"x"),
    "drips in chunks": dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "drips within one chunk": dripping(OK + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n", b"x"),
    "drips promises": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips the end of its chunks": dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"X-A: b\r\n"),
}


def fetched(address, seconds=PATIENCE, path="a.jpg", **limits):
    return asyncio.run(Sources(Settings(image_prefixes=(address,), **limits), seconds).fetch(address + path))


@pytest.mark.parametrize("kind", SLOW)
def test_a_slow_source_is_cut_off_in_all(kind):
    with site(SLOW[kind]) as address, pytest.raises(FaultError, match=r"took longer than 0 s|no answer") as raised:
        fetched(address, 0.3)
    assert raised.value.code == 3


def test_a_site_that_speaks_no_tls_is_cut_off_too():
    with site(silent) as address, pytest.raises(FaultError, match=r"took longer|no answer"):
        fetched(address.replace("http:", "https:"), 0.3)


ANSWERS = {
    "a length": OK + b"Content-Length: 3\r\n\r\nabc",
    "more than its length": OK + b"Content-Length: 3\r\n\r\nabcdef",
    "no length": OK + b"\r\nabc",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nabc",
    "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\n\r\n",
    "a promise before": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 3\r\n\r\nabc",
    "another success": b"HTTP/1.1 203 Non-Authoritative\r\nContent-Length: 3\r\n\r\nabc",
    "many headers": OK + b"".join(b"X-%d: y\r\n" % i for i in range(90)) + b"Content-Length: 3\r\n\r\nabc",
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc",
    "lines that end in LF": b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_is_read_however_it_is_framed(kind):
    with site(lambda send, stop: send(ANSWERS[kind])) as address:
        assert fetched(address) == b"abc"


REFUSED = {
    "moved": b"HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\n",
    "gone": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "broken": b"HTTP/1.1 500 Oops\r\n\r\n",
    "not changed": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
    "less than its length": OK + b"Content-Length: 9\r\n\r\nabc",
    "a broken chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "an endless line": OK + b"X-A: " + b"b" * 200_000,
    "HTTP/2": b"HTTP/2 200\r\n\r\nabc",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_no_other_answer_is_a_photo(kind):
    with site(lambda send, stop: send(REFUSED[kind])) as address, pytest.raises(FaultError, match="cannot be fetched"):
        fetched(address)


def test_an_endless_photo_is_read_no_further_than_a_photo_may_be_long():
    def endless(send, stop):
        send(OK + b"\r\n")
        while not stop.is_set():
            send(b"x" * 100_000)

    with site(endless) as address:
        assert fetched(address, max_photo=250_000) == b"x" * 250_001


def test_a_path_and_its_query_are_asked_for_as_they_are():
    asked = []
    bound = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = bound.accept()
        with connection:
            asked.append(connection.recv(65536))
            connection.sendall(ANSWERS["a length"])

    thread = threading.Thread(target=serve)
    thread.start()
    port = bound.getsockname()[1]
    assert fetched(f"http://127.0.0.1:{port}/a%20b/", path="c.jpg?x=1&y=%2F") == b"abc"
    thread.join()
    bound.close()
    line, host, *_ = asked[0].split(b"\r\n")
    assert line == b"GET /a%20b/c.jpg?x=1&y=%2F HTTP/1.1"
    assert host.lower() == b"host: 127.0.0.1:%d" % port


def test_a_name_that_is_looked_up_for_long_is_cut_off(monkeypatch):
    async def slow(*_, **__):
        await asyncio.sleep(PATIENCE)

    monkeypatch.setattr(image_source.asyncio, "open_connection", slow)
    with pytest.raises(FaultError, match="took longer"):
        fetched("http://photos.example/", 0.05)


def test_to_wait_for_a_connection_counts_as_time(monkeypatch):
    monkeypatch.setattr(image_source, "FETCH_CONNECTIONS", 1)
    with site(silent) as address:
        sources = Sources(Settings(image_prefixes=(address,)), 0.2)

        async def both():
            return await asyncio.gather(*(sources.fetch(address) for _ in range(3)), return_exceptions=True)

        assert [type(error) for error in asyncio.run(both())] == [FaultError] * 3


def test_slow_sources_make_nobody_else_wait(built, view, monkeypatch):
    """A photo of another client, and one from a quick source, are answered while many slow sources still drip."""
    monkeypatch.setattr(Sources.__init__, "__defaults__", (float(PATIENCE),))
    answered, released = [], threading.Event()

    def drip(send, stop):
        send(HEAD)
        while not (stop.is_set() or released.wait(0.02)):
            send(b"x")

    content = Path(view).read_bytes()
    quick = OK + b"Content-Length: %d\r\n\r\n" % len(content) + content
    with site(drip) as slow, site(lambda send, stop: send(quick)) as fast:

        def ask(server, address):
            request = {"image": {"source": {"imageUri": f"{address}a.jpg"}}, "features": [{"type": 2}]}
            body = {"requests": [request]}
            answer = httpx.post(f"{server}/v1/images:annotate", json=body, timeout=PATIENCE).json()["responses"][0]
            answered.append(address)
            return answer

        with listening(built, token=None, workers=1, image_prefixes=(slow, fast)) as server:
            threads = [threading.Thread(target=ask, args=(server, slow)) for _ in range(4)]
            for thread in threads:
                thread.start()
            time.sleep(0.3)
            own = httpx.post(f"{server}/v1/recognize", files=files(view), timeout=PATIENCE).json()
            assert own["results"][0]["landmark"]["id"] == "palazzo-0"
            assert ask(server, fast)["landmarkAnnotations"][0]["mid"] == "palazzo-0"
            assert answered == [fast]
            released.set()
            for thread in threads:
                thread.join()


def test_what_is_fetched_counts_as_held(built):
    def large(send, stop):
        send(OK + b"\r\n" + b"x" * 300_000)

    with site(large) as address, listening(built, token=None, image_prefixes=(address,), max_waiting=100_000) as server:
        request = {"image": {"source": {"imageUri": address}}, "features": [{"type": 2}]}
        response = httpx.post(f"{server}/v1/images:annotate", json={"requests": [request]}, timeout=PATIENCE)
        assert response.status_code == 429
        assert httpx.post(f"{server}/v1/recognize", json={"photos": "AAAA"}, timeout=PATIENCE).status_code == 200
