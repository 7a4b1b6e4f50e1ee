"""Every file of the data set: read as it is meant, refused with file, line and reason when it is not."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veduta.competition.submissions import (
    check_submission,
    parse_field,
    read_submission,
    write_submission,
)
from veduta.datasets import gldv2
from veduta.datasets.layout import PhotoFolder, split_folder
from veduta.errors import DatasetError

A, B, C = "00000000000000aa", "00000000000000bb", "00000000000000cc"


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_kaggle_and_full_train_tables_read_alike(tmp_path):
    kaggle = write(tmp_path / "k.csv", "id,landmark_id", f"{A},7", f"{B},9", f"{C},7")
    full = write(tmp_path / "f.csv", "id,url,landmark_id", f"{A},http://x/a,7", f'{B},"http://x/b,c",9', f"{C},u,7")
    for path in (kaggle, full):
        labels = gldv2.read_train(path)
        assert list(labels.pairs()) == [(A, "7"), (B, "9"), (C, "7")]
        assert labels.counts().tolist() == [2, 1]


def test_the_other_tables(tmp_path):
    clean = write(tmp_path / "clean.csv", "landmark_id,images", f"7,{A} {B}", f"9,{C}")
    assert list(gldv2.read_clean(clean).pairs()) == [(A, "7"), (B, "7"), (C, "9")]
    ids = write(tmp_path / "test.csv", "id", A, B)
    assert gldv2.read_ids(ids).tolist() == [A.encode(), B.encode()]
    names = write(tmp_path / "n.csv", "landmark_id,category", "7,http://commons/Category:Tower")
    assert gldv2.read_categories(names) == {"7": "http://commons/Category:Tower"}
    header = "landmark_id,category,supercategory,hierarchical_label,natural_or_human_made"
    tree = write(tmp_path / "h.csv", header, "7,http://c,tower,tower,human-made")
    assert gldv2.read_hierarchy(tree)["7"].natural_or_human_made == "human-made"
    credit = write(tmp_path / "a.csv", "id,url,author,license,title", f'{A},http://u,"Doe, Jo",CC BY,"A ""title"""')
    assert gldv2.read_attribution(credit)[A].author == "Doe, Jo"
    assert gldv2.read_attribution(credit, photo_ids={B}) == {}
    index = write(tmp_path / "i.csv", "id,landmark_id", f"{A},1")
    assert list(gldv2.read_index_labels(index).pairs()) == [(A, "1")]


def test_solutions_keep_several_landmarks_and_usage(tmp_path):
    path = write(tmp_path / "s.csv", "id,landmarks,Usage", f"{A},7 9,Public", f"{B},,Private", f"{C},7,Ignored")
    solution = gldv2.read_recognition_solution(path)
    assert solution.part("public") == {A: ("7", "9")}
    assert solution.part("private") == {B: ()}
    assert solution.part("all") == {A: ("7", "9"), B: ()}
    retrieval = write(tmp_path / "r.csv", "id,images,Usage", f"{A},{B} {C},Public", f"{B},None,Ignored")
    assert gldv2.read_retrieval_solution(retrieval).truth == {A: (B, C), B: ()}
    with pytest.raises(ValueError, match="secret"):
        solution.part("secret")


@pytest.mark.parametrize(
    ("read", "lines", "reason"),
    [
        (gldv2.read_train, ["photo,landmark"], "line 1: expected the header"),
        (gldv2.read_train, [], "got nothing"),
        (gldv2.read_train, ["id,landmark_id", f"{A}"], "line 2: expected 2 fields, got 1"),
        (gldv2.read_train, ["id,landmark_id", f"{A},7", f"{B},"], "line 3: has no landmark_id"),
        (gldv2.read_train, ["id,landmark_id", f"{A},7", f"{B},8", f"{A},9"], f"line 4: photo id {A} occurs twice"),
        (gldv2.read_train, ["id,landmark_id", "ä,7"], "line 2: 'ä' is not a photo id"),
        (gldv2.read_recognition_solution, ["id,landmarks,Usage", f"{A},7,Secret"], "line 2: Usage 'Secret'"),
        (gldv2.read_recognition_solution, ["id,landmarks,Usage", f"{A},,Public", f"{A},,Public"], "line 3"),
        (read_submission, ["id,landmarks", f"{A},7 0.5", f"{B},7"], "line 3: expected '<landmark> <confidence>'"),
        (read_submission, ["id,landmarks", f"{A},7 nan"], "line 2: confidence nan is not finite"),
        (read_submission, ["id,landmarks", f"{A},7 x"], "line 2: 'x' is not a number"),
        (read_submission, ["id,landmarks", f"{A},", f"{A},"], "line 3"),
    ],
)
def test_malformed_files_say_file_line_and_reason(tmp_path, read, lines, reason):
    path = write(tmp_path / "bad.csv", *lines) if lines else tmp_path / "bad.csv"
    path.touch()
    with pytest.raises(DatasetError, match=r"bad\.csv") as error:
        read(path)
    assert reason in str(error.value)


