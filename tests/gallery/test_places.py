"""The place of a landmark nobody gave one: the median of where its references were taken."""

import pytest
from support.photos import picture
from support.stores import entry

from veduta.gallery import Gallery
from veduta.gallery.store import Store
from veduta.landmarks import Landmark, Position

ROME, FLORENCE, PISA = Position(41.89, 12.49), Position(43.77, 11.25), Position(43.72, 10.4)


@pytest.fixture
def store(tmp_path):
    store = Store.create(tmp_path / "gallery", {})
    yield store
    store.close()


def place(store, id="duomo"):
    return store.landmark(id).position


def put(store, *positions, landmark=None, start=0):
    landmark = landmark or Landmark("duomo")
    entries = [entry(start + i, landmark.id, position=position) for i, position in enumerate(positions)]
    return store.add([landmark], entries)


# --- which place ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ([None], None),
        ([FLORENCE], FLORENCE),
        ([None, FLORENCE, None], FLORENCE),
        ([FLORENCE, PISA], Position(43.745, 10.825)),
        ([FLORENCE, PISA, ROME], Position(43.72, 11.25)),
        ([FLORENCE, FLORENCE, Position(0.0, 0.0)], FLORENCE),
        ([Position(-16.8, 179.9), Position(-16.8, -179.9)], Position(-16.8, -180.0)),
        ([Position(-16.8, 179.8), Position(-16.8, 179.9), Position(-16.8, -179.9)], Position(-16.8, 179.9)),
        ([Position(90.0, 0.0), Position(-90.0, 0.0)], Position(0.0, 0.0)),
        ([Position(0.0, 0.0)], Position(0.0, 0.0)),
        ([Position(-33.86, 151.21), Position(-33.85, 151.22)], Position(-33.855, 151.215)),
    ],
)
def test_the_median_of_the_references(store, positions, expected):
    put(store, *positions)
    found = place(store)
    assert (found is None) == (expected is None)
    assert expected is None or found == pytest.approx(expected)


def test_it_follows_references_that_come_and_go(store):
    put(store, FLORENCE)
    put(store, PISA, ROME, start=10)
    assert place(store) == Position(43.72, 11.25)
    store.remove_reference("11.jpg")
    assert place(store) == pytest.approx(Position(43.745, 10.825))
    store.remove_reference("10.jpg")
    store.remove_reference("0.jpg")
    assert place(store) is None


@pytest.mark.parametrize("given_first", [True, False])
def test_a_place_that_was_given_stays(store, given_first):
    given = Landmark("duomo", "Duomo", *ROME)
    if given_first:
        store.put_landmark(given)
    put(store, FLORENCE)
    if not given_first:
        assert place(store) == FLORENCE
        store.put_landmark(given)
    put(store, PISA, start=5)
    assert place(store) == ROME
    store.remove_reference("0.jpg")
    assert place(store) == ROME


def test_a_place_of_a_table_stays(store):
    put(store, FLORENCE, landmark=Landmark("duomo", "Duomo", *ROME))
    put(store, PISA, start=5)
    assert place(store) == ROME


def test_a_new_name_does_not_make_the_measured_place_a_given_one(store):
    put(store, FLORENCE)
    known = store.landmark("duomo")
    store.put_landmark(Landmark("duomo", "Il Duomo", known.latitude, known.longitude))
    store.add([Landmark("duomo", "Duomo", known.latitude, known.longitude)], [])
    put(store, PISA, start=5)
    assert place(store) == pytest.approx(Position(43.745, 10.825))


def test_other_landmarks_keep_theirs(store):
    put(store, FLORENCE)
    put(store, PISA, landmark=Landmark("torre"), start=5)
    assert (place(store), place(store, "torre")) == (FLORENCE, PISA)


def test_a_stranger_s_numbers_off_the_globe_count_for_nothing(store):
    put(store, FLORENCE)
    with store._writing() as db:
        db.execute("UPDATE reference_origin SET latitude = 1e300, longitude = -1e300")
    put(store, PISA, start=5)
    assert place(store) == PISA


# --- from photos ------------------------------------------------------------------------------------------------


@pytest.fixture
def taken(tmp_path):
    """Two photos of one landmark with positions of a camera, one of another without."""
    folder = tmp_path / "photos"
    for seed, (name, position) in enumerate((("a/1", FLORENCE), ("a/2", PISA), ("b/1", None))):
        picture(folder / f"{name}.jpg", seed, position=position)
    return folder


def test_a_folder_of_photos_gives_its_landmarks_their_places(gallery_path, taken):
    with Gallery.open(gallery_path) as gallery:
        assert len(gallery.add(taken).added) == 3
        assert gallery.landmark("a").position == pytest.approx(Position(43.745, 10.825), abs=1e-4)
        assert gallery.landmark("b").position is None
        gallery.rename("a", "Somewhere")
        gallery.remove(reference="a/2.jpg")
        assert gallery.landmark("a").position == pytest.approx(FLORENCE, abs=1e-4)
