"""For the reference: examples in docstrings, lines from ``>>>`` on, become blocks of code."""

import re

import griffe

EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.M)


class Doctests(griffe.Extension):
    """Fences what doctest would run."""

    def on_object(self, *, obj, **_):
        """Change the docstring of an object, if it has one."""
        if obj.docstring and ">>> " in obj.docstring.value:
            obj.docstring.value = EXAMPLE.sub(lambda match: f"```pycon\n{match[0]}\n```", obj.docstring.value)
