"""Positions in sidecars count as the photo's own; countries come by one rule, the same everywhere."""

import csv
import json

import pytest
from support.metadata import EIFFEL
from support.photos import picture

from veduta.library import Library
from veduta.library.album.content import collect_content
from veduta.library.export import export_assets
from veduta.library.metadata.positions import sidecar_position
from veduta.library.metadata.xmp import estimates, merge_sidecar
from veduta.library.model import StoredAnswer
from veduta.types import Landmark

ROME, DELHI = (41.9, 12.5), (28.6, 77.2)
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" {}</rdf:RDF></x:xmpmeta>'
)
AS_ATTRIBUTES = XMP.format('exif:GPSLatitude="41,54.0N" exif:GPSLongitude="12,30.0E"/>')
FORMS = {
    "attributes": AS_ATTRIBUTES,
    "elements": XMP.format(
        "><exif:GPSLatitude>41,54.0N</exif:GPSLatitude><exif:GPSLongitude>12,30.0E</exif:GPSLongitude></rdf:Description>"
    ),
    "seconds": XMP.format('exif:GPSLatitude="41,54,0N" exif:GPSLongitude="12,30,0E"/>'),
    "decimals": XMP.format('exif:GPSLatitude="41.9" exif:GPSLongitude="12.5"/>'),
    "a zero at the end": AS_ATTRIBUTES + "\0",
    "blanks before": " \n" + AS_ATTRIBUTES,
    "packet": '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>' + AS_ATTRIBUTES + '<?xpacket end="w"?>',
}
NAMES = ["a.jpg.xmp", "a.xmp", "A.JPG.XMP", "a.jpg.XMP"]
NONE = {
    "no position": XMP.format("/>"),
    "half of one": XMP.format('exif:GPSLatitude="41,54.0N"/>'),
    "zeros": XMP.format('exif:GPSLatitude="0,0N" exif:GPSLongitude="0,0E"/>'),
    "impossible": XMP.format('exif:GPSLatitude="91,0N" exif:GPSLongitude="0,0E"/>'),
    "damaged": AS_ATTRIBUTES[:150],
    "a document type": "<!DOCTYPE x>" + AS_ATTRIBUTES,
    "empty": "",
    "an estimate of ours": merge_sidecar(None, EIFFEL, False).decode(),
}


def library(folder, sidecars, **photo):
    picture(folder / "a.jpg", **photo)
    for name, text in sidecars.items():
        (folder / name).write_text(text)
    opened = Library(folder)
    opened.scan()
    return opened


@pytest.mark.parametrize("form", FORMS)
def test_a_position_in_a_sidecar_is_the_photos(form, tmp_path):
    with library(tmp_path, {"a.jpg.xmp": FORMS[form]}) as opened:
        assert opened.assets()[0].position == pytest.approx(ROME)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_the_sidecar_is_called(name, tmp_path):
    with library(tmp_path, {name: AS_ATTRIBUTES}) as opened:
        assert opened.assets()[0].position == pytest.approx(ROME)


def test_what_the_camera_wrote_goes_before(tmp_path):
    with library(tmp_path, {"a.jpg.xmp": AS_ATTRIBUTES}, position=DELHI) as opened:
        assert opened.assets()[0].position == pytest.approx(DELHI, abs=1e-3)


@pytest.mark.parametrize("kind", NONE)
def test_a_sidecar_that_says_none(kind, tmp_path):
    with library(tmp_path, {"a.jpg.xmp": NONE[kind]}) as opened:
        assert opened.assets()[0].position is None


def test_a_sidecar_that_changes_is_read_again(tmp_path):
    with library(tmp_path, {"a.jpg.xmp": AS_ATTRIBUTES}) as opened:
        assert opened.assets()[0].position == pytest.approx(ROME)
        (tmp_path / "a.jpg.xmp").write_text(AS_ATTRIBUTES.replace("41,54.0N", "41,54.00S"))
        assert opened.assets()[0].position == pytest.approx((-41.9, 12.5))


