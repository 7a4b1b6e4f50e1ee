"""The page of a competition run: figures, curves and answers, safe whatever ids are called."""

from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
from support import world

from veduta.competition.report import Evidence, write_report

IDS = [f"{i:016x}" for i in range(8)]
HOSTILE = """<img src=x onerror=alert(1)>"'&"""


class Text(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.pieces = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.pieces.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.pieces).split())


class Figures(SimpleNamespace):
    def as_dict(self):
        return vars(self)


@pytest.fixture
def page(tmp_path):
    """Return a function that writes the page of eight answers and returns it."""

    def write(landmark="7", reference="a", name="veduta", geometry=True, lost=()):
        for i in range(2):
            PIL.Image.fromarray(world.facade(i, 200, 150)).save(tmp_path / f"{i}.png")
        rows = [f"{id},{'7' if i % 2 else ''},{'Public' if i < 4 else 'Private'}" for i, id in enumerate(IDS)]
        (tmp_path / "s.csv").write_text("\n".join(["id,landmarks,Usage", *rows]) + "\n")
        rows = [f"{id},{7 if i % 3 else 8} {0.9 - i / 20:.3f}" for i, id in enumerate(IDS)]
        (tmp_path / "answers.csv").write_text("\n".join(["id,landmarks", *rows]) + "\n")
        results = SimpleNamespace(
            queries=IDS, references=[reference, "b"], landmarks=["7", "8"],
            rows=np.array([[0, 1]] * 8), similarity=np.array([[0.5, 0.25]] * 8),
        )  # fmt: skip
        lines = (np.array([[3, 4]], np.float32), (200, 150))
        show = Evidence(
            SimpleNamespace(path=lambda id: tmp_path / ("gone.png" if id in lost else "0.png")),
            SimpleNamespace(path=lambda id: tmp_path / "1.png"),
            lambda query, reference: (lines, lines),
        )
        scores = {
            "all": Figures(gap=0.5, photos=1234, top_1=float("nan")),
            landmark: Figures(gap=1.0, photos=5, top_1=0.0),
        }
        recipe = SimpleNamespace(name=name, geometry=geometry)
        out = tmp_path / "report.html"
        write_report(
            out,
            results,
            np.array([[3.0, np.nan]] * 8),
            tmp_path / "s.csv",
            tmp_path / "answers.csv",
            scores,
            show,
            recipe,
        )
        return out.read_text("utf-8")

    return write


def test_figures_curves_and_answers_are_on_the_page(page):
    shown = Text(page(lost=IDS[1:2]))
    for words in (
        "Recipe veduta",
        "answers.csv against s.csv",
        "gap 0.5000 1.0000",
        "photos 1,234 5",
        "top 1 not defined",
    ):
        assert words in shown.text
    assert f"{IDS[1]}: answered 7 with 0.850, true: 7; inliers 3, similarity 0.50" in shown.text
    assert f"{IDS[0]}: answered 8 with 0.900, true: none; inliers 0, similarity 0.25" in shown.text.replace("nan", "0")
    assert shown.text.count("the photos cannot be read any more") == 2  # among the least sure and the surest
    assert [tag for tag, _ in shown.tags].count("svg") == 2
    assert [tag for tag, _ in shown.tags].count("polyline") == 3
    assert "sum of matching scores 3" in Text(page(geometry=False)).text


def test_hostile_names_stay_text(page):
    html = page(landmark=HOSTILE, reference=HOSTILE, name=HOSTILE)
    shown = Text(html)
    assert "<img src=x" not in html
    assert shown.text.count(HOSTILE) == 3  # the title twice, and the head of a column
    pictures = [attributes for tag, attributes in shown.tags if tag == "img"]
    assert all(set(attributes) == {"src", "alt"} and attributes["src"][:5] == "data:" for attributes in pictures)
    assert any(HOSTILE in attributes["alt"] for attributes in pictures)
