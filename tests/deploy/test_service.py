"""What is handed out for running the service says what the command takes."""

import re

import pytest
import typer.main
import yaml
from support import ROOT

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
