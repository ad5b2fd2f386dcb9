"""From a cell to something to read: the reference, LaTeX, tables."""
