"""A library as a table or a map: read back as others would read it."""

import csv
import io
import json
import os
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.metadata import EIFFEL, NOWHERE, OPERA

from veduta.errors import LibraryError
from veduta.landmarks import Landmark
from veduta.library.export import EXPORT_COLUMNS, FORMATS, export_assets
from veduta.library.model import Asset, Label

TAKEN = datetime(2024, 5, 1, 12, 34, 56)  # noqa: DTZ001 - a camera's clock
NASTY = Label(Landmark("=1+1", 'a"b,<c>&\x00\x0b\ud800\n]]>', 0.1234567, -179.9999999), 0.5, "veduta")
SHOTS = [
    Asset("a" * 64, (Path("/p/a.jpg"), Path("/q/a.jpg")), taken=TAKEN, position=(-1.25, 2.5), label=EIFFEL, group=3),
    Asset("b" * 64, (Path("/p/b  b.jpg"),), label=OPERA, burst=7, best=False),
    Asset("c" * 64, (Path("/p/c.jpg"),), taken=TAKEN, position=(90.0, 180.0)),
    Asset("d" * 64, (Path("/p/d.jpg"),), label=NOWHERE),
    Asset("e" * 64, (Path(os.fsdecode(b"/p/caf\xe9 & <co>.jpg")),), label=NASTY),
]
PLACES = {"a": (-1.25, 2.5), "b": (-33.856784, 151.215297), "c": (90.0, 180.0), "e": (0.1234567, -179.9999999)}
STRANGE = "/p/caf\\udce9 & <co>.jpg"


@pytest.fixture
def exported(tmp_path):
    def write(format, shots=SHOTS):
        out = tmp_path / f"out.{format}"
        count = export_assets(shots, format, out)
        assert out in tmp_path.iterdir()
        return count, out.read_bytes().decode()

    return write


def test_jsonl_has_a_line_for_each_shot(exported):
    count, text = exported("jsonl")
    rows = [json.loads(line) for line in text.splitlines()]
    assert count == len(rows) == 5
    assert all(tuple(row) == EXPORT_COLUMNS for row in rows)
    assert rows[0] == {
        "path": "/p/a.jpg",
        "sha256": "a" * 64,
        "taken": "2024-05-01T12:34:56",
        "landmark": EIFFEL.landmark.id,
        "name": EIFFEL.landmark.name,
        "confidence": 0.9341,
        "by": "veduta",
        "country": "France",
        "latitude": -1.25,
        "longitude": 2.5,
        "position_source": "camera",
        "burst": None,
        "best": True,
        "group": 3,
    }
    assert (rows[1]["position_source"], rows[1]["latitude"], rows[1]["burst"], rows[1]["best"]) == (
        *("landmark", -33.856784, 7, False),
    )
    assert (rows[2]["landmark"], rows[2]["confidence"]) == (None, None)
    assert (rows[3]["latitude"], rows[3]["position_source"]) == (None, None)
    assert rows[4]["path"] == STRANGE


def test_csv_is_what_jsonl_says(exported):
    lines = [json.loads(line) for line in exported("jsonl")[1].splitlines()]
    count, text = exported("csv", SHOTS[:4])
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert count == len(rows) == 4
    for row, line in zip(rows, lines, strict=False):
        expected = {key: "" if value is None else value for key, value in line.items()}
        assert {k: v for k, v in row.items() if k != "best"} == {k: str(v) for k, v in expected.items() if k != "best"}
        assert row["best"] == str(line["best"]).lower()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_of_csv_is_a_formula(exported, start):
    name = f"{start}HYPERLINK(1)"
    shot = Asset(
        "a" * 64, (Path("/a.jpg"),), position=(-1.5, -2.5), label=Label(Landmark(name, name), 1.0, "person", name)
    )
    _, text = exported("csv", [shot])
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["landmark"] == row["name"] == row["country"] == f"'{name}"
    assert (row["latitude"], row["longitude"]) == ("-1.5", "-2.5")


def test_csv_with_quotes_and_line_ends_is_read_back(exported):
    _, text = exported("csv", [SHOTS[4]])
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["name"] == 'a"b,<c>&\x00\x0b\\ud800\n]]>'
    assert row["path"] == STRANGE


def test_geojson_has_the_longitude_first(exported):
    count, text = exported("geojson")
    found = json.loads(text)
    assert (found["type"], count, len(found["features"])) == ("FeatureCollection", 4, 4)
    for feature in found["features"]:
        assert feature.keys() == {"type", "geometry", "properties"}
        assert (feature["type"], feature["geometry"]["type"]) == ("Feature", "Point")
        north, east = PLACES[feature["properties"]["sha256"][0]]
        assert feature["geometry"]["coordinates"] == pytest.approx([east, north], abs=1e-6)
    assert [feature["properties"]["position_source"] for feature in found["features"]] == [
        *("camera", "landmark", "camera", "landmark"),
    ]


