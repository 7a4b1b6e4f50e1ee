"""Positions in sidecars count as the photo's own; countries come by one rule, the same everywhere."""

import csv
import json
from datetime import datetime, timedelta

import pytest
from support.metadata import EIFFEL, exiftool, needs_exiftool
from support.photos import at, picture

from veduta.landmarks import Landmark
from veduta.library import Library
from veduta.library.album.content import collect_content
from veduta.library.export import export_assets
from veduta.library.metadata.positions import sidecar_position
from veduta.library.metadata.xmp import estimates, merge_sidecar
from veduta.library.model import StoredAnswer

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


# --- dates in sidecars

DATED = XMP.replace("xmlns:exif=", "{} xmlns:exif=", 1)
SPACES = 'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'


def dated(said):
    return DATED.format(SPACES, said)


SIDECAR_DATES = {
    "exif": (dated('exif:DateTimeOriginal="2019-07-14T12:34:56"/>'), 2),
    "an element": (dated("><exif:DateTimeOriginal>2019-07-14T12:34:56</exif:DateTimeOriginal></rdf:Description>"), 2),
    "photoshop": (dated('photoshop:DateCreated="2019-07-14T12:34:56"/>'), 2),
    "digitized": (dated('exif:DateTimeDigitized="2019-07-14T12:34:56"/>'), 2),
    "xmp": (dated('xmp:CreateDate="2019-07-14T12:34:56"/>'), 2),
    "with fractions": (dated('exif:DateTimeOriginal="2019-07-14T12:34:56.789"/>'), 2),
    "as EXIF writes": (dated('exif:DateTimeOriginal="2019:07:14 12:34:56"/>'), 2),
    "the original first": (
        dated('xmp:CreateDate="2022-01-01T00:00:00" exif:DateTimeOriginal="2019-07-14T12:34:56"/>'),
        2,
    ),
    "with a position": (
        dated('exif:GPSLatitude="41,54.0N" exif:GPSLongitude="12,30.0E" exif:DateTimeOriginal="2019-07-14T12:34:56"/>'),
        2,
    ),
    "a zone": (dated('exif:DateTimeOriginal="2019-07-14T12:34:56+02:00"/>'), 2),
    "in UTC": (dated('exif:DateTimeOriginal="2019-07-14T12:34:56Z"/>'), 0),
}
NO_DATES = {
    "when the sidecar was changed": dated('xmp:ModifyDate="2019-07-14T12:34:56"/>'),
    "metadata's date": dated('xmp:MetadataDate="2019-07-14T12:34:56"/>'),
    "zeros": dated('exif:DateTimeOriginal="0000-00-00T00:00:00"/>'),
    "a year alone": dated('exif:DateTimeOriginal="2019"/>'),
    "words": dated('exif:DateTimeOriginal="last summer"/>'),
    "a document type": "<!DOCTYPE x>" + dated('exif:DateTimeOriginal="2019-07-14T12:34:56"/>'),
    "damaged": dated('exif:DateTimeOriginal="2019-07-14T12:34:56"/>')[:-60].replace("12:34:56", ""),
    "nothing": "",
    "an estimate of ours": merge_sidecar(None, EIFFEL, False).decode(),
    "no sidecar at all": None,
}


@pytest.mark.parametrize("kind", SIDECAR_DATES)
def test_a_date_that_only_a_sidecar_has_is_the_photos(kind, tmp_path):
    text, hours = SIDECAR_DATES[kind]
    with library(tmp_path, {"a.jpg.xmp": text}, taken=None) as opened:
        (asset,) = opened.assets()
        assert asset.taken == datetime(2019, 7, 14, 12, 34, 56)  # noqa: DTZ001 - by a clock
        zone = None if "Z" not in text and "+" not in text else timedelta(hours=hours)
        assert asset.utc_offset == zone


@needs_exiftool
def test_exiftool_reads_the_same_dates_in_sidecars(tmp_path):
    names = ("exif:DateTimeOriginal", "photoshop:DateCreated", "exif:DateTimeDigitized", "xmp:CreateDate")
    for kind, (text, _) in SIDECAR_DATES.items():
        (tmp_path / "a.xmp").write_text(text)
        said = exiftool("-s3", "-d", "%Y-%m-%dT%H:%M:%S", *(f"-XMP-{name}" for name in names), tmp_path / "a.xmp")
        assert (kind, said.splitlines()[0]) == (kind, "2019-07-14T12:34:56")


@pytest.mark.parametrize("kind", NO_DATES)
def test_a_sidecar_that_has_no_date(kind, tmp_path):
    with library(tmp_path, {"a.jpg.xmp": NO_DATES[kind]} if NO_DATES[kind] is not None else {}, taken=None) as opened:
        assert opened.assets()[0].taken is None


def test_the_photos_own_date_goes_before_its_sidecars(tmp_path):
    with library(tmp_path, {"a.jpg.xmp": SIDECAR_DATES["exif"][0]}, taken=at(1, 0)) as opened:
        assert opened.assets()[0].taken == at(1, 0)


def test_photos_are_sorted_by_the_dates_of_their_sidecars(tmp_path):
    with library(tmp_path / "photos", {"a.jpg.xmp": SIDECAR_DATES["exif"][0]}, taken=None) as opened:
        opened.set_verdict(tmp_path / "photos" / "a.jpg", "corrected", EIFFEL.landmark)
        targets = [str(target) for _, target in opened.organize(str(tmp_path / "out" / "{date:%Y-%m}")).rows()]
        assert str(tmp_path / "out" / "2019-07" / "a.jpg") in targets


@needs_exiftool
def test_a_sidecar_that_exiftool_made_of_a_dated_photo(tmp_path):
    picture(tmp_path / "first.jpg", taken=at(2, 0))
    exiftool("-q", "-tagsfromfile", tmp_path / "first.jpg", "-all>xmp:all", tmp_path / "a.jpg.xmp")
    (tmp_path / "first.jpg").unlink()
    with library(tmp_path, {}, taken=None) as opened:
        assert opened.assets()[0].taken == at(2, 0)
