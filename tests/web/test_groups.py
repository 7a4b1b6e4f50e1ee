"""Groups of a library over HTTP: listed, shown, named and taken back, as 'veduta library name' does."""

import io
import json

import PIL.Image
import pytest
from support.cli import run
from support.photos import grouped_library
from support.servers import check_error, files, inside

from veduta.gallery import Gallery
from veduta.landmarks import Landmark
from veduta.library import Library


@pytest.fixture
def folder(tmp_path):
    """A library: 0, 1 and 2 are group 1, 3 and 4 are group 2, 5 is group 3."""
    return grouped_library(tmp_path / "library", (3, 2, 1))


@pytest.fixture
def mine(tmp_path):
    """Folder of an empty gallery."""
    Gallery.create(tmp_path / "mine").close()
    return tmp_path / "mine"


@pytest.fixture
def client(folder, mine):
    with Library(folder) as library, inside(mine, library=library) as opened:
        yield opened


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """(client, library's folder, gallery's folder) of a library of which nothing may be named."""
    folder, mine = tmp_path_factory.mktemp("library"), tmp_path_factory.mktemp("galleries") / "mine"
    grouped_library(folder, (3, 2, 1))
    Gallery.create(mine).close()
    with Library(folder) as library, inside(mine, library=library) as opened:
        yield opened, folder, mine


def groups(client, state="all"):
    return {one["group"]: one for one in client.get(f"/v1/groups?state={state}").json()["groups"]}


def sha256(client, group, number=0):
    return groups(client)[group]["photos"][number]["sha256"]


def name(client, *rows, **fields):
    response = client.post("/v1/groups", json={"names": list(rows), **fields})
    assert response.status_code == 200, response.text
    return response.json()


def labels(folder):
    with Library(folder) as library:
        return {a.file.name: a.label and a.label.landmark.id for a in library.assets()}


def references(mine):
    with Gallery.open(mine) as gallery:
        return {landmark.id: count for landmark, count in gallery.landmarks()}


def test_groups_are_listed_with_their_photos_and_places(untouched):
    client = untouched[0]
    body = client.get("/v1/groups").json()
    assert body["total"] == 3
    first = body["groups"][0]
    assert [photo["name"] for photo in first["photos"]] == ["0.jpg", "1.jpg", "2.jpg"]
    assert (first["landmark"], first["guess"], first["position"]) == (None, None, [45.41, 12.3])
    assert first["photos"][0]["taken"] == "2020-01-01T12:00:00"
    assert [one["group"] for one in client.get("/v1/groups?offset=1&limit=1").json()["groups"]] == [2]
    assert client.get("/v1/server").json()["library"] is True


def test_a_photo_of_a_group_is_shown_small(untouched):
    client = untouched[0]
    shown = client.get(f"/v1/groups/pictures/{sha256(client, 1)}")
    assert (shown.headers["content-type"], shown.headers["cache-control"]) == ("image/webp", "no-store")
    assert max(PIL.Image.open(io.BytesIO(shown.content)).size) <= 320


def test_a_named_group_is_told_apart_from_the_others(client, folder, mine):
    body = name(client, {"group": 1, "name": "Ca' d'Oro"})
    assert body["gallery"] == "mine"
    (named,) = body["named"]
    assert (named["landmark"]["id"], named["landmark"]["name"]) == ("ca-d-oro", "Ca' d'Oro")
    assert (named["photos"], named["added"], named["failures"]) == (3, 3, [])
    assert set(groups(client, "unnamed")) == {2, 3}
    assert set(groups(client, "named")) == {1}
    assert references(mine) == {"ca-d-oro": 3}
    (again,) = name(client, {"group": 1, "name": "Ca' d'Oro"})["named"]
    assert (again["photos"], again["added"]) == (3, 0)


LEFT_OUT = [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (2, 1), (0, 0), (2, 2, 0)]


def test_photos_left_out_get_no_name_and_are_no_references(client, folder, mine):
    for out in LEFT_OUT:
        row = {"group": 1, "name": "Rialto", "without": [sha256(client, 1, i) for i in out]}
        (named,) = name(client, row)["named"]
        left = 3 - len(set(out))
        assert (named["photos"], named["added"]) == (left, left), out
        expected = {f"{i}.jpg": "rialto" if i < 3 and i not in out else None for i in range(6)}
        assert labels(folder) == expected
        assert references(mine) == {"rialto": left}
        assert [photo["named"] for photo in groups(client)[1]["photos"]] == [i not in out for i in range(3)]
        assert client.delete("/v1/groups/1/name").json() == {"photos": left, "removed": left}
        assert references(mine) == {}


