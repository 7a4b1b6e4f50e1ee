"""The command line: inside this process where only what it prints matters, as a process where its end does."""

import csv
import hashlib
import inspect
import io
import json
import os
import shutil
import signal
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import PIL.Image
import pytest
from support import world
from support.cli import COMMANDS, EVERY, errors, refused, run, run_json
from support.processes import COMMAND, is_whole, references, started, veduta, wait_until

from veduta import __version__
from veduta.gallery import Gallery
from veduta.gallery.contents.export import export_gallery
from veduta.gallery.options import RecognizeOptions
from veduta.gallery.store import GALLERY_FILE
from veduta.models.cards import SHIPPED_MODELS, cards
from veduta.models.weights import pull_weights
from veduta.pair import verify
from veduta.training.decision.calibrate import calibrate_gallery
from veduta.web.app import create_app
from veduta.web.settings import Settings


@pytest.fixture
def queries(view, distractors, corrupt):
    """A view of palazzo-0, a distractor, and a file that is no photo."""
    return [view, distractors[0], str(corrupt)]


# --- the same names and defaults as the library -----------------------------------------------------------------

REQUIRED = inspect.Parameter.empty
RECOGNIZING = {
    "effort": "default",
    "budget_ms": None,
    "precision": None,
    "floor": None,
    "gps": True,
    "matcher": "nearest",
    "depth": 100,
    "rerank_depth": None,
    "landmarks": None,
    "near": None,
}
VERIFYING = {"draw": None, "extractor": "xfeat", "matcher": "nearest", "max_keypoints": 512, "max_side": 576}
# Command -> the call it makes, and what both take, with defaults.
PARITY = {
    "create": (
        Gallery.create,
        {"embedder": "efficientnet-lite2-landmarks", "extractor": "xfeat", "max_keypoints": 512, "max_side": 576},
    ),
    "add": (Gallery.add, {"source": None, "csv": None, "any_layout": False}),
    "remove": (Gallery.remove, {"landmark": None, "reference": None, "last_added": False}),
    "edit": (Gallery.edit, {"id": REQUIRED, "name": None, "position": None, "url": None}),
    "export": (export_gallery, {"out": REQUIRED}),
    "list": (Gallery.landmarks, {"id": None}),
    "trust": (Gallery.trust, {}),
    "info": (Gallery.info, {}),
    "recognize": (Gallery.recognize, {"photos": REQUIRED} | RECOGNIZING),
    "verify": (verify, {"a": REQUIRED, "b": REQUIRED} | VERIFYING),
    "explain": (Gallery.explain, {"photo": REQUIRED, "out": REQUIRED} | RECOGNIZING),
    "calibrate": (calibrate_gallery, {"source": None, "csv": None, "out": None}),
}
WHERE_AND_HOW = {
    "gallery",
    "provider",
    "format",
    "references",
    "folder",
    "list",
    "state",
    "reset",
}  # of a command: which gallery, and how to print
BOUND = {
    "self",
    "cls",
    "gallery",
    "provider",
    "progress",
    "comparing",
}  # of a call: what it is made on, and who watches


def taken_by_call(call):
    """Name -> default of what a function takes."""
    taken = inspect.signature(call).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in taken):  # the options of a recognition, or changes of them
        taken = [p for p in taken if p.kind is not p.VAR_KEYWORD and p.name != "options"]
        taken += inspect.signature(RecognizeOptions).parameters.values()
    return {p.name: p.default for p in taken if p.name not in BOUND}


def taken_by_command(command):
    """Name -> default of what a command takes."""
    taken = [p for p in command.params if p.name not in WHERE_AND_HOW]
    names = {"landmark": "landmarks"} if "near" in {p.name for p in taken} else {}  # said once for each
    return {names.get(p.name, p.name): REQUIRED if p.required else p.default for p in taken}


def test_every_command_on_galleries_is_in_the_table():
    elsewhere = {"index", "serve", "train"}  # held against Settings below, and against its recipe in test_train
    assert set(COMMANDS) == set(PARITY) | elsewhere


def test_a_server_started_by_the_command_has_the_limits_of_one_started_from_python():
    defaults = {parameter.name: parameter.default for parameter in COMMANDS["serve"].params}
    settings = Settings()
    assert defaults["queue"] == settings.queue
    assert defaults["max_body"] * 2**20 == settings.max_body
    assert defaults["max_photo"] * 2**20 == settings.max_photo
    assert defaults["provider"] == inspect.signature(create_app).parameters["provider"].default


