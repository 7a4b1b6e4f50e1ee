"""Photos kept for review: a real file, verdicts that stay, and what a calibration reads of them."""

import contextlib
import sqlite3

import pytest
from support.processes import veduta

from veduta.datasets.listing import list_csv
from veduta.errors import GalleryError, NotFoundError
from veduta.gallery import Gallery
from veduta.review_queue import REVIEW_FILE, ReviewQueue

ANSWER = {"landmark": {"id": "dom", "name": "Dom"}, "confidence": 0.7}


@pytest.fixture
def review(tmp_path):
    kept = ReviewQueue(tmp_path)
    yield kept
    kept.close()


def test_a_photo_is_kept_once_with_what_was_said_of_it(review):
    first = review.keep("a.jpg", b"one", ANSWER)
    again = review.keep("b.jpg", b"one", {})
    assert first == again
    assert (first.photo, first.answer, first.verdict, first.landmark) == ("a.jpg", ANSWER, None, None)
    assert first.added.endswith("Z")
    assert review.content(first.number) == b"one"


def test_verdicts_stay_when_the_file_is_opened_again(review, tmp_path):
    numbers = [review.keep(f"{i}.jpg", bytes([i]), ANSWER).number for i in range(4)]
    review.set_verdict(numbers[0], "accepted", "dom")
    review.set_verdict(numbers[1], "rejected", None)
    review.set_verdict(numbers[2], "corrected", "kirche, die große")
    other = ReviewQueue(tmp_path)
    assert [item.number for item in other.items()] == [numbers[3]]
    assert [item.landmark for item in other.items("done")] == ["dom", None, "kirche, die große"]
    assert other.items("all") == review.items("all")
    other.close()


def test_a_number_is_never_given_twice(review):
    first = review.keep("a.jpg", b"one", ANSWER).number
    review.forget(first)
    assert review.items("all") == []
    assert review.keep("a.jpg", b"one", ANSWER).number > first


def test_what_is_not_there_is_an_error_that_says_so(review):
    for call in (review.item, review.content, review.forget, lambda n: review.set_verdict(n, "rejected", None)):
        with pytest.raises(NotFoundError, match="has no photo number 7"):
            call(7)


@pytest.mark.parametrize(
    ("verdict", "landmark"), [("accepted", None), ("corrected", None), ("rejected", "x"), ("?", "x")]
)
def test_a_verdict_says_what_a_photo_shows_or_that_it_shows_nothing(review, verdict, landmark):
    number = review.keep("a.jpg", b"one", ANSWER).number
    with pytest.raises(ValueError, match="expected accepted or corrected with a landmark"):
        review.set_verdict(number, verdict, landmark)


def test_a_damaged_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / REVIEW_FILE).write_bytes(b"this is no database, though it is long enough to be looked at as one" * 20)
    with pytest.raises(GalleryError, match=REVIEW_FILE):
        ReviewQueue(tmp_path)


def test_what_is_exported_is_what_a_calibration_reads(tmp_path):
    Gallery.create(tmp_path / "gallery").close()
    review = ReviewQueue(tmp_path / "gallery")
    shown = ["dom", 'a "quoted", name', None]
    for i, landmark in enumerate(shown):
        number = review.keep(f"{i}.jpg", bytes([i]), ANSWER).number
        review.set_verdict(number, "rejected" if landmark is None else "corrected", landmark)
    review.keep("open.jpg", b"not judged", ANSWER)
    review.close()
    done = veduta("review", "export", tmp_path / "gallery", tmp_path / "out")
    assert (done.returncode, done.stdout) == (0, "")
    assert "wrote 3 photos; calibrate with: veduta calibrate" in done.stderr
    listed, failures = list_csv(tmp_path / "out" / "photos.csv")
    assert [item.landmark.id for item in listed] == [landmark or "none" for landmark in shown]
    assert failures == []


def test_the_queue_is_a_file_of_its_own(tmp_path, review):
    review.keep("a.jpg", b"one", ANSWER)
    with contextlib.closing(sqlite3.connect(tmp_path / REVIEW_FILE)) as db, db:
        assert db.execute("SELECT count(*) FROM item").fetchone() == (1,)
    db.close()
