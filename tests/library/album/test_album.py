"""The album: one file that tells all that is known, safely whatever things are called, and is good to look at."""

import base64
import hashlib
import io
import itertools
import json
import os
import re
import shutil
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import PIL.Image
import pytest
from support import world
from support.photos import picture

from veduta.errors import LibraryError
from veduta.gallery import Gallery
from veduta.geo.countries import countries
from veduta.landmarks import Landmark
from veduta.library import Library
from veduta.library.album import images
from veduta.library.album.atlas import MAX_BYTES, simplified_atlas
from veduta.library.album.map import Marker, describe_map, leaflet
from veduta.library.album.page import write_album
from veduta.library.album.timeline import Moment, draw_timeline
from veduta.library.catalog import Catalog
from veduta.library.model import StoredAnswer

BROWSER = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
in_browser = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.xdist_group("browser"),
]
WIDE, PHONE = {"width": 1180, "height": 900}, {"width": 360, "height": 740}
PICTURES = os.environ.get("VEDUTA_PICTURES")  # a folder to write the documentation's pictures to
VOID = {"meta", "img", "br", "link", "input"}
HOSTILE = """<script>alert(1)</script>"'&</title><img src=x onerror=alert(1)>"""
ORO = Landmark("oro", "Ca' d'Oro", 45.4408, 12.3341, "https://example.org/oro?a=1&b=2")
ZWINGER = Landmark("zwinger", "Zwinger", 51.0529, 13.7337, "javascript:alert(1)")
ARCO = Landmark("arco", "Arco")


class Page(HTMLParser):
    """A page's elements as (tag, attributes), and its text; it fails on a tag that is never closed."""

    def __init__(self, path):
        super().__init__()
        self.html = Path(path).read_text("utf-8")
        self.elements, self.said, self.open = [], [], []
        self.feed(self.html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.said.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.said).split())

    def all(self, tag, **attributes):
        """Attributes of the elements with this tag, and with these classes or other attributes."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [found for name, found in self.elements if name == tag and wanted.items() <= found.items()]

    def part(self, id):
        """The text of one part of the page, in HTML."""
        return re.search(rf'<section class="part" id="{id}">(.*?)</section>\n', self.html, re.DOTALL)[1]


def at(day, hour=12, second=0, month=7):
    """A moment of a summer, by a camera's clock."""
    return datetime(2024, month, day, hour, 0, second)  # noqa: DTZ001


def snap(path, pixels, taken=None, position=None):
    """Write a photo with the time and place a camera would have written."""
    exif = PIL.Image.Exif()
    if taken:
        exif.get_ifd(0x8769)[0x9003] = taken.strftime("%Y:%m:%d %H:%M:%S")
    if position:
        north, east = position
        exif.get_ifd(0x8825).update(
            {1: "N" if north >= 0 else "S", 2: (abs(north), 0, 0), 3: "E" if east >= 0 else "W", 4: (abs(east), 0, 0)}
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path, quality=90, exif=exif)
    return path


