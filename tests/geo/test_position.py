"""Where a photo was taken: how its EXIF is read, and what that says of landmarks whose place is known."""

import io
import math
import struct
from dataclasses import replace
from datetime import datetime

import numpy as np
import PIL.Image
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import components, world
from support.image_files import TURNED_HEIC

from veduta.decision.answer import LandmarkScore, place_prior
from veduta.geo import Area, great_circle_km
from veduta.images import from_array, load
from veduta.landmarks import Landmark

FORMATS = {
    "JPEG": {},
    "PNG": {},
    "WEBP": {"lossless": True},
    "AVIF": {},
    "TIFF": {},
}
SIDES = {("N", "E"): (1, 1), ("N", "W"): (1, -1), ("S", "E"): (-1, 1), ("S", "W"): (-1, -1)}
FLORENCE = (43.773, 11.256)
DEGREES = ((43, 1), (46, 1), (228, 10)), ((11, 1), (15, 1), (216, 10))  # FLORENCE as EXIF writes it
ORDERS = {"<": b"II*\0", ">": b"MM\0*"}


def encoded(kind, exif=None, **options):
    buffer = io.BytesIO()
    picture = PIL.Image.fromarray(world.facade(3, 96, 64))
    picture.save(buffer, kind, **({} if exif is None else {"exif": exif}), **FORMATS[kind], **options)
    return buffer.getvalue()


def exif_by_pillow(north=43.773, east=11.256, sides=("N", "E")):
    """EXIF of a camera's make, an orientation and a place."""
    exif = PIL.Image.Exif()
    exif[0x010F], exif[0x0112] = "Veduta", 1
    place = exif.get_ifd(0x8825)
    for tag, side, degrees in ((1, sides[0], north), (3, sides[1], east)):
        minutes = degrees % 1 * 60
        place[tag], place[tag + 1] = side, (float(int(degrees)), float(int(minutes)), minutes % 1 * 60)
    return exif.tobytes()


def exif_by_hand(order="<", sides=(b"N\0\0\0", b"E\0\0\0"), degrees=DEGREES, kind=5, number=3):
    """The bytes of EXIF that holds a place and nothing else: fractions as they are given, possible or not."""
    first, directory, values = 8, 26, 80
    tiff = ORDERS[order] + struct.pack(order + "I", first)
    tiff += struct.pack(order + "HHHIII", 1, 0x8825, 4, 1, directory, 0)
    tiff += struct.pack(order + "H", 4)
    for tag, side, place in ((1, sides[0], values), (3, sides[1], values + 24)):
        tiff += struct.pack(order + "HHI4s", tag, 2, 2, side) + struct.pack(
            order + "HHII", tag + 1, kind, number, place
        )
    tiff += struct.pack(order + "I", 0)
    assert len(tiff) == values
    return b"Exif\0\0" + tiff + b"".join(struct.pack(order + "II", *part) for axis in degrees for part in axis)


def position(exif, kind="JPEG"):
    return load(encoded(kind, exif)).position


def heic_with(exif):
    """The HEIC in test_images with other EXIF: its last item, so that only two lengths change."""
    start, item = TURNED_HEIC.index(b"\0\0\0\6Exif"), b"\0\0\0\6" + exif
    before, after = (struct.pack(">IHII", start, 1, 0, n) for n in (len(TURNED_HEIC) - start, len(item)))
    assert TURNED_HEIC.count(before) == 1
    grown = TURNED_HEIC[:start].replace(before, after) + item
    box = grown.index(b"mdat") - 4
    return grown[:box] + struct.pack(">I", len(grown) - box) + grown[box + 4 :]


# --- as cameras write it


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("sides", SIDES, ids="".join)
def test_a_photo_says_where_it_was_taken(kind, sides):
    north, east = SIDES[sides]
    exif = exif_by_pillow(sides=sides)
    expected = (43.773 * north, 11.256 * east)
    assert position(exif, kind) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", sorted(set(FORMATS) - {"TIFF"}))
def test_both_byte_orders_are_read(kind, order):
    assert position(exif_by_hand(order), kind) == pytest.approx(FLORENCE, abs=1e-4)


