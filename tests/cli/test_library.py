"""``veduta library``: what it prints, with which status it ends, and that it does what the library does."""

import csv
import inspect
import json
import re
import shutil
import signal

import pytest
import typer
from support import world
from support.cli import COMMANDS, refused, run, run_json
from support.photos import grouped_library, picture
from support.processes import PATIENCE, started
from support.trees import tree

from veduta.cli import app
from veduta.gallery import Gallery
from veduta.landmarks import Landmark
from veduta.library import Library
from veduta.library.review import collect_verdicts, fill_queue
from veduta.review_queue import ReviewQueue

LIBRARY = typer.main.get_command(app).commands["library"].commands
HERE = {"library", "state", "provider", "format", "gallery", "apply", "all", "out", "browser", "port", "list"}


@pytest.fixture
def folder(tmp_path, views, distractors):
    """A library of four views of palazzo-0 and 1, and two distractors; not scanned yet."""
    made = tmp_path / "library"
    made.mkdir()
    for i, photo in enumerate([*list(views)[:4], *distractors[:2]]):
        shutil.copy2(photo, made / f"{i}.jpg")
    return made


@pytest.mark.parametrize(
    ("command", "call"),
    [
        ("scan", Library.scan),
        ("group", Library.group),
        ("name", Library.name),
        ("tag", Library.tag),
        ("organize", Library.organize),
        ("undo", Library.undo),
    ],
)
def test_a_command_takes_what_the_call_it_makes_takes(command, call):
    taken = {p.name: p.default for p in inspect.signature(call).parameters.values()}
    bound = {"self", "progress", "gallery", "base"}
    beyond = HERE | (
        {"number", "name", "table", "without", "forget"} if command == "name" else set()
    )  # several groups at once
    params = {p.name: p.default for p in LIBRARY[command].params if p.name not in beyond and not p.required}
    assert params == {
        name: default for name, default in taken.items() if name not in bound and default is not inspect.Parameter.empty
    }


def test_there_is_a_command_for_every_step_of_the_way():
    assert list(LIBRARY) == ["scan", "group", "name", "report", "tag", "organize", "undo", "review"]
    assert "library" not in COMMANDS  # a group of commands


def test_scan_counts_what_it_did_and_names_what_it_could_not_read(folder, built, corrupt):
    shutil.copy2(corrupt, folder / "bad.jpg")
    first = run_json("library", "scan", folder, "--gallery", built, code=1)
    assert (first["files"], first["looked_at"], first["recognized"], first["failures"]) == (7, 7, 6, 1)
    assert (first["photos"], first["named"]) == (6, 4)
    second = run("library", "scan", folder, "--gallery", built, code=1)
    assert "bad.jpg" in second.stderr
    assert re.search(r"^unchanged +7$", second.stdout, re.MULTILINE)


def test_a_folder_or_gallery_that_is_none_is_refused(tmp_path, folder):
    assert "is not a folder" in refused("library", "scan", tmp_path / "nothing")
    assert "is not a gallery" in refused("library", "scan", folder, "--gallery", tmp_path)
    for words in (("review",), ("undo",), ("tag",), ("report", "--out", "x.csv"), ("organize", "--into", "x/{id}")):
        assert "nothing is known of it" in refused("library", words[0], folder, *words[1:])
    assert not (folder / ".veduta").exists()
    run("library", "scan", folder)
    assert "no gallery was asked" in refused("library", "review", folder)
    assert "has no group 3" in refused("library", "name", folder, "3", "Ca' d'Oro")
    assert "undone" in refused("library", "undo", folder) or "nothing" in refused("library", "undo", folder)


def test_reports_are_written_by_the_ending_of_their_name(folder, built, tmp_path):
    run("library", "scan", folder, "--gallery", built)
    outs = [tmp_path / f"list.{ending}" for ending in ("csv", "jsonl", "geojson", "kml", "gpx")]
    run("library", "report", folder, *(word for out in outs for word in ("--out", out)))
    with outs[0].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert sum(row["landmark"] == "palazzo-0" for row in rows) == 2
    assert [json.loads(line)["path"] for line in outs[1].read_text("utf-8").splitlines()] == [r["path"] for r in rows]
    assert "expected a name ending in" in run("library", "report", folder, "--out", tmp_path / "x.pdf", code=2).stderr


def test_a_plan_changes_nothing_and_applied_it_can_be_undone(folder, built, tmp_path):
    run("library", "scan", folder, "--gallery", built)
    before = tree(folder)
    into = f"{folder}/Sorted/{{landmark}}"
    shown = run("library", "organize", folder, "--into", into, "--mode", "move", "--floor", "0.5")
    assert "nothing was changed" in shown.stderr
    assert f"{folder / '0.jpg'} -> {folder}/Sorted/palazzo-0/0.jpg" in shown.stdout
    assert tree(folder) == before
    done = run("library", "organize", folder, "--into", into, "--mode", "move", "--floor", "0.5", "--apply")
    assert "did 4 steps" in done.stderr
    assert (folder / "Sorted" / "palazzo-0" / "0.jpg").is_file()
    (action,) = run_json("library", "undo", folder, "--list")
    assert (action["number"], action["what"], action["state"]) == (1, "organize", "applied")
    assert "took back 4 steps" in run("library", "undo", folder).stderr
    assert tree(folder) == before
    assert run_json("library", "undo", folder, "--list")[0]["state"] == "undone"


