"""The native services, asked as the page and other programs ask them: real galleries, real photos, no network."""

import contextlib
import hashlib
import io
import json
import shutil
import sqlite3
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import httpx
import numpy as np
import PIL.Image
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support import world
from support.components import carry, distance
from support.processes import PATIENCE, veduta
from support.servers import BEARER, TOKEN, base64_of, check_error, contents, files, inside, jpeg, listening

from veduta.datasets.listing import list_csv
from veduta.errors import GalleryError
from veduta.features.xfeat import XFeat
from veduta.gallery import Gallery
from veduta.gallery.evidence.page import confidence_phrase
from veduta.gallery.store import GALLERY_FILE
from veduta.images import load
from veduta.review_queue import ReviewQueue
from veduta.types import Image
from veduta.web.app import STATIC, create_app
from veduta.web.limits import loopback_names
from veduta.web.settings import Settings

# Posts that only ask; every other one, and each PUT and DELETE, writes.
ASKING = {
    "/v1/recognize",
    "/v1/verify",
    "/v1/images:annotate",
    "/v1/images:asyncBatchAnnotate",
    "/v1/projects/{project}/images:annotate",
    "/v1/projects/{project}/images:asyncBatchAnnotate",
    "/v1/projects/{project}/locations/{location}/images:annotate",
    "/v1/projects/{project}/locations/{location}/images:asyncBatchAnnotate",
    "/api/v1/vision/labels",
}
ODD_IDS = [
    "a/b/c",
    "two words",
    "日本/東京 タワー",
    "Ποσειδών?#&=",
    "50%2Foff",
    "a+b",
    "x; y: has no z",
    "'\"<b>",
    "🗼",
]


@pytest.fixture(scope="module")
def reading(built):
    """Client of a server that only reads."""
    with inside(built, token=None) as client:
        yield client


