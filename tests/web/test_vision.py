"""The services in others' shapes: Google's own client asks a real server, PhotoPrism's requests are sent as it does."""

import asyncio
import http.server
import json
import shutil
import threading
import uuid
import warnings
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pytest
from support import world
from support.components import carry
from support.processes import PATIENCE
from support.servers import base64_of, check_error, inside, jpeg, serving

from veduta.gallery import Gallery
from veduta.landmarks import Landmark
from veduta.web.image_source import FaultError, Sources
from veduta.web.settings import Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what their modules are made of, not of anything of ours
    pytest.importorskip("google.cloud.vision")
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import vision
    from google.cloud.vision_v1.services.image_annotator.transports import ImageAnnotatorRestTransport
    from google.longrunning import operations_pb2
    from google.protobuf import json_format

# Two are known to stand somewhere: in Venice and in Sydney.
PLACES = {"palazzo-0": (45.4341, 12.3388), "palazzo-1": (-33.8568, 151.2153)}
FIRST, LANDMARKS = "/v1/images:annotate", [{"type": "LANDMARK_DETECTION"}]


class Site(http.server.BaseHTTPRequestHandler):
    """A site of photos, with other things beside them."""

    pages: dict = {}  # noqa: RUF012
    requested: list = []  # noqa: RUF012

    def do_GET(self):
        self.requested.append(self.path)
        if self.path.startswith("/allowed/garbage"):
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            return
        if self.path.startswith("/allowed/moved"):
            self.send_response(302)
            self.send_header("Location", "/private/secret.jpg")
            self.end_headers()
            return
        content = self.pages.get(self.path)
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(view):
    """Address of a site on loopback, photos below /allowed/ and /private/."""
    content = Path(view).read_bytes()
    paths = ("/allowed/view.jpg", "/private/secret.jpg", "/allowed-not/view.jpg")
    Site.pages = dict.fromkeys(paths, content) | {"/allowed/page.html": b"<html>no photo</html>"}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def placed(built, tmp_path_factory):
    """Folder of a gallery that knows where two landmarks stand and what one is called. Read only."""
    path = shutil.copytree(built, tmp_path_factory.mktemp("placed") / "gallery")
    with Gallery.open(path) as gallery:
        for id, place in PLACES.items():
            gallery.put_landmark(Landmark(id, f"The {id}", *place))
    return path


class Asked(NamedTuple):
    """A server that runs, and Google's client of it."""

    address: str
    client: object
    lines: list


@pytest.fixture(scope="module")
def google(placed, site):
    """Google's client of a server that runs as a process."""
    with serving(placed, token=None, options=["--allow-image-prefix", f"{site}/allowed/"]) as started:
        transport = ImageAnnotatorRestTransport(
            host=started.address.removeprefix("http://"), url_scheme="http", credentials=AnonymousCredentials()
        )
        with vision.ImageAnnotatorClient(transport=transport) as client:
            yield Asked(started.address, client, started.lines)
    assert not any("Traceback" in line for line in started.lines), "".join(started.lines)


@pytest.fixture(scope="module")
def plain(placed):
    """Client of a server in this process, which fetches from nowhere."""
    with inside(placed, token=None) as client:
        yield client


def google_image(path):
    return vision.Image(content=Path(path).read_bytes())


def request_for(path, **more):
    content = path if isinstance(path, bytes) else Path(path).read_bytes()
    return {"image": {"content": base64_of(content)}, "features": LANDMARKS, **more}


def annotated(client, *requests):
    response = client.post(FIRST, json={"requests": list(requests)})
    assert response.status_code == 200, response.text
    assert list(response.json()) == ["responses"]
    return response.json()["responses"]


# --- through Google's client ------------------------------------------------------------------------------------


def test_googles_client_reads_the_landmark_its_place_and_where_in_the_photo_it_is(google, view):
    (annotation,) = google.client.landmark_detection(image=google_image(view)).landmark_annotations
    assert (annotation.mid, annotation.description) == ("palazzo-0", "The palazzo-0")
    assert 0.5 <= annotation.score <= 1
    (location,) = annotation.locations
    assert (location.lat_lng.latitude, location.lat_lng.longitude) == pytest.approx(PLACES["palazzo-0"])
    assert len(annotation.bounding_poly.vertices) == 4


