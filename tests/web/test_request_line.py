"""Request lines in their other forms: HEAD, whole addresses, and a server shown below a path."""

import contextlib
import re
import shutil
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from support.processes import PATIENCE, veduta
from support.servers import (
    BEARER,
    TOKEN,
    ask_raw,
    base64_of,
    check_error,
    head_of,
    inside,
    json_of,
    listening,
    status_of,
)

from veduta.web.app import STATIC, create_app
from veduta.web.limits import loopback_names
from veduta.web.request_line import with_path
from veduta.web.settings import Settings, is_root_path

# --- HEAD -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(built, tmp_path_factory):
    """Address of a server that listens and answers to names of this machine only."""
    path = shutil.copytree(built, tmp_path_factory.mktemp("asked") / "gallery")
    with listening(path, hosts=loopback_names(("photos.example",))) as listened:
        yield listened


GOT = [
    "/",
    "/favicon.ico",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/static/app.js",
    "/static/nothing.js",
    "/v1/server",
    "/v1/session",
    "/v1/landmarks?limit=2",
    "/v1/landmarks/palazzo-0",
    "/v1/landmarks/nothing",
    "/v1/references?limit=0",
    "/v1/pictures/palazzo-0%2Fphoto-0.jpg",
    "/v1/review",
    "/v1/recognize",
    "/v1/nothing",
    "/nothing",
]
CHANGING = {"date", "content-length"}  # of figures, which count the requests themselves


@pytest.mark.parametrize("shown", [BEARER, {}], ids=["token", "no token"])
@pytest.mark.parametrize("path", GOT)
def test_head_is_answered_as_get_is_but_without_a_body(address, path, shown):
    got = httpx.get(address + path, headers=shown, timeout=PATIENCE)
    head = httpx.head(address + path, headers=shown, timeout=PATIENCE)
    assert (head.status_code, head.content) == (got.status_code, b"")
    omitted = CHANGING if path == "/metrics" else {"date"}
    assert {k: v for k, v in head.headers.items() if k not in omitted} == {
        k: v for k, v in got.headers.items() if k not in omitted
    }


def test_the_connection_goes_on_after_a_head(address):
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        for _ in range(3):
            assert client.head("/v1/landmarks").content == b""
            assert client.get("/healthz").json() == {"status": "ok"}


def test_a_head_is_counted_as_one(built):
    with inside(built, token=None) as client:
        client.head("/healthz")
        client.head("/nothing")
        figures = client.get("/metrics").text
    assert 'veduta_requests_total{method="HEAD",route="/healthz",status="200"} 1.0' in figures
    assert 'veduta_requests_total{method="HEAD",route="other",status="404"} 1.0' in figures


def test_head_is_no_route_of_the_description():
    methods = {method for path in create_app([], warm=False).openapi()["paths"].values() for method in path}
    assert methods == {"get", "post", "put", "delete"}


# --- whole addresses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://localhost/healthz", 200),
        ("http://localhost:8000/healthz", 200),
        ("HTTP://LOCALHOST/healthz", 200),
        ("https://photos.example/healthz", 200),
        ("https://photos.example:8443/healthz", 200),
        ("http://[::1]:8000/healthz", 200),
        ("http://127.0.0.1", 200),
        ("http://127.0.0.1?x=http://evil.example/", 200),
        ("http://localhost/v1/landmarks?limit=1", 200),
        ("http://localhost/v1/pictures/palazzo-0%2Fphoto-0.jpg", 200),
        ("http://localhost/nothing", 404),
        ("http://localhost//healthz", 404),
        ("http://localhost/static/../engine.py", 404),
        ("http://evil.example/healthz", 421),
        ("http://evil.example", 421),
        ("http://localhost.evil.example/healthz", 421),
        ("http://localhost@evil.example/healthz", 404),
        ("http:///healthz", 404),
        ("ftp://localhost/healthz", 404),
        ("localhost/healthz", 404),
    ],
)
def test_a_whole_address_names_the_host_and_the_path(address, target, status):
    heard = ask_raw(address, head_of("GET", target, Connection="close"))
    assert status_of(heard) == status, heard
    if status != 200:
        assert json_of(heard)["error"]["code"] == status


def test_the_host_of_a_whole_address_counts_instead_of_the_headers(address):
    heard = ask_raw(address, head_of("GET", "http://localhost/healthz", Host="evil.example", Connection="close"))
    assert status_of(heard) == 200
    origin = {"Origin": "http://evil.example", "Content_Length": 0, "Connection": "close"}
    for host, asked in (("evil.example", "localhost"), ("localhost", "localhost")):
        heard = ask_raw(address, head_of("POST", f"http://{asked}/v1/recognize", Host=host, **origin))
        assert status_of(heard) == 403


