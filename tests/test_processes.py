"""Two processes under torchrun train what one process trains."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_tools import AIR, done
from data_tools import quick
from processes_script import DOUBLES, FITS, SERIES, double, found
from safetensors.torch import load_file

from gatework.training.processes import Processes

SCRIPT = Path(__file__).with_name("processes_script.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two processes have written down what they found."""
    place = tmp_path_factory.mktemp("processes")
    words = ("--nproc-per-node", "2", "--standalone", str(SCRIPT), str(place))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return place


def numbers(folder, process, name):
    stored = np.load(folder / f"{process}.npz")
    return {k.removeprefix(f"{name}/"): stored[k] for k in stored if k.startswith(f"{name}/")}


def says(folder, process):
    return json.loads((folder / f"{process}.json").read_text())


def largest_difference(one, two):
    assert one.keys() == two.keys()
    assert all(one[k].shape == two[k].shape for k in one)
    return max(np.abs(one[k] - two[k]).max() for k in one)


@pytest.mark.parametrize("name", FITS)
def test_two_processes_fit_what_one_fits(folder, name):
    """Weights, losses, and where early stopping ends; sums in another order differ by rounding."""
    alone = found(quick(**FITS[name]).fit(SERIES))
    if name == "stops":
        assert len(alone["history"]) < FITS[name]["epochs"]
    # A high learning rate for many epochs multiplies what rounding does.
    limit = 1e-6 if FITS[name]["epochs"] < 10 else 1e-4
    assert largest_difference(numbers(folder, 0, name), alone) < limit


@pytest.mark.parametrize("name", DOUBLES)
def test_the_difference_is_one_of_rounding(folder, name):
    """With batch normalisation too: its means, variances and gradients are those of all rows."""
    limit = 1e-11 if name == "sequences" else 1e-14  # where rounding alone is learnt, see there
    assert largest_difference(numbers(folder, 0, name), double(name)) < limit


@pytest.mark.parametrize("name", [*FITS, *DOUBLES, "whole"])
def test_all_processes_have_the_same_bits(folder, name):
    assert largest_difference(numbers(folder, 0, name), numbers(folder, 1, name)) == 0


def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(folder):
    """With dropout, so each process draws on with random numbers of its own."""
    parts = numbers(folder, 0, "parts")
    assert largest_difference(parts, numbers(folder, 0, "whole")) == 0


def test_a_loss_that_is_not_finite_is_told_alike_by_all(folder):
    words = says(folder, 0)["broken"]
    assert "is not finite in epoch 1, batch 1: first at series '1', the window of 6 + 3" in words
    assert says(folder, 1)["broken"].partition("parameter")[0] == words.partition("parameter")[0]


@pytest.mark.parametrize("process", [0, 1])
def test_what_several_processes_cannot_train_is_refused_by_all(folder, process):
    found = says(folder, process)
    assert (
        "must train on the same data with the same arguments; they differ in data: "
        in (found["other data"])
    )
    assert "batch normalisation trains in one process" in found["batch norm"]
    assert "There is no checkpoint" in found["absent"]


def test_the_command_line_prints_and_writes_once(folder, tmp_path):
    first, second = (says(folder, process)["command"] for process in (0, 1))
    assert second == {"status": 0, "out": "", "err": ""}
    assert (first["status"], first["out"].count("report: ")) == (0, 1)
    assert "epoch 2/2" in first["err"]
    done(*AIR, "--out", tmp_path / "run")
    files = sorted(p.name for p in (folder / "run").iterdir())
    assert files == sorted(p.name for p in (tmp_path / "run").iterdir())
    one, two = (load_file(f / "run" / "model.safetensors") for f in (tmp_path, folder))
    assert all(torch.allclose(one[k], two[k], rtol=0, atol=2e-6) for k in one)


class Ranks:
    """As much of an accelerator as sharing asks for."""

    num_processes = 4

    def __init__(self, process_index):
        self.process_index = process_index


def test_each_process_draws_its_own_masks_and_the_main_one_goes_on_with_its_own():
    drawn = []
    for rank in (0, 1, 2, 1):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            Processes(Ranks(rank)).draw_apart(0, epoch=3)
            drawn.append(torch.rand(1).item())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert drawn[0] == torch.rand(1).item()
    assert len(set(drawn)) == 3
    assert drawn[1] == drawn[3]


@pytest.mark.parametrize("size", [1, 3, 4, 10])
def test_the_shares_of_a_batch_make_it_up(size):
    index = torch.arange(100, 100 + size)
    shares = [Processes(Ranks(rank)).share(index) for rank in range(4)]
    counted = torch.cat([own for own, weight in shares if weight])
    assert sorted(counted.tolist()) == index.tolist()
    mean = sum(own.double().mean() * weight for own, weight in shares)
    assert float(mean) == pytest.approx(float(index.double().mean()), rel=1e-15)
    assert all(len(own) for own, _ in shares)
