"""Mutated folders and files of every kind that Veduta reads: no crash but its own errors, no write or read outside.

    PYTHONPATH=tests python tests/security/fuzz.py [--seconds 600] [--seed 0] [--only KIND] [--case NUMBER]

Each case is made from (seed, kind, number), so that one that fails is made again by its number. An audit hook watches
what is opened, removed, renamed, connected to and started meanwhile. Ends with status 1 if anything went wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import torch

os.environ["VEDUTA_USER_STATE"] = tempfile.mkdtemp(prefix="veduta-state-")

from support import exif_writer as tiff
from support import icc, raw, stores, training_runs, world
from support.image_files import heic

from veduta.competition.run import run_recipe
from veduta.datasets.listing import list_csv
from veduta.datasets.pth import read_pth
from veduta.decision.model import LearnedDecider, shipped_decider
from veduta.errors import VedutaError
from veduta.features_codec import unpack_features
from veduta.files import is_plain
from veduta.gallery import Gallery, live_index
from veduta.gallery.store import Store
from veduta.images import load
from veduta.index.ivf import index as ivf_index
from veduta.jobs import AddJob, RecognizeJob, VerifyJob, job_status, merge_job, run_shard
from veduta.jobs.plan import JobPlan
from veduta.landmarks import Landmark, Reference
from veduta.library import Library
from veduta.library.journal import Step, apply
from veduta.library.metadata.xmp import estimates, has_own_position, merge_sidecar, remove_ours
from veduta.library.model import Label
from veduta.models.folder import read_card
from veduta.records import Record
from veduta.review_queue import ReviewQueue
from veduta.training.descriptor import train
from veduta.training.descriptor.data.dataset import read_dataset

ROOT = Path(tempfile.mkdtemp(prefix="veduta-fuzz-"))
VICTIM, SEEDS, CASE = ROOT / "victim", ROOT / "seeds", ROOT / "case"
READABLE = tuple(
    map(os.path.realpath, (sys.prefix, sys.base_prefix, Path(__file__).parents[2], "/proc", "/sys", "/dev"))
)
HOSTILE: list[object] = [
    None,
    "",
    0,
    -1,
    2**63 - 1,
    2**70,
    1e308,
    float("nan"),
    True,
    [],
    {},
    [[]] * 50,
    "x" * 10_000,
    "\0",
    "\ud800",
    "/",
    "..",
    "../../victim/secret.txt",
    "/etc/passwd",
    "a/../../victim/secret.txt",
    "http://127.0.0.1:9/",
    "qdrant",
    "approximate",
    b"",
    b"\0" * 100,
    b"\xff" * 10_000,
]
EXACT: list[list[Reference]] = []  # of the gallery with an index
RECIPE = training_runs.small(epochs=3)
seen: list[str] = []
watching = False


def watch(event: str, arguments: tuple[object, ...]) -> None:
    """Note what a case does outside of its folder."""
    if not watching:
        return
    if event in ("socket.connect", "subprocess.Popen", "os.system", "os.exec", "os.fork"):
        seen.append(f"{event} {arguments!r:.200}")
    elif event == "open":
        path, _, flags = arguments
        if isinstance(path, (str, bytes)) and not (isinstance(flags, int) and flags & os.O_NOFOLLOW):
            note(path, bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)), event)
    elif event in ("os.remove", "os.rmdir"):
        path, folder = arguments
        within = os.path.realpath(f"/proc/self/fd/{folder}") if isinstance(folder, int) and folder >= 0 else ""
        note(str(Path(within, os.fsdecode(path))), True, event)  # type: ignore[arg-type]
    elif event in ("os.mkdir", "os.chmod", "os.truncate", "os.utime", "sqlite3.connect"):
        note(arguments[0], event != "sqlite3.connect", event)  # type: ignore[arg-type]
    elif event in ("os.rename", "os.link", "os.symlink", "shutil.move"):
        note(arguments[1], True, event)  # type: ignore[arg-type]


def note(path: str | bytes | int, writing: bool, event: str) -> None:
    """Note a path that is not the case's, nor Python's or the system's to read."""
    if isinstance(path, int) or not path:
        return
    name = os.fsdecode(path).removeprefix("file://").partition("?")[0]
    real = os.path.realpath(name)
    if event in ("os.remove", "os.rename"):  # of a link, not of what the link leads to
        real = str(Path(os.path.realpath(Path(name).parent), Path(name).name))
    if name.startswith(str(CASE)) and real.startswith(str(CASE)):
        return
    own = (os.environ["VEDUTA_USER_STATE"], tempfile.gettempdir() + "/veduta-")
    if real.startswith(own) and not real.startswith(str(VICTIM)):
        return
    if writing or not real.startswith(READABLE) or real.startswith(str(VICTIM)):
        seen.append(f"{event} {'writes' if writing else 'reads'} {name!r}")


