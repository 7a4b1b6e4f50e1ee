"""The house of docs/how-it-works.md: who may import whom, and what a bare import may load."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import support

import veduta

PACKAGE = Path(veduta.__file__).parent

# Lowest first. A module imports only from rows below its own.
ROWS = [
    {"errors"},
    {"landmarks"},
    {"types"},
    {"concurrency", "files", "pages", "progress", "serialization", "protocols", "sqlite"},
    {"features_codec", "geo", "geometry", "metrics", "records", "trust"},
    {"images"},
    {"models"},
    {"datasets", "decision", "embedders", "features", "index", "masks", "matching", "review_queue", "viz"},
    {"cascade", "pair"},
    {"recognizer"},
    {"gallery"},
    {"competition", "library"},
    {"jobs", "training", "web"},
    {"cli"},
]
ROW = {name: level for level, names in enumerate(ROWS) for name in names}
FORBIDDEN = {"utils", "common", "core", "base", "helpers", "manager"}
HEAVY = {"torch", "cv2", "onnxruntime", "fastapi", "faiss", "PIL", "numpy", "typer", "jinja2"}

MODULES = sorted(p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py"))
TESTS = Path(support.__file__).parents[1]
TEST_MODULES = sorted(p.relative_to(TESTS) for p in TESTS.rglob("*.py"))


def part(path):
    """The first component of a module's place in the package: what the rows speak of."""
    return path.parts[0].removesuffix(".py")


def imported_parts(path):
    for node in ast.walk(ast.parse((PACKAGE / path).read_text("utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import on line {node.lineno}"
            parent = node.module == "veduta"
            names = [f"veduta.{alias.name}" for alias in node.names] if parent else [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (n.split(".")[1] for n in names if n.startswith("veduta.") and "__" not in n)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_only_from_rows_below(path):
    if path.parts[0] in ("__init__.py", "__main__.py"):
        return
    mine = part(path)
    assert mine in ROW, f"{mine} has no row in the house; give it one"
    for other in imported_parts(path):
        assert other == mine or ROW[other] < ROW[mine], f"{path} imports {other}, which is not below it"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_module_is_named_for_nothing(path):
    assert not FORBIDDEN & {p.removesuffix(".py") for p in path.parts}


@pytest.mark.parametrize("path", TEST_MODULES, ids=str)
def test_no_test_is_imported_by_another(path):
    """Helpers live in `support`: one test module that skips or breaks takes no other with it."""
    tests = {p.stem for p in TEST_MODULES if p.stem.startswith("test_") or p.stem == "conftest"}
    for node in ast.walk(ast.parse((TESTS / path).read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import on line {node.lineno}"
            names.append(node.module)
        imported = tests & {part for name in names for part in name.split(".")}
        assert not imported, f"{path} imports {sorted(imported)}; move what they share to support"


def test_import_veduta_is_light():
    code = f"import sys, veduta; print(sorted(set(sys.modules) & {HEAVY!r}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_no_statement_numbers_its_placeholders():
    """Python 3.12.0 to 3.12.3 take ``?1`` for a name, and warn of each."""
    numbered = re.compile(r"[\"' (,=]\?[1-9]")
    found = [
        str(path)
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if numbered.search(line) and re.search(r"SELECT|INSERT|UPDATE|DELETE|WHERE|VALUES|SET ", line)
    ]
    assert found == []