@pytest.mark.parametrize("order", ORDERS)
def test_a_tiff_of_either_byte_order_is_read(order):
    picture = PIL.Image.new("I;16B" if order == ">" else "I;16", (8, 8))
    buffer = io.BytesIO()
    picture.save(buffer, "TIFF", exif=exif_by_pillow())
    assert buffer.getvalue().startswith(ORDERS[order])
    assert load(buffer.getvalue()).position == pytest.approx(FLORENCE, abs=1e-4)


@pytest.mark.parametrize("order", ORDERS)
def test_a_heic_says_where_it_was_taken(order):
    before, after = load(TURNED_HEIC), load(heic_with(exif_by_hand(order)))
    assert before.position is None
    assert after.position == pytest.approx(FLORENCE, abs=1e-4)
    assert np.array_equal(before.pixels, after.pixels)


@pytest.mark.parametrize(("sides", "signs"), [((b"s\0\0\0", b"w\0\0\0"), (-1, -1)), ((b"n\0\0\0", b"e\0\0\0"), (1, 1))])
def test_the_sides_may_be_small_letters(sides, signs):
    found = position(exif_by_hand(sides=sides))
    assert found == pytest.approx(tuple(a * b for a, b in zip(FLORENCE, signs, strict=True)), abs=1e-4)


def test_degrees_may_be_fractions_themselves():
    degrees = ((43773, 1000), (0, 1), (0, 1)), ((11256, 1000), (0, 7), (0, 9))
    assert position(exif_by_hand(degrees=degrees)) == pytest.approx(FLORENCE)


@given(
    st.integers(0, 89), st.integers(0, 59), st.integers(0, 59999), st.integers(0, 179), st.sampled_from(sorted(SIDES))
)
@settings(max_examples=30, deadline=None)
def test_any_place_comes_back(north, minutes, seconds, east, sides):
    assume((north, east, minutes, seconds) != (0, 0, 0, 0))
    degrees = tuple(((whole, 1), (minutes, 1), (seconds, 1000)) for whole in (north, east))
    made = exif_by_hand(sides=tuple(side.encode() + b"\0\0\0" for side in sides), degrees=degrees)
    rest = minutes / 60 + seconds / 3_600_000
    signs = SIDES[sides]
    assert position(made) == pytest.approx(((north + rest) * signs[0], (east + rest) * signs[1]))


@pytest.mark.parametrize(
    ("degrees", "expected"), [(((90, 1), (0, 1), (0, 1)), 90.0), (((0, 1), (0, 1), (1, 1)), 1 / 3600)]
)
def test_the_poles_and_the_equator_are_places(degrees, expected):
    assert position(exif_by_hand(degrees=(degrees, DEGREES[1])))[0] == pytest.approx(expected)
    both = ((0, 1), (0, 1), (0, 1)), DEGREES[1]
    assert position(exif_by_hand(degrees=both)) == pytest.approx((0, FLORENCE[1]), abs=1e-4)


# --- what says nothing


@pytest.mark.parametrize("kind", FORMATS)
def test_without_a_place_there_is_no_position(kind):
    exif = PIL.Image.Exif()
    exif[0x010F] = "Veduta"
    assert position(None, kind) is None
    assert position(exif.tobytes(), kind) is None