@pytest.mark.parametrize(("groups_named", "kept"), [((1,), True), ((3, 1, 2), True), ((2, 1), False)])
def test_the_page_and_the_command_leave_the_same(tmp_path, folder, mine, groups_named, kept):
    other = grouped_library(tmp_path / "other", (3, 2, 1))
    for number in groups_named:
        rest = ["--gallery", tmp_path / "theirs"] if kept else []
        run("library", "name", other, str(number), f"Place {number}", *rest)
    with Library(folder) as library, inside(mine, library=library) as client:
        name(client, *[{"group": number, "name": f"Place {number}"} for number in groups_named], references=kept)
    assert labels(folder) == labels(other)
    assert references(mine) == (references(tmp_path / "theirs") if kept else {})


def test_a_name_is_taken_back_with_what_naming_made(client, folder, mine):
    before = labels(folder)
    with Gallery.open(mine) as gallery:
        gallery.add_photo(folder / "0.jpg", Landmark("rialto", "Rialto"))
    name(client, {"group": 1, "name": "Rialto"}, {"group": 2, "name": "Frari"})
    assert client.delete("/v1/groups/1/name").json() == {"photos": 3, "removed": 2}
    assert client.delete("/v1/groups/2/name").json() == {"photos": 2, "removed": 2}
    assert labels(folder) == before
    assert references(mine) == {"rialto": 1}
    assert "no name" in check_error(client.delete("/v1/groups/1/name"), 409)


def test_a_landmark_that_the_gallery_knows_keeps_its_place_and_page(client, mine):
    known = Landmark("rialto", "Rialto", 45.438, 12.3359, "https://example.org/rialto")
    with Gallery.open(mine) as gallery:
        gallery.put_landmark(known)
    name(client, {"group": 1, "name": "Rialto", "id": "rialto"})
    with Gallery.open(mine) as gallery:
        assert gallery.landmarks("rialto")[0][0] == known
    name(client, {"group": 1, "name": "Rialto", "id": "rialto", "latitude": 1.5, "longitude": 2.5})
    with Gallery.open(mine) as gallery:
        moved = gallery.landmarks("rialto")[0][0]
    assert (moved.latitude, moved.longitude, moved.url) == (1.5, 2.5, known.url)


def test_a_photo_that_is_gone_is_told_without_the_folders_of_the_server(client, folder):
    (folder / "1.jpg").write_bytes(b"no photo any more")
    (named,) = name(client, {"group": 1, "name": "Rialto"})["named"]
    assert named["added"] == 2
    (failure,) = named["failures"]
    assert failure["photo"] == "1.jpg"
    assert failure["error"]["message"] == "1.jpg: cannot be read as a photo any more"


def test_a_reference_of_another_landmark_is_told(client, folder, mine):
    with Gallery.open(mine) as gallery:
        gallery.add_photo(folder / "0.jpg", Landmark("frari", "Frari"))
    (named,) = name(client, {"group": 1, "name": "Rialto"})["named"]
    assert (named["photos"], named["added"]) == (3, 2)
    (failure,) = named["failures"]
    assert failure["error"]["code"] == 409
    assert failure["error"]["message"] == "0.jpg: is a reference of another landmark already"
    assert references(mine) == {"frari": 1, "rialto": 2}


ROW = {"group": 1, "name": "Rialto"}


