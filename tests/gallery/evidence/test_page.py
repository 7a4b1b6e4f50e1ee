"""The page of evidence: true, whole, and safe whatever photos and landmarks are called."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import PIL.Image
import pytest
from support import world

from veduta.errors import GalleryError
from veduta.gallery.evidence.page import EvidencePair, Explanation, confidence_phrase, draw_evidence, render, write_page
from veduta.images import from_array
from veduta.landmarks import Landmark
from veduta.types import Candidate, Recognition

HOSTILE = """<script>alert(1)</script>"'&</title><img src=x onerror=alert(1)>"""
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """A page's tags, attributes and text; it fails on a tag that is never closed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.said, self.open = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.said.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.said).split())


def pair(name="Arco", similarity=0.8, num_inliers=2, problem=None, reference="arco/1.jpg"):
    n = num_inliers or 0
    points = np.array([[10 * i, 12 * i] for i in range(n)], np.float32).reshape(-1, 2)
    candidate = Candidate(reference, name, similarity, num_inliers)
    return EvidencePair(candidate, Landmark(name), from_array(world.facade(1, 160, 120)), points, points, problem)


def exhibit(*pairs, photo="holiday.jpg", known=True, confidence=0.97, **rest):
    landmark = pairs[0].landmark if known and pairs else None
    recognition = Recognition(photo, landmark, confidence, tuple(p.candidate for p in pairs))
    return Explanation(from_array(world.facade(0, 200, 150)), recognition, pairs, **rest)


@pytest.mark.parametrize(
    ("confidence", "word"),
    [
        (1.0, "almost certainly"),
        (0.95, "almost certainly"),
        (0.9499, "probably"),
        (0.75, "probably"),
        (0.7499, "perhaps"),
        (0.5, "perhaps"),
        (0.4999, "unlikely"),
        (0.0, "unlikely"),
    ],
)
def test_a_confidence_has_a_word(confidence, word):
    assert confidence_phrase(confidence) == word


def test_the_page_says_the_answer_and_the_evidence_for_it():
    html = render([exhibit(pair(), pair("Torre", 0.4, 0), pair("Ponte", 0.2, None))], "Trip", "Gallery sights")
    page = Page(html)
    for said in ("Trip", "Gallery sights", "holiday.jpg", "Arco", "almost certainly, 97%"):
        assert said in page.text
    for said in ("Arco: similarity 0.80, 2 inliers", "Torre: similarity 0.40, 0 inliers", "Other candidates (2)"):
        assert said in page.text
    assert "arco/1.jpg Arco 0.800 2" in page.text
    assert "Torre 0.400 0" in page.text
    assert "Ponte 0.200 not verified" in page.text
    assert page.tags.count("img") == 3


def test_none_i_know_is_said_with_the_best_guess():
    page = Page(render([exhibit(pair(), known=False, confidence=0.31)], "Trip"))
    assert "None I know" in page.text
    assert "the best guess, Arco, reaches 31%" in page.text
    assert ("p", "class", "answer none") in page.attributes
    assert "almost certainly" not in page.text


def test_a_photo_without_candidates_has_a_page_too():
    page = Page(render([exhibit(known=False, confidence=0.0)], "Trip"))
    assert "None I know" in page.text
    assert "img" not in page.tags


def test_titles_notes_and_a_table_are_shown():
    rows = [("photo", "answer"), ("1.jpg", "Arco"), ("2.jpg", "Torre")]
    page = Page(render([exhibit(pair(), title="The first", note="drawn here")], "Trip", summary=rows))
    assert "photo answer 1.jpg Arco 2.jpg Torre" in page.text
    assert "The first drawn here" in page.text
    assert "holiday.jpg" not in page.text


def test_hostile_names_stay_text():
    shown = exhibit(
        pair(HOSTILE, reference=HOSTILE), pair(HOSTILE), photo=HOSTILE, title=HOSTILE, note=HOSTILE, known=True
    )
    unknown = exhibit(pair(HOSTILE), photo=HOSTILE, known=False)
    html = render([shown, unknown], HOSTILE, HOSTILE, [(HOSTILE, HOSTILE), (HOSTILE, HOSTILE)])
    page = Page(html)
    assert "<script" not in html.lower()
    assert "script" not in page.tags
    assert {name for _, name, _ in page.attributes} <= {
        "lang",
        "charset",
        "name",
        "content",
        "class",
        "style",
        "src",
        "alt",
    }
    assert page.text.count("<script>alert(1)</script>") > 10
    assert all(HOSTILE in value for tag, name, value in page.attributes if (tag, name) == ("img", "alt"))


def test_the_page_is_whole_by_itself():
    html = render([exhibit(pair(), pair("Torre"))], "Trip")
    assert html.startswith("<!doctype html>")
    page = Page(html)
    assert not {"script", "link", "iframe", "base", "object"} & set(page.tags)
    assert not re.search(r"https?://|url\(|@import", html)
    sources = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert len(sources) == 2
    for source in sources:
        kind, _, data = source.partition(",")
        assert kind == "data:image/webp;base64"
        with PIL.Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
            assert picture.size == draw_evidence(exhibit(pair()), pair()).size


@pytest.mark.parametrize(
    ("candidate", "caption"),
    [
        (pair(num_inliers=2), "2 inliers"),
        (pair(num_inliers=0, problem="folded"), "no inliers (folded)"),
        (pair(num_inliers=None), "no inliers (not verified)"),
    ],
)
def test_the_picture_of_a_pair_says_what_geometry_said(monkeypatch, candidate, caption):
    drawn = []
    monkeypatch.setattr("veduta.gallery.evidence.page.draw_pair", lambda *given: drawn.append(given))
    draw_evidence(exhibit(candidate, photo="trip/holiday.jpg"), candidate)
    assert drawn[0][4:] == (caption, ("holiday.jpg", "arco/1.jpg"))


def test_the_page_and_its_pictures_are_written(tmp_path):
    page = write_page(tmp_path / "new" / "folder", [exhibit(pair(), pair("Torre"))], "Trip")
    assert page == tmp_path / "new" / "folder" / "index.html"
    assert sorted(p.name for p in page.parent.iterdir()) == ["evidence-1.png", "evidence-2.png", "index.html"]
    Page(page.read_text("utf-8"))
    write_page(page.parent, [exhibit(pair()), exhibit(pair())], "Trip")
    assert {"1-evidence-1.png", "2-evidence-1.png"} <= {p.name for p in page.parent.iterdir()}


@pytest.mark.parametrize("photo", ["\udcff.jpg", "two\nlines.jpg", "Café ☕.jpg"])
def test_the_page_is_written_whatever_the_photo_is_called(tmp_path, photo):
    page = write_page(tmp_path, [exhibit(pair(), photo=photo)], photo)
    assert photo.encode("utf-8", "replace") in page.read_bytes()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(GalleryError, match=r"file: cannot be written \(.+\); choose another folder"):
        write_page(tmp_path / "file", [exhibit(pair())], "Trip")
