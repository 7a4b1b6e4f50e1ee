"""The worked examples in the docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import veduta

# The exporter and its network need torch; the rest of the package is imported whole.
TORCH = {"veduta.models.export.networks", "veduta.models.export.efficientnet_lite", "veduta.__main__"}
MODULES = [m.name for m in pkgutil.walk_packages(veduta.__path__, "veduta.") if m.name not in TORCH]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    assert sum(bool(test.examples) for test in finder.find(importlib.import_module("veduta.metrics"))) >= 5
