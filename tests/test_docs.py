"""The documentation keeps up: every command, option, public name and problem is in it, and its links lead somewhere."""

import inspect
import re
import sys
from pathlib import Path
from types import FunctionType, MethodType

import pytest
import typer.main

import veduta
from veduta.cli import app
from veduta.geometry import HomographyVerifier

ROOT = Path(__file__).parent.parent
DOCS = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").rglob("*.md")]
)
ALL = typer.main.get_command(app).commands
GROUPS = ("competition", "jobs", "library", "models", "review")
COMMANDS = {
    f"{group} {name}".strip(): command
    for group, commands in [("", ALL), *((name, ALL[name].commands) for name in GROUPS)]
    for name, command in commands.items()
    if name not in ("competition", "jobs", "library")
}


def text(name):
    return (ROOT / name).read_text("utf-8")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_a_section_with_its_options(name):
    section = re.search(rf"^##+ veduta {name}\n(.*?)(?=^##+ |\Z)", text("docs/cli.md"), re.M | re.S)
    assert section, f"docs/cli.md has no section for {name}"
    if name == "explain":
        return  # takes the options of recognize, and says so
    for parameter in COMMANDS[name].params:
        for option in (o for o in parameter.opts if o.startswith("--") and o != "--help"):
            assert option in section[1], f"docs/cli.md does not mention {name} {option}"


@pytest.mark.parametrize("name", veduta.__all__)
def test_every_public_name_is_documented(name):
    assert f"| `{name}` |" in text("docs/python.md")


@pytest.fixture(scope="module")
def signatures():
    sys.path.insert(0, str(ROOT / "tools"))
    import signatures

    return signatures


def test_the_page_of_signatures_is_what_the_code_says(signatures):
    assert text("docs/signatures.md") == signatures.page(), "write it again: python tools/signatures.py"


@pytest.mark.parametrize("name", veduta.__all__)
def test_every_signature_has_its_parameters_with_their_defaults(name):
    """Without the tool's help: each parameter of each public callable, and its default, in the section of the name."""
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", text("docs/signatures.md"), re.M | re.S)[1]
    thing = getattr(veduta, name)
    members = [(name, thing)]
    if inspect.isclass(thing):
        named = [(key, getattr(thing, key)) for key in dir(thing) if not key.startswith("_")]
        members += [(key, member) for key, member in named if member.__class__ in (FunctionType, MethodType)]
    for key, member in members:
        said = inspect.signature(member)
        assert key in section
        for parameter in said.parameters.values():
            if parameter.name == "self" or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            pattern = rf"\b{parameter.name}(: [^\n]*?)?"
            default = parameter.default
            if default is not parameter.empty and not callable(default):
                pattern += rf" = {re.escape(repr(default))}"
            assert re.search(pattern, section), f"{name}.{key}: {parameter}"


def test_no_public_name_has_bare_pairs():
    """A pair that is returned, or a field, has names; (name, bytes) and degrees may be given as plain tuples."""
    bare = re.compile(r"(?<!\| )tuple\[(?![^\[\]]*\.\.\.\])")
    for line in text("docs/signatures.md").splitlines():
        result = line.rpartition("->")[2] if "->" in line else line if re.match(r"    \w+: ", line) else ""
        assert not bare.search(result.replace("tuple[tuple[float, ...], ...]", "")), line


def test_public_names_are_sorted_and_exist():
    assert list(veduta.__all__) == sorted(veduta.__all__)
    for name in veduta.__all__:
        assert getattr(veduta, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = veduta.nothing


def test_every_problem_of_the_geometry_is_explained():
    problems = re.findall("``([a-z ]+)``", HomographyVerifier.verify.__doc__)
    assert len(problems) == 6
    for problem in problems:
        assert f"| `{problem}` |" in text("docs/how-it-works.md")


def test_the_changelog_starts_with_this_version():
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", text("CHANGELOG.md"), re.M)
    assert versions[0] == veduta.__version__


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text("utf-8")):
        if not target.startswith(("http://", "https://")):
            found = path.parent / target
            lesson = found.parent.name == "course" and found.with_suffix(".py").exists()  # of which a page is made
            assert found.exists() or lesson, f"{path.name} links to {target}"


def test_the_python_examples_compile():
    for path in DOCS:
        for block in re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.S):
            compile(block, path.name, "exec")


def test_no_placeholder_is_left():
    for path in DOCS:
        assert not re.search(r"[A-Z]+_(PLACEHOLDER|TABLES)", path.read_text("utf-8")), path.name
