"""Which photos a person is asked about, and in which order."""

import contextlib

import numpy as np
import pytest
from support import world
from support.photos import at, picture

from veduta.landmarks import Landmark
from veduta.library import Library
from veduta.library.catalog import STATE_FOLDER, Catalog
from veduta.library.model import StoredAnswer

PALAZZO = Landmark("palazzo", "Palazzo")


@pytest.fixture
def library(tmp_path):
    """Three photos, one of them with a neighbor in its burst and one with two."""
    for name, seed, members in (("alone", 0, 1), ("pair", 1, 2), ("three", 2, 3)):
        pixels = world.facade(300 + seed, 240, 180)
        for second in range(members):
            moved = np.roll(pixels, second, axis=1)
            picture(tmp_path / name / f"{second}.jpg", taken=at(1 + seed, second), pixels=moved)
    with Library(tmp_path) as opened:
        opened.scan()
        assert sorted(shot.file.parent.name for shot in opened.assets() if shot.best) == ["alone", "pair", "three"]
        yield opened


def answered(library, **confidences):
    """The names of the photos in doubt, in order, when a gallery has answered with these confidences."""
    with contextlib.closing(Catalog(library.path, library.path / STATE_FOLDER)) as state:
        for shot in library.assets():
            confidence = confidences[shot.file.parent.name]
            state.answers.put(shot.sha256, StoredAnswer("gallery", 1, PALAZZO, confidence, ((PALAZZO, confidence),)))
    return [doubt.asset.file.parent.name for doubt in library.uncertain()]


@pytest.mark.parametrize("confidence", [0.3, 0.5, 0.7])
def test_of_photos_as_doubtful_the_one_that_stands_for_most_comes_first(library, confidence):
    assert answered(library, alone=confidence, pair=confidence, three=confidence) == ["three", "pair", "alone"]


def test_the_nearest_to_an_even_chance_comes_first_however_many_others_stand_for(library):
    assert answered(library, alone=0.52, pair=0.4, three=0.7) == ["alone", "pair", "three"]
    assert answered(library, alone=0.85, pair=0.25, three=0.45) == ["three", "pair", "alone"]


def test_what_is_as_good_as_sure_is_no_doubt(library):
    assert answered(library, alone=0.02, pair=0.95, three=0.6) == ["three"]


def test_a_limit_leaves_out_the_least_doubtful(library):
    answered(library, alone=0.52, pair=0.4, three=0.7)
    assert [doubt.asset.file.parent.name for doubt in library.uncertain(2)] == ["alone", "pair"]
    assert [doubt.others for doubt in library.uncertain()] == [0, 1, 2]
