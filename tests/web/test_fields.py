"""Fields of requests as many kinds of clients write them: base64 in all its spellings, numbers as texts."""

import base64
import textwrap
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError
from support.servers import base64_of, check_error, inside

from veduta.errors import ImageError
from veduta.web.fields import Number, Photos, UploadedPhoto, WholeNumber, decode_base64
from veduta.web.request import RequestModel


def lines(text, ending, width=76):
    return ending.join(textwrap.wrap(text, width)) + ending


def standard(data):
    return base64.b64encode(data).decode()


def url_safe(data):
    return base64.urlsafe_b64encode(data).decode()


SPELLINGS = {
    "one line": standard,
    "url-safe": url_safe,
    "without padding": lambda data: standard(data).rstrip("="),
    "url-safe without padding": lambda data: url_safe(data).rstrip("="),
    "lines of 76, LF": lambda data: lines(standard(data), "\n"),
    "lines of 64, as in PEM": lambda data: lines(standard(data), "\n", 64),
    "lines of 76, CR LF": lambda data: lines(standard(data), "\r\n"),
    "lines, CR": lambda data: lines(standard(data), "\r"),
    "url-safe lines without padding": lambda data: lines(url_safe(data).rstrip("="), "\n", 60),
    "indented": lambda data: "  " + lines(standard(data), "\n    ", 72),
    "tabs": lambda data: lines(standard(data), "\t", 20),
    "blanks around": lambda data: f" \n{standard(data)} \r\n",
    "line end within the padding": lambda data: standard(data).replace("==", "=\n="),
    "both alphabets": lambda data: standard(data).replace("+", "-", 1),
    "data URL": lambda data: f"data:image/jpeg;base64,{standard(data)}",
    "data URL in capitals": lambda data: f"DATA:image/jpeg;BASE64,{standard(data)}",
    "data URL with parameters": lambda data: f"data:image/jpeg;name=a.jpg;base64,{url_safe(data).rstrip('=')}",
    "data URL with escapes": lambda data: (
        "data:;base64," + standard(data).replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    ),
    "data URL in lines": lambda data: f"data:image/png;base64,\n{lines(standard(data), chr(10))}",
}


@pytest.mark.parametrize("length", [1, 2, 3, 100, 1001])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_base64_is_read_however_it_is_spelled(spelling, length):
    data = (bytes(range(255, -1, -1)) * 4)[:length]  # begins with the digits of which the alphabets differ
    assert decode_base64(SPELLINGS[spelling](data)) == data


@pytest.mark.parametrize(
    "text",
    ["A", "AAAAA", "AA=A", "=AAA", "AAA==", "AA=", "AA*A", "é", "AAAA\x00", "AAAA\u2028AAAA", "A A A A A"],
    ids=ascii,
)
def test_what_is_no_base64_is_refused(text):
    with pytest.raises(PydanticCustomError, match="is not base64"):
        decode_base64(text)


@pytest.mark.parametrize("value", [None, 7, 1.5, True, ["AAAA"], {"content": "AAAA"}, b"AAAA"], ids=str)
def test_what_is_no_text_is_no_base64(value):
    with pytest.raises(PydanticCustomError, match="expected base64"):
        decode_base64(value)


class Numbers(BaseModel):
    count: WholeNumber = 0
    share: Number = 0.0


@pytest.mark.parametrize(
    ("written", "count"),
    [(3, 3), ("3", 3), (3.0, 3), ("3.0", 3), ("3e0", 3), ("30e-1", 3), (" 3 ", 3), ("-3", -3), ("+3", 3), ("0", 0)],
    ids=repr,
)
def test_a_whole_number_may_be_written_as_text(written, count):
    assert Numbers(count=written).count == count
    assert type(Numbers(count=written).count) is int


@pytest.mark.parametrize(
    ("written", "share"),
    [(0.5, 0.5), ("0.5", 0.5), ("5e-1", 0.5), (1, 1.0), ("1", 1.0), ("-0.25", -0.25), (" .5 ", 0.5), ("1E2", 100.0)],
    ids=repr,
)
def test_a_number_may_be_written_as_text(written, share):
    assert Numbers(share=written).share == share


@pytest.mark.parametrize(
    "field",
    [
        {"count": True},
        {"count": "three"},
        {"count": "3.5"},
        {"count": 3.5},
        {"count": "1e400"},
        {"count": "nan"},
        {"count": [3]},
        {"count": "0x3"},
        {"share": True},
        {"share": "NaN"},
        {"share": "-Infinity"},
        {"share": "half"},
        {"share": {}},
    ],
    ids=str,
)
def test_what_is_no_number_is_refused(field):
    with pytest.raises(ValidationError):
        Numbers(**field)