@pytest.fixture
def client(gallery_path):
    """Client, with the token, of a server over this test's own gallery."""
    with inside(gallery_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def far(built, tmp_path_factory):
    """Client, with the token, that asks over a socket: what it writes as %2F is decoded by the server alone."""
    path = shutil.copytree(built, tmp_path_factory.mktemp("far") / "gallery")
    with listening(path) as address, httpx.Client(base_url=address, headers=BEARER, timeout=PATIENCE) as client:
        yield client


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Folder of a second gallery, called others, with two landmarks that the first has not. Read only."""
    folder = tmp_path_factory.mktemp("second")
    for i in (20, 21):
        world.save(world.facade(i), folder / "photos" / f"villa-{i}" / "straight.jpg")
    with Gallery.create(folder / "others") as gallery:
        gallery.add(folder / "photos")
    return folder / "others"


def recognized(client, *paths, **fields):
    response = client.post("/v1/recognize", files=files(*paths), data=fields)
    assert response.status_code == 200, response.text
    return response.json()["results"]


def url(kind, id, **query):
    return f"/v1/{kind}/{quote(id, safe='')}" + ("?" + "&".join(f"{k}={quote(v)}" for k, v in query.items()))


def without_time(results):
    return [{key: value for key, value in answer.items() if key != "seconds"} for answer in results]


# --- recognizing ------------------------------------------------------------------------------------------------


def as_json(landmark):
    return {key: getattr(landmark, key) for key in ("id", "name", "latitude", "longitude", "url")}


def test_answers_are_the_librarys_field_by_field(reading, built, views, distractors):
    paths = [*list(views)[:4], distractors[0]]
    with Gallery.open(built) as gallery:
        expected = list(gallery.recognize(paths))
    results = recognized(reading, *paths)
    assert len(results) == len(paths)
    for path, answer, recognition in zip(paths, results, expected, strict=True):
        assert answer["photo"] == Path(path).name
        assert answer["gallery"] == "gallery"
        assert tuple(answer["size"]) == load(path).size
        assert answer["landmark"] == (None if recognition.landmark is None else as_json(recognition.landmark))
        assert answer["confidence"] == pytest.approx(recognition.confidence, abs=1e-5)
        assert answer["words"] == confidence_phrase(recognition.confidence)
        assert [guess["landmark"] for guess in answer["guesses"]] == [as_json(g) for g, _ in recognition.guesses[:5]]
        assert [guess["confidence"] for guess in answer["guesses"]] == pytest.approx(
            [p for _, p in recognition.guesses[:5]], abs=1e-5
        )
        shown = [(c["reference"], c["landmark"], c["num_inliers"]) for c in answer["candidates"]]
        assert shown == [(c.reference, c.landmark, c.num_inliers) for c in recognition.evidence]
        assert [c["similarity"] for c in answer["candidates"]] == pytest.approx(
            [c.similarity for c in recognition.evidence], abs=1e-5
        )
        assert {t["name"]: t["value"] for t in answer["terms"]} == pytest.approx(dict(recognition.terms), abs=2e-3)
        assert answer["position"] is None
        assert answer["seconds"] > 0
        assert "keypoints" not in answer


def test_several_photos_are_answered_in_their_order(reading, views, distractors):
    paths = [*list(views)[::3], *distractors[:2]]
    results = recognized(reading, *paths)
    assert [answer["photo"] for answer in results] == [Path(path).name for path in paths]
    ids = [answer["landmark"] and answer["landmark"]["id"] for answer in results]
    assert ids == [views.get(path) for path in paths]


def test_none_is_an_answer_with_the_best_guess_beside_it(reading, distractors):
    for answer in recognized(reading, *distractors[:2]):
        assert answer["landmark"] is None
        assert 0 <= answer["confidence"] < 0.5
        assert answer["guesses"][0]["confidence"] == answer["confidence"]
        assert answer["candidates"]


def test_json_is_answered_as_a_form_is(reading, view, distractors):
    by_form = recognized(reading, view, distractors[0], effort="fast")
    by_json = reading.post("/v1/recognize", json={"photos": contents(view, distractors[0]), "effort": "fast"})
    assert without_time(by_json.json()["results"]) == without_time(by_form)


def test_one_photo_in_json_needs_no_list_and_no_name_and_may_be_a_data_url(reading, view):
    encoded = base64_of(Path(view).read_bytes())
    safe = encoded.replace("+", "-").replace("/", "_")
    for photos in (encoded, {"content": encoded}, [safe], f"data:image/jpeg;base64,{encoded}"):
        (answer,) = reading.post("/v1/recognize", json={"photos": photos}).json()["results"]
        assert answer["photo"] == "photo"
        assert answer["landmark"]["id"] == "palazzo-0"


def test_a_bad_photo_does_not_stop_the_others(reading, view, corrupt):
    first, bad, last = recognized(reading, view, corrupt, view)
    assert without_time([first]) == without_time([last])
    assert list(bad) == ["photo", "error"]
    assert bad["photo"] == "corrupt.jpg"
    assert (bad["error"]["code"], bad["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert bad["error"]["message"].startswith("corrupt.jpg: ")


def test_keypoints_come_when_asked_for(reading, view):
    (answer,) = recognized(reading, view, keypoints="true")
    places = np.array(answer["keypoints"])
    width, height = answer["size"]
    assert places.shape[1:] == (3,)
    assert 100 < len(places) <= 512
    assert ((places[:, :2] >= -0.5) & (places[:, :2] <= (width, height))).all()
    assert ((places[:, 2] >= 0) & (places[:, 2] <= 1)).all()
    assert np.ptp(places[:, 2]) > 0
    assert "keypoints" not in recognized(reading, view, keypoints="false")[0]


def test_the_inliers_of_verified_candidates_come_with_the_keypoints(reading, view):
    (answer,) = recognized(reading, view, keypoints="true")
    plain = ["reference", "landmark", "similarity", "num_inliers"]
    verified = [c for c in answer["candidates"] if c["num_inliers"] is not None]
    assert verified[0]["num_inliers"] > 20
    for candidate in verified:
        assert list(candidate) == [*plain, "inliers", "problem", "reference_size"]
        fields = {"reference": candidate["reference"]}
        pair = reading.post("/v1/verify", files=files(view, field="photo"), data=fields).json()
        assert {key: candidate[key] for key in list(candidate)[3:]} == {key: pair[key] for key in list(candidate)[3:]}
        assert answer["size"] == pair["query_size"]
    (fast,) = recognized(reading, view, keypoints="true", effort="fast")
    for candidate in recognized(reading, view)[0]["candidates"] + fast["candidates"]:
        assert list(candidate) == plain or candidate["num_inliers"] is not None
    assert all(list(candidate) == plain for candidate in recognized(reading, view)[0]["candidates"])


class Work(NamedTuple):
    """The work done on photos: the digests of those decoded and of those hashed, and the sizes of those extracted."""

    decoded: list
    hashed: list
    extracted: list


@pytest.fixture
def work(monkeypatch):
    """Count every decoded photo, every hash and every extraction of this process."""
    work = Work([], [], [])

    def count(owner, name, note):
        original = getattr(owner, name)

        def counted(*args, **options):
            note(*args)
            return original(*args, **options)

        monkeypatch.setattr(owner, name, counted)

    digest = hashlib.sha256
    count(Image, "__post_init__", lambda image: image.sha256 and work.decoded.append(image.sha256))
    count(hashlib, "sha256", lambda data=b"": work.hashed.append(digest(data).hexdigest()))
    count(XFeat, "extract", lambda _, image: work.extracted.append(image.sha256))
    return work


@pytest.mark.parametrize("keypoints", ["true", "false"])
def test_a_photo_is_decoded_hashed_and_extracted_once(reading, view, work, keypoints):
    (answer,) = recognized(reading, view, keypoints=keypoints)
    assert answer["landmark"]["id"] == "palazzo-0"
    sha256 = work.decoded[0]
    assert (work.decoded, work.hashed.count(sha256), work.extracted) == ([sha256], 1, [sha256])


def test_cloud_visions_box_needs_no_second_extraction(reading, view, work):
    response = reading.post("/v1/images:annotate", json={"requests": [vision_request(view)]})
    assert "boundingPoly" in response.json()["responses"][0]["landmarkAnnotations"][0]
    assert len(work.extracted) == len(work.decoded) == 1


def test_a_new_reference_is_decoded_and_extracted_once(client, work):
    photo = [("photos", ("x.jpg", jpeg(world.facade(40)), "image/jpeg"))]
    (added,) = client.post("/v1/references", files=photo, data={"landmark": "new"}).json()["added"]
    assert work.decoded.count(added["sha256"]) == work.extracted.count(added["sha256"]) == 1


def test_the_floor_decides_what_is_answered(reading, view):
    (answer,) = recognized(reading, view, floor="1")
    assert answer["landmark"] is None
    assert answer["guesses"][0]["landmark"]["id"] == "palazzo-0"
    for photo in ({"floor": 0}, {"floor": 0.0, "precision": 0.9}):  # a floor goes before a precision
        given = reading.post("/v1/recognize", json={"photos": contents(view), **photo})
        assert given.json()["results"][0]["landmark"]["id"] == "palazzo-0"


def test_a_precision_chooses_the_floor_or_says_what_can_be_reached(reading, view):
    assert recognized(reading, view, precision="0.5")[0]["landmark"]["id"] == "palazzo-0"
    response = reading.post("/v1/recognize", files=files(view), data={"precision": "1"})
    assert response.status_code in (200, 400)
    if response.status_code == 400:
        assert "right" in check_error(response, 400)


@pytest.mark.parametrize(
    "field",
    [
        {"effort": "furious"},
        {"effort": ["fast"]},
        {"floor": "high"},
        {"floor": 1.5},
        {"floor": True},
        {"floor": 10**400},
        {"floor": [0.5]},
        {"precision": -1},
        {"budget_ms": "soon"},
        {"keypoints": "perhaps"},
        {"keypoints": {}},
        {"gallery": 7},
        {"gallery": "\ud800"},
    ],
    ids=lambda field: json.dumps(field)[:40],
)
def test_a_field_of_another_kind_is_named(reading, view, field):
    body = json.dumps({"photos": contents(view), **field}).encode()
    response = reading.post("/v1/recognize", content=body, headers={"Content-Type": "application/json"})
    assert check_error(response, 400).startswith(f"{next(iter(field))}: ")


def test_photos_that_are_only_asked_about_are_never_written_anywhere(reading, built, tmp_path, monkeypatch):
    # More than what a form keeps in memory unless told, and no folder for temporary files.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    content = jpeg(noise, 100)
    assert len(content) > 2**20
    before = {path.name for path in built.rglob("*")}
    response = reading.post("/v1/recognize", files=[("photos", ("noise.jpg", content, "image/jpeg"))])
    assert response.status_code == 200, response.text
    assert response.json()["results"][0]["landmark"] is None
    assert {path.name for path in built.rglob("*")} == before


# --- verifying --------------------------------------------------------------------------------------------------


def test_inliers_lie_where_the_drawn_view_says(reading, photos, view):
    truth = np.linalg.inv(world.view(world.facade(0), 7000).homography)
    fields = {"reference": "palazzo-0/photo-0.jpg", "gallery": "gallery"}
    by_reference = reading.post("/v1/verify", files=files(view, field="photo"), data=fields)
    other = files(view, field="photo") + files(photos / "palazzo-0" / "photo-0.jpg", field="other")
    by_photo = reading.post("/v1/verify", files=other)
    for response in (by_reference, by_photo):
        pair = response.json()
        lines = np.array(pair["inliers"])
        assert pair["num_inliers"] == len(lines) > 20
        assert pair["problem"] is None
        assert pair["query_size"] == pair["reference_size"] == [world.WIDTH, world.HEIGHT]
        assert np.median(distance(carry(truth, lines[:, :2]), lines[:, 2:])) < 3
        assert np.median(distance(carry(pair["homography"], lines[:, :2]), lines[:, 2:])) < 3


def test_two_photos_of_different_things_have_no_homography(reading, view, distractors):
    sent = files(view, field="photo") + files(distractors[0], field="other")
    pair = reading.post("/v1/verify", files=sent).json()
    assert pair["num_inliers"] == len(pair["inliers"]) < 20
    assert (pair["homography"] is None) == (pair["problem"] is not None)


def test_verify_wants_a_reference_that_is_there_or_another_photo(reading, view, corrupt):
    photo = files(view, field="photo")
    message = check_error(reading.post("/v1/verify", files=photo, data={"reference": "palazzo-9/x.jpg"}), 404)
    assert message == "there is no reference 'palazzo-9/x.jpg'"
    check_error(reading.post("/v1/verify", files=photo), 400)
    both = photo + files(view, field="other")
    check_error(reading.post("/v1/verify", files=both, data={"reference": "palazzo-0/photo-0.jpg"}), 400)
    check_error(reading.post("/v1/verify", files=files(view, field="other")), 400)
    message = check_error(reading.post("/v1/verify", files=photo + files(corrupt, field="other")), 400)
    assert message.startswith("corrupt.jpg: ")
    check_error(reading.post("/v1/verify", files=photo, data={"other": "text, not a file"}), 400)


def test_verify_takes_json_too(reading, view):
    (photo,) = contents(view)
    pair = reading.post("/v1/verify", json={"photo": photo, "reference": "palazzo-0/photo-0.jpg"}).json()
    assert pair["num_inliers"] > 20


# --- landmarks --------------------------------------------------------------------------------------------------


def test_landmarks_are_listed_searched_and_paged(reading):
    whole = reading.get("/v1/landmarks").json()
    ids = [landmark["id"] for landmark in whole["landmarks"]]
    assert (whole["total"], ids) == (6, [f"palazzo-{i}" for i in range(6)])
    assert whole["landmarks"][2] == {
        "id": "palazzo-2",
        "name": "palazzo-2",
        "latitude": None,
        "longitude": None,
        "url": None,
        "references": 2,
        "cover": "palazzo-2/photo-0.jpg",
    }
    page = reading.get("/v1/landmarks?offset=4&limit=3").json()
    assert (page["total"], [row["id"] for row in page["landmarks"]]) == (6, ["palazzo-4", "palazzo-5"])
    matching = reading.get("/v1/landmarks?search=PALAZZO-3").json()
    assert (matching["total"], [row["id"] for row in matching["landmarks"]]) == (1, ["palazzo-3"])
    assert reading.get("/v1/landmarks?search=chateau").json() == {"landmarks": [], "total": 0}
    for query in ("offset=-1", "limit=0", "limit=1001", "limit=x", f"offset={10**30}"):
        check_error(reading.get(f"/v1/landmarks?{query}"), 400)


def test_one_landmark_is_given_as_the_list_has_it(reading):
    for row in reading.get("/v1/landmarks").json()["landmarks"]:
        assert reading.get(url("landmarks", row["id"])).json() == row
    assert check_error(reading.get("/v1/landmarks/palazzo-9"), 404) == "there is no landmark 'palazzo-9'"


@pytest.mark.parametrize("id", ODD_IDS)
def test_ids_may_be_anything_that_is_text(far, id):
    created = far.put(url("landmarks", id), json={"name": f"Name of {id}", "latitude": 1.5, "longitude": -2})
    assert created.status_code == 200, created.text
    assert (created.json()["id"], created.json()["name"]) == (id, f"Name of {id}")
    assert far.get(url("landmarks", id)).json() == created.json()
    photo = [("photos", ("x.jpg", jpeg(world.facade(40)), "image/jpeg"))]
    (added,) = far.post("/v1/references", files=photo, data={"landmark": id}).json()["added"]
    assert added["landmark"] == id
    listed = far.get("/v1/references", params={"landmark": id}).json()
    assert (listed["total"], listed["references"]) == (1, [added])
    assert far.get(url("pictures", added["id"])).status_code == 200
    assert far.get(url("landmarks", id)).json()["cover"] == added["id"]
    assert far.delete(url("references", added["id"])).json() == {"removed": 1}
    assert far.delete(url("landmarks", id)).json() == {"removed": 0}
    check_error(far.get(url("landmarks", id)), 404)


def test_a_put_changes_what_it_says_and_nothing_else(client):
    path = "/v1/landmarks/palazzo-1"
    place = {"latitude": 45.5, "longitude": 9.2}
    assert client.put(path, json=place).json() == client.get(path).json()
    renamed = client.put(path, json={"name": "Ca' d'Oro", "url": "https://example.org/ca"}).json()
    assert {key: renamed[key] for key in place} == place
    assert (renamed["name"], renamed["url"]) == ("Ca' d'Oro", "https://example.org/ca")
    assert (renamed["references"], renamed["cover"]) == (2, "palazzo-1/photo-0.jpg")
    emptied = client.put(path, json={"latitude": None, "longitude": None, "url": None}).json()
    assert (emptied["latitude"], emptied["longitude"], emptied["url"]) == (None, None, None)
    assert emptied["name"] == "Ca' d'Oro"
    assert client.put(path, json={}).json() == emptied
    assert [row["id"] for row in client.get("/v1/landmarks?search=d'oro").json()["landmarks"]] == ["palazzo-1"]
    assert client.get("/v1/landmarks").json()["landmarks"][0]["id"] == "palazzo-1"  # in the order of names


@pytest.mark.parametrize(
    "change",
    [
        '{"latitude": 91}',
        '{"longitude": -180.5}',
        '{"latitude": NaN}',
        '{"latitude": 1e999}',
        '{"name": ""}',
        '{"name": 7}',
        '{"name": "a\\u0000b"}',
        '{"name": "\\ud800"}',
        '{"\\ud800": 1}',
        '{"url": "javascript:alert(1)"}',
        '{"url": "file:///etc/passwd"}',
        '{"color": "red"}',
        "[]",
        '"text"',
        "null",
        "{",
        "[" * 100_000,
        '{"latitude": ' + "9" * 5000 + "}",
    ],
    ids=lambda change: change[:24],
)
def test_a_put_that_makes_no_sense_changes_nothing(client, change):
    before = client.get("/v1/landmarks").json()
    for id in ("palazzo-1", "new"):
        response = client.put(
            f"/v1/landmarks/{id}", content=change.encode(), headers={"Content-Type": "application/json"}
        )
        check_error(response, 400)
    assert client.get("/v1/landmarks").json() == before


@pytest.mark.parametrize("id", ["a\0b", "x" * 501], ids=["NUL", "long"])
def test_an_id_that_cannot_be_stored_is_refused(client, id):
    check_error(client.put(url("landmarks", id), json={"name": "x"}), 400)
    check_error(client.get(url("landmarks", id)), 400)
    check_error(client.delete(url("landmarks", id)), 400)
    check_error(client.delete(url("references", id)), 400)
    check_error(client.get(url("pictures", id)), 400)
    photo = [("photos", ("x.jpg", jpeg(world.facade(40)), "image/jpeg"))]
    check_error(client.post("/v1/references", files=photo, data={"landmark": id}), 400)


def test_a_landmark_goes_with_its_references(client):
    assert client.delete("/v1/landmarks/palazzo-2").json() == {"removed": 2}
    check_error(client.delete("/v1/landmarks/palazzo-2"), 404)
    assert client.get("/v1/landmarks").json()["total"] == 5
    assert client.get("/v1/references").json()["total"] == 10
    check_error(client.get(url("pictures", "palazzo-2/photo-0.jpg")), 404)


# --- references -------------------------------------------------------------------------------------------------


def test_photos_added_are_what_the_next_photo_is_recognized_by(client, gallery_path):
    sent = [("photos", (f"{j}.jpg", jpeg(world.view(world.facade(50), j).pixels), "image/jpeg")) for j in range(2)]
    fields = {"landmark": "torre/1", "name": "Torre", "latitude": "41.5", "longitude": "12.25", "url": "http://x.it/"}
    later = [("photos", ("later.jpg", jpeg(world.view(world.facade(50), 77).pixels), "image/jpeg"))]
    assert client.post("/v1/recognize", files=later).json()["results"][0]["landmark"] is None
    response = client.post("/v1/references", files=sent, data=fields)
    assert response.status_code == 201, response.text
    report = response.json()
    assert (len(report["added"]), report["skipped"], report["failures"]) == (2, 0, [])
    assert all(reference["landmark"] == "torre/1" and len(reference["sha256"]) == 64 for reference in report["added"])
    landmark = {"id": "torre/1", "name": "Torre", "latitude": 41.5, "longitude": 12.25, "url": "http://x.it/"}
    (answer,) = client.post("/v1/recognize", files=later).json()["results"]
    assert answer["landmark"] == landmark
    assert {c["reference"] for c in answer["candidates"][:2]} == {reference["id"] for reference in report["added"]}
    names = sorted(path.name for path in (gallery_path / "photos").iterdir())
    assert names == sorted(reference["sha256"] for reference in report["added"])
    again = client.post("/v1/references", files=sent, data={"landmark": "torre/1"})
    assert (again.status_code, again.json()) == (201, {"added": [], "skipped": 2, "failures": []})
    assert client.get("/v1/landmarks/torre%2F1").json()["name"] == "Torre"
    for reference in report["added"]:
        assert client.delete(url("references", reference["id"])).json() == {"removed": 1}
        check_error(client.delete(url("references", reference["id"])), 404)
    assert list((gallery_path / "photos").iterdir()) == []
    assert client.post("/v1/recognize", files=later).json()["results"][0]["landmark"] is None
    assert client.get("/v1/landmarks/torre%2F1").json()["references"] == 0


def test_a_photo_of_another_landmark_is_not_taken_over(client, photos):
    taken = photos / "palazzo-0" / "photo-0.jpg"
    response = client.post("/v1/references", files=files(taken), data={"landmark": "palazzo-1"})
    assert response.status_code == 201
    report = response.json()
    assert (report["added"], report["skipped"]) == ([], 0)
    (failure,) = report["failures"]
    assert failure["photo"] == "photo-0.jpg"
    assert (failure["error"]["code"], failure["error"]["status"]) == (409, "ALREADY_EXISTS")
    assert "palazzo-0" in failure["error"]["message"]
    assert str(photos) not in json.dumps(report)
    assert client.get("/v1/references?landmark=palazzo-0").json()["total"] == 2


def test_bad_photos_are_told_and_good_ones_of_the_same_name_added(client):
    good = [jpeg(world.facade(60 + i, 192, 144)) for i in range(2)]
    sent = [("photos", ("photo.jpg", content, "image/jpeg")) for content in (good[0], b"no photo", good[1])]
    report = client.post("/v1/references", files=sent, data={"landmark": "new"}).json()
    assert len(report["added"]) == 2
    (failure,) = report["failures"]
    assert (failure["photo"], failure["error"]["code"]) == ("photo.jpg", 400)


def test_references_are_added_by_json_too(client):
    photo = {"name": "a.jpg", "content": base64_of(jpeg(world.facade(60, 192, 144)))}
    body = {"photos": [photo], "landmark": "new", "name": "New", "latitude": 1, "longitude": 2.5}
    response = client.post("/v1/references", json=body)
    assert (response.status_code, len(response.json()["added"])) == (201, 1)
    assert client.get("/v1/landmarks/new").json()["latitude"] == 1.0


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"landmark": ""},
        {"landmark": "a", "latitude": "200"},
        {"landmark": "a", "longitude": "east"},
        {"landmark": "a", "url": "javascript:1"},
        {"landmark": "a", "name": "x" * 501},
        {"landmark": "a", "photos": "text"},
    ],
    ids=str,
)
def test_references_of_no_landmark_or_a_senseless_one_are_refused(client, fields):
    photo = [("photos", ("x.jpg", jpeg(world.facade(60, 192, 144)), "image/jpeg"))]
    check_error(client.post("/v1/references", files=photo, data=fields), 400)
    assert client.get("/v1/references").json()["total"] == 12
    assert client.get("/v1/landmarks").json()["total"] == 6


def test_references_are_listed_and_paged_without_saying_where_their_photos_lie(reading, photos):
    whole = reading.get("/v1/references").json()
    assert whole["total"] == 12
    assert [list(reference) for reference in whole["references"]] == [["id", "landmark", "sha256"]] * 12
    assert reading.get("/v1/references?offset=10&limit=5").json()["references"] == whole["references"][10:]
    part = reading.get("/v1/references?landmark=palazzo-3").json()
    assert [reference["id"] for reference in part["references"]] == ["palazzo-3/photo-0.jpg", "palazzo-3/photo-1.jpg"]
    assert reading.get("/v1/references?landmark=nobody").json() == {"references": [], "total": 0}


def test_pictures_are_small_or_as_large_as_the_photo_still_is(tmp_path, built):
    world.save(world.facade(70, 640, 400), tmp_path / "photos" / "villa" / "a.jpg")
    with Gallery.create(tmp_path / "one") as gallery:
        gallery.add(tmp_path / "photos")
    with inside(tmp_path / "one", token=None) as client:

        def picture(size):
            response = client.get(url("pictures", "villa/a.jpg", size=size))
            assert response.status_code == 200
            assert response.headers["content-type"] == "image/webp"
            return PIL.Image.open(io.BytesIO(response.content)).size

        assert (picture("small"), picture("large")) == ((160, 100), (640, 400))
        assert client.get(url("pictures", "villa/a.jpg")).content == (
            client.get(url("pictures", "villa/a.jpg", size="small")).content
        )
        (tmp_path / "photos" / "villa" / "a.jpg").unlink()
        assert (picture("small"), picture("large")) == ((160, 100), (160, 100))
        check_error(client.get(url("pictures", "villa/b.jpg")), 404)
        check_error(client.get(url("pictures", "villa/a.jpg", size="huge")), 400)


# --- several galleries and other processes ----------------------------------------------------------------------


def test_all_galleries_are_asked_and_the_surest_answer_is_given(built, others, view, distractors):
    villa = [("photos", ("villa.jpg", jpeg(world.view(world.facade(21), 5).pixels), "image/jpeg"))]
    with inside(built, others, token=None) as client:
        assert [gallery["name"] for gallery in client.get("/v1/server").json()["galleries"]] == ["gallery", "others"]
        sent = [*files(view), *villa, *files(distractors[0])]
        results = client.post("/v1/recognize", files=sent).json()["results"]
        answers = [(answer["gallery"], answer["landmark"] and answer["landmark"]["id"]) for answer in results]
        assert answers[:2] == [("gallery", "palazzo-0"), ("others", "villa-21")]
        assert answers[2][1] is None
        named = client.post("/v1/recognize", files=villa, data={"gallery": "gallery"}).json()["results"][0]
        assert (named["gallery"], named["landmark"]) == ("gallery", None)
        assert client.get("/v1/landmarks?gallery=others").json()["total"] == 2
        assert client.get("/v1/landmarks").json()["total"] == 6
        landmark = client.get(url("landmarks", "villa-20", gallery="others")).json()
        assert landmark["references"] == 1
        check_error(client.get("/v1/landmarks/villa-20"), 404)
        assert client.get(url("pictures", "villa-20/straight.jpg", gallery="others")).status_code == 200
        sure = client.post(
            "/v1/verify",
            files=[("photo", villa[0][1])],
            data={"reference": "villa-21/straight.jpg", "gallery": "others"},
        )
        assert sure.json()["num_inliers"] > 20


def test_a_gallery_that_is_not_served_is_not_found(client, view):
    for response in (
        client.get("/v1/landmarks?gallery=none"),
        client.get("/v1/landmarks/x?gallery=none"),
        client.put("/v1/landmarks/x?gallery=none", json={}),
        client.delete("/v1/landmarks/x?gallery=none"),
        client.get("/v1/references?gallery=../gallery"),
        client.delete("/v1/references/x?gallery=none"),
        client.get("/v1/pictures/x?gallery=none"),
        client.get("/v1/review?gallery=none"),
        client.get("/v1/review/1/photo?gallery=none"),
        client.post("/v1/review/1?gallery=none", json={"verdict": "reject"}),
        client.delete("/v1/review/1?gallery=none"),
        client.post("/v1/recognize", files=files(view), data={"gallery": "none"}),
        client.post("/v1/verify", files=files(view, field="photo"), data={"gallery": "none", "reference": "x"}),
        client.post("/v1/references", files=files(view), data={"gallery": "none", "landmark": "x"}),
        client.post("/v1/review", files=files(view), data={"gallery": "none"}),
        client.post("/v1/images:annotate?gallery=none", json={"requests": [{}]}),
    ):
        assert "there is no gallery" in check_error(response, 404)


def test_two_galleries_of_one_name_are_refused(built, gallery_path):
    with pytest.raises(GalleryError, match="another gallery served is called 'gallery' too"):
        create_app([built, gallery_path], warm=False)


def test_what_is_no_gallery_is_refused(tmp_path, built):
    with pytest.raises(GalleryError, match="is not a gallery"):
        create_app([built, tmp_path / "nothing"], warm=False)


def test_what_another_process_changes_is_seen_at_the_next_request(client, gallery_path, tmp_path, view):
    seen = [("photos", ("x.jpg", jpeg(world.view(world.facade(55), 3).pixels), "image/jpeg"))]
    assert client.post("/v1/recognize", files=seen).json()["results"][0]["landmark"] is None
    world.save(world.facade(55), tmp_path / "more" / "duomo" / "a.jpg")
    assert veduta("add", gallery_path, tmp_path / "more").returncode == 0
    assert client.post("/v1/recognize", files=seen).json()["results"][0]["landmark"]["id"] == "duomo"
    assert client.get("/v1/landmarks").json()["total"] == 7
    with Gallery.open(gallery_path) as gallery:
        gallery.remove(landmark="palazzo-0")
    assert recognized(client, view)[0]["landmark"] is None
    check_error(client.get("/v1/landmarks/palazzo-0"), 404)


# --- the token --------------------------------------------------------------------------------------------------


def writing_routes():
    """Every method and path that changes something or shows what was kept, whichever module it comes from."""
    app = create_app([], warm=False)
    nested = (getattr(route, "original_router", None) for route in app.routes)
    every = [*app.routes, *(route for router in nested if router for route in router.routes)]
    routes = {(method, route.path) for route in every for method in getattr(route, "methods", None) or ()}
    changing = {(method, path) for method, path in routes if method not in ("GET", "HEAD") and path not in ASKING}
    private = {
        (method, path) for method, path in routes if any(word in path for word in ("review", "session", "groups"))
    }
    return sorted(changing | private)


@pytest.mark.parametrize(("method", "path"), writing_routes())
def test_no_change_without_the_token(gallery_path, method, path):
    place = path.replace("{id:path}", "palazzo-0")
    place = place.replace("{number}", "1").replace("{group}", "1").replace("{sha256}", "0" * 64)
    with inside(gallery_path, token=None) as client:
        for headers in ({}, BEARER, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
            message = check_error(client.request(method, place, headers=headers, json=None), 403)
            assert "only reads" in message
    wrong = [
        None,
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer \xff\xfe",
    ]
    with inside(gallery_path, headers={}) as client:
        for given in wrong:
            headers = {"Authorization": given.encode("latin-1")} if given is not None else {}
            response = client.request(method, place, headers=headers)
            check_error(response, 401)
            assert response.headers["www-authenticate"] == "Bearer"
        assert client.request(method, place, headers=BEARER).status_code not in (401, 403)
    if method == "GET":
        return
    with inside(gallery_path, headers={}) as client:  # nothing was changed but by the request that showed it
        assert client.get("/v1/landmarks").json()["total"] >= 5


def test_every_kind_of_change_is_known_here():
    paths = {path for _, path in writing_routes()}
    assert paths == {
        "/v1/session",
        "/v1/groups",
        "/v1/groups/pictures/{sha256}",
        "/v1/groups/{group}/name",
        "/v1/landmarks/{id:path}",
        "/v1/references",
        "/v1/references/{id:path}",
        "/v1/review",
        "/v1/review/{number}",
        "/v1/review/{number}/photo",
    }


def test_the_session_says_whether_the_token_is_right(gallery_path):
    with inside(gallery_path, headers={}) as client:
        assert client.get("/v1/session", headers=BEARER).status_code == 204
        assert client.get("/v1/session", headers={"Authorization": f"bearer  {TOKEN} "}).status_code == 204
        check_error(client.get("/v1/session"), 401)


def test_a_token_that_can_be_guessed_is_refused():
    with pytest.raises(ValueError, match="at least 8 characters"):
        Settings(token="1234567")


def test_the_server_says_what_it_has_and_what_it_takes(built, gallery_path):
    with inside(built, token=None) as client:
        facts = client.get("/v1/server").json()
    assert set(facts) == {"version", "galleries", "writable", "library", "limits", "tiles"}
    (gallery,) = facts["galleries"]
    assert (gallery["name"], gallery["landmarks"], gallery["references"]) == ("gallery", 6, 12)
    assert (facts["writable"], facts["library"], facts["tiles"]) == (False, False, None)
    assert facts["limits"] == {"photo_bytes": 26214400, "body_bytes": 67108864, "photos": 16}
    tiles = ("https://tile.example/{z}/{x}/{y}.png", "© everybody")
    with inside(gallery_path, tiles=tiles, max_photos=3) as client:
        response = client.get("/v1/server")
    facts = response.json()
    assert (facts["writable"], facts["limits"]["photos"]) == (True, 3)
    assert facts["tiles"] == {"url": tiles[0], "attribution": tiles[1]}
    assert "img-src 'self' blob: data: https://tile.example;" in response.headers["content-security-policy"]


# --- errors -----------------------------------------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "sent", "code"),
    [
        ("GET", "/nothing", {}, 404),
        ("GET", "/v1/nothing", {}, 404),
        ("GET", "/static/nothing.js", {}, 404),
        ("GET", "/static/", {}, 404),
        ("GET", "/static/%00", {}, 404),
        ("GET", "/docs", {}, 404),
        ("POST", "/static/app.js", {}, 405),
        ("GET", "/v1/recognize", {}, 405),
        ("PATCH", "/v1/landmarks/x", {}, 405),
        ("POST", "/", {}, 405),
        ("POST", "/v1/recognize", {}, 415),
        ("POST", "/v1/recognize", {"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415),
        ("POST", "/v1/recognize", {"data": {"photos": "x"}}, 415),
        ("POST", "/v1/recognize", {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400),
        (
            "POST",
            "/v1/recognize",
            {"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=a"}},
            400,
        ),
        ("POST", "/v1/recognize", {"files": {"other": b"x"}}, 400),
        ("POST", "/v1/recognize", {"content": b"{", "headers": JSON}, 400),
        ("POST", "/v1/recognize", {"content": b"\xff\xfe{}", "headers": JSON}, 400),
        ("POST", "/v1/recognize", {"content": b"[" * 100_000, "headers": JSON}, 400),
        ("POST", "/v1/recognize", {"json": []}, 400),
        ("POST", "/v1/recognize", {"json": {}}, 400),
        ("POST", "/v1/recognize", {"json": {"photos": []}}, 400),
        ("POST", "/v1/recognize", {"json": {"photos": [7]}}, 400),
        ("POST", "/v1/recognize", {"json": {"photos": [{"content": None}]}}, 400),
        ("POST", "/v1/recognize", {"json": {"photos": ["not base64!"]}}, 400),
        ("POST", "/v1/recognize", {"json": {"photos": ["é"]}}, 400),
        ("POST", "/v1/review/1", {"content": b"{", "headers": JSON}, 400),
        ("POST", "/v1/review/1", {"json": {"verdict": "perhaps"}}, 400),
        ("POST", "/v1/review/x", {"json": {"verdict": "reject"}}, 400),
        ("POST", "/v1/review/0", {"json": {"verdict": "reject"}}, 404),
        ("POST", "/v1/review/99999999999999999999", {"json": {"verdict": "reject"}}, 404),
        ("GET", "/v1/review/1/photo", {}, 404),
        ("DELETE", "/v1/review/1", {}, 404),
        ("GET", "/v1/review?state=some", {}, 400),
        ("POST", "/v1/images:annotate", {"content": b"{", "headers": JSON}, 400),
        ("POST", "/v1/images:annotate", {"json": {}}, 400),
    ],
)
def test_every_error_has_one_shape(client, method, path, sent, code):
    check_error(client.request(method, path, **sent), code)


def test_what_goes_wrong_inside_says_nothing_of_the_server(gallery_path, tmp_path):
    with inside(gallery_path) as client:

        @client.app.get("/broken")
        def broken():
            raise ZeroDivisionError(str(tmp_path))

        response = client.get("/broken")
        assert check_error(response, 500) == "something went wrong; see the server's log"
        assert "content-security-policy" in response.headers
        assert client.get("/v1/server").status_code == 200


def test_a_gallery_that_breaks_meanwhile_is_told_without_saying_where_it_is(gallery_path, view):
    with inside(gallery_path) as client:
        with contextlib.closing(sqlite3.connect(gallery_path / GALLERY_FILE)) as db:
            db.executescript("DROP TABLE reference; DROP TABLE landmark; DROP TABLE meta;")
        for response in (client.get("/v1/landmarks"), client.post("/v1/recognize", files=files(view))):
            assert str(gallery_path) not in check_error(response, 500)
        check_error(client.get("/readyz"), 503)
        assert client.get("/healthz").json() == {"status": "ok"}


# --- the review queue -------------------------------------------------------------------------------------------


def keep(client, *paths):
    response = client.post("/v1/review", files=files(*paths))
    assert response.status_code == 200, response.text
    return response.json()["items"]


def listed(client, state="open"):
    body = client.get(f"/v1/review?state={state}").json()
    assert body["total"] == len(body["items"])
    return [item["id"] for item in body["items"]]


def test_photos_are_kept_with_their_answer_and_shown(client, view, distractors, corrupt):
    response = client.post("/v1/review", files=files(view, corrupt, distractors[0]))
    first, second = response.json()["items"]
    (failure,) = response.json()["failures"]
    assert (failure["photo"], failure["error"]["code"]) == ("corrupt.jpg", 400)
    assert without_time([first["answer"]]) == without_time(recognized(client, view))
    assert (first["photo"], first["verdict"], first["landmark"]) == (Path(view).name, None, None)
    assert second["answer"]["landmark"] is None
    assert list(first) == ["id", "photo", "sha256", "added", "answer", "verdict", "landmark"]
    assert keep(client, view) == [first]  # once
    assert client.get("/v1/review").json() == {"items": [first, second], "total": 2}
    shown = client.get(f"/v1/review/{first['id']}/photo")
    assert shown.headers["content-type"] == "image/jpeg"
    assert shown.headers["cache-control"] == "no-store"
    assert PIL.Image.open(io.BytesIO(shown.content)).size == (world.WIDTH, world.HEIGHT)


def test_verdicts_are_noted_and_survive_a_restart(gallery_path, views, distractors):
    paths = list(views)
    with inside(gallery_path) as client:
        numbers = [item["id"] for item in keep(client, paths[0], distractors[0], paths[2], paths[4])]
        judged = client.post(f"/v1/review/{numbers[0]}", json={"verdict": "accept"}).json()
        assert (judged["verdict"], judged["landmark"]) == ("accepted", "palazzo-0")
        judged = client.post(f"/v1/review/{numbers[1]}", json={"verdict": "reject"}).json()
        assert (judged["verdict"], judged["landmark"]) == ("rejected", None)
        correction = {"verdict": "correct", "landmark": "il castello, vecchio"}
        judged = client.post(f"/v1/review/{numbers[2]}", json=correction).json()
        assert (judged["verdict"], judged["landmark"]) == ("corrected", "il castello, vecchio")
        assert (listed(client), listed(client, "done"), listed(client, "all")) == (numbers[3:], numbers[:3], numbers)
        before = client.get("/v1/review?state=all").json()
    with inside(gallery_path) as client:
        assert client.get("/v1/review?state=all").json() == before
        assert client.delete(f"/v1/review/{numbers[3]}").status_code == 204
        check_error(client.get(f"/v1/review/{numbers[3]}/photo"), 404)
        check_error(client.delete(f"/v1/review/{numbers[3]}"), 404)
        assert listed(client, "all") == numbers[:3]


def test_a_verdict_makes_a_reference(client, gallery_path, strangers, view):
    later = [("photos", ("x.jpg", jpeg(world.view(world.facade(500), 901).pixels), "image/jpeg"))]
    stranger, known = keep(client, strangers[0], view)
    verdict = {"verdict": "correct", "landmark": "rocca", "name": "La Rocca", "reference": True}
    judged = client.post(f"/v1/review/{stranger['id']}", json=verdict).json()
    assert (judged["verdict"], judged["landmark"]) == ("corrected", "rocca")
    landmark = client.get("/v1/landmarks/rocca").json()
    assert (landmark["name"], landmark["references"]) == ("La Rocca", 1)
    assert client.post("/v1/recognize", files=later).json()["results"][0]["landmark"]["id"] == "rocca"
    client.post(f"/v1/review/{known['id']}", json={"verdict": "accept", "reference": True})
    assert client.get("/v1/landmarks/palazzo-0").json()["references"] == 3
    # A photo is a reference of one landmark: the second thought is refused and the first verdict stays.
    other = {"verdict": "correct", "landmark": "palazzo-1", "reference": True}
    check_error(client.post(f"/v1/review/{known['id']}", json=other), 409)
    assert client.get("/v1/review?state=done").json()["items"][1]["landmark"] == "palazzo-0"


def test_accepting_no_answer_accepts_the_best_guess(client, strangers):
    (item,) = keep(client, strangers[0])
    answer = item["answer"]
    assert answer["landmark"] is None
    judged = client.post(f"/v1/review/{item['id']}", json={"verdict": "accept"}).json()
    assert (judged["verdict"], judged["landmark"]) == ("accepted", answer["guesses"][0]["landmark"]["id"])


def test_there_may_be_nothing_to_accept(tmp_path):
    with Gallery.create(tmp_path / "empty"):
        pass
    with inside(tmp_path / "empty") as client:
        (item,) = keep(client, world.save(world.facade(3), tmp_path / "a.png"))
        check_error(client.post(f"/v1/review/{item['id']}", json={"verdict": "accept"}), 400)


def test_a_verdict_that_makes_no_sense_is_refused(client, distractors):
    (item,) = keep(client, distractors[0])
    for verdict in (
        {"verdict": "correct"},
        {"verdict": "correct", "landmark": ""},
        {"verdict": "correct", "landmark": "a\0b"},
        {"verdict": "correct", "landmark": "x" * 501},
        {"verdict": "correct", "landmark": 7},
        {"verdict": "correct", "landmark": "x", "name": "a\0b", "reference": True},
        {"verdict": "reject", "color": "red"},
        {"verdict": "reject", "reference": "perhaps"},
        {"verdict": ["reject"]},
        {},
    ):
        check_error(client.post(f"/v1/review/{item['id']}", json=verdict), 400)
    assert listed(client) == [item["id"]]
    assert client.get("/v1/landmarks").json()["total"] == 6


def test_verdicts_are_exported_as_a_table_that_calibrate_reads(gallery_path, views, distractors, tmp_path):
    paths = list(views)
    with inside(gallery_path) as client:
        numbers = [item["id"] for item in keep(client, paths[0], distractors[0], paths[2], paths[4])]
        client.post(f"/v1/review/{numbers[0]}", json={"verdict": "accept"})
        client.post(f"/v1/review/{numbers[1]}", json={"verdict": "reject"})
        client.post(f"/v1/review/{numbers[2]}", json={"verdict": "correct", "landmark": 'a "b", c'})
        done = veduta("review", "export", gallery_path, tmp_path / "out")  # while the server runs
        assert done.returncode == 0, done.stderr
    rows, failures = list_csv(tmp_path / "out" / "photos.csv")
    assert failures == []
    assert [row.landmark.id for row in rows] == ["palazzo-0", "none", 'a "b", c']
    assert [Path(row.photo).read_bytes() for row in rows] == [
        Path(path).read_bytes() for path in (paths[0], distractors[0], paths[2])
    ]


def test_the_queue_belongs_to_its_gallery(built, others, tmp_path, view):
    folders = [shutil.copytree(path, tmp_path / path.name) for path in (built, others)]
    with inside(*folders) as client:
        response = client.post("/v1/review", files=files(view), data={"gallery": "others"})
        (item,) = response.json()["items"]
        assert item["answer"]["gallery"] == "others"
        assert listed(client) == []
        assert client.get("/v1/review?gallery=others").json()["total"] == 1
        check_error(client.post(f"/v1/review/{item['id']}", json={"verdict": "reject"}), 404)
    assert len(ReviewQueue(folders[1]).items()) == 1


# --- figures ----------------------------------------------------------------------------------------------------


def figures(client):
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = list(text_string_to_metric_families(response.text))
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created"))
    }


def test_figures_count_what_was_asked_and_answered(gallery_path, view, distractors, corrupt):
    with inside(gallery_path) as client:
        recognized(client, view, distractors[0], corrupt)
        client.post("/v1/images:annotate", json={"requests": [vision_request(view)]})
        for id in ("a", "b/c"):
            client.get(f"/v1/landmarks/{id}")
        client.get("/made-up-1")
        client.request("BREW", "/v1/server")
        values = figures(client)

        def requests(method, route, status):
            labels = sorted({"method": method, "route": route, "status": str(status)}.items())
            return values.get(("veduta_requests_total", *labels), 0)

        assert requests("POST", "/v1/recognize", 200) == 1
        assert requests("POST", "/v1/images:annotate", 200) == 1
        assert requests("GET", "/v1/landmarks/{id:path}", 404) == 2
        assert requests("GET", "other", 404) == 1
        assert sum(v for key, v in values.items() if key[0] == "veduta_requests_total" and "other" in str(key)) == 2
        answers = ("veduta_answers_total", ("answer", "landmark"), ("gallery", "gallery"))
        assert values[answers] == 2
        assert values["veduta_answers_total", ("answer", "none"), ("gallery", "gallery")] == 1
        assert values["veduta_references", ("gallery", "gallery")] == 12
        assert values[("veduta_requests_admitted",)] == 0
        assert values["veduta_request_seconds_count", ("route", "/v1/recognize")] == 1
        assert "made-up" not in str(values)
        assert (
            figures(client)["veduta_requests_total", ("method", "GET"), ("route", "/metrics"), ("status", "200")] == 1
        )


def vision_request(path):
    return {
        "image": {"content": base64_of(Path(path).read_bytes())},
        "features": [{"type": "LANDMARK_DETECTION"}],
    }


# --- what a browser is told -------------------------------------------------------------------------------------


def test_every_kind_of_answer_carries_the_security_headers(gallery_path, view):
    with inside(gallery_path, max_body=100_000, hosts=("testserver",), max_photos=2) as client:
        responses = [
            client.get("/"),
            client.get("/static/app.js"),
            client.get("/static/nothing"),
            client.get("/healthz"),
            client.get("/metrics"),
            client.get("/openapi.json"),
            client.get("/v1/server"),
            client.get("/v1/session"),
            client.get("/v1/session", headers={"Authorization": "Bearer wrong"}),
            client.get("/v1/nothing"),
            client.get("/v1/pictures/palazzo-0%2Fphoto-0.jpg"),
            client.post("/v1/recognize", files=files(view)),
            client.post("/v1/recognize", content=b"x" * 100_001, headers=JSON),
            client.post("/v1/recognize", headers={"Origin": "https://evil.example"}),
            client.get("/v1/server", headers={"Host": "evil.example"}),
            client.put("/v1/landmarks/x", json={"name": 7}),
            client.request("OPTIONS", "/v1/recognize"),
            client.request("BREW", "/"),
        ]
    assert {response.status_code for response in responses} >= {200, 204, 400, 401, 403, 404, 405, 413, 421}
    for response in responses:
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "base-uri 'none'" in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cross-origin-opener-policy"] == "same-origin"
        assert "access-control-allow-origin" not in response.headers


def test_a_server_answers_to_its_own_names_only(built):
    with inside(built, token=None, hosts=loopback_names(("photos.example",))) as client:
        for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "PHOTOS.example:443"):
            assert client.get("/v1/server", headers={"Host": host}).status_code == 200
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "photos.example.", "[", ""):
            check_error(client.get("/v1/server", headers={"Host": host}), 421)


def test_pages_of_other_sites_change_and_ask_nothing(built, view):
    with inside(built, token=None) as client:

        def post(**headers):
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            return client.post("/v1/recognize", files=files(view), headers=headers)

        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "http://testserver.evil.example"},
            {"Origin": "http://evil.example@testserver"},
            {"Origin": "http://testserver:8080"},
            {"Origin": "null"},
            {"Origin": ""},
            {"Origin": "http://["},
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
        ):
            check_error(post(**headers), 403)
        for headers in (
            {},
            {"Origin": "http://testserver"},
            {"Origin": "http://testserver", "Sec_Fetch_Site": "same-origin"},
            {"Sec_Fetch_Site": "none"},
        ):
            assert post(**headers).status_code == 200
        looked = client.get("/v1/server", headers={"Origin": "https://evil.example"})
        assert looked.status_code == 200
        assert "access-control-allow-origin" not in looked.headers


def test_a_site_that_is_allowed_may_use_the_services(built, view):
    site = "https://album.example"
    with inside(built, token=None, content_aliases=(site,)) as client:
        preflight_headers = {"Origin": site, "Access-Control-Request-Method": "POST"}
        allowed = client.options(
            "/v1/recognize", headers=preflight_headers | {"Access-Control-Request-Headers": "authorization"}
        )
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == site
        response = client.post("/v1/recognize", files=files(view), headers={"Origin": site})
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == site
        for other in ("https://evil.example", "http://album.example", "https://album.example.evil.example"):
            refused = client.post("/v1/recognize", files=files(view), headers={"Origin": other})
            check_error(refused, 403)
            assert "access-control-allow-origin" not in refused.headers
            preflight = client.options("/v1/recognize", headers=preflight_headers | {"Origin": other})
            assert preflight.status_code == 400
            assert "access-control-allow-origin" not in preflight.headers


def test_the_page_and_all_it_needs_are_served(reading):
    page = reading.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.content == (STATIC / "index.html").read_bytes()
    assert reading.get("/favicon.ico").headers["content-type"].startswith("image/svg+xml")
    kinds = {".js": "javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
    for path in (path for path in STATIC.rglob("*") if path.is_file()):
        response = reading.get(f"/static/{quote(path.relative_to(STATIC).as_posix())}")
        assert response.status_code == 200
        assert response.content == path.read_bytes()
        assert kinds.get(path.suffix, "") in response.headers["content-type"]


def test_the_description_names_every_service(reading):
    description = reading.get("/openapi.json").json()
    assert {"/v1/recognize", "/v1/verify", "/v1/review/{number}", "/v1/images:annotate"} <= set(description["paths"])
    body = description["paths"]["/v1/recognize"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/json"}


def test_every_answer_in_json_is_described_by_its_fields(reading):
    description = reading.get("/openapi.json").json()
    schemas = description["components"]["schemas"]
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            for response in operation["responses"].values():
                schema = response.get("content", {}).get("application/json", {}).get("schema")
                if schema:
                    assert schemas[schema["$ref"].rpartition("/")[2]]["properties"], (method, path)


def test_a_photo_beyond_the_limits_never_becomes_a_reference(gallery_path):
    content = jpeg(world.facade(40, 192, 144))
    for limits in ({"max_photo": len(content) - 1}, {"max_pixels": 192 * 144 - 1}):
        with inside(gallery_path, **limits) as client:
            photo = [("photos", ("x.jpg", content, "image/jpeg"))]
            report = client.post("/v1/references", files=photo, data={"landmark": "new"}).json()
        (failure,) = report["failures"]
        assert (failure["photo"], failure["error"]["code"], report["added"]) == ("x.jpg", 400, [])
        assert "more than" in failure["error"]["message"]


def test_health_and_readiness_are_told(reading):
    assert reading.get("/healthz").json() == {"status": "ok"}
    assert reading.get("/readyz").json() == {"status": "ok"}