def test_googles_client_reads_no_annotation_for_none(google, distractors):
    for path in distractors[:2]:
        response = google.client.landmark_detection(image=google_image(path))
        assert list(response.landmark_annotations) == []
        assert response.error.code == 0


def test_a_bad_image_in_a_batch_has_an_error_of_its_own(google, view, distractors):
    feature = vision.Feature(type_=vision.Feature.Type.LANDMARK_DETECTION, max_results=1)
    images = [google_image(view), vision.Image(content=b"no photo"), google_image(distractors[0]), vision.Image()]
    batch = [vision.AnnotateImageRequest(image=image, features=[feature]) for image in images]
    responses = google.client.batch_annotate_images(requests=batch).responses
    assert [response.error.code for response in responses] == [0, 3, 0, 3]
    assert [len(response.landmark_annotations) for response in responses] == [1, 0, 0, 0]
    assert "image.content" in responses[1].error.message
    assert google.lines[1:] == []


def test_googles_client_is_told_what_is_not_done_here(google, view):
    kinds = vision.Feature.Type
    features = [vision.Feature(type_=kind) for kind in (kinds.LANDMARK_DETECTION, kinds.LABEL_DETECTION)]
    both = google.client.annotate_image({"image": google_image(view), "features": features})
    assert [annotation.mid for annotation in both.landmark_annotations] == ["palazzo-0"]
    assert both.error.code == 12
    label = google.client.annotate_image({"image": google_image(view), "features": features[1:]})
    assert (len(label.landmark_annotations), label.error.code) == (0, 12)


def test_more_than_sixteen_requests_are_refused_as_googles_client_expects(google, view):
    from google.api_core.exceptions import BadRequest

    feature = vision.Feature(type_=vision.Feature.Type.LANDMARK_DETECTION)
    small = vision.Image(content=jpeg(world.facade(0, 96, 72)))
    batch = [vision.AnnotateImageRequest(image=small, features=[feature])] * 17
    with pytest.raises(BadRequest, match="at most 16"):
        google.client.batch_annotate_images(requests=batch)
    assert len(google.client.batch_annotate_images(requests=batch[:16]).responses) == 16


def rectangle(south, west, north, east):
    low, high = ({"latitude": y, "longitude": x} for y, x in ((south, west), (north, east)))
    return vision.ImageContext(lat_long_rect=vision.LatLongRect(min_lat_lng=low, max_lat_lng=high))


@pytest.mark.parametrize(("id", "number"), [("palazzo-0", 0), ("palazzo-1", 2)])
def test_a_rectangle_far_from_the_landmark_speaks_against_it(google, views, id, number):
    path = list(views)[number]
    north, east = PLACES[id]

    def score(context=None):
        response = google.client.landmark_detection(image=google_image(path), image_context=context)
        assert response.error.code == 0
        return {annotation.mid: annotation.score for annotation in response.landmark_annotations}.get(id, 0.0)

    plain, near = score(), score(rectangle(north - 0.01, east - 0.01, north + 0.01, east + 0.01))
    far, whole = score(rectangle(60, -150, 65, -140)), score(rectangle(-90, -180, 90, 180))
    assert far < plain <= near
    assert plain <= whole


def test_an_image_at_an_address_is_fetched_where_that_is_allowed(google, site):
    image = vision.Image(source=vision.ImageSource(image_uri=f"{site}/allowed/view.jpg"))
    (annotation,) = google.client.landmark_detection(image=image).landmark_annotations
    assert annotation.mid == "palazzo-0"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/allowed/nothing.jpg", "status 404"),
        ("/allowed/page.html", "not a photo"),
        ("/allowed/moved.jpg", "status 302"),
        ("/allowed/garbage", "cannot be fetched"),
    ],
)
def test_what_an_allowed_address_gives_is_no_reason_to_fail(google, site, path, message):
    image = vision.Image(source=vision.ImageSource(image_uri=f"{site}{path}"))
    error = google.client.landmark_detection(image=image).error
    assert error.code == 3
    assert message in error.message
    assert "/private/secret.jpg" not in Site.requested


