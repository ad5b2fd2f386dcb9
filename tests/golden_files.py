"""Texts that were read and found right. ``REFRESH_GOLDEN=1 pytest tests`` writes them anew."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


def check(name, text):
    """The text is the one in the golden file of this name."""
    path = FOLDER / name
    if os.environ.get("REFRESH_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"see {path}; REFRESH_GOLDEN=1 accepts this"