NOWHERE = ((0, 1), (0, 1), (0, 1))
IMPOSSIBLE = {
    "zeros of a camera without a fix": {"degrees": (NOWHERE, NOWHERE)},
    "zeros south and west": {"degrees": (NOWHERE, NOWHERE), "sides": (b"S\0\0\0", b"W\0\0\0")},
    "no degrees at all": {"degrees": (((0, 0),) * 3, ((0, 0),) * 3)},
    "a denominator of zero": {"degrees": (((43, 1), (46, 0), (0, 1)), DEGREES[1])},
    "beyond the pole": {"degrees": (((90, 1), (0, 1), (1, 1)), DEGREES[1])},
    "beyond the date line": {"degrees": (DEGREES[0], ((180, 1), (0, 1), (1, 1)))},
    "far beyond anything": {"degrees": (((2**32 - 1, 1),) * 3, ((2**32 - 1, 1),) * 3)},
    "degrees that are text": {"kind": 2},
    "four thousand million parts": {"number": 2**32 - 1},
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("wrong", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_place_that_cannot_be_is_none(wrong, order):
    assert position(exif_by_hand(order, **wrong)) is None


@pytest.mark.parametrize("order", ORDERS)
def test_exif_cut_short_anywhere_is_no_place(order):
    made = exif_by_hand(order)
    for length in range(6, len(made)):
        image = load(encoded("JPEG", made[:length]))
        assert image.position is None, length
        assert image.pixels.shape == (64, 96, 3)


def test_directories_that_point_at_themselves_or_away_are_no_place():
    for place in (0, 4, 8, 26, 79, 2**31, 2**32 - 1):
        tiff = bytearray(exif_by_hand())
        struct.pack_into("<I", tiff, 6 + 4, place)
        assert position(bytes(tiff)) is None or place == 8
        tiff = bytearray(exif_by_hand())
        struct.pack_into("<I", tiff, 6 + 8 + 2 + 8, place)
        assert position(bytes(tiff)) is None or place == 26


PHOTOS = {kind: load(encoded(kind, exif_by_hand())).pixels for kind in ("JPEG", "PNG", "WEBP")}


@given(
    st.sampled_from(sorted(PHOTOS)),
    st.sampled_from(sorted(ORDERS)),
    st.dictionaries(st.integers(0, 127), st.integers(0, 255), min_size=1, max_size=12),
    st.integers(0, 134),
)
@settings(max_examples=150, deadline=None)
def test_exif_changed_anywhere_changes_no_pixel_and_never_raises(kind, order, changes, length):
    made = bytearray(exif_by_hand(order))
    for place, value in changes.items():
        made[6 + place] = value
    made = bytes(made[: max(6, length)]) if length else bytes(made)
    assume(b"\x01\x12" not in made and b"\x12\x01" not in made)  # the tag that would turn the photo
    image = load(encoded(kind, made))
    assert np.array_equal(image.pixels, PHOTOS[kind])
    if image.position is not None:
        north, east = image.position
        assert -90 <= north <= 90
        assert -180 <= east <= 180


# --- distances

PLACES = st.tuples(st.floats(-90, 90), st.floats(-180, 180))
PARIS, LONDON, SYDNEY, SANTIAGO = (48.8566, 2.3522), (51.5074, -0.1278), (-33.8688, 151.2093), (-33.4489, -70.6693)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (PARIS, LONDON, 343.6),
        (SYDNEY, SANTIAGO, 11345),
        ((0, 0), (0, 180), math.pi * 6371),
        ((90, 0), (-90, 123), math.pi * 6371),
        ((0, 179.5), (0, -179.5), 111.2),
        ((90, 10), (90, -170), 0),
        (FLORENCE, FLORENCE, 0),
    ],
)
def test_distances_are_known(a, b, expected):
    assert great_circle_km(a, b) == pytest.approx(expected, rel=2e-3, abs=1e-6)


@given(PLACES, PLACES)
@settings(deadline=None)
def test_it_is_as_far_there_as_back_and_never_further_than_half_around(a, b):
    assert great_circle_km(a, b) == pytest.approx(great_circle_km(b, a), abs=1e-6)
    assert 0 <= great_circle_km(a, b) <= math.pi * 6371 + 1e-6


@given(PLACES)
@settings(deadline=None)
def test_a_place_is_where_it_is(a):
    assert great_circle_km(a, a) == pytest.approx(0, abs=1e-6)


# --- what it says of a landmark

HERE, FAR = FLORENCE, LONDON


@pytest.fixture(scope="module")
def shelf():
    """Three facades, two of which stand in the same street; where the third stands nobody knows."""
    made = components.references({f"{i}": (f"palazzo {i}", from_array(world.facade(i))) for i in range(3)})
    places = {"palazzo 0": HERE, "palazzo 1": (HERE[0] + 0.001, HERE[1])}
    landmarks = {
        key: replace(landmark, **dict(zip(("latitude", "longitude"), places.get(key, (None, None)), strict=True)))
        for key, landmark in made.landmarks.items()
    }
    return replace(made, landmarks=landmarks)


