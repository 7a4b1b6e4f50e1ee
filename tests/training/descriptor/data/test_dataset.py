"""What there is to learn from: the three layouts, and a split that never shows training what it is judged by."""

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from support import training_runs, world

from veduta.errors import DatasetError
from veduta.training.descriptor.data.batches import number_classes
from veduta.training.descriptor.data.dataset import NON_LANDMARK, Dataset, read_dataset, split_dataset

# --- layouts


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three landmarks with two photos each, one to a folder."""
    return training_runs.draw(tmp_path_factory.mktemp("data"), 3, 2)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return training_runs.nothing(tmp_path_factory.mktemp("bank"), 3)


def in_order(dataset):
    """(photo, landmark) of every photo; None for none."""
    names = [*dataset.landmarks, None]
    return [(photo, names[c]) for photo, c in zip(dataset.photos, dataset.classes.tolist(), strict=True)]


def pairs(dataset):
    return sorted(in_order(dataset), key=str)


def expected(data):
    return sorted(((str(path), path.parent.name) for path in data.rglob("*.jpg")), key=str)


def test_a_folder_of_folders(data):
    dataset, failures = read_dataset(data)
    assert pairs(dataset) == expected(data)
    assert (dataset.landmarks, dataset.others, failures) == (("palazzo-0", "palazzo-1", "palazzo-2"), (), [])
    assert len(dataset) == 6


def test_a_table(data, tmp_path):
    table = tmp_path / "photos.csv"
    rows = [f"{photo},{landmark}" for photo, landmark in expected(data)]
    table.write_text("\n".join(["photo,landmark", *reversed(rows)]) + "\n")
    dataset, failures = read_dataset(table)
    assert (pairs(dataset), failures) == (expected(data), [])
    assert dataset.landmarks == ("palazzo-0", "palazzo-1", "palazzo-2"), "numbered by name, whatever the order"


def competition(data, folder, table="train.csv"):
    """The same photos in the competition's layout."""
    rows, places = ["id,landmark_id"], []
    for number, (photo, landmark) in enumerate(expected(data)):
        id = f"{number:016x}"[::-1]
        place = folder / "train" / id[0] / id[1] / id[2] / f"{id}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((data / landmark / photo.rsplit("/", 1)[1]).read_bytes())
        code = str(10 + int(landmark[-1]))
        rows.append(f"{id},{code}")
        places.append((str(place), code))
    (folder / table).write_text("\n".join(rows) + "\n")
    return sorted(places)


def test_the_competitions_layout(data, tmp_path):
    places = competition(data, tmp_path)
    dataset, failures = read_dataset(tmp_path)
    assert (pairs(dataset), failures) == (places, [])


def test_the_cleaned_table_is_taken_where_there_is_one(data, tmp_path):
    places = competition(data, tmp_path)
    ids = [place.rsplit("/", 1)[1].removesuffix(".jpg") for place, _ in places]
    (tmp_path / "train_clean.csv").write_text(f"landmark_id,images\n77,{' '.join(ids[:2])}\n78,{ids[2]}\n")
    assert pairs(read_dataset(tmp_path)[0]) == sorted(
        [(places[0][0], "77"), (places[1][0], "77"), (places[2][0], "78")]
    )


def test_photos_of_nothing_are_of_no_landmark(data, bank):
    dataset, failures = read_dataset(data, bank)
    assert pairs(dataset) == sorted([*expected(data), *((str(path), None) for path in bank.iterdir())], key=str)
    assert (int((dataset.classes == NON_LANDMARK).sum()), len(dataset.landmarks), failures) == (3, 3, [])


def test_the_test_set_is_kept_apart(data, bank, tmp_path):
    competition(data, tmp_path)
    assert read_dataset(tmp_path)[0].others == ()
    path = world.save(world.facade(9, 96, 72), tmp_path / "test" / "0" / "photo.jpg")
    dataset, _ = read_dataset(tmp_path)
    assert dataset.others == (str(path),)
    assert str(path) not in dataset.photos
    named, _ = read_dataset(tmp_path, against=bank)
    assert sorted(named.others) == sorted(map(str, bank.iterdir()))


