"""The house in figures: how modules, folders and names are kept findable; tools/house.py prints them all."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def figures():
    sys.path.insert(0, str(ROOT / "tools"))
    import house

    return house.measure(ROOT / "src" / "veduta", ROOT / "tests")


@pytest.mark.parametrize(
    ("figure", "limit"),
    [
        ("modules ending in -ing", 3),
        ("modules in the fullest folder", 14),
        ("modules at the root", 22),
        ("public names in several modules, per 1,000 lines", 1.0),
        ("dialect words as identifiers, per 1,000 lines", 3.0),
        ("docstrings whose first line has a bare it", 0.03),
        ("import cycles", 0),
    ],
)
def test_the_house_stays_findable(figures, figure, limit):
    value, worst = figures[figure]
    assert value <= limit, f"{figure}: {value}, at most {limit}; {worst}"


def test_the_figures_are_printed():
    run = subprocess.run([sys.executable, ROOT / "tools" / "house.py"], capture_output=True, text=True, check=True)
    assert "median function" in run.stdout
