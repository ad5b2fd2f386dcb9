"""Images in MNIST's form: arrays of every kind, packed or not, and files that are messy."""

import gzip
import struct

import numpy as np
import pytest
from cli_tools import TINY, done, refused

from gatework.data.archive import read_archive, read_split
from gatework.data.idx_file import read_idx
from gatework.errors import DataError

CODES = {"B": 8, "b": 9, "h": 11, "i": 12, "f": 13, "d": 14}
IMAGES, LABELS = "images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"


def idx(values, kind="B"):
    """The bytes of an array, written with struct: the form as its description has it."""
    values = np.asarray(values)
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, CODES[kind], values.ndim, *values.shape)
    return head + struct.pack(f">{values.size}{kind}", *values.ravel().tolist())


def put(folder, name, values):
    content = values if isinstance(values, bytes) else idx(values)
    path = folder / name
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture
def digits(tmp_path):
    """The four files of 20 and 8 small images, a bright row above or below."""
    random = np.random.default_rng(0)
    for part, count in (("train", 20), ("t10k", 8)):
        images, labels = random.integers(0, 50, (count, 4, 3)), np.arange(count) % 2
        images[np.arange(count), 3 * labels] = 250
        put(tmp_path, f"{part}-{IMAGES}", images)
        put(tmp_path, f"{part}-{LABELS}", labels)
    return tmp_path


@pytest.mark.parametrize("name", ["a.idx", "a.idx.gz", "a-idx2-short", "a.idx2-ubyte.gz"])
@pytest.mark.parametrize("kind", CODES)
def test_arrays_of_every_kind(tmp_path, kind, name):
    values = np.array([[1, 2, 3], [4, 5, 100]]) * (1 if kind in "Bb" else -250)
    found = read_idx(put(tmp_path, name, idx(values, kind)))
    assert found.dtype == np.dtype(kind)
    assert np.array_equal(found, values)


def test_files_are_found_by_their_names(digits):
    for place in (digits, digits / f"train-{IMAGES}"):
        training, scored = read_split(place)
        assert (training.name, scored.name) == ("train", "t10k")
        assert training.cube.values.shape == (20, 4, 3)
        assert training.labels.tolist() == ["0", "1"] * 10
        assert (training.cube.values[1, 3] == 250).all()
        assert len(scored) == 8
    (digits / f"train-{LABELS}").rename(digits / "elsewhere")
    assert read_archive(digits / f"train-{IMAGES}").labels is None
    put(digits, f"train-{LABELS}".removesuffix(".gz"), np.zeros(20, dtype=int))
    assert set(read_archive(digits / f"train-{IMAGES}").labels) == {"0"}


def test_a_classifier_learns_of_images(digits, tmp_path):
    out, images = tmp_path / "run", digits / f"train-{IMAGES}"
    said = done("fit", "classify", images, "--out", out, "--convolution", "none", *TINY).out
    assert "train: 20 sequences of 4 steps and 3 features; 2 classes of 10 sequences." in said
    told = done("predict", out, digits / f"t10k-{IMAGES}").out
    assert len(told.splitlines()) == 9
    (digits / f"train-{LABELS}").unlink()
    assert "has no classes to learn from; name a file that has." in refused(
        "fit", "classify", images, "--out", tmp_path / "other"
    )
    assert not (tmp_path / "other").exists()


WHOLE = idx(np.zeros((2, 3, 4), dtype=int))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no IDX file: it begins with nothing, expected 00 00"),
        (b"\x89PNG" + WHOLE, "is no IDX file: it begins with 89 50 4e 47"),
        (b"\0\0\x07\x01" + WHOLE, "is no IDX file: it begins with 00 00 07 01"),
        (b"\0\0\x08\0", "is no IDX file: it begins with 00 00 08 00"),
        (WHOLE[:10], "is no IDX file"),
        (WHOLE[:-5], "is damaged: (2, 3, 4) of 1 bytes each are 24 bytes, and 19 are there."),
        (WHOLE + b"\0", "are 24 bytes, and 25 are there."),
        (idx(np.zeros((0, 3, 4), dtype=int)), "sequences are numbers (N, T, F) or (N, T), got"),
        (idx(np.zeros((2, 3, 4, 1), dtype=int)), "sequences are numbers (N, T, F) or (N, T), got"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, *[2**32 - 1] * 3), "is damaged"),
    ],
)
def test_messy_files_are_one_line(tmp_path, content, says):
    path = put(tmp_path, "x-images-idx3-ubyte", content)
    with pytest.raises(DataError) as caught:
        read_archive(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_classes_and_packing_that_do_not_fit(digits):
    images = digits / f"train-{IMAGES}"
    put(digits, f"train-{LABELS}", np.zeros(19, dtype=int))
    with pytest.raises(
        DataError, match=r"one class for each of the 20 images .*, it holds \(19,\)"
    ):
        read_archive(images)
    images.write_bytes(images.read_bytes()[:-30])
    with pytest.raises(DataError, match="cannot be read"):
        read_archive(images)
    images.write_bytes(WHOLE)
    with pytest.raises(DataError, match="cannot be read: Not a gzipped file"):
        read_archive(images)
