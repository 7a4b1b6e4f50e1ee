"""Sidecars: what is said is as the standards have it, what others said stays, and our own words are known again."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.metadata import EIFFEL, NOWHERE, OPERA, complaints, exiftool, needs_exiftool, tags

from veduta.errors import LibraryError
from veduta.images.metadata.values import parse_coordinate
from veduta.images.metadata.xmp import ESTIMATE
from veduta.landmarks import Landmark
from veduta.library.metadata import keywords
from veduta.library.metadata.xmp import confirms, estimates, has_own_position, merge_sidecar
from veduta.library.model import Label

OURS = re.compile(
    r"XMP-veduta:|XMP-dc:Subject|TagsList|HierarchicalSubject|LocationShown|XMP-exif:GPS|XMP-x:XMPToolkit"
)

# As Lightroom, darktable and digiKam leave them, together: properties as attributes and as elements, several
# descriptions, a prefix of their own for RDF's namespace, comments, CDATA, Windows' line ends, padding.
FOREIGN = (
    """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\r
<!-- kept: <rdf:RDF> -->
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0">
 <r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:xmp='http://ns.adobe.com/xap/1.0/'>
  <r:Description r:about="uuid:1" xmp:Rating='4'
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"  crs:Exposure2012="+0.35"
    xmlns:darktable="http://darktable.sf.net/" darktable:history_end="3 &gt; 2 &#10; &quot;">
   <!-- the person's -->
   <d:subject xmlns:d="http://purl.org/dc/elements/1.1/">
    <r:Bag>
     <r:li>holiday</r:li>
\t<r:li><![CDATA[Ben & Jo]]></r:li>
    </r:Bag>
   </d:subject>
   <crs:ToneCurve><r:Seq><r:li>0, 0</r:li><r:li>255, 255</r:li></r:Seq></crs:ToneCurve>
  </r:Description>
  <r:Description r:about="uuid:1" xmlns:my="http://example.org/mine/">
   <my:odd r:parseType="Resource"><my:a>1</my:a><my:b r:resource="http://example.org/b"/></my:odd>
   <my:empty/>
  </r:Description>
 </r:RDF>
