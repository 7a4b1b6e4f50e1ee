"""The house in figures: names, folders, functions and cycles of a source tree.

python tools/house.py [SOURCE [TESTS]]
"""

from __future__ import annotations

import ast
import collections
import io
import re
import statistics
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Words that name nothing in particular.
DIALECT = frozenset(
    [
        "found",
        "some",
        "mine",
        "theirs",
        "told",
        "said",
        "wanted",
        "kept",
        "made",
        "asked",
        "there",
        "about",
        "around",
        "each",
    ]
)
Figures = dict[str, tuple[float, object]]
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def measure(source: Path, tests: Path) -> Figures:
    """Return figure -> (value, the worst offenders)."""
    trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted(source.rglob("*.py"))}
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in trees}
    thousands = sum(lines.values()) / 1000
    return {
        **_modules(source, lines),
        **_public_names(trees, thousands),
        **_dialect(trees, thousands),
        **_docstrings(trees),
        **_functions(trees),
        **_cycles(source, trees),
        "lines of tests per line of source": (_test_lines(tests) / sum(lines.values()), sum(lines.values())),
    }


def _modules(source: Path, lines: dict[Path, int]) -> Figures:
    gerunds = [str(path.relative_to(source)) for path in lines if path.stem.endswith("ing")]
    folders = collections.Counter(path.parent for path in lines)
    root = folders.pop(source)
    fullest, count = folders.most_common(1)[0]
    long = {str(path.relative_to(source)): n for path, n in lines.items() if n > 300}
    return {
        "modules ending in -ing": (len(gerunds), gerunds),
        "modules in the fullest folder": (count, str(fullest.relative_to(source))),
        "modules at the root": (root, ""),
        "files above 300 lines": (len(long), long),
    }


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, Definition):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _public_names(trees: dict[Path, ast.Module], thousands: float) -> Figures:
    homes: dict[str, set[str]] = collections.defaultdict(set)
    for path, tree in trees.items():
        for name in (name for node in tree.body for name in _names(node)):
            if not name.startswith("_"):
                homes[name].add(path.stem)
    repeated = {name: sorted(modules) for name, modules in homes.items() if len(modules) > 1}
    return {"public names in several modules, per 1,000 lines": (len(repeated) / thousands, repeated)}


def _dialect(trees: dict[Path, ast.Module], thousands: float) -> Figures:
    counts: collections.Counter[str] = collections.Counter()
    for path in trees:
        tokens = tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
        words = sum(token.type == tokenize.NAME and token.string in DIALECT for token in tokens)
        counts[str(path)] = words
    return {"dialect words as identifiers, per 1,000 lines": (counts.total() / thousands, counts.most_common(5))}


def _docstrings(trees: dict[Path, ast.Module]) -> Figures:
    first, bare, what = 0, [], []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | Definition) and (text := ast.get_docstring(node)):
                line = text.split("\n")[0]
                first += 1
                bare += [f"{path.name}: {line}"] if re.search(r"\bit\b", line) else []
                what += [f"{path.name}: {line}"] if re.match(r"(Return )?[Ww]hat\b", line) else []
    return {
        "docstrings whose first line has a bare it": (len(bare) / first, bare[:5]),
        "docstrings that begin with what": (len(what) / first, what[:5]),
    }


def _functions(trees: dict[Path, ast.Module]) -> Figures:
    lengths, methods = [], {}
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths.append(_body_length(node))
            elif isinstance(node, ast.ClassDef):
                own = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
                methods[node.name] = len(own)
    largest = max(methods, key=lambda name: methods[name])
    return {
        "median function, lines": (statistics.median(lengths), len(lengths)),
        "p90 function, lines": (statistics.quantiles(lengths, n=10)[-1], max(lengths)),
        "methods in the largest class": (methods[largest], largest),
    }


def _body_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function's body, without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def _imports(source: Path, path: Path, tree: ast.Module, modules: set[str]) -> Iterator[str]:
    """Yield the modules a module imports, late imports too, those for type checking left out."""
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in skipped:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                name = full if full in modules else node.module
                if name in modules:
                    yield name


def _cycles(source: Path, trees: dict[Path, ast.Module]) -> Figures:
    """Return the sets of modules that import each other, directly or through others."""

    def dotted(path: Path) -> str:
        parts = (source.name, *path.relative_to(source).with_suffix("").parts)
        return ".".join(parts).removesuffix(".__init__")

    named = {dotted(path): (path, tree) for path, tree in trees.items()}
    graph = {name: set(_imports(source, *item, set(named))) - {name} for name, item in named.items()}
    reach = {name: _reachable(graph, name) for name in graph}
    cycles = {frozenset(n for n in reach[name] if name in reach[n]) for name in graph if name in reach[name]}
    return {"import cycles": (len(cycles), [sorted(cycle) for cycle in cycles])}


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return the modules that a module imports, directly or through others."""
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen


def _test_lines(tests: Path) -> int:
    return sum(len(path.read_text("utf-8").splitlines()) for path in tests.rglob("*.py"))


def main() -> None:
    """Print every figure with its worst offenders."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "src" / "veduta"
    tests = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "tests"
    for name, (value, worst) in measure(source, tests).items():
        print(f"{name:55} {value:8.3g}   {str(worst)[:160]}")


if __name__ == "__main__":
    main()
