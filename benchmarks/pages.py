"""Pages of results that several benchmarks write: each has a section of its own."""

from __future__ import annotations

import re
from pathlib import Path


def write_section(page: Path, title: str, text: str) -> None:
    """Put ``text`` under ``## title`` into a page: in the place of what stood there, or at its end.

    A new page begins with a heading of its name.
    """
    old = page.read_text(encoding="utf-8") if page.exists() else f"# {page.stem}\n"
    section = f"## {title}\n\n{text.strip()}\n"
    found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", old, re.DOTALL | re.MULTILINE)
    if found is None:
        new = f"{old.rstrip()}\n\n{section}"
    else:
        rest = old[found.end() :]
        new = old[: found.start()] + section + (f"\n{rest}" if rest else "")
    page.write_text(new, encoding="utf-8")
