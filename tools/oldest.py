"""Print constraints for pip that take every dependency of the package at its oldest allowed version.

python tools/oldest.py > constraints.txt
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

_BOUND = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?>=([0-9][0-9a-z.]*)")


def oldest(project: dict[str, object]) -> list[str]:
    """Return ``name==version.*`` for each dependency with a lower bound, those of extras too; the highest bound counts.

    Args:
        project: the table ``project`` of pyproject.toml.
    """
    lists = [project["dependencies"], *project["optional-dependencies"].values()]  # type: ignore[attr-defined]
    bounds: dict[str, str] = {}
    for requirement in (text for texts in lists for text in texts):  # type: ignore[attr-defined]
        if match := _BOUND.match(requirement):
            name, version = match[1].lower().replace("_", "-"), match[2]
            bounds[name] = max(bounds.get(name, version), version, key=_order)
    return sorted(f"{name}=={version}.*" for name, version in bounds.items())


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


if __name__ == "__main__":
    print("\n".join(oldest(tomllib.loads(Path("pyproject.toml").read_text())["project"])))