def test_loose_photos_are_told(data, tmp_path):
    training_runs.draw(tmp_path / "data", 2, 1)
    loose = world.save(world.facade(9, 96, 72), tmp_path / "data" / "loose.jpg")
    dataset, failures = read_dataset(tmp_path / "data")
    assert [failure.photo for failure in failures] == [str(loose)]
    assert str(loose) not in dataset.photos


def test_what_is_no_data_set_is_told(data, tmp_path):
    for path in (tmp_path, tmp_path / "missing", tmp_path / "missing.csv"):
        with pytest.raises(DatasetError, match=str(path)):
            read_dataset(path)
    (tmp_path / "bad.csv").write_text("photo,name\nx,y\n")
    with pytest.raises(DatasetError, match=r"bad\.csv, line 1: expected the columns photo,landmark"):
        read_dataset(tmp_path / "bad.csv")
    with pytest.raises(DatasetError, match="has no photos; expected photos that show no landmark"):
        read_dataset(data, tmp_path)


def test_a_photo_cannot_show_a_landmark_and_nothing(data):
    with pytest.raises(DatasetError, match=r"palazzo-1/photo-0\.jpg: is labeled and in the bank"):
        read_dataset(data, data / "palazzo-1")


# --- a part of it


@given(st.lists(st.integers(-1, 5), min_size=1, max_size=30), st.data())
@settings(deadline=None)
def test_a_part_is_renumbered_without_gaps(classes, data):
    dataset = training_runs.listed(classes)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(classes), max_size=len(classes))))
    part = dataset.only(keep)
    assert in_order(part) == [pair for pair, kept in zip(in_order(dataset), keep, strict=True) if kept]
    assert sorted(set(part.classes.tolist()) - {NON_LANDMARK}) == list(range(len(part.landmarks)))
    assert part.others == dataset.others


# --- the split


@st.composite
def datasets(draw):
    """Six landmarks or more, of one photo to twenty, and photos of none, in any order."""
    counts = draw(st.lists(st.integers(1, 20), min_size=6, max_size=25))
    classes = [i for i, n in enumerate(counts) for _ in range(n)] + [NON_LANDMARK] * draw(st.integers(0, 20))
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(classes))
    return training_runs.listed(np.array(classes)[order])


def made(dataset, *arguments, **rest):
    """The split; it is no example where next to nothing is left to learn."""
    try:
        return split_dataset(dataset, *arguments, **rest)
    except DatasetError:
        reject()


hold_outs = st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.5])


@given(datasets(), hold_outs, st.integers(0, 9))
@settings(deadline=None)
def test_no_photo_that_is_asked_and_no_unseen_landmark_is_trained_on(dataset, hold_out, seed):
    held = made(dataset, hold_out, seed=seed)
    trained = set(held.train.tolist())
    taught = set(dataset.classes[held.train].tolist())
    assert held.train.tolist() == sorted(trained)
    for protocol in held.protocols:
        gallery, queries = set(protocol.gallery.tolist()), set(protocol.queries.tolist())
        assert not queries & trained
        assert not queries & gallery
        assert len(gallery) == len(protocol.gallery)
        assert len(queries) == len(protocol.queries)
        landmarks = set(dataset.classes[protocol.gallery].tolist())
        asked = set(dataset.classes[protocol.queries].tolist()) - {NON_LANDMARK}
        assert NON_LANDMARK not in landmarks
        assert asked == landmarks, "every landmark asked is in the gallery, and the other way round"
        if protocol.name == "unseen":
            assert not gallery & trained
            assert not landmarks & taught
        else:
            assert gallery <= trained
        assert protocol.withheld <= landmarks
        assert abs(len(protocol.withheld) - len(landmarks) / 3) < 1


@given(datasets(), hold_outs, st.integers(0, 9))
@settings(deadline=None)
def test_every_photo_is_of_use(dataset, hold_out, seed):
    held = made(dataset, hold_out, seed=seed)
    used = set(held.train.tolist()) | set(held.validation().tolist())
    if held.protocols:  # else photos of nothing may be asked of nobody
        assert used == set(range(len(dataset)))
    assert np.array_equal(held.validation(), np.unique(held.validation()))


@given(datasets(), st.integers(0, 9))
@settings(deadline=None)
def test_holding_nothing_back_trains_on_everything(dataset, seed):
    held = split_dataset(dataset, 0.0, seed=seed)
    assert held.train.tolist() == list(range(len(dataset)))
    assert held.protocols == ()
    assert len(held.validation()) == 0


