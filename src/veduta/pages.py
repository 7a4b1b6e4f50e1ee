"""Pages written as files: Jinja2 templates that escape whatever they are given.

A template lies in a folder ``templates`` beside the module whose page it is, or beside this one when pages share it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment, Template

FOLDER = "templates"


def page_template(module: str, name: str, clean: Callable[[str], str] | None = None) -> Template:
    """Return a template whose values are escaped; an unknown name raises jinja2.UndefinedError on rendering.

    Args:
        module: ``__file__`` of the module whose page it is.
        name: the file in the folder of templates.
        clean: what becomes of each text before it is escaped; markup stays as it is.
    """
    return _environment(Path(module).parent / FOLDER, clean).get_template(name)


@cache
def _environment(folder: Path, clean: Callable[[str], str] | None) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # only who writes a page needs it
    from markupsafe import Markup

    def cleaned(value: Any) -> Any:
        return clean(value) if clean and isinstance(value, str) and not isinstance(value, Markup) else value

    return Environment(
        loader=FileSystemLoader((folder, Path(__file__).parent / FOLDER)),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=cleaned,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def webp_source(data: bytes) -> str:
    """Return a WebP picture as a data address for an ``img``."""
    return "data:image/webp;base64," + base64.b64encode(data).decode()