def test_tags_are_shown_written_and_taken_back(folder, built):
    run("library", "scan", folder, "--gallery", built)
    before = tree(folder)
    assert "nothing was changed" in run("library", "tag", folder, "--floor", "0.5").stderr
    assert tree(folder) == before
    run("library", "tag", folder, "--floor", "0.5", "--apply")
    assert len(list(folder.glob("*.jpg.xmp"))) == 4
    assert "nothing to do" in run("library", "tag", folder, "--floor", "0.5", "--apply").stderr
    run("library", "undo", folder)
    assert tree(folder) == before


def test_a_scan_says_what_it_could_not_do(folder, built, tmp_path):
    with Gallery.create(tmp_path / "empty"):
        pass
    (tmp_path / "nothing").mkdir()
    assert run("library", "scan", tmp_path / "nothing").stderr == f"{tmp_path / 'nothing'}: has no photos in it\n"
    said = run("library", "scan", folder).stderr
    assert f"no gallery was asked; find photos of one place with: veduta library group {folder}" in said
    assert (
        "has no references, so it can name no photo"
        in run("library", "scan", folder, "--gallery", tmp_path / "empty").stderr
    )
    said = run("library", "scan", folder, "--gallery", built, "--again").stderr
    assert "no references" not in said
    assert "no gallery" not in said
    assert "no gallery" not in run("library", "scan", folder).stderr  # one was, before


def test_verdicts_are_given_by_command_and_forgotten(folder, built):
    run("library", "scan", folder, "--gallery", built)
    photo = folder / "4.jpg"
    assert run("library", "review", folder, "--correct", f"{photo}=palazzo-3").stderr == f"{photo}: palazzo-3\n"
    assert run("library", "review", folder, "--forget", photo).stderr.startswith(f"{photo}: verdict forgotten")
    assert run("library", "review", folder, "--reject", folder / "0.jpg").stderr.endswith("no landmark\n")
    assert "has a landmark 'typo'" in refused("library", "review", folder, "--correct", f"{photo}=typo")
    assert "expected PHOTO=LANDMARK" in run("library", "review", folder, "--correct", "x", code=2).stderr
    assert "is no photo known" in refused("library", "review", folder, "--accept", folder / "nothing.jpg")
    assert isinstance(run_json("library", "review", folder, "--list"), list)


def test_a_landmark_is_named_by_id_or_name_and_a_new_one_only_on_request(tmp_path, gallery_path, folder):
    with Gallery.open(gallery_path) as gallery:
        for id, name in (("palazzo-0", "Palazzo Uno"), ("palazzo-1", "Ca' Foscari"), ("palazzo-2", "ca' foscari")):
            gallery.put_landmark(Landmark(id, name))
    run("library", "scan", folder, "--gallery", gallery_path)
    photo = folder / "4.jpg"

    def corrected(text, *more):
        return run("library", "review", folder, "--correct", f"{photo}={text}", *more).stderr

    for text in ("palazzo-0", "Palazzo Uno", "palazzo uno", "PALAZZO UNO"):
        assert corrected(text) == f"{photo}: Palazzo Uno\n"
    assert "palazzo-1, palazzo-2" in refused("library", "review", folder, "--correct", f"{photo}=Ca' Foscari")
    assert "add --new" in refused("library", "review", folder, "--correct", f"{photo}=Rialto")
    new = f"new in {gallery_path}, with this photo as its reference\n"
    assert corrected("Rialto", "--new") == f"{photo}: Rialto (rialto), {new}"
    assert corrected("rialto") == f"{photo}: Rialto\n"  # known by now
    assert corrected("Sacré-Cœur", "--new") == f"{photo}: Sacré-Cœur (sacré-cœur), {new}"
    for text in ("Sacre\u0301-Cœur", "SACRE\u0301-CŒUR", "sacré-cœur", "sacre\u0301-cœur"):  # the last two are its id
        assert corrected(text) == f"{photo}: Sacré-Cœur\n"
    assert "no letter or digit" in refused("library", "review", folder, "--correct", f"{photo}=???", "--new")
    assert corrected("Palazzo Uno", "--new") == f"{photo}: Palazzo Uno\n"