@pytest.mark.parametrize(
    "address",
    [
        "{site}/private/secret.jpg",
        "{site}/allowed",
        "{site}/allowed-not/view.jpg",
        "{site}/allowed/../private/secret.jpg",
        "{site}/allowed/..",
        "{site}/allowed/..?x",
        "{site}/allowed/..#x",
        "{site}/allowed/%2e%2e/private/secret.jpg",
        "{site}/allowed/.%2E/private/secret.jpg",
        "{site}/allowed/..%2fprivate/secret.jpg",
        "{site}/allowed/..\\private/secret.jpg",
        "{site}/allowed/..%5cprivate/secret.jpg",
        "{site}/allowed/ ../private/secret.jpg",
        "http://user@{host}/allowed/view.jpg",
        "{site}@evil.example/allowed/view.jpg",
        "HTTP://{host}/allowed/view.jpg",
        "https://{host}/allowed/view.jpg",
        "file:///etc/hostname",
        "ftp://{host}/allowed/view.jpg",
        "gopher://{host}/allowed/",
        "data:image/jpeg;base64,AAAA",
        "gs://bucket/view.jpg",
        "//{host}/allowed/view.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost/allowed/",
        "{site}\r\nX: y/allowed/",
    ],
)
def test_no_other_address_is_fetched(google, site, address):
    image = vision.Image(source=vision.ImageSource(image_uri=address.format(site=site, host=site[7:])))
    before = len(Site.requested)
    response = google.client.landmark_detection(image=image)
    assert response.error.code == 7
    assert len(Site.requested) == before


def test_an_allowed_site_is_no_other_that_begins_like_it():
    settings = Settings(image_prefixes=("http://127.0.0.1:1", "https://photos.example/a"))
    for address in (
        "http://127.0.0.1:12/x.jpg",
        "http://127.0.0.1:1.evil.example/x.jpg",
        "http://127.0.0.1:1@evil.example/x.jpg",
        "https://photos.example.evil.example/a",
        "https://photos.example:444/a",
    ):
        with pytest.raises(FaultError, match="does not fetch from there"):
            asyncio.run(Sources(settings).fetch(address))
    with pytest.raises(FaultError, match="cannot be fetched"):
        asyncio.run(Sources(settings).fetch("http://127.0.0.1:1/x.jpg"))


def test_an_operation_that_is_done_is_what_googles_messages_understand(google, view, distractors):
    body = {"requests": [request_for(view), request_for(b"no photo"), request_for(distractors[0])]}
    response = httpx.post(f"{google.address}/v1/images:asyncBatchAnnotate", json=body, timeout=PATIENCE)
    operation = json_format.Parse(response.text, operations_pb2.Operation(), ignore_unknown_fields=True)
    assert operation.done
    assert operation.name.startswith("operations/")
    assert operation.response.Unpack(vision.AsyncBatchAnnotateImagesResponse.pb()())
    beside = {"responses": response.json()["response"]["responses"]}
    answer = json_format.ParseDict(beside, vision.BatchAnnotateImagesResponse.pb()())
    assert [len(one.landmark_annotations) for one in answer.responses] == [1, 0, 0]
    assert [one.error.code for one in answer.responses] == [0, 3, 0]


PARENTS = [
    "",
    "projects/p",
    "projects/my-project-123",
    "projects/example.com:my-project",
    "projects/42",
    "projects/p/locations/l",
    "projects/p/locations/eu",
    "projects/p/locations/us-west1",
    "projects/my-project-123/locations/-",
    "projects/locations/locations/projects",
]