@given(datasets(), hold_outs, st.integers(0, 9))
@settings(deadline=None)
def test_the_same_seed_splits_the_same_way(dataset, hold_out, seed):
    one, other = (made(dataset, hold_out, seed=seed) for _ in range(2))
    assert np.array_equal(one.train, other.train)
    for a, b in zip(one.protocols, other.protocols, strict=True):
        assert np.array_equal(a.gallery, b.gallery)
        assert np.array_equal(a.queries, b.queries)
        assert a.withheld == b.withheld


def test_landmarks_with_one_photo_are_trained_on():
    dataset = training_runs.listed([*range(10), *np.repeat(range(10, 20), 3)])
    for seed in range(20):
        held = split_dataset(dataset, 0.5, seed=seed)
        assert set(range(10)) <= set(held.train.tolist())
        (unseen,) = held.protocols
        assert len(np.unique(dataset.classes[unseen.gallery])) == 10


def test_where_every_landmark_has_one_photo_nothing_is_held_back():
    held = split_dataset(training_runs.listed(range(30)), 0.5)
    assert (len(held.train), held.protocols) == (30, ())


def test_unseen_photos_are_halved_and_one_in_eight_of_the_large_landmarks_is_asked():
    dataset = training_runs.listed([*np.repeat(range(40), 40), *np.repeat(range(40, 60), 5), *[NON_LANDMARK] * 100])
    held = split_dataset(dataset, 0.1)
    unseen, seen = held.protocols
    assert (unseen.name, seen.name) == ("unseen", "seen")
    assert len(np.unique(dataset.classes[unseen.gallery])) == 6
    for landmark in np.unique(dataset.classes[unseen.gallery]):
        here = [int((dataset.classes[part] == landmark).sum()) for part in (unseen.gallery, unseen.queries)]
        assert here in ([20, 20], [3, 2])
    asked = seen.queries[dataset.classes[seen.queries] != NON_LANDMARK]
    assert dataset.classes[asked].max() < 40, "those with five photos are too few to ask"
    assert abs(len(asked) - 34 * 40 / 8) < 60
    for protocol in held.protocols:
        assert (dataset.classes[protocol.queries] == NON_LANDMARK).sum() == 10


def test_galleries_and_queries_are_no_larger_than_asked():
    dataset = training_runs.listed(np.repeat(range(40), 40))
    large, small = split_dataset(dataset, 0.2), split_dataset(dataset, 0.2, most=50)
    for one, other in zip(large.protocols, small.protocols, strict=True):
        assert len(other.gallery) == len(other.queries) == 50
        assert set(other.gallery.tolist()) <= set(one.gallery.tolist())
    assert np.array_equal(large.train, small.train)


@pytest.mark.parametrize("classes", [[0, 0, 0], [0, 0, NON_LANDMARK, NON_LANDMARK]])
def test_one_landmark_is_too_few(classes):
    with pytest.raises(DatasetError, match="fewer than two landmarks are left to train on"):
        split_dataset(training_runs.listed(classes))


# --- the classes of what is trained on


@given(datasets(), hold_outs, st.sampled_from(["class", "each"]))
@settings(deadline=None)
def test_classes_have_no_gaps_and_photos_of_nothing_come_last(dataset, hold_out, bank):
    train = made(dataset, hold_out).train
    classes = number_classes(dataset, train, bank)
    landmarks = dataset.classes[train]
    known = sorted(set(landmarks.tolist()) - {NON_LANDMARK})
    assert [known.index(c) for c in landmarks[landmarks != NON_LANDMARK].tolist()] == classes[
        landmarks != NON_LANDMARK
    ].tolist()
    nothing = classes[landmarks == NON_LANDMARK].tolist()
    assert nothing == [len(known) + (i if bank == "each" else 0) for i in range(len(nothing))]


def test_photos_of_nothing_that_are_not_wanted_are_the_programmers_mistake():
    with pytest.raises(ValueError, match="bank: expected no photos of no landmark"):
        number_classes(training_runs.listed([0, 1, NON_LANDMARK]), np.arange(3), "none")
    dataset = Dataset(("a", "b", "c"), np.array([0, 2, 2]), ("x", "y", "z"))
    assert number_classes(dataset, np.arange(3), "none").tolist() == [0, 1, 1]
