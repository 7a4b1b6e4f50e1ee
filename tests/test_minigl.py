"""A little of the real thing: photos in the competition's layout, if there are any at hand."""

import csv
import os
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import pytest
from support import components

from veduta.images import load
from veduta.library import Library

DATA = Path(os.environ.get("VEDUTA_MINIGL") or Path(__file__).parents[2] / "shared" / "data" / "minigl")
LANDMARKS, REFERENCES, QUERIES, DISTRACTORS = 8, 8, 4, 8

pytestmark = pytest.mark.skipif(
    not (DATA / "train.csv").is_file(),
    reason=f"no minigl photos at {DATA}; set VEDUTA_MINIGL to a folder with train.csv and test_solution.csv",
)


def rows(name):
    with (DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


def photo(split, id):
    return load(DATA / split / id[0] / id[1] / id[2] / f"{id}.jpg", max_side=576)


def spread(items, n):
    """n of the items, evenly spread over all of them."""
    ordered = sorted(items)
    return [ordered[i * len(ordered) // n] for i in range(n)]


@pytest.fixture(scope="module")
def tables():
    """Photos of the gallery and queries by landmark, and queries that show none."""
    train, test, nothing = defaultdict(list), defaultdict(list), []
    for row in rows("train.csv"):
        train[row["landmark_id"]].append(row["id"])
    for row in rows("test_solution.csv"):
        landmarks = row["landmarks"].split()
        (test[landmarks[0]] if landmarks else nothing).append(row["id"])
    chosen = spread((k for k in test if len(test[k]) >= QUERIES and len(train[k]) >= REFERENCES), LANDMARKS)
    return {k: spread(train[k], REFERENCES) for k in chosen}, {k: spread(test[k], QUERIES) for k in chosen}, nothing


@pytest.fixture(scope="module")
def recognizer(tables):
    photos = {id: (landmark, photo("train", id)) for landmark, ids in tables[0].items() for id in ids}
    return components.recognizer(components.references(photos), rerank_depth=10)


def test_landmarks_in_real_photos_are_recognized(tables, recognizer):
    guesses = [
        (recognizer.recognize(photo("test", id)).evidence[0].landmark, landmark)
        for landmark, ids in tables[1].items()
        for id in ids
    ]
    right = sum(guess == landmark for guess, landmark in guesses)
    assert right >= 0.85 * len(guesses), f"{right} of {len(guesses)}"


def test_photos_of_anything_else_are_mostly_none_i_know(tables, recognizer):
    answers = [recognizer.recognize(photo("test", id)) for id in spread(tables[2], DISTRACTORS)]
    assert sum(answer.landmark is None for answer in answers) >= 0.75 * len(answers)


def test_photos_of_one_place_are_found_without_a_gallery(tables, tmp_path):
    shown = {}
    train, _, nothing = tables
    named = [("train", id, landmark) for landmark, ids in train.items() for id in ids]
    for split, id, landmark in named + [("test", id, "") for id in spread(nothing, 40)]:
        link = tmp_path / f"{id}.jpg"
        link.symlink_to(DATA / split / id[0] / id[1] / id[2] / f"{id}.jpg")
        shown[link] = landmark
    with Library(tmp_path) as library:
        groups = [[shown[shot.file] for shot in group.assets] for group in library.group()]
    together = [pair for group in groups for pair in combinations(group, 2)]
    right = sum(a == b != "" for a, b in together)
    assert right >= 0.9 * len(together)
    assert right >= 0.4 * sum(len(list(combinations(ids, 2))) for ids in train.values())
