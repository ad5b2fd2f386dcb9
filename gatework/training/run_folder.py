"""The folder of a run: never written over by accident, and never left half-written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from gatework.errors import DataError, TrainingError
from gatework.training import checkpoint
from gatework.training.files import is_main


def _epochs_done(folder: Path) -> int:
    return checkpoint.epochs_done(folder / checkpoint.NAME)


@dataclass
class RunFolder:
    """Where a run writes, as a context: ``with RunFolder(out, made) as folder``.

    A run that overwrites another one works in a folder beside it (``NAME.new``) and takes its
    place when it is done; until then the other one is as it was. Stopped by Ctrl-C after a whole
    epoch, it stays where it is and can be resumed there. A new folder stays after an error only
    if it holds a whole epoch. Of several processes only the main one looks there and tidies up.

    Attributes:
        out: the folder.
        made: names of the files that runs write; others in the folder are left alone.
        resume: go on with the run there.
        overwrite: replace the run there.
        kept: name of the file that a run is gone on with from.
        begun: how much a folder holds of what is worth going on with; by default whole epochs.
    """

    out: Path
    made: Sequence[str]
    resume: bool = False
    overwrite: bool = False
    kept: str = checkpoint.NAME
    begun: Callable[[Path], int] = _epochs_done

    def __post_init__(self) -> None:
        """Check that the run may write there.

        Raises:
            DataError: it is no folder, or not an empty one and nothing says what to do with it, or
                the folder beside it, where a run that overwrites works, is taken.
            TrainingError: there is nothing to resume.
        """
        out = self.path = self.out
        if not is_main():
            return
        if out.exists() and not out.is_dir():
            raise DataError(f"--out {out} is a file; name a folder.")
        if self.resume and self.overwrite:
            raise DataError(
                "--resume goes on with a run, --overwrite replaces it; give one of them."
            )
        if self.resume and not self.holds_checkpoint():
            raise TrainingError(f"There is nothing to resume in {out}; run without --resume.")
        filled = out.exists() and any(out.iterdir())
        if filled and not (self.resume or self.overwrite):
            raise DataError(
                f"--out {out} is not empty; add --resume to go on, --overwrite to replace."
            )
        replaces = filled and self.overwrite
        if replaces:
            self.path = out.resolve().with_name(f"{out.resolve().name}.new")
        if replaces and self.path.exists():
            raise DataError(
                f"{self.path} is there, where the new run would be made: an earlier one was "
                f"stopped. Go on with it by --out {self.path} --resume, or remove that folder."
            )
        self.before = [path for path in (out, *out.parents) if path.exists()]

    def __enter__(self) -> Path:
        if is_main():
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DataError(f"--out {self.path} cannot be made: {error.strerror}.") from error
        return self.path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not is_main():
            return
        done = self.begun(self.path)
        if self.path != self.out:
            if error is None:
                self._take_place()
            if error is None or isinstance(error, Exception) or not done:
                shutil.rmtree(self.path, ignore_errors=True)
        elif isinstance(error, Exception) and not self.resume:
            if done:
                error.add_note(f"What was trained before is kept in {self.out}.")
            else:
                self._remove()

    def holds_checkpoint(self) -> bool:
        """Whether a run there can be gone on with."""
        return (self.out / self.kept).is_file()

    def _take_place(self) -> None:
        for name in self.made:
            if (self.path / name).exists():
                (self.path / name).replace(self.out / name)
            else:
                (self.out / name).unlink(missing_ok=True)

    def _remove(self) -> None:
        for name in self.made:
            (self.out / name).unlink(missing_ok=True)
        for path in (self.out, *self.out.parents):
            if path.exists() and path not in self.before:
                path.rmdir()
