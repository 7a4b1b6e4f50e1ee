"""The picture of the evidence as bytes: the one that explain writes, for any candidate, form of a photo and format."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from support.cli import run

import veduta
from veduta.errors import GalleryError, ImageError
from veduta.gallery import Gallery
from veduta.landmarks import GalleryCounts, LandmarkConfidence, Position, TermValue
from veduta.types import Coverage, PairComparison, Size


def opened(data):
    picture = PIL.Image.open(io.BytesIO(data))
    picture.load()
    return picture


def pixels(source):
    return np.asarray(PIL.Image.open(source).convert("RGB"), np.int16)


SOURCES = {
    "a path": Path,
    "text": str,
    "bytes": lambda path: Path(path).read_bytes(),
    "an Image": veduta.load,
    "a PIL image": PIL.Image.open,
}


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("kind", SOURCES)
def test_a_picture_of_any_photo_in_any_format(gallery, view, kind, form):
    picture = opened(veduta.evidence_picture(gallery, SOURCES[kind](view), form=form))
    assert picture.format == form.upper()
    assert min(picture.size) > 100


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_the_picture_is_the_one_that_explain_writes(gallery, view, tmp_path, rank):
    gallery.explain(view, tmp_path / "out")
    data = veduta.evidence_picture(gallery, view, rank=rank)
    assert np.array_equal(pixels(io.BytesIO(data)), pixels(tmp_path / "out" / f"evidence-{rank}.png"))


def test_an_answer_that_is_there_is_not_asked_again(gallery, view, monkeypatch):
    (answer,) = gallery.recognize(view)
    expected = veduta.evidence_picture(gallery, view)
    monkeypatch.setattr("veduta.recognizer.Recognizer.recognize", None)
    assert veduta.evidence_picture(gallery, view, answer) == expected


def test_options_are_those_of_recognize(gallery, view):
    (answer,) = gallery.recognize(view)
    other = next(c.landmark.id for c in gallery.landmarks() if c.landmark.id != answer.evidence[0].landmark)
    expected = veduta.evidence_picture(gallery, view)
    assert veduta.evidence_picture(gallery, view, landmarks=[other]) != expected
    options = veduta.RecognizeOptions(landmarks=[other])
    (first,) = gallery.recognize(view, options)
    assert veduta.evidence_picture(gallery, view, first) == veduta.evidence_picture(gallery, view, options=options)


@pytest.mark.parametrize(
    ("wrong", "problem"), [({"rank": 0}, "rank"), ({"rank": -1}, "rank"), ({"form": "gif"}, "form")]
)
def test_what_cannot_be_is_told(gallery, view, wrong, problem):
    with pytest.raises(ValueError, match=problem):
        veduta.evidence_picture(gallery, view, **wrong)


def test_a_candidate_that_is_not_there(gallery, view, tmp_path):
    with pytest.raises(GalleryError, match="has no candidate number 10000"):
        veduta.evidence_picture(gallery, view, rank=10_000)
    with Gallery.create(tmp_path / "empty") as empty, pytest.raises(GalleryError, match="has no candidate number 1 "):
        veduta.evidence_picture(empty, view)
    (answer,) = gallery.recognize(view)
    gallery.remove(reference=answer.evidence[0].reference)
    with pytest.raises(GalleryError, match="has no candidate number 1 "):
        veduta.evidence_picture(gallery, view, answer)


def test_no_photo_is_an_error_of_the_photo(gallery, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no photo")
    with pytest.raises(ImageError):
        veduta.evidence_picture(gallery, tmp_path / "a.jpg")


# --- results have names, and unpack as before


def test_results_have_names_and_unpack(gallery, view):
    landmarks, references = counts = gallery.counts()
    assert (type(counts), counts.landmarks, counts.references) == (GalleryCounts, landmarks, references)
    assert counts.references == sum(count.references for count in gallery.landmarks())
    image, recognizer = veduta.load(view), gallery.recognizer()
    assert (type(image.size), image.size.width, image.size.height) == (Size, image.width, image.height)
    features = recognizer.extract(image)
    assert (type(features.size), features.size) == (Size, image.size)
    matches, verification = pair = recognizer.compare(features, features)
    assert (type(pair), pair.matches, pair.verification) == (PairComparison, matches, verification)
    descriptor = recognizer.embed(image)
    decision = recognizer.decide(recognizer.verify(features, recognizer.retrieve(descriptor)), descriptor)
    assert {type(term) for term in decision.terms} == {TermValue}
    assert {type(guess) for guess in decision.guesses} == {LandmarkConfidence}
    assert decision.guesses[0].confidence == decision.confidence
    verified = next(c for c in decision.evidence if c.geometry is not None)
    assert type(verified.geometry.coverage) is Coverage


def test_a_pairs_counts_have_names(view):
    found = veduta.verify(view, view)
    assert found.num_keypoints == (found.num_keypoints.a, found.num_keypoints.b)


def test_sizes_and_positions_of_a_library_have_names(gallery_path, view, tmp_path):
    (tmp_path / "library").mkdir()
    picture = PIL.Image.open(view)
    exif = PIL.Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: (45.5, 0.0, 0.0), 3: "E", 4: (12.25, 0.0, 0.0)})
    picture.save(tmp_path / "library" / "a.jpg", exif=exif)
    run("library", "scan", tmp_path / "library", "--gallery", gallery_path)
    with veduta.Library(tmp_path / "library") as library:
        (asset,) = library.assets()
        assert (type(asset.size), type(asset.position)) == (Size, Position)
        assert asset.position.latitude == pytest.approx(45.5)
        (answer,) = library.answers().values()
        assert answer.guesses[0].landmark.id == answer.evidence[0].landmark
        assert 0 <= answer.guesses[0].confidence <= 1
        assert answer.evidence[0].similarity <= 1
