"""Labelled sequences: the files of the archives, messy ones too, and arrays of every form."""

import gzip

import numpy as np
import pytest
import torch
from data_tools import write

from gatework.data.archive import read_archive, read_split
from gatework.data.labelled import load_labelled
from gatework.errors import DataError

NAN = float("nan")
TS = """# a comment
@problemName Two
@timeStamps false
@univariate false
@dimensions 2
@equalLength false
@classLabel true sit stand
@data
1,2,3:4,5,6:sit
-1.5e1,?:NaN, 2 : stand
"""
RELATIONAL = """% a comment with an umlaut: \xfc
@relation two
@attribute cases relational
@attribute t0 numeric
@attribute t1 numeric
@attribute t2 numeric
@end cases
@attribute target {sit,stand}
@data
'1,2,3\\n4,5,6',sit
'-15,?,?\\n?,2,?',stand
"""
# By hand, of both texts: (T, F) of each case.
TWO = [np.array([[1, 4], [2, 5], [3, 6.0]]), np.array([[-15, NAN], [NAN, 2]])]


def series(cases):
    return [cases.cube.series(i) for i in range(len(cases))]


def same(cases, expected):
    assert len(cases) == len(expected)
    for one, two in zip(series(cases), expected, strict=True):
        np.testing.assert_array_equal(one, two)


def test_one_problem_in_both_text_forms(tmp_path):
    packed = tmp_path / "Two_TRAIN.ts.gz"
    packed.write_bytes(gzip.compress(TS.encode()))
    for path in (
        packed,
        write(tmp_path, TS.replace("\n", "\r\n\r\n").encode("utf-8-sig"), "Two_TEST.ts"),
        write(tmp_path, RELATIONAL.encode("latin-1"), "Two_TRAIN.arff"),
    ):
        cases = read_archive(path)
        same(cases, TWO)
        assert cases.labels.tolist() == ["sit", "stand"]
        assert cases.name == "Two"
        assert cases.cube.names == ("feature 1", "feature 2")
        assert "1 of 5 values of 'feature 1' are missing" in cases.cube.notes[0]


def test_univariate_arff_and_headers_in_capitals(tmp_path):
    text = "@RELATION x\n@ATTRIBUTE a REAL\n@ATTRIBUTE b real\n@ATTRIBUTE c {1,-1}\n@DATA\n1,?,-1\n"
    cases = read_archive(write(tmp_path, text, "x.arff"))
    same(cases, [[[1.0]]])  # what is missing at the end is padding
    assert cases.labels.tolist() == ["-1"]
    cases = read_archive(write(tmp_path, "@CLASSLABEL TRUE\n@DATA\n1,2:b c\n", "x.ts"))
    same(cases, [[[1.0], [2.0]]])
    assert cases.labels.tolist() == ["b c"]


def test_cases_without_classes(tmp_path):
    cases = read_archive(write(tmp_path, "@classLabel false\n@data\n1,2:3,4\n5:6,7\n", "x.ts"))
    same(cases, [[[1, 3], [2, 4]], [[5, 6], [NAN, 7]]])
    assert cases.labels is None
    assert (
        "1 of 2 cases have dimensions of different lengths (first on line 4" in cases.cube.notes[0]
    )


def test_what_the_header_claims_is_held_against_the_cases(tmp_path):
    text = "@equalLength true\n@classLabel true a\n@data\n1,2:a\n1:a\n"
    (note,) = read_archive(write(tmp_path, text, "x.ts")).cube.notes
    assert note == (
        "x.ts says @equalLength true; its cases have 1 to 2 steps, and are read as they are."
    )


HEAD = "@classLabel true a b\n@data\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 0: the file ends without @data"),
        ("1,2:a\n", "line 1: got '1,2:a', expected @key values"),
        ("@data\n1:a\n", "line 1: no @classLabel stands before @data"),
        ("@targetLabel true\n@data\n1:2\n", "line 2: @targetLabel true: .* and no class"),
        ("@timeStamps true\n" + HEAD, "line 3: @timeStamps true is not read here"),
        (HEAD, "line 2: no case stands behind @data"),
        (HEAD + "1,2:a\n\n1,x2,3:b\n", "line 5: 'x2' is no number"),
        (HEAD + "(0,1),(1,2):a\n", r"line 3: '\(0' is no number"),
        (HEAD + "1,2:a\n1,2:3,4:b\n", "line 4: got 2 dimensions divided by ':', expected 1"),
        ("@dimensions 2\n" + HEAD + "1,2:a\n", "line 4: got 1 dimensions .* expected 2 with"),
        (HEAD + "1,2:c\n", "line 3: got the class 'c', expected one of a, b"),
        (HEAD + "1,2:\n", "line 3: got the class ''"),
        (HEAD + "a\n", "line 3: got 0 dimensions"),
    ],
)
def test_a_mistake_in_a_ts_file_is_named_with_its_line(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason) as caught:
        read_archive(write(tmp_path, text, "bad.ts"))
    assert str(caught.value).startswith("bad.ts, line ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.csv", "", "ends in '.csv'; labelled series are .ts, .arff, .npz, .npy"),
        ("x.ts.gz", b"plain", "cannot be read"),
        ("x.ts.gz", gzip.compress(TS.encode())[:-12], "cannot be read"),
        ("x.arff", "", "cannot be read as ARFF"),
        ("x.arff", "@relation x\n@attribute a real\n@data\n1\n", "the last attribute is the class"),
        ("x.arff", "@relation x\n@attribute a real\n@attribute c {a}\n@data\n1,b\n",
         "cannot be read as ARFF"),
        ("x.arff", "@relation x\n@attribute a {u}\n@attribute c {a}\n@data\nu,a\n", "is no number"),
        ("x.npz", b"PK", "cannot be read"),
        ("x.npy", b"no", "cannot be read"),
    ],
)  # fmt: skip
def test_other_files_are_refused_in_one_line(tmp_path, name, content, reason):
    with pytest.raises(DataError, match=reason):
        read_archive(write(tmp_path, content, name))