KML = "{http://www.opengis.net/kml/2.2}"


def test_kml_has_a_folder_for_each_landmark(exported):
    count, text = exported("kml")
    root = ElementTree.fromstring(text)
    assert root.tag == f"{KML}kml"
    folders = root.findall(f"{KML}Document/{KML}Folder")
    names = [folder.findtext(f"{KML}name") for folder in folders]
    assert names == [EIFFEL.landmark.name, "Sydney Opera House", 'a"b,<c>&\\ud800\n]]>', "no landmark"]
    marks = root.findall(f".//{KML}Placemark")
    assert count == len(marks) == 4
    order = ["name", "description", "TimeStamp", "ExtendedData", "Point"]  # the schema's
    for mark in marks:
        tags = [child.tag.removeprefix(KML) for child in mark]
        assert tags == [tag for tag in order if tag in tags]
        told = {data.get("name"): data.findtext(f"{KML}value") for data in mark.iter(f"{KML}Data")}
        east, north = map(float, mark.findtext(f"{KML}Point/{KML}coordinates").split(","))
        assert (north, east) == pytest.approx(PLACES[told["sha256"][0]], abs=1e-6)
        assert ("TimeStamp" in tags) == ("taken" in told)
        estimated = "estimated by Veduta" in mark.findtext(f"{KML}description")
        assert estimated == (told["position_source"] == "landmark")
    assert marks[0].findtext(f"{KML}TimeStamp/{KML}when") == "2024-05-01T12:34:56"
    assert marks[1].findtext(f"{KML}ExtendedData/{KML}Data/{KML}value") == "/p/b  b.jpg"
    assert marks[3].findtext(f"{KML}name") == "c.jpg"


GPX = "{http://www.topografix.com/GPX/1/1}"


def test_gpx_has_a_waypoint_for_each_shot_with_a_place(exported):
    count, text = exported("gpx")
    root = ElementTree.fromstring(text)
    assert (root.tag, root.get("version"), root.get("creator")) == (f"{GPX}gpx", "1.1", "Veduta")
    assert count == len(root) == 4
    places = [(float(point.get("lat")), float(point.get("lon"))) for point in root]
    # What is 180 degrees east is 180 degrees west, and the schema allows only that.
    expected = [PLACES["a"], PLACES["b"], (90.0, -180.0), PLACES["e"]]
    assert [x for place in places for x in place] == pytest.approx([x for place in expected for x in place], abs=1e-6)
    assert all(-180 <= east < 180 for _, east in places)
    assert [point.findtext(f"{GPX}time") for point in root] == [
        "2024-05-01T12:34:56",
        None,
        "2024-05-01T12:34:56",
        None,
    ]
    assert [point.findtext(f"{GPX}name") for point in root][:3] == [EIFFEL.landmark.name, "Sydney Opera House", "c.jpg"]
    assert [point.findtext(f"{GPX}src") == "camera" for point in root] == [True, False, True, False]
    for point in root:
        tags = [child.tag.removeprefix(GPX) for child in point]
        assert tags == [tag for tag in ("time", "name", "desc", "src") if tag in tags]


@pytest.mark.parametrize("format", FORMATS)
def test_no_shots_make_an_empty_file_of_its_kind(exported, format):
    count, text = exported(format, [])
    assert count == 0
    if format in ("kml", "gpx"):
        ElementTree.fromstring(text)
    elif format == "geojson":
        assert json.loads(text) == {"type": "FeatureCollection", "features": []}
    else:
        assert text == (",".join(EXPORT_COLUMNS) + "\r\n" if format == "csv" else "")


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_replaces_the_one_before(exported, format):
    first = exported(format)
    assert exported(format, SHOTS[:2])[1] != first[1]
    assert exported(format) == first


def test_what_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "absent" / "a.csv", tmp_path / "folder", tmp_path / "file" / "a.csv"):
        with pytest.raises(LibraryError, match=r": cannot be written \(.+\); choose another place") as caught:
            export_assets(SHOTS, "csv", out)
        assert str(caught.value).startswith(str(out))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_what_was_there_stays_when_writing_breaks_off(tmp_path):
    out = tmp_path / "a.jsonl"
    export_assets(SHOTS[:1], "jsonl", out)
    before = out.read_bytes()
    broken = Asset("f" * 64, (Path("/p/f.jpg"),), label=Label(Landmark("1", "x"), object(), "person"))
    with pytest.raises(TypeError):
        export_assets([*SHOTS, broken], "jsonl", out)
    assert out.read_bytes() == before
    assert list(tmp_path.iterdir()) == [out]


def test_an_unknown_format_is_the_programmers_fault(tmp_path):
    with pytest.raises(ValueError, match="expected one of csv, jsonl, geojson, kml, gpx, got 'shp'"):
        export_assets(SHOTS, "shp", tmp_path / "a.shp")