def test_accepting_means_the_answer_or_else_the_best_guess_everywhere(tmp_path, gallery_path, strangers):
    """By command, in Python and on the page's queue, for the same doubtful photo."""
    said = []
    for way in ("command", "python", "page"):
        made = tmp_path / way
        made.mkdir()
        for i, photo in enumerate(strangers):
            shutil.copy2(photo, made / f"{i}.jpg")
        with Library(made) as library, Gallery.open(gallery_path) as gallery:
            library.scan(gallery)
            doubt = library.uncertain()[0]
            best = doubt.answer.landmark or doubt.answer.guesses[0][0]
            if way == "python":
                library.set_verdict(doubt.asset.file, "accepted")
            elif way == "page":
                fill_queue(library, gallery_path.name, 10)
                queue = ReviewQueue(library.folder)
                item = next(i for i in queue.items() if i.answer["content"] == doubt.asset.sha256)
                guess = item.answer["landmark"] or item.answer["guesses"][0]["landmark"]
                queue.set_verdict(item.number, "accepted", guess["id"])
                queue.close()
                collect_verdicts(library)
        if way == "command":
            run("library", "review", made, "--accept", doubt.asset.file)
        with Library(made) as library:
            (verdict,) = library.verdicts().values()
            said.append((verdict.verdict, verdict.landmark.id))
            assert verdict.landmark.id == best.id
    assert len(set(said)) == 1


def test_doubts_are_listed_by_their_place_in_the_library(tmp_path, gallery_path, strangers):
    made = tmp_path / "library"
    (made / "2019").mkdir(parents=True)
    for i, photo in enumerate(strangers):
        shutil.copy2(photo, made / "2019" / f"{i}.jpg")
    run("library", "scan", made, "--gallery", gallery_path)
    table = run("library", "review", made, "--list").stdout
    assert "2019/" in table
    assert str(made) not in table
    for row in run_json("library", "review", made, "--list"):
        assert row.keys() == {"photo", "guess", "name", "confidence", "others"}
        assert row["photo"].startswith(str(made))


def test_the_page_is_served_with_a_token_and_its_verdicts_are_taken_over(tmp_path, gallery_path, strangers):
    httpx = pytest.importorskip("httpx")
    made = tmp_path / "library"
    made.mkdir()
    for i, photo in enumerate(strangers):
        shutil.copy2(photo, made / f"{i}.jpg")
    with Library(made) as library, Gallery.open(gallery_path) as gallery:
        library.scan(gallery)
        assert library.uncertain()
    with started("library", "review", made, "--no-browser") as process:
        line = process.stderr.readline()
        address, token = re.search(r"(http://\S+)/#/review\?token=(\S+)", line).groups()
        client = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE)
        items = client.get("/v1/review").json()["items"]
        assert client.get(f"/v1/review/{items[0]['id']}/photo").headers["content-type"] == "image/jpeg"
        correction = {"verdict": "correct", "landmark": "rocca", "name": "La Rocca"}
        said = client.post(f"/v1/review/{items[0]['id']}", json=correction)
        assert said.status_code == 200
        assert httpx.get(f"{address}/v1/review", timeout=PATIENCE).status_code == 401
        client.close()
        process.send_signal(signal.SIGINT)
        assert "1 verdict saved" in process.stderr.read()
        assert process.wait(PATIENCE) == 0
    with Library(made) as library:
        (verdict,) = library.verdicts().values()
    assert (verdict.verdict, verdict.landmark.id, verdict.landmark.name) == ("corrected", "rocca", "La Rocca")


def test_the_page_names_groups_of_a_library_that_no_gallery_was_asked_about(tmp_path):
    httpx = pytest.importorskip("httpx")
    made, mine = grouped_library(tmp_path / "library", (2, 1)), tmp_path / "mine"
    with started("library", "review", made, "--no-browser", "--gallery", mine) as process:
        line = process.stderr.readline()
        assert "0 photos to look at, 2 places to name" in line
        address, token = re.search(r"(http://\S+)/#/review\?token=([^&\s]+)&state=places", line).groups()
        client = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE)
        (named,) = client.post("/v1/groups", json={"names": [{"group": 1, "name": "Rialto"}]}).json()["named"]
        assert (named["photos"], named["added"]) == (2, 2)
        for path in ("/v1/groups", f"/v1/groups/pictures/{'0' * 64}"):
            assert httpx.get(f"{address}{path}", timeout=PATIENCE).status_code == 401
        client.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    with Library(made) as library:
        assert [asset.label and asset.label.landmark.id for asset in library.assets()] == ["rialto", "rialto", None]
        library.name(2, "Frari")
    with Gallery.open(mine) as gallery:
        assert gallery.counts() == (1, 2)
    assert "no group is without a name" in run("library", "review", made, "--no-browser", "--gallery", mine).stderr


def test_a_group_is_named_at_a_place(tmp_path):
    picture(tmp_path / "a.jpg")
    run("library", "scan", tmp_path)
    assert "degrees north and east" in run("library", "name", tmp_path, "1", "X", "--position", "200,1", code=2).stderr


def test_an_album_of_drawn_photos_is_written(folder, built, tmp_path):
    run("library", "scan", folder, "--gallery", built)
    world.save(world.facade(3), folder / "new.jpg")
    assert "wrote" in run("library", "report", folder, "--out", tmp_path / "album.html").stderr
    assert "palazzo-0" in (tmp_path / "album.html").read_text("utf-8")


def test_naming_a_group_that_is_not_there_makes_no_gallery(folder, tmp_path):
    run("library", "scan", folder)
    assert "has no group 9" in refused("library", "name", folder, "9", "X", "--gallery", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert "degrees" in run("library", "name", folder, "9", "X", "--position", "nan,3", code=2).stderr
