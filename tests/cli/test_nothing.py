"""What a table says of photos that were compared with nothing."""

import pytest
from support.processes import veduta

from veduta.cli.recognize_options import why_nothing
from veduta.gallery import Gallery
from veduta.gallery.options import RecognizeOptions
from veduta.geo import Circle


@pytest.mark.parametrize(
    ("options", "references", "reason"),
    [
        ({}, 0, "the gallery is empty"),
        ({"near": Circle(0, 0, 5)}, 0, "the gallery is empty"),
        ({"landmarks": ["a"]}, 0, "the gallery is empty"),
        ({"near": Circle(0, 0, 5)}, 3, "nothing known within 5 km"),
        ({"near": Circle(-90, 180, 0.5)}, 1, "nothing known within 0.5 km"),
        ({"near": Circle(0, 0, 20_000)}, 3, "nothing known within 20000 km"),
        ({"near": Circle(0, 0, 5), "landmarks": ["a"]}, 3, "nothing known within 5 km"),
        ({"landmarks": ["a"]}, 3, "no references of these landmarks"),
        ({"landmarks": ["a", "b"]}, 3, "no references of these landmarks"),
        ({"landmarks": []}, 3, "no references of these landmarks"),
    ],
)
def test_the_reason_is_the_true_one(options, references, reason):
    assert why_nothing(RecognizeOptions(**options), references) == reason


def test_nothing_near_is_not_an_empty_gallery(built, gallery_path, view):
    shown = veduta("recognize", built, view, "--near", "-33.8,151.2,50").stdout
    assert "nothing known within 50 km" in shown
    assert "empty" not in shown
    with Gallery.open(gallery_path) as gallery:
        for id in [landmark.id for landmark, _ in gallery.landmarks()]:
            gallery.remove(landmark=id)
    assert "the gallery is empty" in veduta("recognize", gallery_path, view, "--near", "-33.8,151.2,50").stdout
