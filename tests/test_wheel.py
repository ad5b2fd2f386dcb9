"""Kernels that come with the package: built into a wheel, chosen by the processor, loaded."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gatework as gw
from gatework.cells import resolve
from gatework.compile import toolchain
from gatework.errors import PathError
from gatework.paths import build

ROOT = Path(__file__).parent.parent
SETS = [one.name for one in toolchain.instruction_sets() if one.features <= build._features()]
CELLS = ("lstm", "peephole_lstm")  # compiled into the wheel of these tests
COMMAND = toolchain.compiler()

if COMMAND is None:
    pytest.skip("there is no C compiler", allow_module_level=True)


def core_cells():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return settings["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["cells"]


def test_the_core_set_has_the_cells_of_all_drop_ins():
    drop_ins = (
        gw.LSTM(3, 4), gw.LSTM(3, 4, proj_size=2), gw.GRU(3, 4),
        gw.RNN(3, 4), gw.RNN(3, 4, nonlinearity="relu"),
    )  # fmt: skip
    core = {resolve(cell) for cell in core_cells()}
    assert {layer.spec for layer in drop_ins} | {resolve(cell) for cell in CELLS} <= core


# A wheel of two cells, since all of them take half a minute on two cores.


def installed(folder):
    """The folder that such a wheel is installed in."""
    source = folder / "source"
    shutil.copytree(ROOT / "gatework", source / "gatework")
    for name in ("hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    fewer = re.sub(r"(?m)^cells = \[[^]]*\]", f"cells = {[*CELLS]}", settings)
    (source / "pyproject.toml").write_text(fewer, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    made = subprocess.run(
        [*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(source)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if made.returncode and "No matching distribution found for hatchling" in made.stderr:
        pytest.skip("pip cannot get hatchling: there is no network")
    assert made.returncode == 0, made.stdout + made.stderr
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.startswith(f"gatework-{gw.__version__}-py3-none-{sys.platform}")
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", str(folder / "site"), str(wheel)],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "site"


WITHOUT_COMPILER = """
import sys, torch, gatework as gw
from gatework.paths import build, recurrence

site, name = sys.argv[1:]
assert gw.__file__.startswith(site) and build.instruction_set().name == name
assert build.compiler() is None or "ziglang" in build.compiler()
for real, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
    assert recurrence.library(real.itemsize) is not None
    for layer in (gw.LSTM(5, 37, dtype=real), gw.Recurrent("peephole_lstm", 5, 37, dtype=real)):
        x, found = torch.randn(9, 4, 5, dtype=real), []
        for layer.path in ("native", "reference"):
            output = layer(x)[0]
            found.append((output, *torch.autograd.grad(output.sin().sum(), layer.parameters())))
        for mine, want in zip(*found):
            torch.testing.assert_close(mine, want, rtol=tolerance, atol=tolerance)
"""


def test_a_wheel_needs_no_compiler_on_any_instruction_set(tmp_path):
    site = installed(tmp_path)
    libraries = list((site / "gatework").rglob("*.so"))
    sets = toolchain.instruction_sets()
    assert len(libraries) == (len(CELLS) + 1) * len(sets) * len(toolchain.REALS)
    cache, empty = tmp_path / "cache", tmp_path / "empty"
    empty.mkdir()
    for name in SETS:
        subprocess.run(
            [sys.executable, "-c", WITHOUT_COMPILER, str(site), name],
            check=True, cwd=empty,
            env={
                "PYTHONPATH": str(site), "PATH": str(empty), "GATEWORK_CACHE": str(cache),
                **({} if name == SETS[0] else {"GATEWORK_ISA": name}),
            },
        )  # fmt: skip
    assert not cache.exists()  # nothing was compiled


# Which library is loaded.

TEXT = "int answer(void) { return 42; }"


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The folders of packaged and of compiled libraries, both empty."""
    monkeypatch.delenv("GATEWORK_CFLAGS", raising=False)
    monkeypatch.setenv("GATEWORK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "PACKAGED", tmp_path / "packaged")
    monkeypatch.setattr(build.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "packaged").mkdir()
    return tmp_path / "packaged", tmp_path / "cache"


@pytest.fixture
def fresh():
    """The instruction set is looked up anew, before and after."""
    build.instruction_set.cache_clear()
    yield
    build.instruction_set.cache_clear()


def packaged_name(real_bytes=4):
    options = toolchain.options(build.instruction_set(), real_bytes)
    return options, toolchain.library_name(TEXT, *options)


def test_packaged_libraries_go_first_unless_there_are_flags(places, monkeypatch):
    packaged, cache = places
    options, name = packaged_name()
    other = TEXT.replace("42", "43")
    toolchain.compile_library(COMMAND, options, other, packaged / name)
    assert build.load(TEXT, 4).answer() == 43
    assert not cache.exists()
    assert build.load(TEXT, 8).answer() == 42
    monkeypatch.setenv("GATEWORK_CFLAGS", "-g")
    assert build.load(TEXT, 4).answer() == 42


def test_a_packaged_library_that_cannot_be_loaded_is_compiled_instead(places):
    packaged, cache = places
    (packaged / packaged_name()[1]).write_bytes(b"of another processor")
    assert build.load(TEXT, 4).answer() == 42
    assert list(cache.glob("*.so"))


@pytest.mark.parametrize("name", SETS)
def test_an_instruction_set_can_be_forced(places, fresh, monkeypatch, name):
    monkeypatch.setenv("GATEWORK_ISA", name)
    text = "int answer(void) { return LANES * sizeof(real); }"
    assert build.load(text, 4).answer() == build.load(text, 8).answer() == build.vector_bytes()
    assert build.instruction_set().name == name


def test_an_instruction_set_that_is_not_there_is_refused(fresh, monkeypatch):
    monkeypatch.setenv("GATEWORK_ISA", "avx1024")
    with pytest.raises(PathError, match=r"'avx1024'; this processor has .*plain"):
        build.load(TEXT, 4)


def test_a_full_disk_falls_back_to_the_temporary_folder(places, tmp_path, monkeypatch):
    _, cache = places
    script = tmp_path / "cc"
    script.write_text(
        f"#!/bin/sh\ncase $* in *{cache}*) echo No space left on device >&2; exit 1; esac\n"
        f'exec {" ".join(COMMAND)} "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr(build, "compiler", lambda: (str(script),))
    assert build.load(TEXT, 4).answer() == 42
    assert list(tmp_path.glob("gatework-*/*.so"))


def test_a_folder_of_somebody_else_is_not_used(places, tmp_path, monkeypatch):
    _, cache = places
    cache.write_text("in the way")
    (tmp_path / "gatework-12345").mkdir()
    monkeypatch.setattr(build.os, "getuid", lambda: 12345)
    if tmp_path.stat().st_uid == 12345:
        pytest.skip("that is this user's number")
    with pytest.raises(PathError, match=r"No folder .* tried .*cache \(File exists\)\."):
        build.load(TEXT, 4)