PHOTOS = {  # name -> (seed, taken, position); told apart by their seeds, the burst by its seconds
    "venice/oro 1.jpg": (0, at(1), (45.4411, 12.3344)),
    "venice/oro#2?.jpg": (1, at(2), None),
    "venice/burst-1.jpg": (2, at(3, 12, 0), None),
    "venice/burst-2.jpg": (2, at(3, 12, 1), None),
    "venice/burst-3.jpg": (2, at(3, 12, 2), None),
    "dresden/z.jpg": (3, at(9), None),
    "arco.jpg": (4, None, None),
    "unnamed-1.jpg": (5, at(11), (48.2, 16.37)),
    "unnamed-2.jpg": (6, at(12), (48.22, 16.39)),
    "doubt.jpg": (7, at(13), None),
    "none.jpg": (8, at(14), None),
    "never asked.jpg": (9, None, None),
}


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Folder of a library of which all kinds of things are known. Read only."""
    folder = tmp_path_factory.mktemp("known") / "Summer & sea"
    for name, (seed, taken, position) in PHOTOS.items():
        pixels = world.facade(200 + seed, 240, 180)
        if "burst" in name:
            pixels = np.roll(pixels, 1 + taken.second, axis=1)
        snap(folder / name, pixels, taken, position)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    with Library(folder) as library:
        library.scan()
        keys = {str(shot.file.relative_to(folder)): shot.sha256 for shot in library.assets()}
        library.set_verdict(keys["venice/oro#2?.jpg"], "corrected", ORO)
    state = Catalog(folder, folder / ".veduta")
    state.answers.put(keys["venice/oro 1.jpg"], answer(ORO, 0.97, reference="gone/oro.jpg"))
    state.answers.put(keys["venice/burst-1.jpg"], answer(ORO, 0.92))
    state.answers.put(keys["dresden/z.jpg"], answer(ZWINGER, 0.999))
    state.answers.put(keys["arco.jpg"], answer(ARCO, 0.91))
    state.answers.put(keys["doubt.jpg"], answer(ARCO, 0.34, known=False))
    for name in ("none.jpg", "unnamed-1.jpg", "unnamed-2.jpg"):
        state.answers.put(keys[name], answer(ARCO, 0.01, known=False))
    state.set_groups({7: [keys["unnamed-2.jpg"], keys["unnamed-1.jpg"]], 8: [keys["dresden/z.jpg"]]})
    state.close()
    return folder


def answer(landmark, confidence, known=True, reference="reference.jpg"):
    evidence = ((reference, landmark.id, 0.81, 63), ("other.jpg", "x", 0.9, 99))
    guesses = ((landmark, confidence), (Landmark("next", "Next best"), 0.02))
    return StoredAnswer("nowhere", 1, landmark if known else None, confidence, guesses, evidence)


@pytest.fixture(scope="module")
def page(known):
    """The album of `known`."""
    with Library(known) as library:
        return Page(write_album(library, known.parent / "it.html"))


# --- what is told ---------------------------------------------------------------------------------------------------


def test_the_page_is_whole_and_in_order(page):
    assert page.html.startswith('<!doctype html>\n<html lang="en">')
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    inner = {a["href"][1:] for a in page.all("a") if a.get("href", "").startswith("#")}
    assert inner | {b["popovertarget"] for b in page.all("button")} <= set(ids)
    assert {"map", "time", "places", "unnamed", "doubts", "rest", "failures"} <= inner


def test_photos_landmarks_and_countries_are_counted_and_bursts_once(page):
    assert "10 photos and 2 nearly the same · 3 landmarks · 2 countries" in page.text
    assert "1–14 July 2024" in page.text
    assert f"Written by Veduta on {datetime.now().day} " in page.text  # noqa: DTZ005
    assert page.text.startswith("Summer & sea")


def test_a_place_is_told_with_its_photos_and_how_sure_they_are(page):
    assert re.findall(r'<h3 dir="auto">(.*?)</h3>', page.part("places")) == ["Ca&#39; d&#39;Oro", "Arco", "Zwinger"]
    oro, _arco, zwinger = re.findall(r'<section class="place.*?</section>', page.html, re.DOTALL)
    assert ">Italy<" in oro
    assert "<dd>3</dd>" in oro
    assert "1–3 July 2024" in oro
    assert "1 confirmed by you; probably (92%) to almost certainly (97%)" in oro
    assert "45.4411° N, 12.3344° E" in oro
    assert "camera of 1 photo" in oro
    assert "51.0529° N" in zwinger
    assert "estimated from the landmark" in zwinger
    assert "over 99%" in zwinger
    assert "100%" not in page.text


def test_a_burst_is_one_picture_that_opens(page):
    (badge,) = page.all("button", class_="alike")
    assert ">3 alike</button>" in page.html
    pile = page.html.split(f'id="{badge["popovertarget"]}"')[1].split("</ul>")[0]
    assert pile.count("<img") == 2
    assert {"popover"} <= set(page.all("div", class_="others")[0])


def test_what_speaks_for_a_landmark_is_shown_even_without_its_gallery(page):
    oro = re.search(r'<section class="place.*?</section>', page.html, re.DOTALL)[0]
    assert "63 points agree, similarity 0.81: almost certainly, 97%" in oro
    assert "reference oro.jpg" in oro


def test_a_group_without_a_name_comes_with_the_command_that_names_it(page, known):
    told = page.part("unnamed")
    assert told.count("<h3>") == 1  # of group 8 the gallery knows the name
    assert "2 photos · 11–12 July 2024 · 48.2100° N, 16.3800° E" in told
    command = f"veduta library name &#39;{known}&#39; 7 &#39;Name&#39;".replace("&", "&amp;").replace("&amp;#", "&#")
    assert command in told


def test_a_doubt_comes_with_its_guesses(page):
    told = re.sub("<svg.*?</svg>", "", page.part("doubts"))
    assert told.count('class="card"') == 1
    assert 'Arco</span> <span class="number">34%' in told
    assert 'Next best</span> <span class="number">2%' in told
    assert "veduta library review" in told


def test_what_shows_no_landmark_is_folded_away_and_what_was_never_asked_is_told(page):
    told = page.part("rest")
    assert "<summary>Show 2 photos</summary>" in told
    assert "No gallery was asked about 1 of them" in told
    assert sorted(re.findall('data-name="(.*?)"', told)) == ["never asked.jpg", "none.jpg"]


def test_an_album_before_any_gallery_was_asked_says_so(tmp_path):
    made = tmp_path / "library"
    picture(made / "a.jpg")
    with Library(made) as library:
        library.scan()
        told = write_album(library, tmp_path / "album.html").read_text()
    assert "No gallery has been asked about them yet." in told
    assert "Nothing in them was recognized" not in told


def test_files_that_could_not_be_read_come_with_the_reason(page, known):
    told = page.part("failures")
    assert ">broken.jpg</span>" in told
    assert str(known) not in told


def test_every_photo_is_in_the_album_once_and_its_link_leads_to_its_file(page, known):
    links = {a["href"] for a in page.all("a", class_="photo")}
    files = {led_to(known.parent, link) for link in links}
    assert all(file.is_file() for file in files)
    assert files == {known / name for name in PHOTOS}


def led_to(folder, link):
    """Where a link leads from a page in this folder."""
    return Path(os.path.normpath(folder / os.fsdecode(unquote_to_bytes(link))))


# --- safe and by itself ---------------------------------------------------------------------------------------------


def test_nothing_is_loaded_from_elsewhere(page):
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data: file: 'self'; ")
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page.html, re.DOTALL)
        assert base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() in policy
        assert tag == "script" or "url(" not in content
        assert not set(re.findall(r"https?:[^\"'\s]*", content)) - {
            "http://www.w3.org/2000/svg",
            "https://leafletjs.com",
        }
        assert "@import" not in content
    assert all(image["src"].startswith("data:image/webp;base64,") and "alt" in image for image in page.all("img"))
    assert {"link", "iframe", "object", "form", "base"}.isdisjoint(tag for tag, _ in page.elements)
    assert not [a for _, found in page.elements for a in found if a.startswith("on") or a in ("style", "srcset")]
    abroad = {a["href"] for a in page.all("a") if ":" in a.get("href", "")}
    assert abroad == {ORO.url}  # the one with javascript: is none of the web


@pytest.fixture
def hostile(tmp_path):
    """A library whose names are what nobody hopes for."""
    names = [os.fsencode("\"><b>'&.jpg"), b"caf\xe9 100%.jpg", os.fsencode("שלום עולם.jpg"), b"a:b#c?d.jpg"]
    for i, name in enumerate(names):
        snap(tmp_path / "li<i>b" / os.fsdecode(name), world.facade(300 + i, 120, 90), at(i + 1))
    with Library(tmp_path / "li<i>b") as library:
        library.scan()
        for i, shot in enumerate(library.assets()):
            name = (HOSTILE, "שער הפרחים", "\udce9\x07 Arco", "")[i]
            url = ('http://x/"><b>', "data:text/html,<b>", "HTTPS://example.org/", None)[i]
            library.set_verdict(shot.sha256, "corrected", Landmark(f"id{i}", name, 10.0 * i, 20.0, url))
        yield library


def test_hostile_names_are_shown_and_do_nothing(hostile, tmp_path):
    page = Page(write_album(hostile, tmp_path / "a<b>.html"))
    assert {"b", "i"}.isdisjoint(tag for tag, _ in page.elements)
    assert page.all("script") == [{"type": "application/json", "id": "world-data"}, {}]
    assert page.text.count("alert(1)") == page.text.count(HOSTILE) * 2 > 0
    assert r"caf\udce9 100%.jpg" in page.html
    assert "שער הפרחים" in page.text
    links = {a["href"] for a in page.all("a", class_="photo")}
    assert len(links) == 4
    for link in links:
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", link)
        assert led_to(tmp_path, link).is_file()
    abroad = {a["href"] for a in page.all("a") if re.match(r"[a-zA-Z]+:", a.get("href", ""))}
    assert abroad == {'http://x/"><b>', "HTTPS://example.org/"}


def test_a_name_that_looks_like_a_protocol_stays_a_file(hostile, tmp_path):
    page = Page(write_album(hostile, hostile.path / "inside.html"))
    assert "a%3Ab%23c%3Fd.jpg" in {a["href"] for a in page.all("a", class_="photo")}


def test_the_album_appears_whole_or_not_at_all(known, tmp_path):
    with Library(known) as library:
        with pytest.raises(LibraryError, match=r"gone/album.html: cannot be written \(No such file"):
            write_album(library, tmp_path / "gone" / "album.html")
        taken = tmp_path / "album.html"
        taken.mkdir()
        with pytest.raises(LibraryError, match="cannot be written"):
            write_album(library, taken)
        assert list(tmp_path.iterdir()) == [taken]
        taken.rmdir()
        taken.write_text("before")
        assert write_album(library, taken) == taken
    assert list(tmp_path.iterdir()) == [taken]
    assert taken.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_empty_library_has_an_album_that_says_so(tmp_path):
    (tmp_path / "empty").mkdir()
    with Library(tmp_path / "empty") as library:
        page = Page(write_album(library, tmp_path / "album.html"))
    assert "0 photos" in page.text
    assert "veduta library scan" in page.text
    assert page.all("section") == []


def test_without_dates_positions_and_gallery_there_is_no_map_and_no_time(tmp_path):
    for i in range(3):
        snap(tmp_path / "library" / f"{i}.jpg", world.facade(400 + i, 120, 90))
    with Library(tmp_path / "library", tmp_path / "state of things") as library:
        library.scan()
        library.set_verdict(tmp_path / "library" / "0.jpg", "corrected", ARCO)
        page = Page(write_album(library, tmp_path / "album.html"))
    assert [part["id"] for part in page.all("section", class_="part")] == ["places", "rest"]
    assert "3 photos · 1 landmark" in page.text
    assert page.all("svg") == []


def test_a_command_names_a_state_that_lies_elsewhere(known, tmp_path):
    shutil.copytree(known / ".veduta", tmp_path / "state")
    with Library(known, tmp_path / "state") as library:
        told = Page(write_album(library, tmp_path / "album.html")).part("unnamed")
    assert f"--state {tmp_path / 'state'} 7" in told


# --- how large it gets ----------------------------------------------------------------------------------------------


def widths(page):
    return sorted({int(image["width"]) for image in page.all("img")})


def test_a_small_album_has_large_covers_and_the_thumbnails_of_the_library(tmp_path):
    folder = tmp_path / "library"
    for i in range(5):
        snap(folder / f"{i}.jpg", world.facade(410 + i, 900, 600))
    with Library(folder) as library:
        library.scan()
        for shot in library.assets():
            library.set_verdict(shot.sha256, "corrected", ARCO)
        assert widths(Page(write_album(library, tmp_path / "album.html"))) == [320, 800]
        snap(folder / "0.jpg", world.facade(499, 120, 90))  # what is there now is not what was scanned
        for i in range(1, 5):
            (folder / f"{i}.jpg").unlink()
        assert widths(Page(write_album(library, tmp_path / "album.html"))) == [320]


def test_a_large_album_has_small_pictures_in_its_grids_and_names_beyond(known, tmp_path, monkeypatch):
    with Library(known) as library:
        before = Page(write_album(library, tmp_path / "before.html"))
        monkeypatch.setattr(images, "CRISP", 0)
        monkeypatch.setattr(images, "shown_of_each", lambda counts: 1)
        page = Page(write_album(library, tmp_path / "album.html"))
    assert min(widths(before)) == 240
    assert min(widths(page)) == 160
    oro = re.search(r'<section class="place.*?</section>', page.html, re.DOTALL)[0]
    assert "<summary>and 3 more</summary>" in oro
    assert re.search(r'<details class="more">.*?<a href="[^"]+" dir="auto">', oro, re.DOTALL)
    assert len(page.html) < len(before.html)


def test_an_album_never_outgrows_its_room(known, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "ROOM", 20_000)
    with Library(known) as library:
        page = Page(write_album(library, tmp_path / "album.html"))
    shown = sum(len(image["src"]) for image in page.all("img"))
    assert 20_000 <= shown < 60_000
    for name in PHOTOS:
        assert name.rsplit("/")[-1] in page.html  # what has no picture is named


def test_how_many_pictures_a_grid_may_show():
    assert images.shown_of_each([]) == images.EACH
    for counts in ([40_000], [100] * 400, [3] * 9000):
        each = images.shown_of_each(counts)
        assert sum(min(count, each) for count in counts) <= images.GRIDS
    assert images.shown_of_each([1] * 6000) == 0


# --- map and time ---------------------------------------------------------------------------------------------------


WORLD = [(east / 3, float(east)) for east in range(-170, 180, 20)]


@pytest.mark.parametrize("positions", [[(45.4, 12.3)], [(45.4, 12.3), (-36.8, 174.8)], WORLD, []])
def test_borders_are_small_enough_for_a_page_and_still_meet(positions):
    atlas = simplified_atlas(positions, {"Italy", "Malta"})
    assert len(json.dumps(atlas, separators=(",", ":"))) < MAX_BYTES + 200
    rings = {land["name"]: [ring for polygon in land["polygons"] for ring in polygon] for land in atlas["countries"]}
    assert {"Italy", "Malta", "New Zealand", "Russia"} <= rings.keys()
    assert {land["name"] for land in atlas["countries"] if land["visited"]} == {"Italy", "Malta"}
    drawn = lines_of(atlas)
    for ring in (ring for each in rings.values() for ring in each):
        parts = [drawn[number] if number >= 0 else drawn[~number][::-1] for number in ring]
        for before, after in zip(parts, parts[1:] + parts[:1], strict=True):
            assert (before[-1] == after[0]).all()
    assert {number if number >= 0 else ~number for each in rings.values() for ring in each for number in ring} == set(
        range(len(drawn))
    )


def lines_of(atlas):
    """The lines of an atlas, (K, 2) degrees east and north each."""
    return [np.cumsum(np.array(arc).reshape(-1, 2), axis=0) * atlas["scale"] + atlas["offset"] for arc in atlas["arcs"]]


def test_borders_are_true_where_photos_were_taken_and_coarse_far_from_there():
    atlas = simplified_atlas([(45.4, 12.3)], {"Italy"})
    lines = np.concatenate(lines_of(atlas))
    near = np.hypot(*(lines - (12.3, 45.4)).T) < 3
    far = np.hypot(*(lines - (115, -30)).T) < 3
    full = np.concatenate([polygon[0] for land in countries() for polygon in land.polygons])
    assert near.sum() > 0.15 * (np.hypot(*(full - (12.3, 45.4)).T) < 3).sum()
    assert far.sum() < 0.5 * (np.hypot(*(full - (115, -30)).T) < 3).sum()
    points = full[np.hypot(*(full - (12.3, 45.4)).T) < 3]
    gaps = np.hypot(*(lines[near][:, None] - points[None]).transpose(2, 0, 1)).min(1)
    assert gaps.max() < 0.01


def test_what_the_map_draws_is_marked_as_seen_or_as_estimated():
    markers = [Marker("A", "#a", 9, (45.4, 12.3), False), Marker("</script>", "#b", 1, (51.0, 13.7), True)]
    described = describe_map(markers, [(45.41, 12.31), (45.4101, 12.3101)], {"Italy"})
    assert "<" not in described["data"]
    data = json.loads(described["data"])
    assert [(place["name"], place["estimated"]) for place in data["places"]] == [("A", False), ("</script>", True)]
    assert data["cameras"] == [[45.41, 12.31]]
    assert [kind for kind, _ in described["legend"]] == ["seen", "guess", "stood"]
    assert describe_map([], [], set()) is None


@pytest.mark.parametrize(("places", "width"), [([(0.0, 179.0), (1.0, -179.0)], 2), ([(0.0, -10.0), (1.0, 20.0)], 30)])
def test_places_on_both_sides_of_the_line_of_dates_are_neighbors(places, width):
    markers = [Marker("A", "#a", 1, place, False) for place in places]
    data = json.loads(describe_map(markers, places, set())["data"])
    for positions in ([place["position"] for place in data["places"]], data["cameras"]):
        east = [position[1] for position in positions]
        assert max(east) - min(east) == pytest.approx(width)


def test_the_map_adds_no_more_to_a_page_than_it_may(page):
    (data,) = re.findall('<script type="application/json" id="world-data">(.*?)</script>', page.html, re.DOTALL)
    assert len(data) + sum(map(len, leaflet())) < 350_000


@pytest.mark.parametrize(
    ("days", "bars", "name"),
    [
        (0, 12, "1 July 2024"),
        (30, 31, "31 July 2024"),
        (400, 14, "August 2025"),
        (9000, 26, "2049"),
        (2_900_000, 0, "9964"),
    ],
)
def test_the_timeline_tells_days_or_months_or_years(days, bars, name):
    first = at(1)
    moments = [Moment(first, "place-1"), Moment(first + timedelta(days=days), "place-1"), Moment(first, None)]
    drawn = draw_timeline(moments, {"place-1": "Ca' d'Oro"}, undated=4)
    count = int(re.search(r'viewBox="0 0 (\d+) 100"', drawn)[1])
    assert count == bars or count > 1000
    assert f"{name}: Ca&#39; d&#39;Oro, " in drawn
    assert "4 photos without a date are not here" in drawn
    assert drawn.count('href="#place-1"') >= 2
    assert "Most photos" in drawn


def test_a_camera_with_a_wrong_clock_does_not_stop_the_timeline():
    for moment in (datetime.min, datetime.max):  # noqa: DTZ901
        assert "<rect" in draw_timeline([Moment(moment, None)], {}, undated=0)
    assert draw_timeline([], {}, undated=3) == ""


# --- in a browser ---------------------------------------------------------------------------------------------------

TOUR = {  # name -> (latitude, longitude, days after the first of June)
    "Ca' d'Oro": (45.4408, 12.3341, 4),
    "Palazzo Ducale": (45.4337, 12.3404, 6),
    "Palazzo Vecchio": (43.7693, 11.2562, 10),
    "Palazzo Madama": (45.0710, 7.6858, 16),
    "Casa Milà": (41.3954, 2.1620, 24),
    "Palais Royal": (48.8638, 2.3371, 33),
    "Burg Eltz": (50.2053, 7.3364, 41),
    "Zwinger": (51.0529, 13.7337, 48),
    "Hofburg": (48.2065, 16.3655, 57),
    "Wawel": (50.0540, 19.9354, 63),
}
SEEDS = (3, 11, 12, 19, 21, 24, 28, 33, 37, 40)


@pytest.fixture(scope="module")
def summer(tmp_path_factory):
    """Folder of a tour of Europe, recognized with a gallery, looked at by a person here and there. Read only."""
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("summer")
    with Gallery.create(folder / "gallery") as gallery:
        for i, (name, (north, east, day)) in enumerate(TOUR.items()):
            straight = world.facade(SEEDS[i], 640, 480)
            reference = world.save(world.view(straight, 50 + i, 0.3, occlude=False).pixels, folder / f"{i}.png")
            gallery.add_photo(reference, Landmark(name.casefold(), name, north, east), id=name)
            for j in range(max(1, 7 - i)):
                pixels = world.view(straight, 800 + 20 * i + j, 0.5, occlude=False).pixels
                pixels = pixels[:, 110:470] if j % 4 == 3 else pixels  # some are upright
                near = None if i % 3 == 2 else (north + rng.normal(0, 0.02), east + rng.normal(0, 0.02))
                taken = at(1, 9 + j, month=6) + timedelta(days=day + j % 3)
                snap(folder / "A summer in Europe" / f"IMG_{1000 + 20 * i + j}.jpg", pixels, taken, near)
                if i == 0 and j < 2:
                    again = np.roll(pixels, 2, axis=1)
                    again_taken = taken + timedelta(seconds=1)
                    snap(folder / "A summer in Europe" / f"IMG_{1010 + j}.jpg", again, again_taken, near)
        for i in range(4):
            pixels, taken = world.distractor(20 + i, 640, 480), at(3 + 9 * i, 20)
            snap(folder / "A summer in Europe" / f"IMG_{2000 + i}.jpg", pixels, taken, None)
        with Library(folder / "A summer in Europe") as library:
            library.scan(gallery)
            named = {shot.file.name: shot for shot in library.assets()}
            for name in ("IMG_1001.jpg", "IMG_1020.jpg", "IMG_1021.jpg"):
                library.set_verdict(named[name].sha256, "accepted")
            library.catalog.set_groups({1: [named["IMG_2000.jpg"].sha256, named["IMG_2001.jpg"].sha256]})
            write_album(library, folder / "album.html")
    return folder


def test_all_places_of_a_tour_are_told(summer):
    page = Page(summer / "album.html")
    assert "10 landmarks · 6 countries" in page.text
    names = re.findall(r'<h3 dir="auto">(.*?)</h3>', page.part("places"))
    assert names[0] == "Ca&#39; d&#39;Oro"
    assert len(names) == 10
    assert 'alt="reference of Ca&#39; d&#39;Oro"' in page.html
    assert re.search(r"\d+ points agree, similarity 0\.\d\d", page.text)


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=quiet)
        yield browser
        browser.close()


def opened(chromium, album, **options):
    """Yield the album, opened from the disk; whatever the browser complains of fails the test in the end."""
    context, complaints, asked = chromium.new_context(**options), [], []
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(album.as_uri())
    yield page
    context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def serious(page):
    """What axe finds that is serious or worse."""
    import axe_playwright_python

    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [(each["id"], each["nodes"][0]["html"][:120]) for each in found if each["impact"] in ("serious", "critical")]


def keep(picture, name, height=None):
    """Write a picture for the documentation, if these are asked for."""
    if PICTURES:
        shown = PIL.Image.open(io.BytesIO(picture)).convert("RGB")
        shown.crop((0, 0, shown.width, min(shown.height, height or shown.height))).save(
            Path(PICTURES) / name, quality=80, method=6
        )


class TestInABrowser:
    pytestmark = in_browser

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
    def test_it_has_no_serious_fault_and_is_no_wider_than_its_window(self, chromium, summer, size, scheme):
        # axe is put into the page, which the page's own policy would forbid.
        for page in opened(
            chromium,
            summer / "album.html",
            viewport=size,
            color_scheme=scheme,
            bypass_csp=True,
            reduced_motion="reduce",
        ):
            page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            assert serious(page) == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    def test_all_pictures_are_shown(self, chromium, summer):
        for page in opened(chromium, summer / "album.html", viewport=WIDE):
            page.evaluate("Promise.all([...document.images].filter((i) => i.src).map((i) => i.decode()))")
            assert page.evaluate("[...document.images].filter((image) => !image.naturalWidth && image.src).length") == 0
            keep(page.screenshot(), "album.webp")
            page.locator("#place-1 .why summary").click()
            keep(page.locator("#place-1").screenshot(), "album-place.webp")
            keep(page.locator("#map").screenshot(), "album-map.webp")

    def test_a_photo_is_opened_turned_and_closed_by_the_keyboard(self, chromium, summer):
        for page in opened(chromium, summer / "album.html", viewport=WIDE):
            first = page.locator("#place-2 a.photo").first
            first.focus()
            page.keyboard.press("Enter")
            viewer = page.locator("#viewer")
            page.locator("#viewer[data-state=whole]").wait_for()
            name = first.get_attribute("data-name")
            assert name in viewer.inner_text()
            assert viewer.locator("img").evaluate("image => image.src").endswith(name)
            page.keyboard.press("ArrowRight")
            assert name not in viewer.inner_text()
            page.keyboard.press("ArrowLeft")
            page.keyboard.press("ArrowLeft")
            last = page.locator("#place-2 a.photo:visible").last
            assert last.get_attribute("data-name") in viewer.inner_text()
            for _ in range(6):  # whatever has the focus is in the dialog
                page.keyboard.press("Tab")
                assert page.evaluate(
                    "viewer.contains(document.activeElement) || document.activeElement === document.body"
                )
            page.keyboard.press("Escape")
            assert not viewer.is_visible()
            back = last.get_attribute("data-name")
            page.wait_for_function("name => document.activeElement.dataset.name === name", arg=back)

    def test_a_photo_that_is_gone_or_no_browser_knows_stays_a_thumbnail(self, chromium, summer, tmp_path):
        shutil.copyfile(summer / "album.html", tmp_path / "album.html")  # without its photos
        context = chromium.new_context(viewport=WIDE)
        page = context.new_page()
        page.goto((tmp_path / "album.html").as_uri())
        page.locator("#place-2 a.photo").first.click()
        page.locator("#viewer[data-state=only-small]").wait_for(timeout=60_000)
        assert page.locator("#viewer img").evaluate("image => image.src").startswith("data:")
        context.close()

    def test_a_burst_opens_and_its_photos_are_looked_at(self, chromium, summer):
        for page in opened(chromium, summer / "album.html", viewport=WIDE):
            badge = page.locator("#place-1 .alike").first
            badge.focus()
            page.keyboard.press("Enter")
            pile = page.locator(".others:popover-open")
            pile.locator("a.photo").first.click()
            page.locator("#viewer[data-state=whole]").wait_for()
            page.keyboard.press("Escape")
            pile.wait_for()  # the viewer took its place, and gives it back when it has closed
            assert not page.locator("#viewer").is_visible()
            page.keyboard.press("Escape")
            pile.wait_for(state="detached")

    def test_places_are_filtered_and_without_a_script_all_are_there(self, chromium, summer):
        for page in opened(chromium, summer / "album.html", viewport=WIDE):
            page.get_by_label("Find a place").fill("casa mila")
            assert page.locator(".place:visible h3").all_inner_texts() == ["Casa Milà"]
            page.get_by_label("Find a place").fill("italy")
            assert page.get_by_text("4 places", exact=True).is_visible()
            page.get_by_label("Find a place").fill("")
            assert page.locator(".place:visible").count() == 10
        for page in opened(chromium, summer / "album.html", viewport=WIDE, java_script_enabled=False):
            assert page.locator(".place:visible").count() == 10
            assert not page.locator("#filter").is_visible()
            assert page.locator(".others:visible").count() == 0

    def test_the_map_leads_to_its_places(self, chromium, summer):
        for page in opened(chromium, summer / "album.html", viewport=WIDE, reduced_motion="reduce"):
            dot = page.locator("#map a.dot", has_text="Wawel")
            dot.focus()
            page.keyboard.press("Enter")
            page.wait_for_url(f"**{dot.get_attribute('href')}")
            assert page.locator(dot.get_attribute("href")).is_visible()

    def test_a_dot_for_several_places_leads_nearer_to_them(self, chromium, summer):
        for page in opened(chromium, summer / "album.html", viewport=WIDE, reduced_motion="reduce"):
            before = page.locator("#map a.dot").count()
            page.locator("#map a.dot[aria-label^=\"Ca' d'Oro and\"]").press("Enter")
            page.locator("#map a.dot[aria-label^=\"Ca' d'Oro:\"]").wait_for()
            assert "#place" not in page.url
            assert before < len(TOUR)
            assert page.locator("#map a.dot").count() > before

    def test_the_map_is_zoomed_and_its_visited_countries_are_shaded(self, chromium, summer):
        for page in opened(chromium, summer / "album.html", viewport=WIDE, reduced_motion="reduce"):
            assert page.locator("#map path.been").count() >= 6
            assert page.locator("#map path.stood").count() > 6
            scale = page.locator("#map .leaflet-control-scale-line").inner_text()
            page.get_by_role("button", name="Zoom in").click()
            assert page.locator("#map .leaflet-control-scale-line").inner_text() != scale

    def test_without_a_script_the_map_is_a_list_of_places(self, chromium, summer):
        for page in opened(chromium, summer / "album.html", viewport=WIDE, java_script_enabled=False):
            assert not page.locator("#world").is_visible()
            assert page.locator("#map noscript a").count() == len(TOUR)