def test_a_link_is_no_sidecar_of_a_strangers_folder(tmp_path):
    (tmp_path / "elsewhere.xmp").write_text(AS_ATTRIBUTES)
    (tmp_path / "a.jpg.xmp").symlink_to(tmp_path / "elsewhere.xmp")
    assert sidecar_position([str(tmp_path / "a.jpg.xmp")]) is None
    assert sidecar_position([str(tmp_path / "elsewhere.xmp")]) == pytest.approx(ROME)
    assert sidecar_position([str(tmp_path), str(tmp_path / "gone.xmp"), str(tmp_path / "a.jpg")]) is None


def test_no_estimate_is_written_where_a_sidecar_has_a_position(tmp_path):
    with library(tmp_path, {"a.xmp": AS_ATTRIBUTES}) as opened:
        opened.set_verdict(tmp_path / "a.jpg", "corrected", EIFFEL.landmark)
        opened.apply(opened.tag())
        assert not estimates((tmp_path / "a.jpg.xmp").read_bytes())


# --- countries


def named(folder, landmark, positions):
    """A library of photos of one landmark, each with its own position or None."""
    for number, position in enumerate(positions):
        picture(folder / f"{number}.jpg", seed=number, position=position)
    opened = Library(folder)
    opened.scan()
    for number in range(len(positions)):
        opened.set_verdict(folder / f"{number}.jpg", "corrected", landmark)
    return opened


@pytest.mark.parametrize(
    ("place", "positions", "expected"),
    [
        (ROME, [DELHI, None], ["Italy", "Italy"]),
        (None, [ROME, DELHI], ["Italy", "India"]),
        (None, [ROME, None], ["Italy", "Italy"]),
        (None, [ROME, (41.8, 12.4), (41.7, 12.6), None], ["Italy"] * 4),
        (None, [ROME, ROME, DELHI, None], ["Italy", "Italy", "India", "Italy"]),
        (None, [None, None], [None, None]),
        (DELHI, [None], ["India"]),
        ((0.0, -30.0), [ROME], [None]),  # a landmark in the ocean is in no country
    ],
)
def test_the_landmark_then_the_photo_then_the_others(tmp_path, place, positions, expected):
    landmark = Landmark("x", "Somewhere", *(place or (None, None)))
    folder = tmp_path / "library"
    with named(folder, landmark, positions) as opened:
        assets = opened.assets()
        assert [asset.label.country for asset in assets] == expected
        for name in ("out.csv", "out.jsonl"):
            export_assets(assets, name[4:], tmp_path / name)
        planned = opened.organize(str(tmp_path / "sorted" / "{country}" / "{landmark}"), "copy").steps
        words = [merge_sidecar(None, asset.label, True).decode() for asset in assets]
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["country"] or None for row in csv.DictReader(file)] == expected
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["country"] for line in lines] == expected
    assert {step.target.parent.parent.name for step in planned} == {
        country or "Unknown country" for country in expected
    }
    assert [f"Places/{name}/" in text for name, text in zip(expected, words, strict=True)] == [
        bool(name) for name in expected
    ]


def answered(folder, photos):
    """A library whose gallery said X of each photo: position and confidence."""
    for number, (position, _) in enumerate(photos):
        picture(folder / f"{number}.jpg", seed=number, position=position)
    opened = Library(folder)
    opened.scan()
    contents = {asset.file.name: asset.sha256 for asset in opened.assets()}
    landmark = Landmark("x", "Somewhere")
    for number, (_, confidence) in enumerate(photos):
        answer = StoredAnswer("g", 1, landmark, confidence, ((landmark, confidence),), ())
        opened.catalog.answers.put(contents[f"{number}.jpg"], answer)
    return opened


@pytest.mark.parametrize("floor", [0.5, 0.7, 0.9, 0.96])
def test_the_country_of_a_photo_is_one_whichever_floor_is_asked_for(tmp_path, floor):
    with answered(tmp_path / "library", [(ROME, 0.6), (None, 0.97)]) as opened:
        labels = {asset.file.name: asset.label for asset in opened.assets(floor)}
        assert labels["1.jpg"].country == "Italy"


def test_a_chapter_of_the_album_is_where_most_of_its_photos_were_taken(tmp_path):
    paris = (48.85, 2.35)
    with answered(tmp_path / "library", [(paris, 0.97), (ROME, 0.97), ((41.8, 12.4), 0.97)]) as opened:
        assert [place.country for place in collect_content(opened, 0.9).places] == ["Italy"]
        assert [asset.label.country for asset in opened.assets(0.9)] == ["France", "Italy", "Italy"]