@pytest.mark.parametrize("name", PARITY)
def test_a_command_takes_what_the_call_it_makes_takes(name):
    call, expected = PARITY[name]
    assert taken_by_call(call) == expected
    assert taken_by_command(COMMANDS[name]) == expected


@pytest.mark.parametrize("name", PARITY)
def test_gallery_provider_and_format_are_the_same_for_all_commands(name):
    params = {p.name: p for p in COMMANDS[name].params}
    if "gallery" in params:
        assert params["gallery"].required
        assert inspect.signature(Gallery.open).parameters["gallery"].default is REQUIRED
    if "provider" in params:
        assert params["provider"].default == inspect.signature(Gallery.open).parameters["provider"].default
        assert params["provider"].default == inspect.signature(verify).parameters["provider"].default
    if "format" in params:
        assert params["format"].default == "table"


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_help_names_every_option(words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for flag in ("--help", "-h"):
        text = run(*words, flag).stdout
        assert "Usage: " in text
        options = [param for param in EVERY[words].params if param.param_type_name == "option"]
        assert all(param.opts[0] in text for param in options)


@pytest.mark.parametrize("name", PARITY)
def test_an_option_is_called_what_the_library_calls_it(name):
    options = [param for param in COMMANDS[name].params if param.param_type_name == "option"]
    assert [param.opts for param in options] == [[f"--{param.name.replace('_', '-')}"] for param in options]


def test_help_names_every_command():
    text = run("--help").stdout
    assert all(words[0] in text for words in EVERY)


def test_version_is_the_packages():
    assert run("--version").stdout == f"veduta {__version__}\n"


# --- making a gallery -------------------------------------------------------------------------------------------


def test_a_gallery_is_made_filled_listed_and_emptied(tmp_path, view):
    gallery, folder = tmp_path / "gallery", world.build(tmp_path / "photos", landmarks=2)

    made = run("create", gallery)
    assert (made.stdout, made.stderr) == (
        "",
        f"made an empty gallery in {gallery}; add photos with: veduta add {gallery} DIR\n",
    )
    assert "nothing in it yet" in run("list", gallery).stderr
    assert run_json("list", gallery) == []

    assert run("add", gallery, folder).stderr == "added 4 references\n"
    assert run("add", gallery, folder).stderr == "added 0 references, 4 were there already\n"
    assert run_json("recognize", gallery, view)[0]["landmark"]["id"] == "palazzo-0"

    assert run("remove", gallery, "--reference", "palazzo-1/photo-0.jpg").stderr == "removed 1 reference\n"
    assert run("remove", gallery, "--landmark", "palazzo-0").stderr == "removed 2 references\n"
    assert [r["id"] for r in run_json("list", gallery, "--references")] == ["palazzo-1/photo-1.jpg"]


def test_create_takes_other_models(tmp_path):
    run("create", tmp_path / "gallery", "--extractor", "rootsift", "--max-keypoints", "100")
    settings = run_json("info", tmp_path / "gallery")["settings"]
    assert settings["extractor"]["name"] == "rootsift"
    assert settings["extractor"]["max_keypoints"] == 100


def test_add_names_each_photo_that_fails_and_ends_with_1(gallery_path, corrupt, tmp_path):
    folder = tmp_path / "more" / "torre"
    world.save(world.facade(77), folder / "good.jpg")
    shutil.copy(corrupt, folder / "bad.jpg")
    result = run("add", gallery_path, tmp_path / "more", code=1)
    failure, summary = result.stderr.splitlines()
    assert failure.startswith(f"veduta: {folder / 'bad.jpg'}: ")
    assert summary == "added 1 references, 1 failed"
    assert result.stdout == ""


def test_add_takes_a_table(gallery_path, tmp_path):
    new = world.save(world.facade(77), tmp_path / "new.jpg")
    table = tmp_path / "table.csv"
    table.write_text("photo,landmark,name,latitude,longitude\nnew.jpg,torre,La Torre,45.5,9.25\n")
    assert run("add", gallery_path, "--csv", table).stderr == "added 1 references\n"
    torre = run_json("list", gallery_path)[-1]
    assert torre == {
        "id": "torre",
        "name": "La Torre",
        "latitude": 45.5,
        "longitude": 9.25,
        "url": None,
        "references": 1,
    }
    assert run_json("list", gallery_path, "--references")[0] == {
        "id": "new.jpg",
        "landmark": "torre",
        "photo": str(new),
        "sha256": hashlib.sha256(new.read_bytes()).hexdigest(),
        "licence": None,
    }


def test_a_list_as_a_table_has_a_line_for_each(built):
    landmarks = run("list", built).stdout.splitlines()
    assert landmarks[0].split() == ["id", "name", "references"], "columns with nothing in them are left out"
    assert [line.split() for line in landmarks[1:]] == [[f"palazzo-{i}", f"palazzo-{i}", "2"] for i in range(6)]
    assert len(run("list", built, "--references").stdout.splitlines()) == 13


def test_info_tells_what_the_gallery_is_made_of(built):
    found = run_json("info", built)
    assert found["path"] == str(built)
    assert (found["landmarks"], found["references"]) == (6, 12)
    assert found["bytes"] >= (built / GALLERY_FILE).stat().st_size
    assert found["provider"] == "CPUExecutionProvider"
    text = run("info", built).stdout
    assert "embedder.sha256" in text
    assert found["settings"]["embedder"]["sha256"] in text


# --- recognizing ------------------------------------------------------------------------------------------------


def recognize(gallery, *photos, format, code=0, **options):
    return run("recognize", gallery, *photos, "--format", format, code=code, **options)


def check_shape(answer):
    if "error" in answer:
        assert list(answer) == ["photo", "error"]
        return
    assert list(answer) == ["photo", "landmark", "confidence", "evidence", "terms", "guesses", "seconds"]
    assert answer["landmark"] is None or list(answer["landmark"]) == ["id", "name"]
    assert 0 <= answer["confidence"] <= 1
    for candidate in answer["evidence"]:
        assert list(candidate) == ["reference", "landmark", "similarity", "num_inliers"]


def test_json_is_one_list_of_answers_in_the_order_asked(built, queries):
    result = recognize(built, *queries, format="json", code=1)
    answers = json.loads(result.stdout)
    assert [a["photo"] for a in answers] == queries
    for answer in answers:
        check_shape(answer)
    assert answers[0]["landmark"] == {"id": "palazzo-0", "name": "palazzo-0"}
    assert answers[1]["landmark"] is None
    assert answers[2]["error"] in errors(result)[0]


def test_jsonl_is_one_answer_a_line(built, queries):
    result = recognize(built, *queries, format="jsonl", code=1)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [a["photo"] for a in answers] == queries
    for answer in answers:
        check_shape(answer)


def test_csv_is_one_answer_a_row(built, queries):
    result = recognize(built, *queries, format="csv", code=1)
    known, none, failure = csv.DictReader(io.StringIO(result.stdout))
    header = ["photo", "landmark", "name", "confidence", "similarity", "num_inliers", "seconds", "error"]
    assert list(known) == header
    assert [row["photo"] for row in (known, none, failure)] == queries
    assert (known["landmark"], known["name"], known["error"]) == ("palazzo-0", "palazzo-0", "")
    assert float(known["confidence"]) > 0.9
    assert int(known["num_inliers"]) >= 30
    assert (none["landmark"], none["name"]) == ("", "")
    assert float(none["confidence"]) < 0.5
    assert failure["error"] in errors(result)[0]
    assert {failure[key] for key in header[1:-1]} == {""}


def test_a_table_is_one_answer_a_line(built, queries):
    header, *lines = recognize(built, *queries, format="table", code=1).stdout.splitlines()
    assert header.split() == ["photo", "landmark", "confidence", "evidence"]
    for line, photo, words in zip(lines, queries, ["palazzo-0", "none I know", "not read"], strict=True):
        assert line.startswith(photo + " ")
        assert words in line.removeprefix(photo)


def test_paths_are_printed_exactly_as_given(built, photos, view, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos / "palazzo-1", "some folder/inside")
    shutil.copy(view, "v.jpg")
    asked = ["v.jpg", "./v.jpg", "some folder/../v.jpg", "some folder//inside/", str(tmp_path / "v.jpg")]
    options = ("--rerank-depth", "0")
    answers = run_json("recognize", built, *asked, *options, code=0)
    inside = ["some folder//inside/photo-0.jpg", "some folder//inside/photo-1.jpg"]
    assert [a["photo"] for a in answers] == [*asked[:3], *inside, asked[4]]


def test_a_dash_stands_for_the_photos_named_on_stdin(built, view, distractors, tmp_path):
    lines = f"{distractors[0]}\n\n{tmp_path / 'missing.jpg'}\r\n{distractors[1]}"
    answers = run_json("recognize", built, view, "-", view, "--rerank-depth", "0", stdin=lines, code=1)
    expected = [view, distractors[0], str(tmp_path / "missing.jpg"), distractors[1], view]
    assert [a["photo"] for a in answers] == expected


@pytest.mark.parametrize(("format", "empty"), [("json", "[]\n"), ("jsonl", "")])
def test_no_photos_give_no_answers(built, format, empty):
    assert recognize(built, "-", format=format, stdin="").stdout == empty


def test_options_reach_the_library(built, view, distractors):
    (answer,) = run_json("recognize", built, view, "--depth", "3", "--rerank-depth", "1", "--matcher", "lighterglue")
    assert len(answer["evidence"]) == 3
    assert sum(c["num_inliers"] is not None for c in answer["evidence"]) == 1
    (answer,) = run_json("recognize", built, distractors[0], "--floor", "0", "--rerank-depth", "0")
    assert answer["landmark"] is not None


def test_an_empty_gallery_answers_none_in_every_format(tmp_path, view):
    run("create", tmp_path / "gallery")
    (answer,) = run_json("recognize", tmp_path / "gallery", view)
    assert (answer["landmark"], answer["confidence"], answer["evidence"]) == (None, 0.0, [])
    (row,) = csv.DictReader(io.StringIO(recognize(tmp_path / "gallery", view, format="csv").stdout))
    assert (row["landmark"], row["similarity"], row["num_inliers"]) == ("", "", "")
    assert "the gallery is empty" in recognize(tmp_path / "gallery", view, format="table").stdout


def test_stdout_is_nothing_but_json_while_errors_go_to_stderr(built, queries):
    result = veduta("recognize", built, *queries, "--format", "json")
    assert result.returncode == 1
    assert [a["photo"] for a in json.loads(result.stdout)] == queries
    (line,) = errors(result)
    assert line.startswith(f"{queries[2]}: ")


# --- verify, explain, models ------------------------------------------------------------------------------------


def opened(path):
    """A picture file, decoded to its last pixel."""
    with PIL.Image.open(path) as picture:
        picture.load()
        return picture


def test_verify_tells_the_same_place_from_another(photos, view, distractors, tmp_path):
    same = run_json("verify", view, photos / "palazzo-0" / "photo-0.jpg", "--draw", tmp_path / "pair.png")
    assert (same["a"], same["b"]) == (view, str(photos / "palazzo-0" / "photo-0.jpg"))
    assert same["num_inliers"] >= 30
    assert same["problem"] is None
    assert [len(row) for row in same["homography"]] == [3, 3, 3]
    assert opened(tmp_path / "pair.png").format == "PNG"

    other = run_json("verify", view, distractors[0])
    assert (other["num_inliers"], other["homography"]) == (0, None)
    assert other["problem"]
    assert "num_inliers" in run("verify", view, distractors[0]).stdout


class Loads(HTMLParser):
    """Collects what a page would load or run."""

    def __init__(self):
        super().__init__()
        self.found, self.tags = [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.found += [value for name, value in attrs if name in {"src", "href", "srcset", "data", "action", "poster"}]


def test_explain_writes_pictures_and_a_page_that_loads_nothing(built, view, tmp_path):
    result = run("explain", built, view, "--out", tmp_path / "why", "--rerank-depth", "5")
    assert result.stderr == f"wrote {tmp_path / 'why' / 'index.html'}\n"
    assert result.stdout == ""

    page = (tmp_path / "why" / "index.html").read_text("utf-8")
    loads = Loads()
    loads.feed(page)
    assert len(loads.found) == 5, "four pairs, and the keypoints that stay"
    assert all(value.startswith("data:image/") for value in loads.found)
    assert not loads.tags & {"script", "link", "iframe", "object", "embed"}
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page
    assert Path(view).name in page

    pictures = sorted((tmp_path / "why").glob("*.png"))
    assert len(pictures) == 4
    assert all(opened(path).format == "PNG" for path in pictures)


def test_models_lists_every_card_with_the_digest_of_its_file():
    found = run_json("models")
    assert [card["name"] for card in found] == [card.name for card in cards()]
    files = {card["file"]: card["sha256"] for card in found if card["file"]}
    assert files == {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in SHIPPED_MODELS.glob("*.*n*")
        if p.suffix in (".onnx", ".npz")
    }
    for card in found:
        assert card["licence"]
        assert card["source"]
    text = run("models").stdout
    assert all(card["sha256"] in text for card in found)
    assert run_json("models", "show", "xfeat", "superpoint") == [
        {key: value for key, value in card.items() if key != "weights"}
        for card in found
        if card["name"] in ("xfeat", "superpoint")
    ]
    assert refused("models", "show", "nonesuch").startswith("no model is called 'nonesuch'; there are ")
    assert refused("models", "show", SHIPPED_MODELS).startswith(f"{SHIPPED_MODELS / 'card.json'}: cannot be read")


def test_models_pull_is_the_librarys(monkeypatch, tmp_path):
    monkeypatch.setenv("VEDUTA_MODELS", str(tmp_path))
    taken = {p.name: p.default for p in inspect.signature(pull_weights).parameters.values()}
    command = {p.name: p.default for p in EVERY["models", "pull"].params if p.name != "model"}
    assert command == {name: default for name, default in taken.items() if name != "name"}
    assert "has no config.json" in refused("models", "pull", "superpoint", "--from", tmp_path)
    assert "no model 'xfeat' has weights to fetch" in refused("models", "pull", "xfeat")


# --- what cannot be done ----------------------------------------------------------------------------------------


def test_a_process_that_cannot_run_says_why_in_one_line_and_ends_with_2(tmp_path, built, view, corrupt):
    line = refused("recognize", tmp_path / "no gallery", view, "--format", "json", by=veduta)
    assert line.startswith(f"{tmp_path / 'no gallery'}: is not a gallery (no {GALLERY_FILE} in it); make one with")
    line = refused("explain", built, corrupt, "--out", tmp_path / "why", by=veduta)
    assert line.startswith(f"{corrupt}: is a JPEG that is damaged")


def test_a_process_given_a_wrong_option_says_how_it_is_used_and_ends_with_2():
    result = veduta("recognize", "gallery", "a.jpg", "--depth", "0")
    assert (result.returncode, result.stdout) == (2, "")
    assert "Usage: " in result.stderr
    assert "--depth" in result.stderr


@pytest.mark.parametrize(
    "command", [["add", "photos"], ["recognize", "a.jpg"], ["list"], ["info"], ["remove", "--landmark", "a"]]
)
def test_an_unknown_gallery_is_named(tmp_path, command):
    line = refused(command[0], tmp_path / "no gallery", *command[1:])
    assert line.startswith(f"{tmp_path / 'no gallery'}: is not a gallery")


def test_a_gallery_that_is_a_file_is_refused(corrupt, view):
    assert refused("create", corrupt).startswith(f"{corrupt}: cannot hold a gallery")
    assert refused("recognize", corrupt, view, "--format", "json").startswith(f"{corrupt}: is not a gallery")
    assert corrupt.read_bytes().startswith(b"\xff\xd8\xff")


def test_create_refuses_a_folder_that_is_not_empty(built):
    assert refused("create", built).startswith(f"{built}: is not empty; choose a new folder")


def test_a_corrupt_photo_ends_verify_and_explain_with_2(built, view, corrupt, tmp_path):
    assert refused("verify", view, corrupt).startswith(f"{corrupt}: is a JPEG that is damaged")
    assert refused("explain", built, corrupt, "--out", tmp_path / "why").startswith(f"{corrupt}: is a JPEG that")
    assert not (tmp_path / "why").exists()


def test_a_picture_that_cannot_be_written_is_named(view, tmp_path):
    assert refused("verify", view, view, "--draw", tmp_path / "no" / "x.png").startswith(
        f"{tmp_path / 'no' / 'x.png'}: "
    )


def test_a_run_that_cannot_start_prints_no_half_of_a_list(tmp_path, view):
    run("create", tmp_path / "gallery", "--extractor", "rootsift")
    line = refused("recognize", tmp_path / "gallery", view, "--matcher", "lighterglue", "--format", "json")
    assert line == "matcher 'lighterglue' was trained on xfeat, not on 'rootsift'; use 'nearest'"


def test_unknown_models_providers_and_entries_are_named(built, tmp_path, view):
    assert "no embedder is called 'magic'" in refused("create", tmp_path / "new", "--embedder", "magic")
    assert "no matcher is called 'magic'" in refused("verify", view, view, "--matcher", "magic")
    assert "no execution provider is called 'magic'" in refused("info", built, "--provider", "magic")
    assert "has no landmark 'duomo'; see 'veduta list" in refused("remove", built, "--landmark", "duomo")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Usage"),
        (["paint"], "No such command 'paint'"),
        (["recognize", "gallery"], "Missing argument 'PHOTO...'"),
        (["recognize", "gallery", "a.jpg", "--depth", "0"], "--depth"),
        (["recognize", "gallery", "a.jpg", "--rerank-depth", "-1"], "--rerank-depth"),
        (["recognize", "gallery", "a.jpg", "--floor", "1.5"], "--floor"),
        (["recognize", "gallery", "a.jpg", "--floor", "nan"], "--floor"),
        (["recognize", "gallery", "a.jpg", "--format", "xml"], "--format"),
        (["list", "gallery", "--format", "csv"], "--format"),
        (["create", "gallery", "--max-keypoints", "7"], "--max-keypoints"),
        (["add", "gallery"], "give either DIR or --csv FILE"),
        (["add", "gallery", "photos", "--csv", "table.csv"], "give either DIR or --csv FILE"),
        (["remove", "gallery"], "give one of --landmark ID, --reference ID and --last-added"),
        (["verify", "a.jpg", "b.jpg", "--draw", "pair.xyz"], "expected a name ending in .png"),
        (["explain", "gallery", "a.jpg"], "Missing option '--out'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_make_no_sense_end_with_2(arguments, words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = run(*arguments, code=2)
    assert words in result.stdout + result.stderr


def test_the_provider_may_come_from_the_environment(built, monkeypatch):
    monkeypatch.setenv("VEDUTA_PROVIDER", "magic")
    assert "no execution provider is called 'magic'" in refused("info", built)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (b"", 1, "expected the columns photo,landmark"),
        (b"photo,name\na.jpg,a\n", 1, "expected the columns photo,landmark"),
        (b"photo,landmark,latitude\na.jpg,a,95\n", 2, "latitude 95 is not within"),
        (b"photo,landmark\na.jpg,a\nb.jpg,b,c,d\n", 3, "expected 2 fields"),
        (b"photo,landmark\na.jpg,K\xf6ln\n", 2, "is not UTF-8"),
    ],
    ids=["empty", "missing column", "bad latitude", "too many fields", "not UTF-8"],
)
def test_a_malformed_table_is_one_line_naming_file_and_line(built, tmp_path, text, line, words):
    table = tmp_path / "table.csv"
    table.write_bytes(text)
    assert refused("add", built, "--csv", table).startswith(f"{table}, line {line}: {words}")


# --- names that are hard to print -------------------------------------------------------------------------------

HOSTILE = [
    "new\nline.jpg",
    "東京 é 🗼.jpg",
    "-dash.jpg",
    "[red].jpg",
    "[bold] \\[x].jpg",
    'quo"te,comma.jpg',
    "a  b.jpg",
]


@pytest.fixture
def hostile(view, tmp_path, monkeypatch):
    """Being in a folder with the same photo under names that are hard to print."""
    monkeypatch.chdir(tmp_path)
    for name in HOSTILE:
        shutil.copy(view, name)


def ask(gallery, format, *photos, **options):
    return run("recognize", gallery, "--rerank-depth", "0", "--format", format, "--", *photos, **options).stdout


def photos_in(text, format):
    """The photos an output speaks of, as a program would find them out."""
    if format == "csv":
        return [row["photo"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    return [a["photo"] for a in (json.loads(text) if format == "json" else map(json.loads, text.splitlines()))]


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("format", ["json", "jsonl", "csv"])
def test_any_name_comes_back_as_it_was_given(built, format):
    assert photos_in(ask(built, format, *HOSTILE), format) == HOSTILE


@pytest.mark.usefixtures("hostile")
def test_a_table_keeps_brackets_and_gives_every_name_one_line(built):
    lines = ask(built, "table", *HOSTILE).splitlines()[1:]
    assert len(lines) == len(HOSTILE)
    for line, name in zip(lines, HOSTILE, strict=True):
        assert line.startswith(name if name.isprintable() else repr(name))


@pytest.mark.usefixtures("hostile")
def test_other_tables_keep_brackets_too():
    text = run("verify", "[red].jpg", "[bold] \\[x].jpg").stdout
    assert "[red].jpg" in text
    assert "[bold] \\[x].jpg" in text

    run("create", "[red]")
    with Gallery.open("[red]") as gallery:
        gallery.add_photo("[red].jpg", "[bold]palazzo")
    assert run("list", "[red]").stdout.splitlines()[1].startswith("[bold]palazzo")
    assert run("list", "[red]", "--references").stdout.splitlines()[1].startswith("[red].jpg")
    assert "[red]" in run("info", "[red]").stdout.splitlines()[0]


@pytest.mark.parametrize("name", ["no\nsuch.jpg", "no  such.jpg", "[red].jpg", "\x1b[31m.jpg"])
def test_an_error_about_any_name_is_one_line(built, name):
    result = run("recognize", built, name, "--format", "json", code=1)
    (line,) = errors(result)
    assert line.startswith((name if name.isprintable() else repr(name)) + ": ")
    assert photos_in(result.stdout, "json") == [name]


@pytest.fixture
def not_utf8(view, tmp_path, monkeypatch):
    """The name of a photo that is no text, in a folder of its own where we are."""
    (tmp_path / "latin").mkdir()
    monkeypatch.chdir(tmp_path / "latin")
    try:
        shutil.copy(view, b"\xff.jpg")
    except OSError:
        pytest.skip("this file system has no such names")
    return os.fsdecode(b"\xff.jpg")


@pytest.mark.parametrize("format", ["json", "jsonl", "csv"])
def test_a_name_that_is_not_utf8_comes_back_as_it_was_given(built, not_utf8, format):
    assert photos_in(ask(built, format, not_utf8, "."), format) == [not_utf8, f"./{not_utf8}"]
    assert photos_in(ask(built, format, "-", stdin=f"{not_utf8}\n"), format) == [not_utf8]


def test_json_of_a_name_that_is_not_utf8_is_utf8(built, not_utf8):
    assert "\\udcff.jpg" in ask(built, "json", not_utf8).encode("utf-8").decode()


def test_a_name_that_is_not_utf8_is_shown_in_tables(built, not_utf8):
    assert ask(built, "table", not_utf8).splitlines()[1].startswith("'\\udcff.jpg' ")
    assert "'\\udcff.jpg'" in run("verify", not_utf8, not_utf8).stdout
    assert run_json("verify", not_utf8, not_utf8)["a"] == not_utf8


def test_a_name_that_is_not_utf8_can_be_explained(built, not_utf8, tmp_path):
    run("explain", built, not_utf8, "--out", tmp_path / "why")
    assert "\\udcff.jpg" in (tmp_path / "why" / "index.html").read_text("utf-8")


def test_a_name_that_is_not_utf8_fails_to_be_added(gallery_path, not_utf8, tmp_path):
    folder = tmp_path / "photos" / "latin"
    folder.mkdir(parents=True)
    (tmp_path / "latin" / not_utf8).rename(folder / not_utf8)
    result = run("add", gallery_path, tmp_path / "photos", code=1)
    assert f"{folder}/\\udcff.jpg: its name or a folder's is not UTF-8; rename it\n" in result.stderr
    assert references(gallery_path) == 12


def test_a_process_takes_and_prints_a_name_that_is_not_utf8(built, not_utf8):
    options = {"text": False, "encoding": None, "input": b"\xff.jpg\n"}
    options["env"] = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}  # as most locales have it
    result = veduta("recognize", built, not_utf8, "-", "--format", "csv", **options)
    assert (result.returncode, result.stderr) == (0, b"")
    assert [line.split(b",")[:2] for line in result.stdout.splitlines()[1:]] == [[b"\xff.jpg", b"palazzo-0"]] * 2


# --- how a process ends -----------------------------------------------------------------------------------------


def test_ctrl_c_keeps_what_was_added_and_ends_with_130(many_photos, tmp_path):
    gallery = tmp_path / "gallery"
    Gallery.create(gallery).close()
    with started("add", gallery, many_photos) as process:
        wait_until(process, lambda: references(gallery) >= 1)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (130, "")
    assert stderr == "veduta: interrupted; what was done is kept, run the same command again to go on\n"
    assert is_whole(gallery)
    assert 1 <= references(gallery) < 60


def test_a_reader_that_goes_away_is_no_traceback():
    process = subprocess.Popen([*COMMAND, "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_the_module_and_the_command_are_the_same():
    result = veduta("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"veduta {__version__}\n", "")