def test_missing_and_binary_files_are_errors(tmp_path):
    with pytest.raises(DatasetError, match="No such file"):
        gldv2.read_train(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"id,landmark_id\n\xff\xfe,1\n")
    with pytest.raises(DatasetError, match="cannot be read"):
        gldv2.read_train(tmp_path / "b.csv")


def test_chunks_join_without_a_seam(tmp_path, monkeypatch):
    monkeypatch.setattr(gldv2, "ROWS_PER_CHUNK", 7)
    rows = [(f"{i:016x}", str(i % 5)) for i in range(50)]
    labels = gldv2.read_train(write(tmp_path / "t.csv", "id,landmark_id", *(f"{a},{b}" for a, b in rows)))
    assert list(labels.pairs()) == rows


confidences = st.floats(allow_nan=False, allow_infinity=False, width=32)


@settings(deadline=None)
@given(st.dictionaries(st.text("0123456789abcdef", min_size=16, max_size=16), st.none() | confidences, max_size=20))
def test_a_submission_reads_back_as_it_was_written(tmp_path_factory, answers):
    path = tmp_path_factory.mktemp("s") / "submission.csv"
    write_submission(path, list(answers), {id: ("7", c) for id, c in answers.items() if c is not None})
    ids, predictions = read_submission(path)
    assert ids == list(answers)
    assert {p.id: np.float32(p.confidence) for p in predictions} == {
        id: np.float32(c) for id, c in answers.items() if c is not None
    }
    with path.open(newline="") as file:
        assert next(csv.reader(file)) == ["id", "landmarks"]


def test_check_lists_every_problem_with_its_line(tmp_path):
    sample = write(tmp_path / "sample.csv", "id,landmarks", f"{A},1 0.0", f"{B},1 0.0", f"{C},1 0.0")
    bad = write(
        tmp_path / "s.csv", "id,landmarks", f"{A},7 0.5", f"{A},7 0.5", f"{B},7 inf", "x,", f"{B},1,2", f"{B},7"
    )
    found = [(p.line, p.reason) for p in check_submission(bad, sample)]
    assert found == [
        (3, f"photo id {A} occurs twice, first on line 2"),
        (4, f"photo id {B}: confidence inf is not finite"),
        (5, "photo id x is not in the sample"),
        (6, "expected 2 fields, got 3"),
        (7, f"photo id {B} occurs twice, first on line 4"),
        (7, f"photo id {B}: expected '<landmark> <confidence>' or nothing, got '7'"),
        (0, f"photo id {C} of sample.csv is missing"),
    ]
    good = write(tmp_path / "g.csv", "id,landmarks", f"{C},", f"{B},7 0.1", f"{A},")
    assert check_submission(good, sample) == []


@pytest.mark.parametrize("field", ["7", "7 0.1 8", "7 one", "7 nan", "7 -inf"])
def test_fields_that_are_not_two_tokens_and_finite_are_refused(field):
    with pytest.raises(ValueError):  # noqa: PT011  the message is checked line by line above
        parse_field(field)


def test_layouts_are_recognized(tmp_path):
    for path in ("nested/train/0/0/1/001a.jpg", "flat/train/001a.png"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"x")
    nested = split_folder(tmp_path / "nested", "train")
    assert nested.path("001a") == tmp_path / "nested/train/0/0/1/001a.jpg"
    flat = split_folder(tmp_path / "flat", "train")
    assert flat.path("001a") == tmp_path / "flat/train/001a.png"
    assert list(nested.ids()) == list(flat.ids()) == ["001a"]
    (tmp_path / "odd/deep").mkdir(parents=True)
    (tmp_path / "odd/deep/x.jpg").write_bytes(b"x")
    for folder, reason in (("odd", "neither"), ("none", "not a folder")):
        with pytest.raises(DatasetError, match=reason):
            PhotoFolder.find(tmp_path / folder)
