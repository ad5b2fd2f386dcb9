"""``gatework check`` of labelled sequences."""

import numpy as np
import pytest
from cli_tools import call, done, refused
from data_tools import write

HEAD = "@problemName two\n@classLabel true slow fast\n@data\n"


@pytest.fixture
def training(tmp_path):
    return write(tmp_path, f"{HEAD}1,2,3:slow\n1,?:fast\n4,5:fast\n", "Two_TRAIN.ts")


def test_it_tells_both_parts_and_their_notes(training, tmp_path):
    write(tmp_path, f"{HEAD}1,2,3,4:slow\n", "Two_TEST.ts")
    for given in (training, tmp_path):
        said = done("check", given).out
        assert "Two: 3 sequences of 1 to 3 steps and 1 feature; 2 classes of 1 to 2" in said
        assert "test part: 1 sequence of 4 steps and 1 feature; 1 class" in said


def test_a_test_part_that_cannot_be_scored_on_is_an_error(training, tmp_path):
    write(tmp_path, f"{HEAD}1,2:3,4:slow\n", "Two_TEST.ts")
    found = call("check", training)
    assert found.status == 2
    assert "Two: 3 sequences" in found.out
    assert "have 1 feature, those of Two 2" in found.err


def test_without_classes_it_says_what_that_means(tmp_path):
    np.savez(tmp_path / "new.npz", X=np.ones((2, 5)))
    assert "warning  No classes" in done("check", tmp_path / "new.npz").out


def test_it_refuses_columns_of_what_has_none(training):
    assert "without columns" in refused("check", training, "--target", "sold")
