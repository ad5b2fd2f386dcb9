"""Writing files: whole or not at all, and of several processes the main one alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def started_together() -> int:
    """How many processes torchrun has started with this one; known before they have met."""
    alone = os.environ.get("LOCAL_RANK", "-1") == "-1"  # the sign that accelerate goes by too
    return 1 if alone else int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process prints and writes files; of those that torchrun starts, one does."""
    return started_together() == 1 or os.environ.get("RANK", "0") == "0"


def write_whole(path: Path, content: bytes | str) -> None:
    """Write under a temporary name and rename; after an error the old file is as it was.

    Of several processes only the main one writes.

    Raises:
        OSError: the file cannot be written; the message names it.
    """
    if not is_main():
        return
    with appears_whole(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def appears_whole(path: Path) -> Iterator[Path]:
    """The temporary name of a file that gets its own when it is written.

    Raises:
        OSError: the file cannot be written; the message names it.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
