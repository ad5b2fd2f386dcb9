"""Writing files: whole or not at all."""

from __future__ import annotations

import contextlib
from pathlib import Path


def write_whole(path: Path, content: bytes | str) -> None:
    """Write under a temporary name and rename; after an error the old file is as it was.

    Raises:
        OSError: the file cannot be written; the message names it.
    """
    temporary = path.with_name(path.name + ".tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
