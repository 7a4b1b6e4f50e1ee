"""Pages written as files: what they are given stays text, and nothing is left out in silence."""

import jinja2
import pytest

import veduta.gallery.evidence.page
from veduta.pages import page_template, webp_source

HOSTILE = """<script>alert(1)</script>"'&{{ title }}{% raw %}"""


def test_text_is_escaped_and_never_a_template():
    template = page_template(veduta.gallery.evidence.page.__file__, "evidence.html")
    html = template.render(title=HOSTILE, subtitle="", summary=[], photos=[])
    escaped = "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;{{ title }}{% raw %}"
    assert html.count(escaped) == 2
    assert "<script" not in html


def test_a_value_that_is_missing_is_a_fault_of_the_program():
    with pytest.raises(jinja2.UndefinedError, match="subtitle"):
        page_template(veduta.gallery.evidence.page.__file__, "evidence.html").render(title="", summary=[], photos=[])


def test_the_source_of_a_picture_loads_nothing():
    assert webp_source(b"\0\1") == "data:image/webp;base64,AAE="


@pytest.mark.parametrize("package", ["", "competition"])
def test_templates_lie_beside_the_module_whose_page_they_are(package):
    from pathlib import Path

    assert list((Path(veduta.__file__).parent / package / "templates").glob("*.html"))