class Undecided:
    """A decision that finds every landmark as likely as it was told, whatever the evidence."""

    centers, about = np.zeros((0, 0), np.float32), {}

    def __init__(self, **probabilities):
        self.probabilities = {f"palazzo {key[1:]}": p for key, p in probabilities.items()}

    def score_landmarks(self, stage, candidates, around):
        found = [LandmarkScore(name, p, p, (("base", p),)) for name, p in self.probabilities.items()]
        return sorted(found, key=lambda j: (-j.probability, j.landmark))


def recognized(shelf, at, *, floor=0.5, gps=True, seen=0, **probabilities):
    recognizer = components.recognizer(shelf, floor=floor, rerank_depth=0, decider=Undecided(**probabilities))
    recognizer.gps = gps
    return recognizer.recognize(replace(from_array(world.facade(seen)), position=at))


def test_near_raises_the_confidence_and_far_lowers_it(shelf):
    nowhere, here, far = (recognized(shelf, at, _0=0.8) for at in (None, HERE, FAR))
    assert nowhere.confidence == 0.8
    assert 0.8 < here.confidence < 1
    assert far.confidence < 0.5
    assert (nowhere.landmark.id, here.landmark.id, far.landmark) == ("palazzo 0", "palazzo 0", None)


def test_the_position_is_one_of_the_terms(shelf):
    assert dict(recognized(shelf, HERE, _0=0.8).terms)["position"] == 2
    expected = place_prior(great_circle_km(HERE, FAR))
    assert dict(recognized(shelf, FAR, _0=0.8).terms)["position"] == pytest.approx(expected)
    assert "position" not in dict(recognized(shelf, None, _0=0.8).terms)


def test_a_position_may_be_left_out(shelf):
    for at in (HERE, FAR):
        answer = recognized(shelf, at, gps=False, _0=0.8)
        assert answer.confidence == 0.8
        assert "position" not in dict(answer.terms)


def test_a_landmark_whose_place_nobody_knows_is_as_likely_as_before(shelf):
    for at in (HERE, FAR):
        answer = recognized(shelf, at, _2=0.8)
        assert (answer.landmark.id, answer.confidence) == ("palazzo 2", 0.8)
        assert "position" not in dict(answer.terms)


@pytest.mark.parametrize("at", [HERE, FAR, None])
def test_a_none_stays_a_none(shelf, at):
    answer = recognized(shelf, at, _0=0.45, _1=0.2)
    assert answer.landmark is None
    assert answer.confidence <= 0.45


def test_a_position_chooses_between_landmarks_that_are_as_likely(shelf):
    answer = recognized(shelf, HERE, _2=0.75, _0=0.7)
    assert answer.landmark.id == "palazzo 0"
    assert recognized(shelf, FAR, _2=0.6, _0=0.7).landmark.id == "palazzo 2"
    assert recognized(shelf, None, _2=0.75, _0=0.7).landmark.id == "palazzo 2"


def test_with_the_decision_that_ships_a_view_is_recognized_more_surely_near_by(shelf):
    recognizer = components.recognizer(shelf)
    image = from_array(world.view(world.facade(0), 3, 0.6).pixels)
    nowhere, here, far = (recognizer.recognize(replace(image, position=at)) for at in (None, HERE, (-33.9, 151.2)))
    assert nowhere.landmark.id == here.landmark.id == "palazzo 0"
    assert here.confidence > nowhere.confidence > far.confidence
    stranger = from_array(world.distractor(2))
    assert recognizer.recognize(replace(stranger, position=HERE)).landmark is None


def test_the_position_of_a_file_reaches_the_answer(tmp_path, shelf):
    path = tmp_path / "here.jpg"
    PIL.Image.fromarray(world.facade(0)).save(path, quality=95, exif=exif_by_pillow())
    recognizer = components.recognizer(shelf, rerank_depth=0, decider=Undecided(_0=0.8))
    assert dict(recognizer.recognize(load(path)).terms)["position"] == 2


# --- areas


LATITUDE, LONGITUDE = st.floats(-90, 90), st.floats(-180, 180)