</x:xmpmeta>
""".replace("\n   <my:empty/>", "\n   <my:empty/>\r")
    + " " * 200
    + "\n<?xpacket end='w'?>\n"
)


def wrapped(properties, attributes=""):
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:p="http://example.org/p/" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f"{attributes}>{properties}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def written(path, data):
    path.write_bytes(data)
    return path


@needs_exiftool
@pytest.mark.parametrize("existing", [None, FOREIGN.encode()], ids=["new", "there"])
def test_exiftool_reads_what_was_said_and_has_nothing_to_complain_of(tmp_path, existing):
    path = written(tmp_path / "a.xmp", merge_sidecar(existing, EIFFEL, False))
    assert complaints(path) == []
    said, name = tags(path), EIFFEL.landmark.name
    before = ["holiday", "Ben & Jo"] if existing else []
    assert said["XMP-dc:Subject"] == [*before, name, "France"]
    assert said["XMP-digiKam:TagsList"] == [f"Places/France/{name}"]
    assert said["XMP-lr:HierarchicalSubject"] == [f"Places|France|{name}"]
    (shown,) = said["XMP-iptcExt:LocationShown"]
    assert shown == {
        "LocationId": ["urn:veduta:landmark:Q243%20%26%20co", "https://www.wikidata.org/wiki/Q243"],
        "LocationName": name,
        "CountryName": "France",
        "GPSLatitude": pytest.approx(48.858222, abs=1e-7),
        "GPSLongitude": pytest.approx(2.2945, abs=1e-7),
    }
    assert said["XMP-exif:GPSLatitude"] == pytest.approx(48.858222, abs=1e-7)
    assert said["XMP-exif:GPSLongitude"] == pytest.approx(2.2945, abs=1e-7)
    assert said["XMP-exif:GPSProcessingMethod"] == "MANUAL"
    assert "estimated by Veduta" in said["XMP-exif:GPSAreaInformation"]
    assert (said["XMP-veduta:By"], said["XMP-veduta:Confidence"]) == ("veduta", 0.934)


@needs_exiftool
def test_exiftool_reads_everything_else_as_before(tmp_path):
    before = tags(written(tmp_path / "before.xmp", FOREIGN.encode()))
    after = tags(written(tmp_path / "after.xmp", merge_sidecar(FOREIGN.encode(), OPERA, False)))
    assert len(before) > 8
    assert {k: v for k, v in after.items() if not OURS.search(k)} == {
        k: v for k, v in before.items() if not OURS.search(k)
    }


def test_no_byte_of_others_is_changed():
    merged = merge_sidecar(FOREIGN.encode(), EIFFEL, False).decode()
    added = re.sub(
        r"\s*<r:li>(Eiffel[^<]*|France)</r:li>|\n  <rdf:Description.*?</rdf:Description>", "", merged, flags=re.S
    )
    assert added == FOREIGN


def test_a_second_time_changes_nothing_and_another_label_replaces_the_first():
    for existing in (
        None,
        FOREIGN.encode(),
        wrapped(""),
        wrapped("", 'exif:GPSLatitude="1,2N" exif:GPSLongitude="1,2E"'),
    ):
        once = merge_sidecar(existing, EIFFEL, False)
        assert merge_sidecar(once, EIFFEL, False) == once
        for label in (OPERA, NOWHERE):
            assert merge_sidecar(once, label, False) == merge_sidecar(existing, label, False)
        assert merge_sidecar(once, EIFFEL, True) == merge_sidecar(existing, EIFFEL, True)


@needs_exiftool
def test_our_words_are_known_again_after_another_program_has_rewritten_it_all(tmp_path):
    path = written(tmp_path / "a.xmp", merge_sidecar(FOREIGN.encode(), EIFFEL, False))
    exiftool("-overwrite_original", "-XMP-dc:Subject+=later", "-XMP-xmp:Label=red", path)
    said = tags(written(path, merge_sidecar(path.read_bytes(), OPERA, False)))
    assert complaints(path) == []
    assert said["XMP-dc:Subject"] == ["holiday", "Ben & Jo", "later", "Sydney Opera House", "Australia"]
    assert said["XMP-digiKam:TagsList"] == ["Places/Australia/Sydney Opera House"]
    assert [shown["LocationName"] for shown in said["XMP-iptcExt:LocationShown"]] == ["Sydney Opera House"]
    assert said["XMP-exif:GPSLatitude"] == pytest.approx(-33.856784, abs=1e-7)
    assert said["XMP-xmp:Label"] == "red"
    assert "Eiffel" not in path.read_text("utf-8")
    assert merge_sidecar(path.read_bytes(), OPERA, False) == path.read_bytes()


def subjects(data):
    root = ElementTree.fromstring(data)
    return [li.text for li in root.iterfind(".//{http://purl.org/dc/elements/1.1/}subject/*/*")]


def test_a_word_the_person_has_is_not_added_and_stays_when_the_label_changes():
    existing = wrapped("<dc:subject><rdf:Bag><rdf:li>sydney OPERA house</rdf:li></rdf:Bag></dc:subject>")
    once = merge_sidecar(existing, OPERA, False)
    assert subjects(once) == ["sydney OPERA house", "Australia"]
    assert subjects(merge_sidecar(once, NOWHERE, False)) == ["sydney OPERA house", "Somewhere"]


def test_a_word_the_person_adds_once_more_stays():
    once = merge_sidecar(wrapped("<dc:subject><rdf:Bag><rdf:li>x</rdf:li></rdf:Bag></dc:subject>"), OPERA, False)
    twice = once.replace(b"<rdf:li>x</rdf:li>", b"<rdf:li>Australia</rdf:li>")
    assert subjects(merge_sidecar(twice, NOWHERE, False)) == ["Australia", "Somewhere"]


def test_a_landmark_named_like_its_country_is_one_word():
    assert subjects(merge_sidecar(None, Label(Landmark("1", "Singapore"), 1, "person", "Singapore"), False)) == [
        "Singapore"
    ]


LOCATION = (
    "<Iptc4xmpExt:LocationShown><rdf:Bag><rdf:li{}><Iptc4xmpExt:LocationId><rdf:Bag><rdf:li>{}</rdf:li></rdf:Bag>"
    "</Iptc4xmpExt:LocationId>{}</rdf:li></rdf:Bag></Iptc4xmpExt:LocationShown>"
)
RESOURCE = ' rdf:parseType="Resource"'


@pytest.mark.parametrize(
    ("location", "kept", "ours"),
    [
        (LOCATION.format(RESOURCE, "urn:veduta:landmark:other", ""), False, True),
        (LOCATION.format(RESOURCE, "http://example.org/paris", ""), True, True),
        (LOCATION.format(RESOURCE, EIFFEL.landmark.url, ""), True, False),  # the person says so already
        # The person has added to what we wrote: it is theirs now.
        (LOCATION.format(RESOURCE, "urn:veduta:landmark:other", "<Iptc4xmpExt:City>P</Iptc4xmpExt:City>"), True, True),
        ("<Iptc4xmpExt:LocationShown><rdf:Bag/></Iptc4xmpExt:LocationShown>", False, True),
    ],
)
def test_places_shown_are_replaced_where_they_are_ours(location, kept, ours):
    merged = merge_sidecar(wrapped(location), EIFFEL, False)
    places = ElementTree.fromstring(merged).findall(".//{*}LocationShown/*/*")
    ids = [[li.text for li in place.iterfind("{*}LocationId/*/*")] for place in places]
    assert len(places) == kept + ours
    assert any(keywords.uris(EIFFEL.landmark) == each for each in ids) == ours
    assert (b"urn:veduta:landmark:other" in merged or b"/paris" in merged or not ours) == kept
    assert merge_sidecar(merged, EIFFEL, False) == merged


HERE = "<exif:GPSLatitude>10,30N</exif:GPSLatitude><exif:GPSLongitude>20,30E</exif:GPSLongitude>"
CREATED = (
    f"<Iptc4xmpExt:LocationCreated><rdf:Bag><rdf:li{RESOURCE}>{HERE}</rdf:li></rdf:Bag></Iptc4xmpExt:LocationCreated>"
)


@pytest.mark.parametrize(
    "existing",
    [
        wrapped(HERE),
        wrapped("", 'exif:GPSLatitude="10,30N" exif:GPSLongitude="20,30E"'),
        wrapped("<exif:GPSLatitude>somewhere</exif:GPSLatitude>"),
        wrapped(CREATED),
    ],
    ids=["element", "attribute", "odd", "created"],
)
def test_a_position_somebody_else_wrote_stays(existing):
    merged = merge_sidecar(existing, EIFFEL, False)
    assert not estimates(merged)
    assert has_own_position(merged)
    assert b"MANUAL" not in merged
    assert merged.count(b"GPSLatitude") == existing.count(b"GPSLatitude") + 2  # those of the place shown


def test_a_position_of_the_place_shown_is_none_of_the_photo():
    shown = CREATED.replace("Created", "Shown")
    assert estimates(merge_sidecar(wrapped(shown), EIFFEL, False))
    assert not has_own_position(wrapped(shown))


def test_no_position_where_the_camera_wrote_one_or_the_landmark_has_none():
    assert not estimates(merge_sidecar(None, EIFFEL, True))
    assert not estimates(merge_sidecar(None, NOWHERE, False))
    for north, east in ((91.0, 0.0), (float("nan"), 0.0), (0.0, 181.0)):
        assert b"GPS" not in merge_sidecar(None, Label(Landmark("1", "x", north, east), 1, "person"), False)


def test_nothing_is_said_twice_where_somebody_says_how_without_where():
    existing = wrapped("<exif:GPSProcessingMethod>GPS</exif:GPSProcessingMethod>")
    merged = merge_sidecar(existing, EIFFEL, False)
    assert estimates(merged)
    assert merged.count(b"<exif:GPSProcessingMethod>") == 1
    assert merge_sidecar(merged, NOWHERE, False) == merge_sidecar(existing, NOWHERE, False)


def test_an_estimate_the_person_has_moved_is_theirs():
    once = merge_sidecar(None, EIFFEL, False)
    moved = once.replace(
        b"<exif:GPSLatitude>48,51.493320N</exif:GPSLatitude>\n", b"<exif:GPSLatitude>48,52N</exif:GPSLatitude>\n"
    )
    assert moved != once
    assert not estimates(moved)
    again = merge_sidecar(moved, OPERA, False)
    assert b"48,52N" in again
    assert ESTIMATE.encode() not in again
    assert merge_sidecar(again, OPERA, False) == again


def test_an_estimate_is_known_by_what_it_says_where_the_marker_is_lost():
    once = merge_sidecar(None, EIFFEL, False)
    bare = re.sub(rb"\s*<veduta:(latitude|longitude)>[^<]*</[^>]*>", b"", once)
    assert bare != once
    assert estimates(bare)


def test_an_estimate_in_exif_is_confirmed_by_the_marker():
    packet = merge_sidecar(None, EIFFEL, False)
    assert confirms(packet, (48.8582221, 2.2945001))
    assert not confirms(packet, (48.9, 2.2945))
    assert confirms(None, (1, 2))


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b"", "damaged"),
        (b"not XMP at all", "damaged"),
        (FOREIGN.encode()[:900], "damaged"),
        (b"<html></html>", "is not XMP"),
        (b"\xff\xd8\xff\xe0", "damaged|encoding"),
        (b"<a>\xe9</a>", "encoding"),
        (b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><a>&b;</a>', "document type"),
        (b'<!DOCTYPE a SYSTEM "http://example.org/a.dtd"><a/>', "document type"),
        (b"<a>" * 300_000, "parts"),
        (b" " * (17 * 2**20), "more than any sidecar"),
        (wrapped("", 'dc:subject="one"'), "dc:subject is no list"),
        (wrapped("<dc:subject>one</dc:subject>"), "dc:subject is no list"),
    ],
)
def test_what_is_damaged_hostile_or_no_xmp_is_an_error_that_names_it(bad, problem):
    with pytest.raises(LibraryError, match=rf"^photo\.jpg\.xmp: .*({problem})") as caught:
        merge_sidecar(bad, EIFFEL, False, name="photo.jpg.xmp")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("codec", ["utf-16", "utf-8-sig", "iso-8859-1", "us-ascii"])
def test_a_sidecar_stays_in_its_encoding(codec):
    declared = f'<?xml version="1.0" encoding="{codec.removesuffix("-sig")}"?>' + wrapped("<p:a>e</p:a>").decode()
    merged = merge_sidecar(declared.encode(codec), EIFFEL, False)
    root = ElementTree.fromstring(merged)
    assert [e.text for e in root.iterfind(".//{*}LocationName/*/*")] == [EIFFEL.landmark.name]
    assert merged.decode(codec).startswith(declared[:80])


@pytest.mark.parametrize(
    "rdf",
    [
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>',
        '<RDF xmlns="http://www.w3.org/1999/02/22-rdf-syntax-ns#" ></RDF>',
        '<RDF xmlns="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:d="http://purl.org/dc/elements/1.1/">'
        "<Description><d:subject><Bag><li>mine</li></Bag></d:subject></Description></RDF>",
        '<z:RDF xmlns:z="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><z:Description z:about="a&amp;&quot;b" xmlns:'
        'rdf="http://example.org/not-rdf"><rdf:x>1</rdf:x></z:Description></z:RDF>',
    ],
)
def test_rdf_however_it_is_written(rdf):
    merged = merge_sidecar(rdf.encode(), EIFFEL, False)
    assert subjects(merged)[-2:] == [EIFFEL.landmark.name, "France"]
    assert merge_sidecar(merged, EIFFEL, False) == merged
    abouts = [
        e.attrib.get("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}about") for e in ElementTree.fromstring(merged)
    ]
    assert len({about or "" for about in abouts}) == 1  # all are about the same photo


def test_separators_in_names_make_no_levels():
    label = Label(Landmark("1", "AC/DC | Lane", 0, 0), 1, "person")
    merged = merge_sidecar(None, label, False).decode()
    assert "Places/AC-DC | Lane<" in merged
    assert "Places|AC/DC - Lane<" in merged


@given(st.text(), st.text(min_size=1), st.none() | st.text(), st.text(max_size=9) | st.none())
@settings(max_examples=80, deadline=None)
def test_any_text_makes_a_sound_sidecar_twice_the_same(name, id, country, url):
    label = Label(Landmark(id, name, 12.3, -45.6, url), 0.5, "veduta", country)
    for existing in (None, FOREIGN.encode()):
        merged = merge_sidecar(existing, label, False)
        assert keywords.display_name(label.landmark) in subjects(merged)
        assert merge_sidecar(merged, label, False) == merged
        assert merge_sidecar(merged, OPERA, False) == merge_sidecar(existing, OPERA, False)


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;").replace(">", "&gt;")


TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"))).map(escaped)
BLANKS = st.sampled_from(["", " ", "\n  ", "<!-- c -->", "\r\n\t"])
ITEMS = st.lists(st.builds("{}<rdf:li>{}</rdf:li>".format, BLANKS, TEXTS), min_size=1, max_size=3).map("".join)
LISTS = st.builds("{0}<rdf:{1}>{2}{0}</rdf:{1}>".format, BLANKS, st.sampled_from(["Bag", "Seq", "Alt"]), ITEMS)
NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True)
VALUES = st.one_of(
    TEXTS.map(lambda text: f">{text}"),
    LISTS.map(lambda items: f">{items}"),
    st.builds(' rdf:parseType="Resource">{}<p:f>{}</p:f>'.format, BLANKS, TEXTS),
)


def described(name, value, blank, *, short):
    """One property in a description of its own, as an attribute or as an element."""
    if short:
        return f'<rdf:Description rdf:about="" p:{name}="{len(value)}"/>{blank}'
    return f'<rdf:Description rdf:about="">{blank}<p:{name}{value}</p:{name}>{blank}</rdf:Description>'


@st.composite
def foreign(draw):
    """A sidecar of somebody else's: texts, lists and structures, written as elements and attributes."""
    names, blank = draw(NAMES), draw(BLANKS)
    parts = [described(name, draw(VALUES), draw(BLANKS), short=draw(st.booleans())) for name in names]
    if draw(st.booleans()):
        parts.append(f"<rdf:Description><dc:subject><rdf:Bag>{draw(ITEMS)}</rdf:Bag></dc:subject></rdf:Description>")
    start = '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:p="http://example.org/p/"'
    return f'{start} xmlns:dc="http://purl.org/dc/elements/1.1/">{blank}{"".join(parts)}</rdf:RDF>{blank}'.encode()