@pytest.mark.parametrize("parent", PARENTS)
def test_googles_client_may_put_a_project_and_a_location_before(google, view, parent):
    feature = vision.Feature(type_=vision.Feature.Type.LANDMARK_DETECTION)
    asked = [vision.AnnotateImageRequest(image=google_image(view), features=[feature])]
    (one,) = google.client.batch_annotate_images({"requests": asked, "parent": parent}).responses
    assert one.landmark_annotations[0].mid == "palazzo-0"
    operation = google.client.async_batch_annotate_images({"requests": asked, "parent": parent})
    assert operation.done()
    assert type(operation.result(timeout=PATIENCE)) is vision.AsyncBatchAnnotateImagesResponse
    assert operation.exception() is None
    assert operation.operation.name.startswith(f"{parent}/operations/" if parent else "operations/")
    metadata = operation.metadata
    assert metadata.state is vision.OperationMetadata.State.DONE
    assert metadata.create_time <= metadata.update_time


@pytest.mark.parametrize("parent", PARENTS)
def test_an_address_may_begin_with_a_project_and_a_location(plain, view, parent):
    at = f"/v1/{parent}/images" if parent else "/v1/images"
    body = {"requests": [request_for(view)]}
    (one,) = plain.post(f"{at}:annotate", json=body).json()["responses"]
    operation = plain.post(f"{at}:asyncBatchAnnotate?gallery=gallery", json=body).json()
    assert operation["response"]["responses"] == [one]
    assert one["landmarkAnnotations"][0]["mid"] == "palazzo-0"
    assert operation["name"].startswith(f"{parent}/operations/".lstrip("/"))


@pytest.mark.parametrize(
    "path",
    [
        "projects/images:annotate",
        "projects//images:annotate",
        "projects/p/q/images:annotate",
        "projects/p/locations/images:annotate",
        "projects/p/locations//images:annotate",
        "projects/p/locations/l/m/images:annotate",
        "locations/l/images:annotate",
        "projects/p/images:annotate/",
        "projects/p/files:annotate",
        "projects/p/images",
    ],
)
def test_no_other_address_is_one_of_googles(plain, view, path):
    check_error(plain.post(f"/v1/{path}", json={"requests": [request_for(view)]}), 404)


# --- what goes over the wire ------------------------------------------------------------------------------------


def test_what_is_zero_or_empty_goes_without_saying(plain, view, distractors):
    answer, none = annotated(plain, request_for(view), request_for(distractors[0]))
    assert none == {}
    assert list(answer) == ["landmarkAnnotations"]
    (annotation,) = answer["landmarkAnnotations"]
    assert list(annotation) == ["mid", "description", "score", "boundingPoly", "locations"]
    assert all(value != 0 for vertex in annotation["boundingPoly"]["vertices"] for value in vertex.values())
    json_format.ParseDict(answer, vision.AnnotateImageResponse.pb()())


def test_a_place_on_equator_and_meridian_is_still_told(gallery_path, view):
    with Gallery.open(gallery_path) as gallery:
        gallery.put_landmark(Landmark("palazzo-0", "Null", 0.0, 0.0))
    with inside(gallery_path, token=None) as client:
        (answer,) = annotated(client, request_for(view))
    assert answer["landmarkAnnotations"][0]["locations"] == [{"latLng": {}}]


def test_a_landmark_whose_place_nobody_said_has_no_location(plain, views):
    (answer,) = annotated(plain, request_for(list(views)[4]))
    (annotation,) = answer["landmarkAnnotations"]
    assert annotation["mid"] == annotation["description"] == "palazzo-2"
    assert "locations" not in annotation


def drawn_box(seed, way):
    """The outermost pixels of a facade's building in a view, within the photo: left, top, right, bottom."""
    corners = [(0.06 * world.WIDTH, 0.15 * world.HEIGHT), (0.94 * world.WIDTH, 0.15 * world.HEIGHT)]
    corners += [(0.94 * world.WIDTH, world.HEIGHT), (0.06 * world.WIDTH, world.HEIGHT)]
    seen = carry(world.homography(way), np.array(corners))
    inside = np.clip(seen, 0, [world.WIDTH - 1, world.HEIGHT - 1])
    return *inside.min(0), *inside.max(0)


