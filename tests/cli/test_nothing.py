"""What a table says of photos that were compared with nothing."""

from typing import NamedTuple

import pytest
from support.cli import errors, run
from support.processes import veduta

from veduta.cli.recognize_options import why_nothing
from veduta.gallery import Gallery
from veduta.gallery.options import RecognizeOptions
from veduta.geo import Circle
from veduta.landmarks import Landmark

ROME = Landmark("rome", "Rome", 41.9, 12.5)
POLE = Landmark("pole", "Pole", -90, 0)
NOWHERE = [Landmark("a"), Landmark("b", url="https://example.org"), Landmark("c", "C")]


class Contents(NamedTuple):
    """A gallery, as far as the reason depends on one."""

    known: list
    references: int

    def counts(self):
        return len(self.known), self.references

    def landmarks(self):
        return [(landmark, 1) for landmark in self.known]


@pytest.mark.parametrize(
    ("options", "known", "references", "reason"),
    [
        ({}, [], 0, "the gallery is empty"),
        ({}, NOWHERE, 0, "the gallery is empty"),
        ({"near": Circle(0, 0, 5)}, [], 0, "the gallery is empty"),
        ({"near": Circle(0, 0, 5)}, [ROME], 0, "the gallery is empty"),
        ({"landmarks": ["a"]}, NOWHERE, 0, "the gallery is empty"),
        ({"near": Circle(0, 0, 5)}, [ROME], 3, "no landmark is known within 5 km"),
        ({"near": Circle(0, 0, 5)}, NOWHERE, 3, "no landmark is known within 5 km; 3 of 3 have no place"),
        ({"near": Circle(0, 0, 0.5)}, [*NOWHERE, ROME], 9, "no landmark is known within 0.5 km; 3 of 4 have no place"),
        ({"near": Circle(0, 0, 5)}, [ROME, POLE], 2, "no landmark is known within 5 km"),
        ({"near": Circle(0, 0, 20_000)}, NOWHERE[:1], 1, "no landmark is known within 20000 km; 1 of 1 have no place"),
        ({"near": Circle(9, 0, 5), "landmarks": ["rome"]}, [ROME], 3, "no landmark is known within 5 km"),
        ({"landmarks": ["a"]}, NOWHERE, 3, "no references of these landmarks"),
        ({"landmarks": ["a", "b"]}, NOWHERE, 3, "no references of these landmarks"),
        ({"landmarks": []}, [ROME], 3, "no references of these landmarks"),
    ],
)
def test_the_reason_is_the_true_one(options, known, references, reason):
    assert why_nothing(RecognizeOptions(**options), Contents(known, references)) == reason


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "csv"])
def test_an_empty_gallery_is_said_in_every_format(tmp_path, view, format):
    run("create", tmp_path / "gallery")
    said = run("recognize", tmp_path / "gallery", view, "--format", format).stderr
    assert f"{tmp_path / 'gallery'}: is empty, so every answer is none" in said


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "csv"])
def test_an_empty_folder_is_said_in_every_format(tmp_path, built, format):
    (tmp_path / "none").mkdir()
    result = run("recognize", built, tmp_path / "none", "--format", format, code=1)
    assert errors(result) == [f"{tmp_path / 'none'}: has no photos in it"]


def test_nothing_near_is_not_an_empty_gallery(built, gallery_path, view):
    shown = veduta("recognize", built, view, "--near", "-33.8,151.2,50").stdout
    assert "no landmark is known within 50 km; 6 of 6 have no place" in shown
    assert "empty" not in shown
    with Gallery.open(gallery_path) as gallery:
        for id in [landmark.id for landmark, _ in gallery.landmarks()]:
            gallery.remove(landmark=id)
    assert "the gallery is empty" in veduta("recognize", gallery_path, view, "--near", "-33.8,151.2,50").stdout