# --- seeds -----------------------------------------------------------------------------------------------------------


def make_seeds() -> None:
    """Make one good folder or file of each kind."""
    VICTIM.mkdir()
    (VICTIM / "secret.txt").write_text("nobody's business")
    for i in range(3):
        for j in range(2):
            photo = world.save(
                world.view(world.facade(i, 240, 180), 10 * i + j).pixels, SEEDS / "photos" / f"{i}" / f"{j}.jpg"
            )
    with Gallery.create(SEEDS / "gallery") as gallery:
        gallery.add(SEEDS / "photos")
    shutil.copytree(SEEDS / "photos" / "0", SEEDS / "library")
    with Library(SEEDS / "library") as library:
        library.scan()
    steps = [Step("move", SEEDS / "library" / "sorted" / "0.jpg", SEEDS / "library" / "0.jpg")]
    steps.append(Step("write", SEEDS / "library" / "1.jpg.xmp", make=lambda: b"<x/>"))
    apply(steps, SEEDS / "library" / ".veduta", "organize", root=SEEDS / "library")
    queue = ReviewQueue(SEEDS / "gallery")
    queue.close()
    (SEEDS / "photos.csv").write_text(f"photo,landmark,name,latitude,longitude\n{photo},a,A,1.5,2.5\n")
    (SEEDS / "photo.xmp").write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag><rdf:li>a</rdf:li></rdf:Bag>'
        "</dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    card = {"name": "mine", "file": "m.onnx", "sha256": "0" * 64, "dim": 8, "side": 64, "step": 32}
    (SEEDS / "card.json").write_text(json.dumps(card))
    (SEEDS / "decision.npz").write_bytes(shipped_decider("efficientnet-lite2-landmarks", "xfeat", "nearest").to_bytes())
    with contextlib.closing(sqlite3.connect(SEEDS / "gallery" / "gallery.sqlite")) as db, db:
        (SEEDS / "features.bin").write_bytes(db.execute("SELECT features FROM features").fetchone()[0])
    db.close()
    rng = np.random.default_rng(0)
    turned, taken = tiff.numbers(tiff.ORIENTATION, tiff.SHORT, (6,), "<"), tiff.text(0x9003, "2019:07:14 12:34:56")
    exif = tiff.block("<", [turned], [taken], tiff.position((1.5, 2.5), "<")).data
    for kind, mode in (
        ("JPEG", "RGB"),
        ("PNG", "RGBA"),
        ("WEBP", "RGB"),
        ("TIFF", "RGB"),
        ("GIF", "P"),
        ("BMP", "RGB"),
        ("AVIF", "RGB"),
    ):
        picture = PIL.Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).convert(mode)
        told = {"progressive": True} if kind == "JPEG" else {}
        if kind not in ("GIF", "BMP"):
            told |= {"exif": exif, "icc_profile": icc.rgb(icc.P3, 2.2)}
        if kind in ("JPEG", "WEBP", "AVIF"):
            told["xmp"] = (SEEDS / "photo.xmp").read_bytes()
        picture.save(SEEDS / f"photo.{kind.lower()}", kind, **told)
    (SEEDS / "photo.heic").write_bytes(heic())
    (SEEDS / "photo.dng").write_bytes(raw.dng(raw.small(64, 48), width=64, height=48))
    torch.save({"a": np.ones(4, np.float32), "b": torch.ones(4)}, SEEDS / "descriptors.pth")
    make_index_seed()
    make_job_seed()
    make_run_seed()
    training_runs.draw(SEEDS / "trained" / "data", 6, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        training_runs.learn(SEEDS / "trained" / "data", SEEDS / "trained" / "out", RECIPE, 3)
    train.export_variants = lambda *_: []  # takes long, and reads nothing of the folder


def make_job_seed() -> None:
    """Make work folders of each kind of job, one of two shards of each done."""
    home = SEEDS / "job"
    shutil.copytree(SEEDS / "photos", home / "photos")
    Gallery.create(home / "gallery").close()
    (home / "pairs.csv").write_text("a,b\n" + "photos/0/0.jpg,photos/0/1.jpg\nphotos/1/0.jpg,photos/2/1.jpg\n" * 2)
    for name, job in jobs_in(home).items():
        run_shard(job, home / name, "1/2")


def jobs_in(home: Path) -> dict[str, AddJob | RecognizeJob | VerifyJob]:
    """Return the jobs whose work folders lie in a folder."""
    return {
        "add": AddJob(home / "gallery", home / "photos"),
        "recognize": RecognizeJob(home / "gallery", str(home / "photos")),
        "verify": VerifyJob(home / "pairs.csv"),
    }


def make_run_seed() -> None:
    """Make a small data set and the folder of a run over it."""
    home, rows = SEEDS / "run", []
    for number in range(9):
        split, shown = ("train", number % 3) if number < 6 else ("test", number % 3)
        id = f"{number:x}{number:015x}"
        photo = home / "data" / split / id[0] / id[1] / id[2] / f"{id}.jpg"
        world.save(world.view(world.facade(shown, 160, 120), number).pixels, photo)
        rows.append((split, id, shown))
    tables = {
        "train.csv": ["id,landmark_id", *(f"{id},{shown}" for split, id, shown in rows if split == "train")],
        "solution.csv": ["id,landmarks,Usage", *(f"{id},{shown},Public" for s, id, shown in rows if s == "test")],
    }
    for name, lines in tables.items():
        (home / "data" / name).write_text("\n".join(lines) + "\n")
    run_recipe(home / "data", home / "out")


def make_index_seed() -> None:
    """Make a gallery of a few hundred descriptors with an approximate index, none of them few enough to be compared."""
    ivf_index.FEW = 16
    path = Path(shutil.copytree(SEEDS / "gallery", SEEDS / "indexed"))
    with Gallery.open(path) as gallery:
        dim = gallery.settings["embedder"].get("dim") or gallery._models.pair()[0].dim
    with contextlib.closing(Store.open(path)) as store:
        rows = np.random.default_rng(5).standard_normal((400, dim)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        stores.put(store, *(stores.entry(i, f"l{i % 40}", descriptor=row) for i, row in enumerate(rows)))
    with Gallery.open(path) as gallery:
        gallery.choose_index("approximate", 0.99)
        gallery.build_index()
        EXACT.append(gallery.references())


# --- mutations -------------------------------------------------------------------------------------------------------


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return bytes flipped, cut, doubled or overwritten in a few places."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        place = rng.randrange(len(content) + 1)
        match rng.randrange(6):
            case 0 if content:
                content[place % len(content)] ^= 1 << rng.randrange(8)
            case 1:
                content[place : place + rng.randrange(1, 9)] = rng.randbytes(rng.randrange(9))
            case 2:
                del content[place : place + rng.choice((1, 4, 64, 10_000))]
            case 3:
                content[place:place] = content[place : place + rng.choice((1, 8, 200))] * rng.choice((1, 3, 50))
            case 4:
                content[place : place + 4] = rng.choice(
                    (b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f")
                )
            case _:
                content[place : place + 8] = rng.choice((b"\0" * 8, b"../../..", b"\xff" * 8))
    return bytes(content)


def mutate_value(value: object, rng: random.Random) -> object:
    """Return a JSON value with something hostile in it."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: mutate_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        return [*value[:place], mutate_value(value[place], rng), *value[place + 1 :]]
    hostile = [
        *HOSTILE,
        str(VICTIM / "secret.txt"),
        str(VICTIM / "new.txt"),
        str(CASE / "x" / ".." / ".." / "victim" / "secret.txt"),
    ]
    chosen = rng.choice(hostile)
    return chosen.decode("latin-1") if isinstance(chosen, bytes) else chosen


def mutate_database(file: Path, rng: random.Random) -> None:
    """Change cells of a database, or bytes of its file."""
    if rng.random() < 0.3:
        file.write_bytes(mutate_bytes(file.read_bytes(), rng))
        return
    db = sqlite3.connect(file)
    with contextlib.suppress(sqlite3.Error, OverflowError, ValueError), db:
        tables = [
            name
            for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type='table' AND name NOT LIKE 'sqlite%'")
        ]
        for _ in range(rng.choice((1, 1, 2, 4))):
            table = rng.choice(tables)
            column = rng.choice([row[1] for row in db.execute(f"PRAGMA table_info({table})")])
            old = [row[0] for row in db.execute(f"SELECT {column} FROM {table}")]
            value: object = rng.choice([*HOSTILE, str(VICTIM / "secret.txt"), os.fsencode(VICTIM / "secret.txt")])
            if old and rng.random() < 0.6:
                before = rng.choice(old)
                if isinstance(before, bytes):
                    value = mutate_bytes(before, rng)
                elif isinstance(before, str) and before[:1] in "{[":
                    value = json.dumps(mutate_value(json.loads(before), rng))
                elif isinstance(before, str):
                    value = mutate_bytes(before.encode(), rng).decode("latin-1")
            if isinstance(value, (list, dict)):
                value = json.dumps(value)
            db.execute(
                f"UPDATE {table} SET {column} = ? WHERE rowid = (SELECT rowid FROM {table} LIMIT 1)"
                if table in ("reference", "features", "thumbnail", "keypoint_support", "item")
                else f"UPDATE {table} SET {column} = ?",
                (value,),
            )
    db.close()


def plain_files(folder: Path) -> list[Path]:
    """Return the files below a folder, and no links."""
    return [path for path in sorted(folder.rglob("*")) if is_plain(path)]


def mutate_file(file: Path, rng: random.Random) -> None:
    """Change, cut, lengthen or replace a file of any kind, or its place by a link, a pipe or a folder."""
    chosen = rng.random()
    if chosen < 0.65:
        content = file.read_bytes()
        values = None
        if file.suffix == ".json" and rng.random() < 0.8:
            with contextlib.suppress(ValueError):  # changed before
                values = json.loads(content)
        if values is not None:
            file.write_text(json.dumps(mutate_value(values, rng), default=str), "utf-8", "replace")
        else:
            at = rng.randrange(len(content) + 1)  # heads are short, and most is in them
            head = content[: min(at, 2_000)]
            file.write_bytes(
                mutate_bytes(head, rng) + content[len(head) :] if rng.random() < 0.6 else mutate_bytes(content, rng)
            )
    elif chosen < 0.75:
        file.write_bytes(file.read_bytes()[: rng.choice((0, 1, 8, 100))])
    elif chosen < 0.8:
        numbers = np.frombuffer(file.read_bytes()[: file.stat().st_size // 4 * 4], np.float32).copy()
        numbers[rng.randrange(max(1, len(numbers))) :] = rng.choice((np.nan, np.inf, -1e30, 0))
        file.write_bytes(numbers.tobytes())
    else:
        target = rng.choice((VICTIM / "secret.txt", VICTIM / "new.txt", VICTIM, Path("/etc/passwd"), Path("/dev/zero")))
        named = file.parent in (CASE / "run" / "out", *(CASE / "job").glob("*"), CASE / "trained")  # by the user
        replaced = rng.choice((file, file, file if named else file.parent))
        shutil.rmtree(replaced) if replaced.is_dir() else replaced.unlink()
        match rng.randrange(6):
            case 0:
                os.mkfifo(replaced)
            case 1:
                replaced.mkdir()
            case _:
                replaced.symlink_to(target)


def mutate_lines(file: Path, rng: random.Random) -> None:
    """Change a line of JSON lines."""
    lines = file.read_text("latin-1").splitlines() or ["{}"]
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = rng.randrange(len(lines))
        match rng.randrange(4):
            case 0:
                del lines[place]
            case 1:
                lines.insert(place, lines[rng.randrange(len(lines))])
            case _:
                with contextlib.suppress(ValueError):
                    lines[place] = json.dumps(mutate_value(json.loads(lines[place]), rng), default=str)
        if not lines:
            break
    file.write_text("".join(line + "\n" for line in lines), "ascii", "replace")


# --- kinds -----------------------------------------------------------------------------------------------------------


def gallery_case(rng: random.Random) -> None:
    """Open, list, search and change a gallery."""
    path = Path(shutil.copytree(SEEDS / "gallery", CASE / "gallery"))
    mutate_database(path / "gallery.sqlite", rng)
    with acting(), Gallery.open(path) as gallery:
        gallery.info()
        landmarks = gallery.landmarks()
        list(gallery.recognize([CASE / "query.jpg"]))
        references = gallery.references()
        if references:
            gallery.reference(references[0].id).picture()
            gallery.remove(reference=references[0].id)
        if landmarks:
            gallery.remove(landmark=landmarks[0].landmark.id)


def index_case(rng: random.Random) -> None:
    """Search a gallery whose index was changed, then build that anew."""
    path = Path(shutil.copytree(SEEDS / "indexed", CASE / "gallery"))
    with Gallery.open(path) as gallery:
        gallery.trust()
    for _ in range(rng.choice((1, 1, 1, 2))):
        if files := plain_files(path / "index"):
            mutate_file(rng.choice(files), rng)
    known = {reference.id for reference in EXACT[0]}
    with acting(), Gallery.open(path) as gallery:
        live_index.LiveIndex._start_rebuild = lambda self: None
        try:
            (answer,) = gallery.recognize([CASE / "query.jpg"], effort="fast")
            found = {candidate.reference for candidate in answer.evidence}
            assert found <= known, f"references that are not there: {found - known}"
        except VedutaError as error:
            assert "\n" not in str(error)  # noqa: PT017
        if rng.random() < 0.3:
            with contextlib.suppress(VedutaError):
                gallery.build_index()
                (answer,) = gallery.recognize([CASE / "query.jpg"], effort="fast")


def job_case(rng: random.Random) -> None:
    """Go on with a job whose work folder was changed, and merge it."""
    home = Path(shutil.copytree(SEEDS / "job", CASE / "job"))
    name = rng.choice(("add", "add", "recognize", "verify"))
    work = home / name
    for file in (work / "plan").glob("*.json*"):
        file.write_text(file.read_text().replace(str(SEEDS), str(CASE)))
    for _ in range(rng.choice((1, 1, 2))):
        if not (files := plain_files(work)):
            break
        file = rng.choice(files)
        if file.name == "part.bin" and rng.random() < 0.7:
            mutate_records(file, rng)
        elif file.name == "items.jsonl" and rng.random() < 0.7:
            mutate_lines(file, rng)
        else:
            mutate_file(file, rng)
    job = jobs_in(home)[name]
    with acting():
        for call in (
            lambda: job_status(work),
            lambda: run_shard(job, work, "1/2"),
            lambda: run_shard(job, work, "2/2"),
            lambda: JobPlan.read(work).requests(),
            lambda: merge_job(work),
        ):
            try:
                call()
            except VedutaError as error:
                assert "\n" not in str(error)  # noqa: PT017


def mutate_records(file: Path, rng: random.Random) -> None:
    """Change a record of a shard, its checksum right again."""
    with file.open("rb") as opened:
        records = list(iter(lambda: Record.read(opened), None))
    if not records:
        return
    place = rng.randrange(len(records))
    record = records[place]
    content = record.content
    if content[:1] == b"{":
        content = json.dumps(mutate_value(json.loads(content), rng), default=str).encode() + b"\n"
    else:
        head = content[:600] if rng.random() < 0.7 else content
        content = mutate_bytes(head, rng) + content[len(head) :]
    failed = not record.failed if rng.random() < 0.1 else record.failed
    records[place] = Record(rng.choice((record.number, record.number, 99)), failed, content)
    file.write_bytes(b"".join(record.to_bytes() for record in records))
    done = file.parent / "done.json"
    if is_plain(done) and b'"bytes"' in done.read_bytes():
        with contextlib.suppress(ValueError):
            done.write_text(json.dumps(json.loads(done.read_text()) | {"bytes": file.stat().st_size}))


def recipe_case(rng: random.Random) -> None:
    """Run a recipe in a folder of an earlier run that was changed."""
    home = Path(shutil.copytree(SEEDS / "run", CASE / "run", copy_function=shutil.copy2))
    for _ in range(rng.choice((1, 1, 2))):
        if files := [file for file in plain_files(home / "out") if file.suffix != ".html"]:
            mutate_file(rng.choice(files), rng)
    if rng.random() < 0.2:
        table = rng.choice(list((home / "data").glob("*.csv")))
        table.write_bytes(mutate_bytes(table.read_bytes(), rng))
    with acting():
        run_recipe(home / "data", home / "out")


def training_case(rng: random.Random) -> None:
    """Go on with a training run whose folder was changed, and stop it after two steps."""
    out = Path(shutil.copytree(SEEDS / "trained" / "out", CASE / "trained"))
    shutil.copytree(SEEDS / "trained" / "data", CASE / "data")
    for name in ("settings.json", "survey.json"):
        (out / name).write_text((out / name).read_text().replace(str(SEEDS / "trained"), str(CASE)))
    saved = torch.load(out / "checkpoint.pt", weights_only=True)
    saved["photos"] = photos_digest() if rng.random() < 0.95 else "x"
    if rng.random() < 0.5:
        saved = saved | {
            key: mutate_state(saved[key], rng) for key in [rng.choice(["learner", "kept", "best", "journal"])]
        }
    torch.save(saved, out / "checkpoint.pt")
    if rng.random() < 0.6 and (files := plain_files(out)):
        mutate_file(rng.choice(files), rng)
    with acting(), contextlib.suppress(AssertionError):
        training_runs.learn(CASE / "data", out, RECIPE, 2)


def photos_digest() -> str:
    """Return the digest of a case's photos that a checkpoint has to have."""
    data = read_dataset(CASE / "data", None, None)[0]
    readable = np.ones(len(data), bool)
    return data.only(readable).digest()


def mutate_state(value: object, rng: random.Random) -> object:
    """Return a checkpoint's value with something hostile in it."""
    if isinstance(value, dict) and value and rng.random() < 0.95:
        key = rng.choice(list(value))
        return value | {key: mutate_state(value[key], rng)} if rng.random() < 0.9 else {}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        return [*value[:place], mutate_state(value[place], rng), *value[place + 1 :]]
    if isinstance(value, torch.Tensor) and rng.random() < 0.7:
        return rng.choice(
            (value.double(), value.flatten()[:1], torch.zeros(0), torch.full_like(value, 127), value.to(torch.int64))
        )
    return rng.choice([item for item in HOSTILE if not isinstance(item, bytes)])


def review_case(rng: random.Random) -> None:
    """Open a review queue."""
    path = Path(shutil.copytree(SEEDS / "gallery", CASE / "gallery"))
    mutate_database(path / "review.sqlite", rng)
    with acting():
        queue = ReviewQueue(path)
        try:
            queue.export(CASE / "out")
        finally:
            queue.close()


def library_case(rng: random.Random) -> None:
    """Plan, apply and undo in a library whose catalog was changed."""
    path = Path(shutil.copytree(SEEDS / "library", CASE / "library"))
    mutate_database(path / ".veduta" / "library.sqlite", rng)
    use_library(path)


def journal_case(rng: random.Random) -> None:
    """Plan, apply and undo in a library whose journal was changed."""
    path = Path(shutil.copytree(SEEDS / "library", CASE / "library"))
    file = next((path / ".veduta" / "journal").glob("*.jsonl"))
    file.write_text(file.read_text("ascii").replace(str(SEEDS / "library"), str(path)), "ascii")
    if rng.random() < 0.2:
        file.write_bytes(mutate_bytes(file.read_bytes(), rng))
    else:
        mutate_lines(file, rng)
    use_library(path)


def use_library(path: Path) -> None:
    """Do all that can be done to a library."""
    with acting(), Library(path) as library:
        for call in (
            library.assets,
            library.history,
            library.groups,
            library.failures,
            library.uncertain,
            lambda: library.organize(str(CASE / "Sorted" / "{landmark}")),
            lambda: library.apply(library.organize(str(CASE / "Sorted" / "{landmark}"), "move")),
            lambda: library.apply(library.tag()),
            library.recover,
            library.undo,
            library.undo,
        ):
            with contextlib.suppress(VedutaError):
                call()


def file_case(name: str, use: Callable[[Path], object]) -> Callable[[random.Random], None]:
    """Return a case of one mutated file."""

    def case(rng: random.Random) -> None:
        file = CASE / name
        seed = (SEEDS / name).read_bytes()
        if name.endswith(".json") and rng.random() < 0.7:
            file.write_text(json.dumps(mutate_value(json.loads(seed), rng), default=str), "utf-8", "replace")
        else:
            file.write_bytes(mutate_bytes(seed, rng))
        with acting():
            use(file)

    return case


def load_small(file: Path) -> object:
    """Decode a photo within the service's limits."""
    return load(file, max_bytes=25 << 20, max_pixels=100_000_000, max_memory=640 << 20)


def use_sidecar(file: Path) -> None:
    """Read a sidecar, write into it, and take that out again."""
    content = file.read_bytes()
    estimates(content)
    has_own_position(content)
    label = Label(Landmark("a", "A", 1.5, 2.5), 0.9, "veduta")
    remove_ours(merge_sidecar(content, label, position_known=False))


def unpack_or_refuse(file: Path) -> None:
    """Unpack local features; a ValueError is what callers turn into their error."""
    with contextlib.suppress(ValueError):
        unpack_features(file.read_bytes())


KINDS: dict[str, Callable[[random.Random], None]] = {
    "gallery": gallery_case,
    "library": library_case,
    "journal": journal_case,
    "review": review_case,
    "index": index_case,
    "job": job_case,
    "run": recipe_case,
    "training": training_case,
    "decision.npz": file_case("decision.npz", lambda file: LearnedDecider.from_bytes(file.read_bytes())),
    "features.bin": file_case("features.bin", unpack_or_refuse),
    "card.json": file_case("card.json", lambda file: read_card(file.parent)),
    "photo.xmp": file_case("photo.xmp", use_sidecar),
    "photos.csv": file_case("photos.csv", lambda file: list(list_csv(file))),
    "descriptors.pth": file_case("descriptors.pth", read_pth),
    **{
        f"photo.{kind}": file_case(f"photo.{kind}", load_small)
        for kind in ("jpeg", "png", "webp", "tiff", "gif", "bmp", "avif", "heic", "dng")
    },
}


@contextlib.contextmanager
def acting() -> Iterator[None]:
    """Watch what the body does."""
    global watching
    watching = True
    try:
        yield
    finally:
        watching = False


def run_case(kind: str, seed: int, number: int) -> str | None:
    """Run one case and return what went wrong, or None."""
    shutil.rmtree(CASE, ignore_errors=True)
    CASE.mkdir()
    shutil.copy(SEEDS / "photos" / "0" / "0.jpg", CASE / "query.jpg")
    seen.clear()
    before = {path: path.read_bytes() for path in VICTIM.iterdir()}
    try:
        KINDS[kind](random.Random(f"{seed} {kind} {number}"))
    except VedutaError as error:
        if "\n" in str(error):
            return f"an error of several lines: {error}"
    except Exception:
        return traceback.format_exc()
    if {path: path.read_bytes() for path in VICTIM.iterdir()} != before:
        return "a file outside was changed"
    return "; ".join(seen[:3]) or None


def main() -> int:
    """Run cases until the time is over; print a line for each that went wrong, and the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--case", type=int)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    make_seeds()
    sys.addaudithook(watch)
    kinds = [options.only] if options.only else list(KINDS)
    counts, wrong, until, number = Counter[str](), Counter[str](), time.monotonic() + options.seconds, 0
    while time.monotonic() < until:
        for kind in kinds:
            this = number if options.case is None else options.case
            problem = run_case(kind, options.seed, this)
            counts[kind] += 1
            if problem:
                wrong[kind] += 1
                print(f"--- {kind} case {this}\n{problem}", flush=True)
        number += 1
        if options.case is not None:
            break
    print(json.dumps({"cases": counts.total(), "wrong": dict(wrong), "each": dict(counts)}))
    shutil.rmtree(ROOT, ignore_errors=True)
    return int(bool(wrong))


if __name__ == "__main__":
    with contextlib.redirect_stderr(io.StringIO()) as quiet:
        status = main()
    sys.exit(status)
