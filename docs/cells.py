"""Write the pages of the catalogue: ``python docs/cells.py``, or ``make docs``."""

from __future__ import annotations

from pathlib import Path

from gatework.cells import all_cells, name_of
from gatework.equations import Cell
from gatework.read.diagram import diagram
from gatework.read.page import markdown

FOLDER = Path(__file__).with_name("cells")
INDEX = "README.md"
FAMILIES = {
    "Simple networks": ("rnn", "relu_rnn", "ind_rnn", "scrn", "ugrnn", "rhn"),
    "LSTM": (
        "lstm", "lstm_1997", "projected_lstm", "coupled_lstm", "janet", "slstm", "mlstm", "on_lstm",
    ),
    "LSTM with the times of its steps": ("phased_lstm",),
    "LSTM with peepholes, and the variants of Greff et al.": (
        "peephole_lstm", "no_input_gate_lstm", "no_forget_gate_lstm", "no_output_gate_lstm",
        "no_input_activation_lstm", "no_output_activation_lstm", "coupled_peephole_lstm",
        "coupled_forget_lstm", "full_gate_lstm",
    ),
    "LSTM with layer normalisation": ("layer_norm_lstm", "layer_norm_basic_lstm"),
    "GRU": ("gru", "gru_reset_before", "mgu"),
    "Found by a search": ("mut_1", "mut_2", "mut_3", "nas_cell"),
    "No product with the state": ("sru", "sru_2017", "qrnn", "min_gru", "min_lstm"),
}  # fmt: skip
OTHERS = "Others"
IMAGES = "With convolutions"
CONVOLVED = (
    "The equations of every cell hold for images too, with convolutions for its products: ConvLSTM "
    "(Shi et al. 2015, arXiv:1506.04214) is [peephole_lstm](peephole_lstm.md) in "
    "`gw.ConvRecurrent`, over images of one, two or three axes; see "
    "[layers](../layers.md#sequences-of-images)."
)


def pages() -> dict[str, str]:
    """Every file of the folder, by its name."""
    found = {INDEX: index()}
    for cell in all_cells():
        name = name_of(cell)
        found |= {f"{name}.md": markdown(cell, f"{name}.svg"), f"{name}.svg": diagram(cell)}
    return found


def index() -> str:
    """All cells by family; one that is in none stands among the others."""
    cells = {name_of(cell): cell for cell in all_cells()}
    placed = {name for names in FAMILIES.values() for name in names}
    families = FAMILIES | {OTHERS: tuple(name for name in cells if name not in placed)}
    lines = [
        "# The cells",
        "",
        "Each page has the equations, the diagram, the size and cost, when to use the cell and who "
        "computes it otherwise. They are made from the cells themselves by `make docs`; "
        "`gatework cells NAME --page FILE.html` writes the page of any cell, also of one's own.",
    ]
    for family, names in families.items():
        if names:
            lines += ["", f"## {family}", "", "| | | source |", "|---|---|---|"]
            lines += [row(name, cells[name]) for name in names]
    lines += ["", f"## {IMAGES}", "", CONVOLVED]
    return "\n".join(lines) + "\n"


def row(name: str, cell: type[Cell]) -> str:
    """One line of the index."""
    return f"| [{name}]({name}.md) | {cell.spec.doc.partition(chr(10))[0]} | {cell.source} |"


def main() -> None:
    """Write what has changed, and take away the pages of cells that are gone."""
    FOLDER.mkdir(exist_ok=True)
    wanted = pages()
    for path in FOLDER.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
