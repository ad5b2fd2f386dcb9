"""What several benchmarks share: runs that are kept, pages with a section for each of them.

python benchmarks/pages.py       writes the list of all figures into docs/results.md
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

ROOT = Path(__file__).parents[1]
ALL = "All figures"


def kept(
    folder: Path | None, name: str, run: Callable[..., dict[str, Any]], *arguments: Any
) -> dict[str, Any]:
    """What a run gave, JSON-ready, or an earlier one of that name in the folder."""
    path = folder and folder / f"{name}.json"
    if path and path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    found = run(*arguments)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found), encoding="utf-8")
    return found


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


def spread(values: ArrayLike, digits: int = 2) -> str:
    """Mean ± standard deviation; of one value that alone."""
    mean = f"{np.mean(values):,.{digits}f}"
    return mean if np.size(values) < 2 else f"{mean} ± {np.std(values, ddof=1):,.{digits}f}"


def write_all_figures() -> None:
    """Put the list of all published figures, from figures.toml, into docs/results.md."""
    write_section(ROOT / "docs" / "results.md", ALL, all_figures())


def all_figures() -> str:
    """Every published figure: its page, and the commands that measure it."""
    rows = tomllib.loads((ROOT / "benchmarks" / "figures.toml").read_text(encoding="utf-8"))
    lines = ["| figure | measured again by | which runs | minutes |", "|---|---|---|---|"]
    for name, row in rows.items():
        words = [f"python benchmarks/{row['script']}"]
        words += [f'"{word}"' if " " in word else word for word in row["arguments"]]
        page = row["page"].removeprefix("docs/")
        lines.append(
            f"| [{row['section']}]({page}) | `gatework reproduce {name}` | `{' '.join(words)}` | "
            f"{row['minutes']} |"
        )
    return (
        "Each stands with seeds and spread in the section of that name. `gatework reproduce NAME` "
        "prints what it measures and what is published beside it; minutes are on two cores, "
        "about.\n\n" + "\n".join(lines)
    )


if __name__ == "__main__":
    write_all_figures()