def test_the_box_lies_in_the_photo_and_around_the_drawn_building(plain, views):
    for i in range(6):
        (answer,) = annotated(plain, request_for(list(views)[2 * i]))
        (annotation,) = answer["landmarkAnnotations"]
        vertices = [(v.get("x", 0), v.get("y", 0)) for v in annotation["boundingPoly"]["vertices"]]
        (left, top), (_, _), (right, bottom), _ = vertices
        assert vertices == [(left, top), (right, top), (right, bottom), (left, bottom)]
        assert 0 <= left < right < world.WIDTH
        assert 0 <= top < bottom < world.HEIGHT
        a, b, c, d = drawn_box(i, 7000 + 10 * i)
        common = max(0, min(right, c) - max(left, a)) * max(0, min(bottom, d) - max(top, b))
        together = (right - left) * (bottom - top) + (c - a) * (d - b) - common
        assert common / together > 0.5
        assert common / ((right - left) * (bottom - top)) > 0.8


def test_fields_may_be_called_as_in_json_or_as_in_protocol_buffers(plain, view):
    place = {"latitude": 60.0, "longitude": -150.0}
    camel = request_for(view, imageContext={"latLongRect": {"minLatLng": place, "maxLatLng": place}})
    snake = request_for(view, image_context={"lat_long_rect": {"min_lat_lng": place, "max_lat_lng": place}})
    camel["features"] = [{"type": "LANDMARK_DETECTION", "maxResults": 3}]
    snake["features"] = [{"type": 2, "max_results": 3}]
    one, two, alone = annotated(plain, camel, snake, request_for(view))
    assert one == two != alone


def test_max_results_is_a_most(plain, view):
    for most in (1, 50, 0, -1):
        request = request_for(view)
        request["features"] = [{"type": "LANDMARK_DETECTION", "maxResults": most}]
        (answer,) = annotated(plain, request)
        assert len(answer["landmarkAnnotations"]) == 1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, 12),
        ({"features": []}, 12),
        ({"features": "LANDMARK_DETECTION"}, 3),
        ({"features": ["LANDMARK_DETECTION"]}, 3),
        ({"features": [2]}, 3),
        ({"features": [None]}, 3),
        ({"features": [{"type": ["LANDMARK_DETECTION"]}]}, 12),
        ({"features": [{"type": "FACE_DETECTION"}]}, 12),
        ({"features": [{}]}, 12),
        ({"features": [{"type": 2, "maxResults": "many"}]}, 3),
        ({"features": LANDMARKS}, 3),
        ({"features": LANDMARKS, "image": []}, 3),
        ({"features": LANDMARKS, "image": {"content": 7}}, 3),
        ({"features": LANDMARKS, "image": {"content": "not base64!"}}, 3),
        ({"features": LANDMARKS, "image": {"content": ""}}, 3),
        ({"features": LANDMARKS, "image": {"source": "x"}}, 3),
        ({"features": LANDMARKS, "image": {"source": {"imageUri": 7}}}, 3),
        ({"features": LANDMARKS, "image": {"source": {"imageUri": "https://x.example/a.jpg"}}}, 7),
        ({"features": LANDMARKS, "image": {"source": {"gcsImageUri": "gs://bucket/a.jpg"}}}, 7),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_each_request_of_a_batch_fails_by_itself(plain, view, fields, code):
    bad, good = annotated(plain, fields, request_for(view))
    assert list(bad) == ["error"]
    assert list(bad["error"]) == ["code", "message"]
    assert bad["error"]["code"] == code
    assert good["landmarkAnnotations"][0]["mid"] == "palazzo-0"


@pytest.mark.parametrize(
    "corner",
    [
        {"latitude": 91},
        {"latitude": "north"},
        {"latitude": [1]},
        {"longitude": 181},
        {"latitude": 10**400},
        {"latitude": {}},
    ],
    ids=lambda corner: str(corner)[:24],
)
def test_a_rectangle_that_is_none_is_an_error_of_its_request(plain, view, corner):
    context = {"latLongRect": {"minLatLng": corner, "maxLatLng": corner}}
    (answer,) = annotated(plain, request_for(view, imageContext=context))
    assert answer["error"]["code"] == 3
    assert "latLongRect" in answer["error"]["message"]