def test_a_photo_is_recognized_at_a_whole_address(address, view):
    body = b'{"photos": "%s"}' % base64_of(Path(view).read_bytes()).encode()
    headers = {"Content_Type": "application/json", "Content_Length": len(body), "Connection": "close"}
    heard = ask_raw(address, head_of("POST", "http://localhost/v1/recognize?x=y", **headers) + body)
    assert b'"id":"palazzo-0"' in heard


def test_a_path_stays_as_it_is():
    scope = {"raw_path": b"/a%2Fb", "path": "/a/b", "headers": [(b"host", b"x")]}
    assert with_path(scope) == scope
    assert with_path(scope) is not scope


# --- below a path -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def shown_below(prefix, gallery, *, taken_off):
    """Give the links of the page at an address, and a client, of a server shown below a path by a proxy."""
    with inside(gallery, root_path=prefix) as client:
        real = client.request

        def request(method, url, **more):
            path = urlsplit(str(url)).path
            assert path == prefix or path.startswith(f"{prefix}/"), path
            return real(method, str(url).replace(prefix, "", 1) or "/" if taken_off else url, **more)

        client.request = request
        yield client


@pytest.mark.parametrize("taken_off", [True, False], ids=["taken off", "left on"])
@pytest.mark.parametrize("prefix", ["/veduta", "/a/b", "/v1", "/static"])
def test_the_page_and_the_services_work_below_a_path(built, view, prefix, taken_off):
    if taken_off and prefix in ("/v1", "/static"):
        pytest.skip("a path of the server's own cannot be told from the prefix")
    with shown_below(prefix, built, taken_off=taken_off) as client:
        for page in (prefix, f"{prefix}/"):
            text = client.request("GET", page).text
            links = re.findall(r'(?:src|href)="([^"#]+)"', text)
            assert len(links) >= 6
            for link in links:
                assert (
                    client.request("GET", urljoin(f"http://x{page}", link).removeprefix("http://x")).status_code == 200
                )
        photo = {"photos": base64_of(Path(view).read_bytes())}
        answer = client.request("POST", f"{prefix}/v1/recognize", json=photo).json()
        assert answer["results"][0]["landmark"]["id"] == "palazzo-0"
        assert client.request("PUT", f"{prefix}/v1/landmarks/x", json=7).status_code == 400
        assert client.request("HEAD", f"{prefix}/healthz").status_code == 200
        assert client.request("GET", f"{prefix}/v1/pictures/palazzo-0%2Fphoto-0.jpg").status_code == 200
        assert client.request("GET", f"{prefix}/openapi.json").json()["servers"] == [{"url": prefix}]
        check_error(client.request("GET", f"{prefix}/nothing"), 404)


def test_a_server_below_a_path_is_still_asked_for_its_health_without(built):
    with inside(built, root_path="/veduta") as client:
        for path in ("/healthz", "/veduta/healthz", "/", "/static/app.js", "/veduta"):
            assert client.get(path).status_code == 200
        for path in ("/vedutax/healthz", "/veduta/veduta/healthz", "/vedut"):
            check_error(client.get(path), 404)


def test_nothing_of_the_page_names_a_place_from_the_root():
    for path in (path for path in STATIC.rglob("*") if path.suffix in (".js", ".css", ".html", ".webmanifest")):
        if "leaflet" not in path.parts:
            text = path.read_text("utf-8")
            assert not re.findall(r'(?:src|href|url\(|fetch\(|import\(|_url)"?[=:]?\s*["`(]/(?!/)', text), path
            assert not re.findall(r'["`(]/(?:v1|static|api)/', text), path


@pytest.mark.parametrize("path", ["", "/a", "/a/b-c_d.e~f", "/Veduta2", "/a/b/c/d"])
def test_a_prefix_is_a_plain_path(path):
    assert is_root_path(path)
    assert Settings(root_path=path, token=TOKEN).root_path == path


@pytest.mark.parametrize(
    "path",
    ["/", "a", "/a/", "//a", "/a b", "/a?b", "/a#b", '/"', "/<a>", "/..", "/a/../b", "/.", "http://x/a", "/é", "/%61"],
)
def test_no_other_prefix_is_taken(path):
    assert not is_root_path(path)
    with pytest.raises(ValueError, match="root_path"):
        Settings(root_path=path)


def test_the_command_says_which_prefix_it_takes(built):
    result = veduta("serve", built, "--root-path", "veduta")
    assert result.returncode == 2
    assert "expected a path such as /veduta" in result.stderr
