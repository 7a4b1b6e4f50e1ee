"""``veduta serve``: inside this process where only its answers matter, as a process where connections and ends do."""

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import cv2
import httpx
from starlette.testclient import TestClient

from support.processes import COMMAND, PATIENCE
from veduta.web.app import create_app
from veduta.web.server import make_server
from veduta.web.settings import Settings

TOKEN = "open-sesame"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Started(NamedTuple):
    """A server that runs as a process: it, where it listens, and the lines it has left on stderr so far."""

    process: subprocess.Popen
    address: str
    lines: list


@contextlib.contextmanager
def inside(*galleries, token=TOKEN, headers=None, library=None, **limits):
    """Give a client of a server in this process; it shows the token unless told otherwise."""
    settings = Settings(token=token, **limits)
    app = create_app([Path(gallery) for gallery in galleries], settings, warm=False, library=library)
    shown = BEARER if token and headers is None else headers or {}
    with TestClient(app, headers=shown, raise_server_exceptions=False) as client:
        yield client


@contextlib.contextmanager
def listening(*galleries, library=None, **limits):
    """Give the address of a server that listens, run by a thread of this process, for limits no option sets."""
    settings = Settings(**({"token": TOKEN} | limits))
    app = create_app([Path(gallery) for gallery in galleries], settings, warm=False, library=library)
    server = make_server(app, settings, "127.0.0.1", 0)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            wait_for(lambda: server.started)
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


@contextlib.contextmanager
def serving(*galleries, options=(), token=TOKEN, **environment):
    """Start ``veduta serve`` on a free port, wait until it answers, and kill it in the end, whatever happens."""
    command = [*COMMAND, "serve", *map(os.fspath, galleries), "--port", "0", *options]
    known = os.environ | {"VEDUTA_TOKEN": token or ""} | environment
    # A runner started in the background ignores SIGINT and would hand that down to the server.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=known)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            first = process.stderr.readline()
            ready = re.search(r"at (http://\S+?:\d+)", first)
            assert ready, first + process.stderr.read()
            lines = [first]
            reader = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
            reader.start()
            wait_for(lambda: answers(ready[1]))
            yield Started(process, ready[1], lines)
        finally:
            process.kill()
            process.wait(PATIENCE)
            reader.join(PATIENCE)


def answers(address):
    """Whether a server answers there."""
    try:
        return httpx.get(f"{address}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def wait_for(condition):
    """Wait for what has to come."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def files(*paths, field="photos"):
    """Return photos as a form has them."""
    return [(field, (Path(path).name, Path(path).read_bytes(), "image/jpeg")) for path in paths]


def contents(*paths):
    """Return photos as JSON has them."""
    return [{"name": Path(path).name, "content": base64_of(Path(path).read_bytes())} for path in paths]


def base64_of(content):
    return base64.b64encode(content).decode()


def jpeg(pixels, quality=90):
    """Return RGB pixels as the bytes of a photo."""
    encoded, content = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert encoded
    return content.tobytes()


def check_error(response, code):
    """Expect an error of this status in the one shape that all have, and return its message."""
    assert response.status_code == code, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["code", "status", "message"]
    assert body["error"]["code"] == code
    assert re.fullmatch("[A-Z_]+", body["error"]["status"])
    assert body["error"]["status"] != "UNKNOWN"
    message = body["error"]["message"]
    assert message
    assert len(message.splitlines()) == 1
    assert "Traceback" not in message
    return message


def connect(address):
    """Return a socket that is connected to a server."""
    parts = urlsplit(address)
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)


def hear(connection):
    """Return all that a server says until it hangs up."""
    heard = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            heard += chunk
    return heard


def ask_raw(address, request):
    """Send bytes to a server and return all it says until it hangs up."""
    with connect(address) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        return hear(connection)


def head_of(method, path, **headers):
    """Return the head of a request exactly as given, its path not tidied up."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in ({"Host": "127.0.0.1"} | headers).items()]
    return "\r\n".join((f"{method} {path} HTTP/1.1", *lines, "", "")).encode("latin-1")


def status_of(heard):
    """Return the status of the first answer among what a server said; None if it just hung up."""
    return int(heard.split(b" ", 2)[1]) if heard.startswith(b"HTTP/") else None


def json_of(heard):
    """Return the JSON of the one answer a server gave."""
    return json.loads(heard.partition(b"\r\n\r\n")[2])