@pytest.mark.parametrize(
    ("names", "code", "problem"),
    [
        ([], 400, "names"),
        ("Rialto", 400, "names"),
        ([{"group": 1}], 400, "name"),
        ([{"name": "Rialto"}], 400, "group"),
        ([ROW | {"name": ""}], 400, "name"),
        ([ROW | {"name": "x" * 501}], 400, "name"),
        ([ROW | {"name": "\ud800"}], 400, "name"),
        ([ROW | {"name": "a\0b"}], 400, "name"),
        ([ROW | {"name": "???"}], 400, "no letter or digit"),
        ([ROW | {"group": 0}], 400, "group"),
        ([ROW | {"group": -1}], 400, "group"),
        ([ROW | {"group": 2**70}], 400, "group"),
        ([ROW | {"group": "first"}], 400, "group"),
        ([ROW | {"group": 9}], 404, "there is no group 9"),
        ([ROW, ROW], 400, "named twice"),
        ([ROW, {"group": 9, "name": "X"}], 404, "there is no group 9"),
        ([ROW, {"group": 2, "name": "!"}], 400, "no letter or digit"),
        ([ROW | {"latitude": 45.0}], 400, "longitude"),
        ([ROW | {"latitude": 91, "longitude": 0}], 400, "latitude"),
        ([ROW | {"latitude": "nan", "longitude": 0}], 400, "latitude"),
        ([ROW | {"without": ["../0.jpg"]}], 400, "without"),
        ([ROW | {"without": ["0" * 64]}], 400, "expected photos of group 1"),
        ([ROW | {"without": ["0" * 64] * 1001}], 400, "without"),
        ([ROW | {"path": "/etc/passwd"}], 400, "path"),
        ([ROW] * 101, 400, "names"),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_and_nothing_is_named(untouched, names, code, problem):
    client, folder, mine = untouched
    sent = {"content": json.dumps({"names": names}), "headers": {"Content-Type": "application/json"}}
    assert problem in check_error(client.post("/v1/groups", **sent), code)
    assert set(labels(folder).values()) == {None}
    assert references(mine) == {}


def test_a_photo_of_another_group_cannot_be_left_out(untouched):
    client = untouched[0]
    wrong = ROW | {"without": [sha256(client, 2)]}
    check_error(client.post("/v1/groups", json={"names": [wrong]}), 400)
    everything = ROW | {"without": [sha256(client, 1, i) for i in range(3)]}
    assert "no photo" in check_error(client.post("/v1/groups", json={"names": [everything]}), 400)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v1/groups?state=some", 400),
        ("GET", "/v1/groups?limit=0", 400),
        ("GET", "/v1/groups?limit=100000", 400),
        ("GET", "/v1/groups?offset=-1", 400),
        ("GET", f"/v1/groups/pictures/{'0' * 64}", 404),
        ("GET", "/v1/groups/pictures/0.jpg", 400),
        ("GET", "/v1/groups/pictures/..%2F..%2Fcatalog.sqlite", 404),
        ("DELETE", "/v1/groups/9/name", 404),
        ("DELETE", "/v1/groups/0/name", 400),
        ("DELETE", "/v1/groups/x/name", 400),
        ("DELETE", f"/v1/groups/{2**70}/name", 400),
        ("DELETE", "/v1/groups/1/name?gallery=none", 404),
    ],
)
def test_what_is_not_there_is_told(untouched, method, path, code):
    check_error(untouched[0].request(method, path), code)


def test_bodies_of_other_kinds_and_sites_are_refused(untouched):
    client = untouched[0]
    check_error(client.post("/v1/groups", content=b"{", headers={"Content-Type": "application/json"}), 400)
    check_error(client.post("/v1/groups", content=b"group,name", headers={"Content-Type": "text/csv"}), 415)
    elsewhere = {"Origin": "https://evil.example"}
    check_error(client.post("/v1/groups", json={"names": [ROW]}, headers=elsewhere), 403)
    check_error(client.delete("/v1/groups/1/name", headers=elsewhere), 403)


def test_a_server_without_a_library_says_so(mine):
    with inside(mine) as client:
        for response in (
            client.get("/v1/groups"),
            client.get(f"/v1/groups/pictures/{'0' * 64}"),
            client.post("/v1/groups", json={"names": [ROW]}),
            client.delete("/v1/groups/1/name"),
        ):
            assert "has no library" in check_error(response, 404)


def test_the_queue_of_the_library_is_that_of_the_first_gallery(folder, mine, gallery_path, view):
    with Library(folder) as library, inside(gallery_path, mine, library=library) as client:
        client.post("/v1/review", files=files(view))
        assert client.get("/v1/review").json()["total"] == 1
        assert client.get("/v1/review?gallery=mine").json()["total"] == 0
    assert (folder / ".veduta" / "review.sqlite").exists()