@pytest.mark.parametrize(
    "body", [[], {}, {"requests": []}, {"requests": {}}, {"requests": [7]}, {"requests": [{}] * 17}], ids=str
)
def test_a_batch_that_is_none_is_refused(plain, body):
    check_error(plain.post(FIRST, json=body), 400)
    check_error(plain.post("/v1/images:asyncBatchAnnotate", json=body), 400)


def test_a_feature_that_is_no_text_is_told_as_text(plain):
    body = b'{"requests": [{"features": [{"type": "\\ud800\\n"}, {"\\ud800": 1}]}]}'
    response = plain.post(FIRST, content=body, headers={"Content-Type": "application/json"})
    assert response.json()["responses"][0]["error"]["code"] == 12


def test_no_storage_is_written_to(plain, view):
    for key, inner in (("outputConfig", "gcsDestination"), ("output_config", "gcs_destination")):
        body = {"requests": [request_for(view)], key: {inner: {"uri": "gs://bucket/out"}}}
        assert "storage" in check_error(plain.post("/v1/images:asyncBatchAnnotate", json=body), 400)
    for output in ({}, {"batchSize": 2}, None):
        body = {"requests": [request_for(view)], "outputConfig": output}
        assert plain.post("/v1/images:asyncBatchAnnotate", json=body).json()["done"] is True
    check_error(plain.post("/v1/images:asyncBatchAnnotate", json={"requests": [{}], "outputConfig": "x"}), 400)


# --- PhotoPrism -------------------------------------------------------------------------------------------------

LABELS = "/api/v1/vision/labels"


def data_url(path):
    return f"data:image/jpeg;base64,{base64_of(Path(path).read_bytes())}"


def test_photoprism_reads_the_landmark_as_a_label(plain, view):
    id = str(uuid.uuid4())
    response = plain.post(LABELS, json={"id": id, "model": "landmarks", "images": [data_url(view)]})
    assert response.status_code == 200
    body = response.json()
    assert (body["id"], body["code"], body["model"]["type"]) == (id, 200, "labels")
    (label,) = body["result"]["labels"]
    assert (label["name"], label["source"], label["categories"]) == ("The palazzo-0", "image", ["landmark"])
    assert 0.5 <= label["confidence"] == label["topicality"] <= 1


def test_photoprism_reads_no_label_for_none_and_each_landmark_once(plain, views, distractors):
    def labels(*paths):
        body = plain.post(LABELS, json={"images": [data_url(path) for path in paths]}).json()
        assert body["code"] == 200
        return [label["name"] for label in body["result"]["labels"]]

    paths = list(views)
    assert labels(distractors[0]) == []
    assert sorted(labels(paths[0], paths[1], distractors[0], paths[2])) == ["The palazzo-0", "The palazzo-1"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, 400),
        ({"images": []}, 400),
        ({"images": "data:,"}, 400),
        ({"images": [7]}, 400),
        ({"images": ["http://127.0.0.1/x.jpg"]}, 400),
        ({"images": ["/etc/hostname"]}, 400),
        ({"images": ["file:///etc/hostname"]}, 400),
        ({"images": ["data:image/jpeg;base64,?"]}, 400),
        ({"images": ["data:image/jpeg;base64,bm8gcGhvdG8="]}, 400),
        ({"images": ["data:image/jpeg,text"]}, 400),
        ({"images": ["data:,"] * 17}, 400),
        ([], 400),
        (7, 400),
    ],
    ids=lambda value: str(value)[:40],
)
def test_photoprism_reads_errors_as_text(plain, body, code):
    response = plain.post(LABELS, json=body)
    assert response.status_code == code
    answer = response.json()
    assert answer["code"] == code
    assert isinstance(answer["error"], str)
    assert answer["error"]
    assert answer["result"] == {"labels": []}
    assert answer["id"]


def test_photoprism_is_told_of_a_gallery_that_is_not_served(plain, view):
    response = plain.post(f"{LABELS}?gallery=none", json={"images": [data_url(view)]})
    assert response.status_code == response.json()["code"] == 404
    assert "there is no gallery" in response.json()["error"]
    odd = plain.post(LABELS, content=b'{"id": "\\ud800", "images": []}', headers={"Content-Type": "application/json"})
    assert odd.status_code == 400
