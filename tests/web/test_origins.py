"""Requests of pages, told from those of other sites' pages, directly and through proxies that omit the port."""

import httpx
import pytest
from support.processes import PATIENCE
from support.servers import check_error, listening

from veduta.web.limits import loopback_names


@pytest.fixture(scope="module")
def address(built):
    """Address of a server that listens on a port of its own."""
    with listening(built, token=None, hosts=loopback_names(("photos.example",))) as listened:
        yield listened


def ask(address, host, origin, **more):
    headers = {"Host": host} | ({"Origin": origin} if origin else {}) | more
    return httpx.post(f"{address}/v1/recognize", json={"photos": "AAAA"}, headers=headers, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("photos.example", "https://photos.example"),
        ("photos.example", "http://photos.example"),
        ("photos.example", "https://photos.example:8443"),
        ("photos.example", "http://photos.example:8080"),
        ("photos.example:8443", "https://photos.example:8443"),
        ("localhost", "http://localhost:18932"),
        ("127.0.0.1", "http://127.0.0.1:3000"),
        ("[::1]", "http://[::1]:3000"),
        ("LOCALHOST", "http://localhost:3000"),
        ("localhost", ""),
        ("{own}", "http://{own}"),
    ],
)
def test_the_page_behind_a_proxy_may_ask_whether_that_omits_the_port_or_not(address, host, origin):
    own = address.removeprefix("http://")
    host, origin = host.format(own=own), origin.format(own=own)
    assert ask(address, host, origin).status_code == 200
    assert ask(address, host, origin, **{"Sec-Fetch-Site": "same-origin"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("photos.example", "https://evil.example"),
        ("photos.example", "https://evil.example:8443"),
        ("photos.example", "https://photos.example.evil.example"),
        ("photos.example", "https://evil.photos.example"),
        ("photos.example", "https://photos.example@evil.example"),
        ("photos.example", "https://evil.example@photos.example"),
        ("photos.example", "https://photos.example:8443:1"),
        ("photos.example", "ftp://photos.example:21"),
        ("photos.example", "null"),
        ("photos.example:8443", "https://photos.example:8444"),
        ("photos.example:8443", "https://photos.example"),
        ("localhost", "http://127.0.0.1:3000"),
        ("[::1]", "http://[::2]:3000"),
        ("{own}", "http://127.0.0.1:1"),
        ("{own}", "http://127.0.0.1"),
    ],
)
def test_pages_of_other_sites_are_refused(address, host, origin):
    check_error(ask(address, host.format(own=address.removeprefix("http://")), origin), 403)


@pytest.mark.parametrize("said", ["same-site", "cross-site"])
def test_what_a_browser_says_of_a_page_counts_where_the_port_is_not_known(address, said):
    check_error(ask(address, "photos.example", "https://photos.example:8443", **{"Sec-Fetch-Site": said}), 403)
    check_error(ask(address, "photos.example", "", **{"Sec-Fetch-Site": said}), 403)