def properties(data):
    """Every foreign property as text, and the keywords."""
    found = []
    for description in ElementTree.fromstring(data):
        found += [(key, value) for key, value in description.attrib.items() if "example.org" in key]
        found += [(e.tag, ElementTree.tostring(e, "unicode").strip()) for e in description if "example.org" in e.tag]
    return found, subjects(data)


@given(foreign())
@settings(max_examples=80, deadline=None)
def test_any_foreign_property_survives(existing):
    merged = merge_sidecar(existing, EIFFEL, False)
    (before, keywords), (after, merged_keywords) = properties(existing), properties(merged)
    assert after == before
    assert merged_keywords == [*keywords, EIFFEL.landmark.name, "France"]
    assert merge_sidecar(merged, EIFFEL, False) == merged
    assert merge_sidecar(merged, NOWHERE, True) == merge_sidecar(existing, NOWHERE, True)


@pytest.mark.parametrize(
    ("degrees", "sides", "letters"),
    [
        (0.0, "NS", "0,00.000000N"),
        (-0.0, "NS", "0,00.000000N"),
        (-33.5, "NS", "33,30.000000S"),
        (-180.0, "EW", "180,00.000000W"),
        (180.0, "EW", "180,00.000000E"),
        (89.999999999999, "NS", "90,00.000000N"),
        (2 + 59.99999999 / 60, "EW", "3,00.000000E"),
        (-(12 + 59.99999949 / 60), "EW", "12,59.999999W"),
        (1e-9, "EW", "0,00.000000E"),
    ],
)
def test_coordinates_in_letters(degrees, sides, letters):
    assert keywords.xmp_coordinate(degrees, sides) == letters
    assert parse_coordinate(letters) == pytest.approx(degrees, abs=1e-8)


@given(st.floats(-180, 180))
def test_coordinates_come_back(degrees):
    letters = keywords.xmp_coordinate(degrees, "EW")
    assert re.fullmatch(r"\d{1,3},[0-5]\d\.\d{6}[EW]", letters)
    assert parse_coordinate(letters) == pytest.approx(degrees, abs=1e-8)


@pytest.mark.parametrize("odd", ["", "N", "somewhere", "٤٨,51N", "1,2,3,4N", "nan", "inf N"])
def test_what_is_no_coordinate_is_none(odd):
    assert parse_coordinate(odd) is None
