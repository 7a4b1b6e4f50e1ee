"""What is handed out for running the service says what the command takes."""

import contextlib
import os
import re
import shutil
import socket
import subprocess

import httpx
import pytest
import typer.main
import yaml
from support import ROOT
from support.servers import PATIENCE, files, serving, wait_for

from veduta.cli import app

DEPLOY = ROOT / "deploy"
SERVE = typer.main.get_command(app).commands["serve"]
OPTIONS = {option for parameter in SERVE.params for option in parameter.opts}


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "veduta.service"])
def test_every_option_is_one_of_the_commands(name):
    text = (DEPLOY / name).read_text("utf-8")
    used = [line for line in text.splitlines() if re.search(r'veduta"?,? "?serve', line) and line[0] != "#"]
    assert used or name == "compose.yaml"
    for line in used:
        assert set(re.findall(r"--[a-z-]+", line)) <= OPTIONS, line


def test_the_container_runs_as_nobody_in_particular_and_copies_what_there_is():
    lines = (DEPLOY / "Dockerfile").read_text("utf-8").splitlines()
    assert [line.split()[0] for line in lines if line.startswith("FROM")] == ["FROM", "FROM"]
    assert "USER veduta" in lines
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            assert all((DEPLOY.parent / name).exists() for name in line.split()[1:-1]), line
    assert not any(re.search(r":latest|ADD http|curl .*\| *sh", line) for line in lines)


def test_the_compose_file_is_read_and_keeps_the_service_on_loopback():
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]["veduta"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["read_only"]
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_stopping_waits_longer_than_requests_may_take():
    from veduta.web.settings import Settings

    unit = (DEPLOY / "veduta.service").read_text("utf-8")
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]["veduta"]
    assert int(re.search(r"TimeoutStopSec=(\d+)", unit)[1]) > Settings.stop_seconds
    assert int(compose["stop_grace_period"].rstrip("s")) > Settings.stop_seconds


def test_the_unit_and_the_proxy_speak_of_one_name():
    unit, site = (DEPLOY / "veduta.service").read_text("utf-8"), (DEPLOY / "nginx.conf").read_text("utf-8")
    name = re.search(r"server_name (\S+);", site)[1]
    assert f"Environment=VEDUTA_HOST_NAME={name}" in unit
    assert "--host-name ${VEDUTA_HOST_NAME}" in unit
    port = re.search(r"--port (\d+)", unit)[1]
    assert set(re.findall(r"proxy_pass http://127\.0\.0\.1:(\d+)", site)) == {port}
    assert site.count("proxy_set_header Host $http_host;") == site.count("proxy_pass")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_the_unit_may_do_little():
    command = [
        "systemd-analyze",
        "security",
        "--offline=yes",
        "--threshold=20",
        "--no-pager",
        DEPLOY / "veduta.service",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:]


def test_the_service_fits_the_memory_it_is_given():
    from veduta.web.settings import Settings

    unit = (DEPLOY / "veduta.service").read_text("utf-8")
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]["veduta"]
    needed = Settings.decode_memory + Settings.max_waiting + Settings.max_body + 450 * 2**20
    for given in (re.search(r"MemoryMax=(\d+)G", unit)[1], compose["mem_limit"].rstrip("g")):
        assert needed < int(given) * 2**30


@pytest.fixture
def proxied(built, tmp_path):
    """The service as the unit starts it, behind nginx with the site handed out, but for certificate and ports."""
    if shutil.which("nginx") is None or shutil.which("openssl") is None:
        pytest.skip("nginx is not here")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=photos.example.org", "-keyout", key, "-out", certificate]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject], check=True, capture_output=True
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    unit = (DEPLOY / "veduta.service").read_text("utf-8")
    name = re.search(r"VEDUTA_HOST_NAME=(\S+)", unit)[1]
    with serving(built, options=("--host-name", name, "--workers", "2")) as server:
        site = (DEPLOY / "nginx.conf").read_text("utf-8")
        site = re.sub(r"listen 443 ssl", f"listen 127.0.0.1:{port} ssl", site)
        site = re.sub(r"/etc/ssl/\S+\.pem;", f"{certificate};", site)
        site = re.sub(r"/etc/ssl/\S+\.key;", f"{key};", site)
        site = site.replace("http://127.0.0.1:8000", server.address)
        folders = "".join(
            f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        who = "user root;\n" if os.geteuid() == 0 else ""  # else its workers could not write what they hold
        whole = f"{who}pid {tmp_path}/pid;\ndaemon off;\nevents {{}}\nhttp {{\naccess_log off;\n{folders}{site}}}\n"
        (tmp_path / "nginx.conf").write_text(whole)
        command = ["nginx", "-c", tmp_path / "nginx.conf", "-p", tmp_path, "-e", tmp_path / "error.log"]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as nginx:
            try:
                address = f"https://127.0.0.1:{port}"
                with httpx.Client(base_url=address, verify=False, headers={"host": name}, timeout=PATIENCE) as client:
                    wait_for(lambda: reaches(client))
                    yield client
            finally:
                nginx.terminate()
                nginx.wait(PATIENCE)


def reaches(client):
    with contextlib.suppress(httpx.TransportError):
        return client.get("/healthz").status_code == 200
    return False


@pytest.mark.parametrize("host", ["photos.example.org", "photos.example.org:{port}"])
@pytest.mark.parametrize("path", ["/v1/recognize", "/v1/verify"])
def test_the_page_asks_through_the_proxy_on_any_port(proxied, view, host, path):
    port = proxied.base_url.port
    host = host.format(port=port)
    field = "photos" if path == "/v1/recognize" else "photo"
    sent = {"files": files(view, field=field), "data": {"reference": "palazzo-0/photo-0.jpg"}}
    for fetch_site in ({}, {"sec-fetch-site": "same-origin"}):
        own = {"host": host, "origin": f"https://{host}"} | fetch_site
        assert proxied.post(path, headers=own, **sent).status_code == 200
    for site in ("https://evil.example", f"https://evil.example:{port}", "https://photos.example.org.evil.example"):
        assert proxied.post(path, headers={"host": host, "origin": site}).status_code == 403


def test_unit_and_proxy_work_together(proxied, view):
    answer = proxied.post("/v1/recognize", files=files(view))
    assert answer.json()["results"][0]["landmark"]["id"] == "palazzo-0"
    assert "max-age" in answer.headers["strict-transport-security"]
    assert proxied.get("/").headers["content-security-policy"]
    assert proxied.get("/metrics").status_code == 200  # from this machine
    slash = proxied.post("/v1/review/", follow_redirects=False)
    assert slash.status_code == 404
    assert "location" not in slash.headers
    assert proxied.get("/healthz", headers={"host": "evil.example"}).status_code == 421