# --- one bad picture --------------------------------------------------------------------------------------------


class Sent(RequestModel):
    photos: Photos


BAD = {
    "no base64": "not base64!",
    "one digit too many": "AAAAA",
    "a number": 7,
    "nothing": None,
    "a list": ["AAAA"],
    "an object without content": {"name": "x.jpg"},
    "content that is a number": {"name": "x.jpg", "content": 7},
    "content that is nothing": {"name": "x.jpg", "content": None},
    "content in another alphabet": {"name": "x.jpg", "content": "éééé"},
    "true": True,
}


@pytest.mark.parametrize("bad", BAD)
def test_a_malformed_photo_keeps_its_fault_beside_others(bad):
    first, second, third = Sent(photos=["AAAA", BAD[bad], {"name": "z.jpg", "content": "AAAA"}]).photos
    assert (first.readable(), third.readable(), third.name) == (b"\0\0\0", b"\0\0\0", "z.jpg")
    with pytest.raises(ImageError, match="base64") as raised:
        second.readable()
    assert raised.value.name == second.name == ("x.jpg" if isinstance(BAD[bad], dict) else "photo")


@pytest.mark.parametrize("bad", BAD)
def test_photos_of_which_none_can_be_read_are_refused(bad):
    for photos in ([BAD[bad]], [BAD[bad]] * 3):
        with pytest.raises(ValidationError) as raised:
            Sent(photos=photos)
        assert raised.value.errors()[0]["loc"] == ("photos", 0)


def test_files_of_a_form_are_photos_as_they_are():
    photo = UploadedPhoto("a.jpg", b"x")
    assert Sent(photos=[photo]).photos == [photo]


@pytest.fixture(scope="module")
def client(built):
    with inside(built, token=None) as opened:
        yield opened


@pytest.mark.parametrize("bad", BAD)
def test_one_bad_picture_does_not_spoil_its_request(client, view, bad):
    good = base64_of(Path(view).read_bytes())
    results = client.post("/v1/recognize", json={"photos": [BAD[bad], good]}).json()["results"]
    assert results[0]["error"]["code"] == 400
    assert results[1]["landmark"]["id"] == "palazzo-0"
    check_error(client.post("/v1/recognize", json={"photos": [BAD[bad]]}), 400)


@pytest.mark.parametrize(
    "bad", ["data:,?", "x", 7, None, "data:image/jpeg;base64,AAAA", "http://127.0.0.1/x", {}], ids=str
)
def test_one_bad_picture_does_not_spoil_the_labels_of_its_photo(client, view, bad):
    good = f"data:image/jpeg;base64,{base64_of(Path(view).read_bytes())}"
    answer = client.post("/api/v1/vision/labels", json={"images": [bad, good]}).json()
    assert [label["name"] for label in answer["result"]["labels"]] == ["palazzo-0"]
    alone = client.post("/api/v1/vision/labels", json={"images": [bad]})
    assert (alone.status_code, alone.json()["error"][:9]) == (400, "images[0]")


@pytest.mark.parametrize(
    "bad", [7, None, [], "x", {"image": []}, {"image": {"content": "A"}}, {"features": 2}], ids=str
)
def test_one_bad_request_does_not_spoil_its_batch(client, view, bad):
    features = [{"type": "2", "maxResults": "3"}]
    good = {"image": {"content": base64_of(Path(view).read_bytes())}, "features": features}
    batch = {"requests": [bad, good]}
    first, second = client.post("/v1/images:annotate", json=batch).json()["responses"]
    assert first["error"]["code"] == 3
    assert second["landmarkAnnotations"][0]["mid"] == "palazzo-0"


def test_a_bad_photo_is_neither_kept_nor_added_and_others_are(gallery_path, view):
    photos = [{"name": "bad.jpg", "content": "?"}, {"name": "good.jpg", "content": base64_of(Path(view).read_bytes())}]
    with inside(gallery_path) as writing:
        for path, body, key in (("/v1/references", {"landmark": "new"}, "added"), ("/v1/review", {}, "items")):
            answer = writing.post(path, json={"photos": photos, **body}).json()
            assert len(answer[key]) == 1
            assert [failure["photo"] for failure in answer["failures"]] == ["bad.jpg"]


def test_the_number_from_which_on_files_go_to_the_disk_has_the_name_that_is_set():
    from starlette.formparsers import MultiPartParser

    from veduta.web.request import _Form
    from veduta.web.settings import Settings

    (name,) = {"spool_max_size", "max_file_size"} & set(vars(MultiPartParser))
    assert getattr(_Form, name) > 1000 * Settings.max_body