def test_a_file_that_is_not_there():
    with pytest.raises(DataError, match=r"There is no file absent\.ts"):
        read_archive("absent.ts")


def test_numpy_files(tmp_path):
    X, y = np.arange(12.0).reshape(2, 3, 2), np.array([3, 4])
    np.savez(tmp_path / "one.npz", X=X, y=y)
    np.savez(tmp_path / "two.npz", X_train=X, y_train=y, X_test=X[:1] + 1, y_test=y[:1])
    np.save(tmp_path / "x.npy", X[..., 0])
    one = read_archive(tmp_path / "one.npz")
    same(one, X)
    assert one.labels.tolist() == ["3", "4"]
    train, test = read_split(tmp_path / "two.npz")
    same(train, X)
    same(test, X[:1] + 1)
    assert (train.labels.tolist(), test.labels.tolist()) == (["3", "4"], ["3"])
    same(read_archive(tmp_path / "x.npy"), X[..., :1])
    with pytest.raises(DataError, match="a training and a test part"):
        read_archive(tmp_path / "two.npz")
    np.savez(tmp_path / "bad.npz", X=X, y=y[:1])
    np.savez(tmp_path / "worse.npz", values=X)
    np.save(tmp_path / "objects.npy", np.array([X, None], dtype=object))
    np.save(tmp_path / "texts.npy", np.array([["a"]]))
    for name, reason in (
        ("bad.npz", r"one class for each of 2 sequences, got \(1,\)"),
        ("worse.npz", "is to hold X and y, .* it holds values"),
        ("objects.npy", "pickles and refused"),
        ("texts.npy", "sequences are numbers"),
    ):
        with pytest.raises(DataError, match=reason):
            read_archive(tmp_path / name)


def test_the_official_split_is_found_by_its_names(tmp_path):
    train = write(tmp_path, TS, "Two_TRAIN.ts")
    assert read_split(train)[1] is None
    write(tmp_path, TS.replace("1,2,3:4,5,6:sit\n", ""), "Two_TEST.ts")
    for path in (train, tmp_path):
        first, second = read_split(path)
        same(first, TWO)
        same(second, TWO[1:])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no NAME_TRAIN file"):
        read_split(tmp_path / "empty")


# Arrays.


def test_every_form_of_arrays_is_the_same_cases():
    padded = np.full((2, 4, 2), NAN)
    padded[0, :3], padded[1, :2] = TWO
    objects = np.empty(2, dtype=object)
    objects[:] = TWO
    for data in (padded, padded.tolist(), torch.tensor(padded), TWO, tuple(TWO), objects):
        cases = load_labelled(data, ["a", "b"])
        same(cases, TWO)
        assert cases.cube.values.shape == (2, 3, 2)
        assert cases.labels.tolist() == ["a", "b"]
    assert load_labelled(cases) is cases
    same(load_labelled([[1, 2, 3], [4, 5]]), [[[1], [2], [3]], [[4], [5]]])
    same(load_labelled(np.array([[1, np.inf, 3], [NAN] * 3])), [[[1], [NAN], [3]], [[NAN]]])


@pytest.mark.parametrize(
    ("data", "labels", "reason"),
    [
        (np.zeros(3), None, "Expected 2D array, got 1D array"),
        (np.zeros((2, 3, 1, 1)), None, r"an array \(N, T, F\) or \(N, T\)"),
        ([], None, "Expected 2D array"),
        (np.zeros((0, 3)), None, "0 sample"),
        ([np.zeros((3, 2)), np.zeros((4, 1))], None, "different features"),
        ([np.zeros((3, 2)), np.zeros((0, 2))], None, "at least one step"),
        ([["a", "b"], ["c"]], None, "not numbers"),
        ([["1", "red"]], None, "could not convert .*'red'.* a category is one feature of 0 and 1"),
        ({"a": np.zeros(3)}, None, "a list of arrays .* got dict"),
        ((x for x in np.zeros((2, 3))), None, "got generator"),
        (np.zeros((2, 3)) + 1j, None, "Complex data not supported; give two features"),
        (np.zeros((3, 4)), ["a", "b"], "X holds 3 sequences, y 2 classes"),
    ],
)
def test_arrays_that_are_no_sequences(data, labels, reason):
    with pytest.raises(DataError, match=reason) as caught:
        load_labelled(data, labels)
    assert "\n" not in str(caught.value)
