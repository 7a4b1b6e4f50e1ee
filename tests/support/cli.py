"""A command run inside this process, and what it printed."""

import io
import json
import os
import sys
from typing import NamedTuple

import pytest
import typer

from veduta.cli import app, main


def leaves(group, above=()):
    """Yield the words that call each command, and the command."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, (*above, name))
        else:
            yield (*above, name), command


EVERY = dict(leaves(typer.main.get_command(app)))
COMMANDS = {words[0]: command for words, command in EVERY.items() if len(words) == 1}


class Result(NamedTuple):
    """Exit status and output of a command, odd bytes as surrogates."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments, stdin="", code=0):
    """Run a command in this process as if it were its own, and expect its exit status."""
    streams = {
        "stdin": io.TextIOWrapper(io.BytesIO(os.fsencode(stdin)), "utf-8"),
        "stdout": io.TextIOWrapper(io.BytesIO(), "utf-8"),
        "stderr": io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["veduta", *map(os.fsdecode, arguments)])
        for name, stream in streams.items():
            patch.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as ended:
            main()
    result = Result(ended.value.code or 0, printed(streams["stdout"]), printed(streams["stderr"]))
    assert code is None or result.returncode == code, result
    return result


def printed(stream):
    stream.flush()
    return stream.buffer.getvalue().decode("utf-8", "surrogateescape")


def run_json(*arguments, **expected):
    return json.loads(run(*arguments, "--format", "json", **expected).stdout)


def errors(result):
    """Return the lines a command left on stderr, each an error of one line."""
    lines = result.stderr.splitlines()
    assert all(line.startswith("veduta: ") for line in lines), result.stderr
    return [line.removeprefix("veduta: ") for line in lines]


def refused(*arguments, by=run):
    """Return the one line with which a command says that it could not run, having printed nothing."""
    result = by(*arguments, code=2) if by is run else by(*arguments)
    assert (result.returncode, result.stdout) == (2, ""), result
    (line,) = errors(result)
    return line
