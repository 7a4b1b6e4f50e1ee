"""A gallery made with schema 3 opens, is brought up to date once, and gives the answers it gave."""

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from support import ROOT

from veduta.decision.model import LearnedDecider, shipped_decider
from veduta.errors import GalleryError
from veduta.gallery import Gallery
from veduta.gallery.schema import SCHEMA_VERSION
from veduta.serialization import to_dict

DATA = ROOT / "tests" / "data" / "gallery-schema-3"
EXPECTED = json.loads((DATA / "expected.json").read_text("utf-8"))


@pytest.fixture
def old(tmp_path):
    return shutil.copytree(DATA / "gallery", tmp_path / "gallery")


def version(gallery):
    with contextlib.closing(sqlite3.connect(gallery / "gallery.sqlite")) as db, db:
        return db.execute("PRAGMA user_version").fetchone()[0]


def test_the_answers_and_contents_are_those_of_the_code_that_made_it(old):
    assert version(old) == 3
    with Gallery.open(old) as gallery:
        landmarks = [[x.id, x.name, x.latitude, x.longitude, x.url, n] for x, n in gallery.landmarks()]
        assert landmarks == EXPECTED["landmarks"]
        references = [[r.id, r.landmark, r.sha256, r.license] for r in gallery.references()]
        assert references == EXPECTED["references"]
        assert gallery.settings == EXPECTED["settings"]
        answers = [to_dict(answer) for answer in gallery.recognize(sorted(DATA.glob("query-*.jpg")))]
    for answer, expected in zip(answers, EXPECTED["answers"], strict=True):
        assert answer.pop("seconds") >= 0
        assert Path(answer.pop("photo")).name == expected.pop("photo")
        assert same(answer, expected)
    assert version(old) == SCHEMA_VERSION


def same(answer, expected):
    """Equal names and counts; numbers to five digits, for processors round differently."""
    if isinstance(expected, dict):
        return answer.keys() == expected.keys() and all(same(answer[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(answer) == len(expected) and all(map(same, answer, expected))
    return answer == pytest.approx(expected, abs=2e-5) if isinstance(expected, float) else answer == expected


def test_pairs_and_confirmations_come_along(old):
    with contextlib.closing(sqlite3.connect(old / "gallery.sqlite")) as db, db:
        before = db.execute("SELECT a, b, num_inliers FROM kin").fetchall()
        counts = db.execute("SELECT row, counts, compared FROM usefulness").fetchall()
    Gallery.open(old).close()
    with contextlib.closing(sqlite3.connect(old / "gallery.sqlite")) as db, db:
        assert db.execute("SELECT a, b, num_inliers FROM reference_pair").fetchall() == before
        assert db.execute("SELECT row, counts, compared FROM keypoint_support").fetchall() == counts


def test_a_gallery_brought_up_to_date_can_be_changed(old):
    with Gallery.open(old) as gallery:
        assert gallery.add_photo(DATA / "query-4.jpg", "palazzo-4").added
        assert gallery.remove(landmark="palazzo-0") == 3
    with Gallery.open(old) as gallery:
        assert [landmark.id for landmark, _ in gallery.landmarks()] == [f"palazzo-{i}" for i in range(1, 5)]


def test_a_calibrated_decision_keeps_its_numbers(old):
    """Format 1 of a decision has the same arrays under other names."""
    import io

    import numpy as np

    shipped = shipped_decider("efficientnet-lite2-landmarks", "xfeat", "nearest")
    with np.load(io.BytesIO(shipped.to_bytes())) as arrays:
        metadata = json.loads(str(arrays["metadata"])) | {"format": 1, "source": "here"}
        first = {key.replace("/fine", "/glue"): arrays[key] for key in arrays if key not in ("metadata", "centers")}
        first |= {"centres": arrays["centers"], "about": np.array(json.dumps(metadata))}
    file = io.BytesIO()
    np.savez_compressed(file, **first)
    with contextlib.closing(sqlite3.connect(old / "gallery.sqlite")) as db, db:
        db.execute("INSERT INTO attachment VALUES ('decision', ?)", (file.getvalue(),))
    with Gallery.open(old) as gallery:
        decider = gallery.decider()
    assert isinstance(decider, LearnedDecider)
    assert decider.metadata["source"] == "here"
    for name, stage in shipped.stages.items():
        assert np.array_equal(decider.stages[name].weights, stage.weights)
        assert decider.stages[name].calibration == stage.calibration


def test_the_card_of_a_model_of_its_own_is_brought_up_to_date(old):
    folder = old / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "card.json").write_text(json.dumps({"name": "mine", "licence": "CC0-1.0"}))
    Gallery.open(old).close()
    assert json.loads((folder / "card.json").read_text()) == {"name": "mine", "license": "CC0-1.0"}


def test_where_it_may_not_be_written_an_old_gallery_is_refused_with_the_remedy(old, monkeypatch):
    monkeypatch.setattr("veduta.gallery.store.is_writable", lambda file: False)
    with pytest.raises(GalleryError, match="made by an older Veduta; open it once where it may be written"):
        Gallery.open(old)
    assert version(old) == 3
