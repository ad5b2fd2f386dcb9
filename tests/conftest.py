"""What holds for all tests, and the command line as a fixture."""

import os
import shutil
import sys
from pathlib import Path

# Where a test wants more threads than one, those that wait leave the processor to the other
# processes. OpenMP reads this when torch loads it, Keras its own when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("KERAS_BACKEND", "torch")

import pytest
import torch

torch.set_num_threads(1)  # the suite runs in several processes, and the sizes here are tiny


@pytest.fixture
def gatework(capsys, monkeypatch, tmp_path):
    """Runs the command in an empty folder; gives the exit status and both outputs."""
    from gatework.cli import main  # noqa: PLC0415  (most tests need no command line)

    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["gatework", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main.run()
        printed = capsys.readouterr()
        return caught.value.code, printed.out, printed.err

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with one finished run, to be copied."""
    from cli_tools import SMALL  # noqa: PLC0415

    from gatework.cli import main  # noqa: PLC0415  (most tests need no command line)

    folder = tmp_path_factory.mktemp("trained") / "run"
    words = ["fit", "forecast", "airpassengers", *SMALL, "--out", str(folder)]
    main.app(words, standalone_mode=False)
    return folder


@pytest.fixture
def run_folder(trained, tmp_path):
    """That run as ./run."""
    return Path(shutil.copytree(trained, tmp_path / "run"))