@settings(deadline=None)
@given(LATITUDE, LATITUDE, LONGITUDE, LONGITUDE, LATITUDE, LONGITUDE)
def test_the_nearest_point_of_an_area_is_in_it_and_no_corner_is_nearer(a, b, west, east, north, there):
    area = Area(min(a, b), west, max(a, b), east)
    near = area.nearest((north, there))
    assert area.south <= near[0] <= area.north
    assert (near[1] - west) % 360 <= (east - west) % 360 + 1e-9 or east - west == 360
    off = abs((near[1] - there + 180) % 360 - 180)
    assert all(off <= abs((side - there + 180) % 360 - 180) + 1e-9 for side in (west, east))


def test_an_area_may_lie_across_the_180th_meridian():
    fiji = Area(-20, 176, -12, -178)
    assert fiji.nearest((-18, 179.5)) == (-18, 179.5)
    assert fiji.nearest((-18, -179)) == (-18, -179)
    assert fiji.nearest((-30, 170)) == (-20, 176)
    assert fiji.nearest((0, -170)) == (-12, -178)


@pytest.mark.parametrize("wrong", [(1, 0, 0, 0), (-91, 0, 0, 0), (0, -181, 0, 0), (0, 0, 0, 181), (0, 0, 91, 0)])
def test_an_area_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="Area"):
        Area(*wrong)


def test_an_area_speaks_for_what_is_in_it_as_a_position_would():
    recognizer = components.recognizer(
        replace(
            components.references({"a": ("a", from_array(world.facade(0)))}),
            landmarks={"a": Landmark("a", "A", *FLORENCE)},
        )
    )
    judged = [LandmarkScore("a", 0.0, 0.5, ())]
    around = Area(43, 11, 44, 12)
    assert recognizer.prior(judged, around) == recognizer.prior(judged, FLORENCE)
    assert recognizer.prior(judged, Area(43.773, 11.256, 43.773, 11.256)) == recognizer.prior(judged, FLORENCE)
    assert recognizer.prior(judged, Area(-10, -60, 0, -50))["a"] < 0


# --- when it was taken ------------------------------------------------------------------------------------------

MOMENT = datetime(2019, 5, 4, 3, 2, 1)  # noqa: DTZ001 - cameras have no zone
CHANGED, ORIGINAL, DIGITIZED = 0x0132, 0x9003, 0x9004


def dated(changed=None, original=None, digitized=None):
    """EXIF with times as text."""
    exif = PIL.Image.Exif()
    exif[0x010F] = "Veduta"  # without any tag of its own Pillow takes it for empty
    if changed is not None:
        exif[CHANGED] = changed
    for tag, text in ((ORIGINAL, original), (DIGITIZED, digitized)):
        if text is not None:
            exif.get_ifd(0x8769)[tag] = text
    return exif


@pytest.mark.parametrize("kind", FORMATS)
def test_a_photo_says_when_it_was_taken(kind):
    told = "changed" if kind == "TIFF" else "original"  # Pillow writes no second directory into a TIFF
    assert load(encoded(kind, dated(**{told: "2019:05:04 03:02:01"}))).taken == MOMENT
    assert load(encoded(kind, dated())).taken is None


@pytest.mark.parametrize(
    ("told", "year"),
    [
        (
            {"changed": "2021:01:01 00:00:00", "original": "2019:05:04 03:02:01", "digitized": "2020:01:01 00:00:00"},
            2019,
        ),
        ({"changed": "2021:01:01 00:00:00", "digitized": "2020:01:01 00:00:00"}, 2020),
        ({"changed": "2021:01:01 00:00:00"}, 2021),
        ({"original": "0000:00:00 00:00:00", "changed": "2021:01:01 00:00:00"}, 2021),
        ({"original": "    :  :     :  :  "}, None),
        ({"original": "2019-05-04"}, 2019),
        ({"original": "2019-05"}, None),
        ({"original": "2019:13:04 03:02:01"}, None),
        ({"original": ""}, None),
    ],
)
def test_the_shutter_goes_before_the_scanner_before_the_editor(told, year):
    taken = load(encoded("JPEG", dated(**told))).taken
    assert (taken and taken.year) == year


def test_exif_cut_short_anywhere_has_a_time_or_none():
    whole = dated(original="2019:05:04 03:02:01").tobytes()
    times = {load(encoded("JPEG", whole[:length])).taken for length in range(6, len(whole))}
    assert times <= {MOMENT, None}
