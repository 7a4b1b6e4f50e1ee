"""Programs decide by an error's type and fields, never by its sentence."""

import json
import pickle
import re
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest

import veduta
from veduta import errors
from veduta.errors import (
    BusyError,
    ConflictError,
    FailureCode,
    GalleryError,
    ImageError,
    LibraryError,
    NotFoundError,
    NotInstalledError,
    PrecisionError,
    TooLargeError,
    VedutaError,
)
from veduta.files import locked
from veduta.gallery.ingest import AddReport
from veduta.landmarks import Landmark
from veduta.types import Failure

SOURCE = Path(veduta.__file__).parent
CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VedutaError)]


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = re.findall(r"^    ([ │├└─]*)(\w+Error)\b", errors.__doc__, re.MULTILINE)
    depths = {name: len(indent) // 4 for indent, name in drawn}
    assert depths == {kind.__name__: kind.__mro__.index(VedutaError) for kind in CLASSES}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_is_public_and_has_a_code(kind):
    assert getattr(veduta, kind.__name__) is kind
    assert kind.code in get_args(FailureCode)


@pytest.mark.parametrize(
    ("error", "message", "fields"),
    [
        (GalleryError("a: is gone"), "a: is gone", {"problem": "a: is gone", "remedy": ""}),
        (LibraryError("a: is bad; very", "mend it"), "a: is bad; very; mend it", {"problem": "a: is bad; very"}),
        (
            ImageError("a; b", "is empty", "get it"),
            "a; b: is empty; get it",
            {"name": "a; b", "reason": "is empty; get it"},
        ),
        (TooLargeError("a", "is huge"), "a: is huge", {"name": "a", "reason": "is huge", "code": "too_large"}),
        (NotInstalledError("a", "takes b"), "a: takes b", {"name": "a", "reason": "takes b", "code": "unreadable"}),
        (
            NotFoundError("landmark", "x; see y", "/srv/g", "see the list"),
            "/srv/g: has no landmark 'x; see y'; see the list",
            {"kind": "landmark", "id": "x; see y", "subject": "landmark 'x; see y'"},
        ),
        (NotFoundError("photo", 7, "/q", "it went"), "/q: has no photo number 7; it went", {"kind": "photo", "id": 7}),
        (
            ConflictError("a.jpg", "r", "l", "m"),
            "a.jpg: is already a reference of landmark 'l', not of 'm'; remove that reference first if it is wrong",
            {"reference": "r", "landmark": "l", "code": "conflict"},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_messages_are_made_of_fields_and_errors_travel_between_processes(error, message, fields):
    for one in (error, pickle.loads(pickle.dumps(error))):
        assert type(one) is type(error)
        assert str(one) == message
        assert {name: getattr(one, name) for name in fields} == fields


def test_a_failure_has_the_code_of_its_error_and_prints_without_it():
    failure = Failure.of("a", TooLargeError("a", "is huge"))
    assert failure == Failure("a", "a: is huge", "too_large")
    assert failure.to_dict() == {"photo": "a", "error": "a: is huge"}
    assert Failure("a", "a: is already a reference of b").code == "unreadable"


def test_a_folder_that_is_locked_is_busy(tmp_path):
    with locked(tmp_path), pytest.raises(BusyError) as raised, locked(tmp_path):
        pass
    assert str(raised.value) == f"{tmp_path}: another process is writing here; wait for it or end it"


# --- the server -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (NotFoundError("landmark", "a; see b", "/srv/x; see y", "see"), 404, "there is no landmark 'a; see b'"),
        (NotFoundError("reference", "it has no a", "/srv", ""), 404, "there is no reference 'it has no a'"),
        (NotFoundError("photo", 3, "/srv/q", "it was forgotten"), 404, "there is no photo number 3"),
        (
            GalleryError("/srv/x: has no landmark 'a'; see the list"),
            500,
            "the gallery cannot be used; see the server's log",
        ),
        (BusyError("/srv/x: has no room; see it"), 500, "the gallery cannot be used; see the server's log"),
        (ImageError("a.jpg", "has no pixels; see it"), 400, "a.jpg: has no pixels; see it"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_status_follows_from_the_type_whatever_the_sentence_says(error, code, message):
    from veduta.web.errors import to_api_error

    told = to_api_error(error)
    assert (told.code, told.message) == (code, message)
    assert "/srv" not in told.message


@pytest.mark.parametrize(("code", "status"), [("conflict", 409), ("unreadable", 400), ("unstorable", 400)])
@pytest.mark.parametrize("sentence", ["a: is already a reference of b", "a: anything"])
def test_the_status_of_a_failed_reference_follows_from_its_code(code, status, sentence):
    from contextlib import nullcontext

    from veduta.web.routes.gallery import add_photos

    report = AddReport((), 0, (Failure("a", sentence, code),))
    served = SimpleNamespace(lock=nullcontext(), gallery=SimpleNamespace(add_contents=lambda photos, landmark: report))
    (failure,) = add_photos(None, served, [], Landmark("b")).failures
    assert (failure.error.code, failure.error.message) == (status, sentence)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PrecisionError("none reaches it"), 400),
        (NotFoundError("landmark", "a", "/srv", ""), 404),
        (GalleryError("precision: a"), 500),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_an_unreachable_precision_is_the_fault_of_the_option(error, code):
    from veduta.web.errors import error_response
    from veduta.web.fields import UploadedPhoto
    from veduta.web.routes.api import RecognizeRequest, _answer

    def best(*_, **options):
        raise error

    engine = SimpleNamespace(decode=lambda content, name: None, best=best)
    photo = UploadedPhoto("a.jpg", b"")
    with pytest.raises(Exception) as raised:  # noqa: PT011 - either kind, as the server would turn it into an answer
        _answer(engine, [], photo, RecognizeRequest(photos=[photo], precision=0.9))
    answer = json.loads(error_response(raised.value).body)["error"]
    assert answer["code"] == code
    assert "/srv" not in answer["message"]


# --- the rule ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_module_reads_the_sentence_of_an_error(path):
    reading = re.compile(
        r"""["'] (?:not )?in (?:str\(\w+\)|\w+\.(?:error|message|problem)\b)"""
        r"""|(?:str\((?:error|failure)\)|\.error)\.(?:replace|partition|rpartition|startswith|endswith|removeprefix|find|index)\("""
        r"""|re\.\w+\([^\n]*str\(error\)"""
    )
    assert not [line for line in path.read_text("utf-8").splitlines() if reading.search(line)]
